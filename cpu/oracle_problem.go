package cpu

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/half"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// problem is a checked call, as the oracle reads it.
type problem struct {
	op   vkattn.Attention // canonical
	args *vkattn.Args
	seqs []sequence
	rel  *Shaw // nil: none

	// One head of K and of V in float64, the last that was read.
	k, v     *mat.Dense
	kAt, vAt [2]int // sequence and head
}

// sequence is one sequence of the batch: index in the batch, place in the tensors, lengths, the diagonal
// and the prefix.
type sequence struct{ index, batch, q0, k0, sq, sk, off, prefix int }

var minusInf = math.Inf(-1)

func newProblem(op vkattn.Attention, args *vkattn.Args) (*problem, error) {
	if _, err := op.Check(args); err != nil {
		return nil, err
	}
	p := &problem{op: op.Canonical(), args: args}
	for _, t := range []struct {
		name string
		t    vkattn.Tensor
	}{{"Q", args.Q}, {"K", args.K}, {"V", args.V}, {"Bias", args.Bias}, {"Mask", args.Mask},
		{"Tree", args.Tree}, {"Slopes", args.Slopes}, {"SinkLogits", args.SinkLogits}, {"Relative", args.Relative},
		{"DescaleQ", args.DescaleQ}, {"DescaleK", args.DescaleK}, {"DescaleV", args.DescaleV}} {
		if _, host := t.t.Mem.(*vkattn.Host); t.t.Given() && !host {
			return nil, &vkattn.ArgError{Arg: t.name, Reason: "not in host memory, where the oracle reads"}
		}
	}
	n := args.Q.Shape[0]
	if p.op.Packed {
		n = len(args.CuSeqQ) - 1
	}
	for b := range n {
		p.seqs = append(p.seqs, p.sequence(b, n))
	}
	return p, nil
}

// sequence resolves sequence b of n.
func (p *problem) sequence(b, n int) sequence {
	a := p.args
	s := sequence{index: b, batch: b, sq: a.Q.Shape[2], sk: a.K.Shape[2], prefix: math.MinInt}
	if p.op.Packed {
		s.batch = 0
		s.q0, s.k0 = int(a.CuSeqQ[b]), int(a.CuSeqK[b])
		s.sq, s.sk = int(a.CuSeqQ[b+1])-s.q0, int(a.CuSeqK[b+1])-s.k0
	}
	if p.op.With.Has(vkattn.WithKeyLengths) {
		s.sk = int(a.KeyLengths[b])
	}
	switch p.op.Align {
	case vkattn.AlignBottomRight:
		s.off = s.sk - s.sq
	case vkattn.AlignOffset:
		s.off = a.Offset[b%len(a.Offset)]
	}
	if p.op.With.Has(vkattn.WithPrefix) {
		s.prefix = int(a.Prefix[b%len(a.Prefix)])
	}
	return s
}

func (p *problem) checkRow(r Row) error {
	for _, f := range []struct {
		axis   string
		got, n int
	}{{"sequence", r.Sequence, len(p.seqs)}, {"head", r.Head, p.op.HeadsQ}} {
		if f.got < 0 || f.got >= f.n {
			return &vkattn.ShapeError{Arg: "Row", Axis: f.axis, Got: f.got, Want: fmt.Sprintf("0 to %d", f.n-1)}
		}
	}
	if sq := p.seqs[r.Sequence].sq; r.I < 0 || r.I >= sq {
		return &vkattn.ShapeError{Arg: "Row", Axis: "row", Got: r.I, Want: fmt.Sprintf("0 to %d", sq-1)}
	}
	return nil
}

// query is q_i.
func (p *problem) query(s sequence, h, i int) []float64 {
	q := make([]float64, p.op.HeadDim)
	p.readRow(q, p.args.Q, s.batch, h, s.q0+i)
	p.descale(q, p.args.DescaleQ, s, h, i)
	return q
}

// descale multiplies row i of a head of Q, K or V by its factor.
func (p *problem) descale(row []float64, t vkattn.Tensor, s sequence, head, i int) {
	if t.Given() {
		floats.Scale(p.read(t, p.op.DescaleIndex(t, s.index, head, i)), row)
	}
}

// keys is K [Sk, D] of the head that query head h reads.
func (p *problem) keys(s sequence, h int) *mat.Dense {
	at := [2]int{s.index, p.op.HeadMap.Map(h, p.op.HeadsQ, p.op.HeadsK)}
	if p.k == nil || p.kAt != at {
		p.k, p.kAt = p.matrix(p.args.K, p.args.DescaleK, s, at[1], s.sk, p.op.HeadDim), at
	}
	return p.k
}

// values is V [Sk, Dv] of the head that query head h reads.
func (p *problem) values(s sequence, h int) *mat.Dense {
	at := [2]int{s.index, p.op.HeadMap.Map(h, p.op.HeadsQ, p.op.HeadsV)}
	if p.v == nil || p.vAt != at {
		p.v, p.vAt = p.matrix(p.args.V, p.args.DescaleV, s, at[1], s.sk, p.op.ValueDim), at
	}
	return p.v
}

func (p *problem) matrix(t, descale vkattn.Tensor, s sequence, head, n, d int) *mat.Dense {
	if n == 0 {
		return &mat.Dense{}
	}
	m := mat.NewDense(n, d, nil)
	for j := range n {
		p.readRow(m.RawRowView(j), t, s.batch, head, s.k0+j)
		p.descale(m.RawRowView(j), descale, s, head, j)
	}
	return m
}

func rows(m *mat.Dense) int {
	n, _ := m.Dims()
	return n
}

func (p *problem) readRow(dst []float64, t vkattn.Tensor, b, h, s int) {
	at := t.Index(b, h, s, 0)
	if t.Type == vkattn.Float32 {
		for d, x := range t.Mem.(*vkattn.Host).Float32s()[at : at+len(dst)] {
			dst[d] = float64(x)
		}
		return
	}
	for d := range dst {
		dst[d] = p.read(t, at+d)
	}
}

func (p *problem) read(t vkattn.Tensor, at int) float64 { return element64(t, at) }

// element64 is element at of a tensor in host memory. A Bool is 0 or 1.
func element64(t vkattn.Tensor, at int) float64 {
	b := t.Mem.(*vkattn.Host).Bytes()
	u16 := func(at int) uint16 { return binary.NativeEndian.Uint16(b[at:]) }
	switch t.Type {
	case vkattn.Float32:
		return float64(math.Float32frombits(binary.NativeEndian.Uint32(b[4*at:])))
	case vkattn.Float16:
		return float64(half.FromFloat16(u16(2 * at)))
	case vkattn.BFloat16:
		return float64(half.FromBFloat16(u16(2 * at)))
	case vkattn.F8E4M3:
		return float64(half.FromFloat8E4M3(b[at]))
	case vkattn.F8E5M2:
		return float64(half.FromFloat8E5M2(b[at]))
	case vkattn.Q8_0: // a block: float16 scale, 32 int8
		block, e := b[at/32*34:], at%32
		return float64(half.FromFloat16(binary.LittleEndian.Uint16(block))) * float64(int8(block[2+e]))
	case vkattn.Q4_0: // a block: float16 scale, 16 bytes: elements 0 to 15 in the low halves, 16 to 31 in the high ones
		block, e := b[at/32*18:], at%32
		nibble := block[2+e%16] >> (e / 16 * 4) & 15
		return float64(half.FromFloat16(binary.LittleEndian.Uint16(block))) * float64(int(nibble)-8)
	case vkattn.Bool:
		if b[at] != 0 {
			return 1
		}
		return 0
	}
	panic(fmt.Sprintf("cpu: oracle cannot read %v", t.Type))
}

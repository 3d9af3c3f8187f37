package attntest

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/vkattn/vkattn"
)

// linearSpec is a call of Linear without its data: what a case says about itself in one line.
type linearSpec struct {
	op       vkattn.Linear // capacities are filled in
	sq, sk   int
	lens     []int // packed: lengths of the sequences, keys like queries unless lensK
	lensK    []int
	slack    int     // packed: tokens behind the last sequence
	spare    int     // capacity of the plan beyond the call
	strength float64 // log decays lie between -strength and 0; below 0: all of them are this
	keys     keyKind
	beta     float64 // 0: between 0 and 1
	large    float64 // what q, k and v are multiplied by; 0: 1
	layouts  map[string]layout
}

type keyKind uint8

const (
	ordinaryKeys keyKind = iota // N(0,1); of the delta rule with norm 1
	sameKeys                    // one key again and again, with norm 1
	alikeKeys                   // cosines around 0.9, with norm 1
)

// LinearProblem is one call of Linear with its data, in memory like that of Problem.
type LinearProblem struct {
	Op   vkattn.Linear
	Args vkattn.Args

	seqs   []vkattn.Sequence
	inputs []*store
	outs   []linearOutput
	raw    []*rawStore // of those inputs that are not float32
	units  bool        // the kernel multiplies in 16 bits
}

type linearOutput struct {
	name string
	t    vkattn.Tensor
	s    *store
	raw  *rawStore // of another type than float32, which comes to s
}

func (s *linearSpec) build(name string, seed uint64) (*LinearProblem, error) {
	rng := rng(name, seed)
	c := s.op.Canonical()
	p := &LinearProblem{Op: s.op}
	a := &p.Args
	batch, tq, tk := s.op.Batch-s.spare, s.sq, s.sk
	if c.Packed {
		a.CuSeqQ, tq = cumulate(s.lens)
		a.CuSeqK, tk = a.CuSeqQ, tq
		if s.lensK != nil {
			a.CuSeqK, tk = cumulate(s.lensK)
		}
		if c.Causal {
			a.CuSeqK = nil
		}
		batch, tq, tk = 1, tq+s.slack, tk+s.slack
	}
	in := func(name string, to *vkattn.Tensor, shape [4]int, f func() float64) {
		l, ok := s.layouts[name]
		if !ok {
			l = bhsd
		}
		t, st := placeFloats(shape, l)
		each(t, func(_, _, _, _, at int) { st.f[at] = float32(f()) })
		p.inputs = append(p.inputs, st)
		*to = t
	}
	spread := 1.0
	if c.Map == vkattn.MapFavor || c.Map == vkattn.MapExp {
		spread = 0.5 // beyond, all weight is on single keys
	}
	if s.large != 0 {
		spread = s.large
	}
	normal := func() float64 { return spread * rng.NormFloat64() }
	in("Q", &a.Q, [4]int{batch, c.HeadsQ, tq, c.HeadDim}, normal)
	in("K", &a.K, [4]int{batch, c.HeadsK, tk, c.HeadDim}, normal)
	s.shapeKeys(rng, a.K, p.inputs[1])
	in("V", &a.V, [4]int{batch, c.HeadsV, tk, c.ValueDim}, func() float64 { return max(s.large, 1) * rng.NormFloat64() })
	if c.Features > 0 {
		in("Projection", &a.Projection, [4]int{1, 1, c.Features, c.HeadDim}, rng.NormFloat64)
	}
	decay := func() float64 {
		if s.strength < 0 {
			return s.strength
		}
		return -s.strength * rng.Float64()
	}
	switch c.Decay {
	case vkattn.DecayHead:
		in("Decay", &a.Decay, [4]int{1, c.States(), 1, 1}, decay)
	case vkattn.DecayToken:
		in("Decay", &a.Decay, [4]int{batch, c.States(), tk, 1}, decay)
	case vkattn.DecayChannel:
		in("Decay", &a.Decay, [4]int{batch, c.States(), tk, c.FeatureDim()}, decay)
	}
	if c.Rule == vkattn.RuleDelta {
		in("Beta", &a.Beta, [4]int{batch, c.States(), tk, 1}, func() float64 {
			if s.beta != 0 {
				return s.beta
			}
			return rng.Float64()
		})
	}
	n := batch
	if c.Packed {
		n = len(s.lens)
	}
	state := c.StateShape(n)
	if c.StateIn {
		in("StateIn", &a.StateIn, state, func() float64 { return math.Abs(rng.NormFloat64()) }) // denominators are positive
	}
	out := func(name string, to *vkattn.Tensor, shape [4]int) {
		l, ok := s.layouts[name]
		if !ok {
			l = bhsd
		}
		t, st := placeFloats(shape, l)
		p.outs = append(p.outs, linearOutput{name: name, t: t, s: st})
		*to = t
	}
	out("Out", &a.Out, [4]int{batch, c.Heads(), tq, c.ValueDim})
	if c.StateOut {
		out("StateOut", &a.StateOut, state)
	}
	var err error
	wide := p.Op
	wide.TypeQ, wide.TypeK, wide.TypeV, wide.TypeOut = 0, 0, 0, 0
	if p.seqs, err = wide.Check(a); err != nil {
		return nil, err
	}
	p.markLive()
	p.narrow()
	return p, nil
}

func cumulate(lens []int) (cu []int32, total int) {
	cu = []int32{0}
	for _, n := range lens {
		total += n
		cu = append(cu, int32(total))
	}
	return cu, total
}

// shapeKeys makes keys alike or of norm 1.
func (s *linearSpec) shapeKeys(rng *rand.Rand, k vkattn.Tensor, st *store) {
	if s.op.Rule != vkattn.RuleDelta {
		return
	}
	one := make([]float64, k.Shape[3])
	for d := range one {
		one[d] = rng.NormFloat64()
	}
	for b := range k.Shape[0] {
		for h := range k.Shape[1] {
			for t := range k.Shape[2] {
				row := st.f[k.Index(b, h, t, 0):][:k.Shape[3]]
				sum := 0.0
				for d := range row {
					switch s.keys {
					case sameKeys:
						row[d] = float32(one[d])
					case alikeKeys:
						row[d] = float32(one[d] + float64(row[d])/3)
					}
					sum += float64(row[d]) * float64(row[d])
				}
				for d := range row {
					row[d] /= float32(math.Sqrt(sum))
				}
			}
		}
	}
}

// markLive marks what the call reads: tokens that lie in sequences, and all of states and projection.
func (p *LinearProblem) markLive() {
	a := &p.Args
	whole := func(t vkattn.Tensor, from, n int, batch int) {
		if !t.Given() {
			return
		}
		for _, s := range p.inputs {
			if t.Mem != vkattn.Memory(s.host) {
				continue
			}
			for h := range t.Shape[1] {
				for row := from; row < from+n; row++ {
					s.markRow(t, batch, h, row)
				}
			}
		}
	}
	for _, s := range p.seqs {
		whole(a.Q, s.Q0, s.Sq, s.Batch)
		whole(a.K, s.K0, s.Sk, s.Batch)
		whole(a.V, s.K0, s.Sk, s.Batch)
		whole(a.Beta, s.K0, s.Sk, s.Batch)
		if a.Decay.Given() && p.Op.Decay != vkattn.DecayHead {
			whole(a.Decay, s.K0, s.Sk, s.Batch)
		}
		if a.StateIn.Given() {
			whole(a.StateIn, 0, a.StateIn.Shape[2], s.Index)
		}
	}
	if a.Projection.Given() {
		whole(a.Projection, 0, a.Projection.Shape[2], 0)
	}
	if p.Op.Decay == vkattn.DecayHead {
		whole(a.Decay, 0, 1, 0)
	}
}

// Zero sets all input memory that the call does not read to 0, and fills the outputs with NaN.
func (p *LinearProblem) Zero() {
	zero(p.inputs)
	spoil(p.raw, zeroCode)
	p.fill(zeroPattern)
}

// Poison fills all input memory that the call does not read with NaN, infinities and huge numbers, and the outputs
// with NaN of another pattern than Zero does.
func (p *LinearProblem) Poison() {
	poison(p.inputs)
	spoil(p.raw, poisonCode)
	p.fill(poisonPattern)
}

func (p *LinearProblem) fill(pattern uint32) {
	for n, o := range p.outs {
		for i := range o.s.f {
			o.s.f[i] = outputFill(pattern, n, i)
		}
		if o.raw != nil {
			o.raw.fill(fillByte(pattern))
		}
	}
}

func fillByte(pattern uint32) byte {
	if pattern == zeroPattern {
		return zeroByte
	}
	return poisonByte
}

// elements calls f for every element of output n that the call writes, with its number in the oracle's order.
func (p *LinearProblem) elements(n int, f func(sequence, head, row, at, number int)) {
	o := p.outs[n]
	sh := o.t.Shape
	for _, s := range p.seqs {
		batch, first, rows := s.Index, 0, sh[2]
		if o.name == "Out" {
			batch, first, rows = s.Batch, s.Q0, s.Sq
		}
		for h := range sh[1] {
			for i := range rows {
				for d := range sh[3] {
					f(s.Index, h, i, o.t.Index(batch, h, first+i, d), ((batch*sh[1]+h)*sh[2]+first+i)*sh[3]+d)
				}
			}
		}
	}
}

// strayWrite looks for a changed element of the outputs' memory that is no element of an output.
func (p *LinearProblem) strayWrite(pattern uint32) error {
	for n, o := range p.outs {
		written := make([]bool, len(o.s.f))
		p.elements(n, func(_, _, _, at, _ int) { written[at] = true })
		for i, w := range written {
			if o.raw != nil {
				if size := o.raw.typ.Size(); !w && bytes.Count(o.raw.b[i*size:][:size], []byte{fillByte(pattern)}) != size {
					return fmt.Errorf("wrote to element %d of the memory of %s, outside of the tensor", i, o.name)
				}
				continue
			}
			if !w && math.Float32bits(o.s.f[i]) != math.Float32bits(outputFill(pattern, n, i)) {
				return fmt.Errorf("wrote to element %d of the memory of %s, outside of the tensor", i, o.name)
			}
		}
	}
	return nil
}

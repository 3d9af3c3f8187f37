package cpu

import (
	"context"
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/sparse"
)

// nsaName is what reports call the algorithm of NSA.
const nsaName = "nsa-cpu"

// nsa is the operation of vkattn.NSA.
type nsa struct {
	op                           vkattn.NSA // canonical
	compressed, selected, window *attention
}

func newNSA(op vkattn.NSA) *nsa {
	op = op.Canonical()
	compressed, selected, window := sparse.Branches(op)
	return &nsa{op, newAttention(compressed), newAttention(selected), newAttention(window)}
}

func (*nsa) kernel() string                { return nsaName }
func (n *nsa) tile(k kernel) string        { return n.window.tile(k) }
func (n *nsa) scratchBytes(k kernel) int64 { return n.window.scratchBytes(k) }
func (*nsa) note(workers int) string {
	return fmt.Sprintf("%d workers; three calls of attention, and the choice between the first two", workers)
}

func (n *nsa) bind(args vkattn.Args) (job, error) {
	seqs, err := n.op.Check(&args)
	if err != nil {
		return nil, err
	}
	inner := args
	inner.Gates = vkattn.Tensor{}
	c, err := bind(n.op.Attention, n.window.groups, inner)
	if err != nil {
		return nil, err
	}
	c.args.Gates = args.Gates
	call := &nsaCall{nsa: n, c: c, seqs: seqs}
	return call, resolve([]argument{{"Gates", args.Gates, &call.gates, nil}})
}

// nsaCall is one recorded call of NSA.
type nsaCall struct {
	*nsa
	c     *call
	seqs  []vkattn.Sequence
	gates []float32
}

func (n *nsaCall) work() vkattn.Work { return n.op.Work(&n.c.args, n.seqs) }

func (n *nsaCall) blocks(s *vkattn.Sequence) int { return n.op.Compressed(s.Sk) }

// branch is the output of a branch for some rows, [B, heads, rows, Dv], or its LSE.
func branch(b, heads, rows, columns int) ([]float32, vkattn.Tensor) {
	data := make([]float32, b*heads*rows*columns)
	return data, vkattn.BHSD(vkattn.Float32s(data), b, heads, rows, columns)
}

func (n *nsaCall) run(ctx context.Context, b *Backend) (splits int, err error) {
	a, op := &n.c.args, &n.op.Attention
	batch, sq, sk := a.Q.Shape[0], a.Q.Shape[2], a.K.Shape[2]
	if a.Q.Len() == 0 || op.ValueDim == 0 {
		return 1, nil
	}
	keys, err := newPooled(a.K, n.op.Compressed(sk))
	if err != nil {
		return 0, err
	}
	values, err := newPooled(a.V, n.op.Compressed(sk))
	if err != nil {
		return 0, err
	}
	for _, p := range []struct {
		to   *pooled
		t    vkattn.Tensor
		data []float32
	}{{&keys, a.K, n.c.k.f32}, {&values, a.V, n.c.v.f32}} {
		if err := p.to.pool(b, p.t, p.data, n.seqs, n.op.Compress, n.op.Stride, n.blocks); err != nil {
			return 0, err
		}
	}
	blocks := (sk + n.op.Select - 1) / n.op.Select
	rowBytes := float64(batch) * (float64(op.HeadsQ)*float64(2*op.ValueDim+1)*4 + float64(op.HeadsK)*float64(blocks))
	step := choiceRows(sq, rowBytes)
	if err := tooMuch("the branches of a row", float64(step)*rowBytes); err != nil {
		return 0, err
	}
	for lo := 0; lo < sq; lo += step {
		args, seqs := sparse.Rows(*a, n.seqs, lo, min(lo+step, sq))
		p := nsaPart{nsaCall: n, args: args, seqs: seqs, keys: &keys, values: &values, blocks: blocks}
		if splits, err = p.run(ctx, b); err != nil {
			return 0, err
		}
	}
	return splits, nil
}

// nsaPart is some rows of a call.
type nsaPart struct {
	*nsaCall
	args         vkattn.Args
	seqs         []vkattn.Sequence
	keys, values *pooled
	blocks       int // of selected keys, of the longest sequence
	lse          []float32
	lseAt        vkattn.Tensor
}

// attend runs a branch, whose tensors other than those of the call are given by change.
func (p *nsaPart) attend(ctx context.Context, b *Backend, a *attention, seqs []vkattn.Sequence, change func(c *call)) (int, error) {
	c := *p.c
	c.op, c.groups, c.args, c.seqs = a.op, a.groups, p.args, seqs
	change(&c)
	return c.run(ctx, b)
}

func (p *nsaPart) run(ctx context.Context, b *Backend) (splits int, err error) {
	op, batch, rows := &p.op.Attention, p.args.Q.Shape[0], p.args.Q.Shape[2]
	compressed, compressedAt := branch(batch, op.HeadsQ, rows, op.ValueDim)
	selected, selectedAt := branch(batch, op.HeadsQ, rows, op.ValueDim)
	p.lse, p.lseAt = branch(batch, op.HeadsQ, rows, 1)
	for n := range p.seqs {
		phases := sparse.Phases(p.op, &p.seqs[n])
		if _, err := p.attend(ctx, b, p.compressed, phases, func(c *call) {
			a := &c.args
			c.k.f32, c.v.f32, c.out.f32, c.lse = p.keys.data, p.values.data, compressed, p.lse
			a.K, a.V = sparse.Shared(p.keys.Tensor, n, len(phases)), sparse.Shared(p.values.Tensor, n, len(phases))
			a.Q, a.Out, a.LSE = sparse.Phased(a.Q, n, p.op.Stride), sparse.Phased(compressedAt, n, p.op.Stride), sparse.Phased(p.lseAt, n, p.op.Stride)
		}); err != nil {
			return 0, err
		}
	}
	mask := make([]byte, batch*op.HeadsK*rows*p.blocks)
	maskAt := vkattn.BHSD(vkattn.Bytes(mask), batch, op.HeadsK, rows, p.blocks).As(vkattn.Bool)
	if err := p.choose(ctx, b, mask, maskAt); err != nil {
		return 0, err
	}
	if splits, err = p.attend(ctx, b, p.selected, p.seqs, func(c *call) {
		c.out.f32, c.args.Out, c.mask, c.args.Mask = selected, selectedAt, mask, maskAt
	}); err != nil {
		return 0, err
	}
	if _, err := p.attend(ctx, b, p.window, sparse.Windowed(p.seqs, sparse.Window(p.op)), func(*call) {}); err != nil {
		return 0, err
	}
	return splits, b.spread(batch*op.HeadsQ, func(_ *worker, n int) error {
		for i := range rows {
			at := p.args.Gates.Index(n/op.HeadsQ, n%op.HeadsQ, i, 0)
			step := p.args.Gates.Stride[3]
			g0, g1, g2 := p.gates[at], p.gates[at+step], p.gates[at+2*step]
			from := (n*rows + i) * op.ValueDim
			out := p.c.out.f32[p.args.Out.Index(n/op.HeadsQ, n%op.HeadsQ, i, 0):][:op.ValueDim]
			for d := range out {
				out[d] = g0*compressed[from+d] + g1*selected[from+d] + g2*out[d]
			}
		}
		return ctx.Err()
	})
}

// choose fills in the mask: the scores of blocks are weights of the compressed keys, computed again.
func (p *nsaPart) choose(ctx context.Context, b *Backend, mask []byte, maskAt vkattn.Tensor) error {
	op, s := &p.op, &p.op.Attention
	members := make([][]int, s.HeadsK)
	for h := range s.HeadsQ {
		g := s.HeadMap.Map(h, s.HeadsQ, s.HeadsK)
		members[g] = append(members[g], h)
	}
	return b.spread(len(p.seqs)*s.HeadsK, func(_ *worker, n int) error {
		seq, g := &p.seqs[n/s.HeadsK], n%s.HeadsK
		blocks := (seq.Sk + op.Select - 1) / op.Select
		scores, weights := make([]float32, p.keys.Shape[2]), make([]float32, p.keys.Shape[2])
		top := chooser{scores: make([]float32, blocks)}
		for i := range seq.Sq {
			t := i + seq.Off
			if t < 0 || blocks == 0 {
				continue
			}
			seen := min(op.Compressed(min(t, seq.Sk)+1), op.Compressed(seq.Sk))
			own := min(t/op.Select, blocks)
			row := mask[maskAt.Index(seq.Index, g, i, 0):]
			left := op.TopN
			forced := [3]int{0, own, own - 1}
			for _, block := range forced {
				if left > 0 && block >= 0 && block < blocks && row[block] == 0 {
					row[block] = 1
					left--
				}
			}
			if left == 0 {
				continue
			}
			past := min(own+1, blocks)
			if past > op.TopN {
				clear(weights)
				for _, h := range members[g] {
					products(scores, p.keys.matrix(seq.Batch, g, seen), p.c.q.f32[p.args.Q.Index(seq.Batch, h, i, 0):][:s.HeadDim])
					lse := float64(p.lse[p.lseAt.Index(seq.Batch, h, i, 0)])
					for c, x := range scores[:seen] {
						weights[c] += float32(math.Exp(s.Scale.Value*float64(x) - lse))
					}
				}
				blockScores(op, top.scores[:past], weights[:seen])
			}
			for _, block := range top.top(past, left, forced[:]...) {
				row[block] = 1
			}
		}
		return ctx.Err()
	})
}

// blockScores sums the weights of compressed keys to scores of blocks, as NSA says.
func blockScores(op *vkattn.NSA, scores, weights []float32) {
	blocks, overlap := op.Select/op.Stride, op.Compress/op.Stride
	for j := range scores {
		scores[j] = 0
		for c := max(0, blocks*j-overlap+1); c < min(len(weights), blocks*(j+1)); c++ {
			m := c - blocks*j // m - n, for so many pairs of them
			pairs := min(blocks-1, m+overlap-1) - max(0, m) + 1
			scores[j] += float32(pairs) * weights[c]
		}
	}
}

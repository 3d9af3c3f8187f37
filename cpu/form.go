package cpu

import (
	"context"
	"math"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/sparse"
)

// rest is the running softmax of all rows of a call over some of their keys, for another call of the same rows to join: at
// has the place of a row in m and l, out its sums, which are not divided by l. A row that sees keys, all of whose scores
// are -inf, has an l of -0.
type rest struct {
	m     []float32
	l     []float64
	at    vkattn.Tensor // [B, heads, Sq, 1]
	out   numbers
	outAt vkattn.Tensor
}

// newRest is room for the rows of a call. Their sums lie in its output, if that is float32.
func newRest(c *call) *rest {
	out := c.args.Out
	b, h, s := out.Shape[0], out.Shape[1], out.Shape[2]
	r := &rest{m: make([]float32, b*h*s), l: make([]float64, b*h*s), out: c.out, outAt: out}
	r.at = vkattn.BHSD(vkattn.Float32s(r.m), b, h, s, 1)
	if !c.out.inPlace() {
		r.out.f32, r.outAt = branch(b, h, s, out.Shape[3])
		r.out.typ = vkattn.Float32
	}
	return r
}

// leaveRow puts row i of head h, row n of the worker's sum, into the rest.
func (w *worker) leaveRow(c *call, s *vkattn.Sequence, h, i, n int) {
	r := c.leaves
	at := r.at.Index(s.Batch, h, s.Q0+i, 0)
	r.m[at], r.l[at] = w.sum.m[n], w.sum.l[n]
	copy(r.out.f32[r.outAt.Index(s.Batch, h, s.Q0+i, 0):], w.sum.row(n).Data)
	if r.l[at] == 0 && w.seesAny(c, s, h, i) {
		r.l[at] = math.Copysign(0, -1)
	}
}

// joinRow takes the rest of row i of head h into row n of the worker's sum. sees says whether its keys were any.
func (w *worker) joinRow(c *call, s *vkattn.Sequence, h, i, n int) (sees bool) {
	r := c.joins
	at := r.at.Index(s.Batch, h, s.Q0+i, 0)
	if r.l[at] == 0 {
		return math.Signbit(r.l[at])
	}
	w.sum.mergeRow(n, r.m[at], r.l[at], r.out.f32[r.outAt.Index(s.Batch, h, s.Q0+i, 0):][:c.op.ValueDim])
	return true
}

// runFormed computes the call by the form of its block mask.
func (c *call) runFormed(ctx context.Context, b *Backend) (splits int, err error) {
	f := c.formed
	part := *c
	part.formed, part.op, part.page = nil, f.Far, f.Page
	var left *rest
	var state vkattn.Tensor
	args := c.args
	if f.Joined {
		left = newRest(c)
		args.Out, state = left.outAt, left.at
		part.lse, part.sinks = nil, nil
	}
	run := func(p *call, x sparse.Call) error {
		p.args, p.seqs = x.Args, x.Seqs
		n, err := p.run(ctx, b)
		splits = max(splits, n)
		return err
	}
	for _, x := range f.FarCalls(args, c.seqs, state) {
		p := part
		p.columns = x.Columns
		if left != nil {
			r := *left
			r.at, r.outAt = x.Args.LSE, x.Args.Out
			x.Args.LSE = vkattn.Tensor{}
			p.leaves = &r
		}
		if err := run(&p, x); err != nil {
			return 0, err
		}
	}
	if left == nil {
		return splits, nil
	}
	near := *c
	near.formed, near.op, near.joins = nil, f.Near, left
	return splits, run(&near, f.NearCall(c.args, c.seqs))
}

package cpu

import (
	"context"

	"github.com/vkattn/vkattn"
)

// widened runs an operation that is made for float32 on tensors of fewer bits: copies of the inputs are widened before each
// run, and the rows of the output are rounded after it.
type widened struct {
	operation // in float32
	check     checker
}

// checker checks args. It returns whose rows of the output are written, and the work.
type checker func(*vkattn.Args) (rows []vkattn.Sequence, work vkattn.Work, err error)

// widen is op in float32, and how to check what op is given. Attention has loads and stores of its own for all types.
func widen(op vkattn.Op) (vkattn.Op, checker) {
	const f32 = vkattn.Float32
	switch a := op.(type) {
	case vkattn.Linear:
		in := a
		in.TypeQ, in.TypeK, in.TypeV, in.TypeOut = f32, f32, f32, f32
		return in, checkRows(a.Check, a.Work)
	case vkattn.MoBA:
		in := a
		in.Attention.TypeQ, in.Attention.TypeK, in.Attention.TypeV, in.Attention.TypeOut = f32, f32, f32, f32
		return in, checkRows(a.Check, a.Work)
	case vkattn.NSA:
		in := a
		in.Attention.TypeQ, in.Attention.TypeK, in.Attention.TypeV, in.Attention.TypeOut = f32, f32, f32, f32
		return in, checkRows(a.Check, a.Work)
	case vkattn.Rope:
		in := a
		in.TypeQ, in.TypeOut = f32, f32
		return in, func(args *vkattn.Args) ([]vkattn.Sequence, vkattn.Work, error) {
			if err := a.Check(args); err != nil {
				return nil, vkattn.Work{}, err
			}
			var rows []vkattn.Sequence // all of them
			for n := range args.Q.Shape[0] {
				rows = append(rows, vkattn.Sequence{Batch: n, Sq: args.Q.Shape[2]})
			}
			return rows, a.Work(args), nil
		}
	}
	return op, nil
}

func checkRows(check func(*vkattn.Args) ([]vkattn.Sequence, error), work func(*vkattn.Args, []vkattn.Sequence) vkattn.Work) checker {
	return func(args *vkattn.Args) ([]vkattn.Sequence, vkattn.Work, error) {
		rows, err := check(args)
		if err != nil {
			return nil, vkattn.Work{}, err
		}
		return rows, work(args, rows), nil
	}
}

func (w *widened) note(workers int) string {
	return w.operation.note(workers) + "; q, k, v and the output are copied to float32, which scratch does not count"
}

func (w *widened) bind(args vkattn.Args) (job, error) {
	rows, work, err := w.check(&args)
	if err != nil {
		return nil, err
	}
	c := &widenedCall{rows: rows, done: work, in: [3]vkattn.Tensor{args.Q, args.K, args.V}, out: args.Out}
	for i, t := range []*vkattn.Tensor{&args.Q, &args.K, &args.V, &args.Out} {
		if !t.Given() {
			continue
		}
		if _, ok := t.Mem.(*vkattn.Host); !ok {
			return nil, resolve([]argument{{[...]string{"Q", "K", "V", "Out"}[i], *t, nil, new([]byte)}})
		}
		s := t.Shape
		*t = vkattn.BHSD(vkattn.Float32s(make([]float32, s[0]*s[1]*s[2]*s[3])), s[0], s[1], s[2], s[3])
	}
	c.wideIn, c.wideOut = [3]vkattn.Tensor{args.Q, args.K, args.V}, args.Out
	c.inner, err = w.operation.bind(args)
	return c, err
}

// widenedCall is one recorded call.
type widenedCall struct {
	inner        job
	rows         []vkattn.Sequence // whose rows of the output are written
	done         vkattn.Work
	in, wideIn   [3]vkattn.Tensor
	out, wideOut vkattn.Tensor
}

func (c *widenedCall) work() vkattn.Work { return c.done }

func (c *widenedCall) run(ctx context.Context, b *Backend) (splits int, err error) {
	for i, t := range c.in {
		if t.Given() {
			if err := vkattn.Convert(c.wideIn[i], t, vkattn.Conversion{}); err != nil {
				return 0, err
			}
		}
	}
	if splits, err = c.inner.run(ctx, b); err != nil || !c.out.Given() {
		return splits, err
	}
	for _, s := range c.rows {
		if err := vkattn.Convert(tokens(c.out, s), tokens(c.wideOut, s), vkattn.Conversion{}); err != nil {
			return splits, err
		}
	}
	return splits, nil
}

// tokens is the part of a tensor of rows that is a sequence's.
func tokens(t vkattn.Tensor, s vkattn.Sequence) vkattn.Tensor {
	t.Offset = t.Index(s.Batch, 0, s.Q0, 0)
	t.Shape[0], t.Shape[2] = 1, s.Sq
	return t
}

package attntest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
)

// run fills the memory of the outputs with NaN, computes, and finds what should not have been written.
func (p *SparseProblem) run(ctx context.Context, plan vkattn.Plan, pattern uint32) error {
	outputs := []struct {
		name string
		t    vkattn.Tensor
		s    *store
	}{{"Out", p.Args.Out, p.out}, {"LSE", p.Args.LSE, p.lse}}
	for n, o := range outputs {
		for i := 0; o.s != nil && i < len(o.s.f); i++ {
			o.s.f[i] = outputFill(pattern, n, i)
		}
	}
	if p.res != nil {
		p.res.fill(fillByte(pattern))
	}
	before := hashOf(withRaw(p.inputs, p.raw))
	if _, err := plan.Run(ctx, p.narrow); err != nil {
		return err
	}
	if hashOf(withRaw(p.inputs, p.raw)) != before {
		return errors.New("wrote to an input")
	}
	for n, o := range outputs {
		if o.s == nil {
			continue
		}
		written := make([]bool, len(o.s.f))
		each(o.t, func(_, _, _, _, at int) { written[at] = true })
		narrow := p.res != nil && o.s == p.out
		for i, w := range written {
			if narrow {
				if size := p.res.typ.Size(); !w && bytes.Count(p.res.b[i*size:][:size], []byte{fillByte(pattern)}) != size {
					return fmt.Errorf("wrote to element %d of the memory of %s, outside of the tensor", i, o.name)
				}
				continue
			}
			if !w && math.Float32bits(o.s.f[i]) != math.Float32bits(outputFill(pattern, n, i)) {
				return fmt.Errorf("wrote to element %d of the memory of %s, outside of the tensor", i, o.name)
			}
		}
	}
	if p.res != nil {
		return p.res.typ.Decode(p.out.f, p.res.b)
	}
	return nil
}

// rounding is what the type of the output may add to the error of a row, relative to it. Matrix units round weights to the type of
// the queries.
func (p *SparseProblem) rounding(units bool) float64 {
	e := halfUnit(p.Case.types[3], 1)
	if units {
		e += 4 * halfUnit(p.Case.types[0], 1)
	}
	return e
}

// compare holds the outputs against the oracle's, row by row as for Attention. A row whose choice hangs on a near tie of
// scores may differ: it is right if it is attention over the other choice, which the oracle does not have. It returns how
// many rows that are.
func (p *SparseProblem) compare(v *verdict, want *answer, units bool) (unsure, rows int) {
	q, dv := p.Args.Q.Shape, p.Args.Out.Shape[3]
	norm := 0.0
	for _, x := range want.out {
		norm += x * x
	}
	floor := 0.1 * math.Sqrt(norm/max(1, float64(q[0]*q[1]*q[2])))
	for n := range q[0] * q[1] * q[2] {
		b, h, i := n/q[2]/q[1], n/q[2]%q[1], n%q[2]
		rows++
		if p.unsure(want, b, h, i) {
			unsure++
			continue
		}
		square := 0.0
		for d, w := range want.out[n*dv : (n+1)*dv] {
			x := float64(p.out.f[p.Args.Out.Index(b, h, i, d)])
			square += (x - w) * (x - w)
		}
		e := math.Sqrt(square)
		if e != e {
			e = math.Inf(1)
		} else if e > 0 {
			e /= max(math.Sqrt(sumSquares(want.out[n*dv:(n+1)*dv])), floor)
		}
		v.add(e, tolerance+p.rounding(units), "Out b%d h%d i%d", b, h, i)
		if p.lse == nil {
			continue
		}
		x, w := float64(p.lse.f[p.Args.LSE.Index(b, h, i, 0)]), want.lse[n]
		if e := math.Abs(x-w) / max(1, math.Abs(w)); x != w {
			if e != e {
				e = math.Inf(1)
			}
			v.add(e, tolerance, "LSE b%d h%d i%d: %v, want %v", b, h, i, x, w)
		}
	}
	return unsure, rows
}

// outputs is a copy of the memory of both outputs.
func (p *SparseProblem) outputs() [][]float32 {
	all := [][]float32{slices.Clone(p.out.f)}
	if p.lse != nil {
		all = append(all, slices.Clone(p.lse.f))
	}
	return all
}

// changed finds an element of an output that is not what it was.
func (p *SparseProblem) changed(before [][]float32) (err error) {
	for n, t := range []vkattn.Tensor{p.Args.Out, p.Args.LSE} {
		if n >= len(before) {
			break
		}
		now := t.Mem.(*vkattn.Host).Float32s()
		each(t, func(b, h, i, d, at int) {
			if math.Float32bits(before[n][at]) != math.Float32bits(now[at]) && err == nil {
				err = fmt.Errorf("%s b%d h%d i%d d%d was %v, is %v", [...]string{"Out", "LSE"}[n], b, h, i, d, before[n][at], now[at])
			}
		})
	}
	return err
}

// VerifySparseCase runs one case: with zeros in the memory that no row may see, and again with poison there. MoBA over all
// blocks has to be causal attention, bit for bit.
func VerifySparseCase(ctx context.Context, b vkattn.Backend, c SparseCase, o Options) (r Result) {
	start := time.Now()
	r = Result{Name: c.Name, Op: c.Op.String(), Status: Failed, Allowed: tolerance}
	defer func() { r.Time = time.Since(start) }()
	fail := func(err error) Result {
		r.Reason = err.Error()
		return r
	}
	if err := ctx.Err(); err != nil {
		r.Status = Skipped
		return fail(err)
	}
	if err := b.Supports(c.Op); err != nil {
		if errors.Is(err, vkattn.ErrUnsupported) && !o.RequireAll {
			r.Status = Unsupported
		}
		return fail(err)
	}
	plan, err := b.Plan(ctx, c.Op)
	if err != nil {
		return fail(err)
	}
	defer plan.Close()
	e := plan.Explain()
	r.Kernel = e.Kernel
	p := c.Build(o.Seed)
	zero(p.inputs)
	spoil(p.raw, zeroCode)
	want, err := p.answer()
	if err != nil {
		return fail(err)
	}
	if err := p.run(ctx, plan, zeroPattern); err != nil {
		return fail(err)
	}
	var v verdict
	unsure, rows := p.compare(&v, &want, vkattn.MatrixUnits(e.Path))
	if v.where != "" { // there was something to compare
		r.Worst, r.Allowed, r.Where = v.worst, v.allowed, v.where
	}
	if !v.ok() {
		r.Worst = min(r.Worst, math.MaxFloat64)
		return fail(errors.New("differs from the oracle"))
	}
	if 10*unsure > rows {
		return fail(fmt.Errorf("%d of %d rows hang on near ties: the case proves little", unsure, rows))
	}
	before := p.outputs()
	poison(p.inputs)
	spoil(p.raw, poisonCode)
	if err := p.run(ctx, plan, poisonPattern); err != nil {
		return fail(fmt.Errorf("with poison in hidden memory: %w", err))
	}
	if err := p.changed(before); err != nil {
		return fail(fmt.Errorf("poison in hidden memory changes the answer: %w", err))
	}
	if m, ok := c.Op.(vkattn.MoBA); ok && m.All() {
		spoil(p.raw, zeroCode)
		causal, err := b.Plan(ctx, m.Attention)
		if err != nil {
			return fail(err)
		}
		defer causal.Close()
		if err := p.run(ctx, causal, zeroPattern); err != nil {
			return fail(err)
		}
		if err := p.changed(before); err != nil {
			return fail(fmt.Errorf("differs from causal attention, although it sees all blocks: %w", err))
		}
	}
	r.Status = Passed
	return r
}

// RunSparse runs the cases of MoBA and NSA as subtests of t.
func RunSparse(t *testing.T, b vkattn.Backend, o Options) {
	t.Helper()
	runSparse(t, b, SparseCases(), o)
}

// RunSparseTypes does the same with those in other types than float32.
func RunSparseTypes(t *testing.T, b vkattn.Backend, o Options) {
	t.Helper()
	runSparse(t, b, SparseTypeCases(), o)
}

func runSparse(t *testing.T, b vkattn.Backend, all []SparseCase, o Options) {
	t.Helper()
	cases := slices.DeleteFunc(all, func(c SparseCase) bool { return !o.chosen(c.Name, true) })
	subtests(t, b, o, cases, func(c SparseCase) (string, vkattn.Op) { return c.Name, c.Op }, VerifySparseCase)
}

package attntest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// linearTolerance is the root mean square of the error over that of the oracle's output, for each sequence and
// head, and for the states. A single token may be off by rowFactor times as much of its head's root mean square.
const (
	linearTolerance = 2e-5
	rowFactor       = 20
)

// LinearCase is one entry of the table of Linear. Most are calls that are held against the oracle; some hold calls
// against each other.
type LinearCase struct {
	Name   string
	Op     vkattn.Linear
	Sample bool // belongs to the sample that slow devices run

	spec      *linearSpec
	tolerance float64
	relation  relation // nil: asOracle
}

// relation runs what a case is about and adds to v what it finds.
type relation func(ctx context.Context, b vkattn.Backend, p *LinearProblem, v *verdict, tolerance float64) error

// Build makes the data of the case. The same seed makes the same data.
func (c LinearCase) Build(seed uint64) (*LinearProblem, error) { return c.spec.build(c.Name, seed) }

// VerifyLinearCase runs one case.
func VerifyLinearCase(ctx context.Context, b vkattn.Backend, c LinearCase, o Options) Result {
	return examine(ctx, b, o, Result{Name: c.Name, Op: c.Op.String(), Allowed: c.tolerance}, c.Op, func(r *Result) error {
		p, err := c.Build(o.Seed)
		if err != nil {
			return err
		}
		hold := c.relation
		if hold == nil {
			hold = asOracle
		}
		if plan, err := b.Plan(ctx, c.Op); err == nil {
			e := plan.Explain()
			r.Kernel, p.units = e.Kernel, vkattn.MatrixUnits(e.Path)
			plan.Close()
		}
		var v verdict
		err = hold(ctx, b, p, &v, c.tolerance)
		r.Worst, r.Allowed, r.Where = v.worst, v.allowed, v.where
		if err == nil && !v.ok() {
			err = errors.New("differs from what is right")
		}
		return err
	})
}

// RunLinear runs the chosen cases of Linear as subtests of t.
func RunLinear(t *testing.T, b vkattn.Backend, o Options) {
	t.Helper()
	cases := slices.DeleteFunc(LinearCases(), func(c LinearCase) bool { return !o.chosen(c.Name, c.Sample) })
	subtests(t, b, o, cases, func(c LinearCase) (string, vkattn.Op) { return c.Name, c.Op }, VerifyLinearCase)
}

// compute plans and runs one call.
func compute(ctx context.Context, b vkattn.Backend, op vkattn.Linear, args vkattn.Args) error {
	plan, err := b.Plan(ctx, op)
	if err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	defer plan.Close()
	_, err = plan.Run(ctx, args)
	return err
}

// asOracle holds the call against the oracle, and again with poison in the memory that it does not read.
func asOracle(ctx context.Context, b vkattn.Backend, p *LinearProblem, v *verdict, tolerance float64) error {
	p.Zero()
	want, err := cpu.OracleLinear(p.Op, &p.Args)
	if err != nil {
		return fmt.Errorf("oracle: %w", err)
	}
	if err := p.once(ctx, b, zeroPattern); err != nil {
		return err
	}
	if err := p.compare(v, want, tolerance); err != nil || !v.ok() {
		return err
	}
	var before [][]float32
	for _, o := range p.outs {
		before = append(before, append([]float32(nil), o.s.f...))
	}
	p.Poison()
	if err := p.once(ctx, b, poisonPattern); err != nil {
		return fmt.Errorf("with poison in unused memory: %w", err)
	}
	for n, o := range p.outs {
		p.elements(n, func(s, h, i, at, _ int) {
			if x, y := before[n][at], o.s.f[at]; math.Float32bits(x) != math.Float32bits(y) && (x == x || y == y) && err == nil {
				err = fmt.Errorf("poison in unused memory changes the answer: %s b%d h%d i%d was %v, is %v", o.name, s, h, i, x, y)
			}
		})
	}
	return err
}

// once runs the call and finds what it should not have written.
func (p *LinearProblem) once(ctx context.Context, b vkattn.Backend, pattern uint32) error {
	before := hashOf(withRaw(p.inputs, p.raw))
	if err := compute(ctx, b, p.Op, p.Args); err != nil {
		return err
	}
	if hashOf(withRaw(p.inputs, p.raw)) != before {
		return errors.New("wrote to an input")
	}
	if err := p.strayWrite(pattern); err != nil {
		return err
	}
	for _, o := range p.outs {
		if o.raw == nil {
			continue
		}
		if err := o.raw.typ.Decode(o.s.f, o.raw.b); err != nil {
			return err
		}
	}
	return nil
}

// compare holds the outputs against the oracle's.
func (p *LinearProblem) compare(v *verdict, want *cpu.LinearResult, tolerance float64) error {
	if p.rule() != vkattn.Float32 {
		return p.compareTypes(v, want, tolerance)
	}
	for n, o := range p.outs {
		expected := want.Out
		if o.name == "StateOut" {
			expected = want.State
		}
		p.against(v, n, expected, tolerance, false)
	}
	return nil
}

// against holds output n against numbers in the oracle's order. With leak, rows of a head in which the oracle has a
// NaN may be NaN too.
func (p *LinearProblem) against(v *verdict, n int, want []float64, tolerance float64, leak bool) {
	type key struct{ s, h int }
	type sums struct {
		off, norm float64
		count     int
		spoiled   bool
	}
	o := p.outs[n]
	heads := map[key]*sums{}
	rows := map[[3]int]float64{}
	p.elements(n, func(s, h, i, at, number int) {
		k := key{s, h}
		if heads[k] == nil {
			heads[k] = &sums{}
		}
		x, w := float64(o.s.f[at]), want[number]
		switch {
		case w-w != 0: // NaN or infinite
			heads[k].spoiled = true
			if !(x == w || w != w && x != x) {
				rows[[3]int{s, h, i}] = math.Inf(1)
			}
			return
		case x != x && leak:
			return
		}
		heads[k].count++
		heads[k].norm += w * w
		e := (x - w) * (x - w)
		if e != e {
			e = math.Inf(1)
		}
		heads[k].off += e
		rows[[3]int{s, h, i}] += e
	})
	width := float64(max(o.t.Shape[3], 1))
	for at, e := range rows {
		head := heads[key{at[0], at[1]}]
		if e > 0 {
			rms := math.Sqrt(head.norm / float64(max(head.count, 1)))
			v.add(math.Sqrt(e/width)/rms, rowFactor*tolerance, "%s b%d h%d i%d", o.name, at[0], at[1], at[2])
		}
	}
	for at, head := range heads {
		e := 0.0
		if head.off > 0 {
			e = math.Sqrt(head.off / head.norm)
		}
		v.add(e, tolerance, "%s b%d h%d", o.name, at.s, at.h)
	}
}

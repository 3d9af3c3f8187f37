package attntest

import (
	"context"
	"math"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// linearMutant computes other calls than it is asked to.
type linearMutant struct {
	vkattn.Backend
	change func(op *vkattn.Linear, a *vkattn.Args)
	after  func(a *vkattn.Args)
}

type mutantPlan struct {
	vkattn.Plan
	m  *linearMutant
	op vkattn.Linear
}

func (m *linearMutant) Plan(ctx context.Context, op vkattn.Op) (vkattn.Plan, error) {
	plan, err := m.Backend.Plan(ctx, op)
	return &mutantPlan{plan, m, op.(vkattn.Linear)}, err
}

func (p *mutantPlan) Run(ctx context.Context, a vkattn.Args) (vkattn.Report, error) {
	op := p.op
	if p.m.change != nil {
		p.m.change(&op, &a)
	}
	plan, err := p.m.Backend.Plan(ctx, op)
	if err != nil {
		return vkattn.Report{}, err
	}
	defer plan.Close()
	r, err := plan.Run(ctx, a)
	if err == nil && p.m.after != nil {
		p.m.after(&a)
	}
	return r, err
}

// changed is a copy of t, broadcast axes written out, with f applied to every element.
func changed(t vkattn.Tensor, f func(s int, x float32, get func(s int) float32) float32) vkattn.Tensor {
	if !t.Given() {
		return t
	}
	x := make([]float32, t.Len())
	from := t.Mem.(*vkattn.Host).Float32s()
	to := vkattn.BHSD(vkattn.Float32s(x), t.Shape[0], t.Shape[1], t.Shape[2], t.Shape[3])
	each(t, func(b, h, s, d, at int) {
		x[to.Index(b, h, s, d)] = f(s, from[at], func(s int) float32 {
			if s < 0 || s >= t.Shape[2] {
				return 0
			}
			return from[t.Index(b, h, s, d)]
		})
	})
	return to
}

// TestLinearMutants makes sure that the table notices what goes wrong in practice.
func TestLinearMutants(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("one goroutine for a minute under the race detector")
	}
	b := cpu.New(cpu.Config{})
	defer b.Close()
	var sample []LinearCase
	for _, c := range LinearCases() {
		if c.Sample && c.Op.TypeQ == vkattn.Float32 && c.Op.TypeOut == vkattn.Float32 {
			sample = append(sample, c)
		}
	}
	ran := func(m *linearMutant) (failed int) {
		m.Backend = b
		for _, c := range sample {
			if VerifyLinearCase(t.Context(), m, c, Options{}).Status == Failed {
				failed++
			}
		}
		return failed
	}
	if n := ran(&linearMutant{}); n > 0 {
		t.Fatalf("%d cases fail without a mutation", n)
	}
	floats := func(t vkattn.Tensor) []float32 { return t.Mem.(*vkattn.Host).Float32s() }
	for name, m := range map[string]*linearMutant{
		"scale": {change: func(op *vkattn.Linear, a *vkattn.Args) {
			op.Scale = vkattn.Num(op.Canonical().Scale.Value * 1.0001)
		}},
		"decay comes after the write": {change: func(op *vkattn.Linear, a *vkattn.Args) {
			if a.Decay.Given() && a.Decay.Shape[2] > 1 {
				a.Decay = changed(a.Decay, func(s int, x float32, get func(int) float32) float32 { return get(s + 1) })
			}
		}},
		"values come one token late": {change: func(op *vkattn.Linear, a *vkattn.Args) {
			a.V = changed(a.V, func(s int, x float32, get func(int) float32) float32 { return get(s - 1) })
		}},
		"no delta": {change: func(op *vkattn.Linear, a *vkattn.Args) { op.Rule, a.Beta = vkattn.RuleAdd, vkattn.Tensor{} }},
		"beta":     {change: func(op *vkattn.Linear, a *vkattn.Args) { a.Beta = changed(a.Beta, square) }},
		"no state before": {change: func(op *vkattn.Linear, a *vkattn.Args) {
			a.StateIn = changed(a.StateIn, func(int, float32, func(int) float32) float32 { return 0 })
		}},
		"silu for relu": {change: func(op *vkattn.Linear, a *vkattn.Args) {
			if op.Map == vkattn.MapReLU {
				op.Map = vkattn.MapSiLU
			}
		}},
		"root mean square of all": {change: func(op *vkattn.Linear, a *vkattn.Args) {
			if op.Norm == vkattn.NormSRMS {
				op.Eps = vkattn.Num(1e-3)
			}
		}},
		"one row": {after: func(a *vkattn.Args) {
			if a.Out.Len() > 0 {
				floats(a.Out)[a.Out.Index(0, 0, a.Out.Shape[2]/2, 0)] += 0.01
			}
		}},
		"a NaN":           {after: func(a *vkattn.Args) { floats(a.Out)[a.Out.Offset] = float32(math.NaN()) }},
		"writes outside":  {after: func(a *vkattn.Args) { floats(a.Out)[0] = 0 }},
		"writes an input": {after: func(a *vkattn.Args) { floats(a.K)[0]++ }},
		"reads outside":   {after: func(a *vkattn.Args) { floats(a.Out)[a.Out.Offset] += min(floats(a.K)[1], 1e-3) }},
		"state is not kept": {after: func(a *vkattn.Args) {
			if a.StateOut.Given() {
				floats(a.StateOut)[a.StateOut.Offset+1]++
			}
		}},
	} {
		if ran(m) == 0 {
			t.Errorf("no case notices: %s", name)
		}
	}
}

func square(_ int, x float32, _ func(int) float32) float32 { return x * x }

// TestLinearTable checks that names are unique and that the table has what it should have.
func TestLinearTable(t *testing.T) {
	var names []string
	samples := 0
	for _, c := range LinearCases() {
		if err := c.Op.Validate(); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
		names = append(names, c.Name)
		if c.Sample && c.Op.TypeQ == vkattn.Float32 && c.Op.TypeOut == vkattn.Float32 {
			samples++
		}
	}
	slices.Sort(names)
	if len(slices.Compact(names)) != len(LinearCases()) {
		t.Error("two cases have one name")
	}
	t.Logf("%d cases, %d of them in the sample", len(names), samples)
}

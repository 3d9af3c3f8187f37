package attntest

import (
	"context"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// typeMutant computes other calls than it is asked to, or spoils their outputs.
type typeMutant struct {
	vkattn.Backend
	change func(op *vkattn.Attention, a *vkattn.Args)
	spoil  func(op vkattn.Attention, out vkattn.Tensor)
}

type typeMutantPlan struct {
	vkattn.Plan
	m  *typeMutant
	op vkattn.Attention
}

func (m *typeMutant) Plan(ctx context.Context, op vkattn.Op) (vkattn.Plan, error) {
	plan, err := m.Backend.Plan(ctx, op)
	return &typeMutantPlan{plan, m, op.(vkattn.Attention)}, err
}

func (p *typeMutantPlan) Run(ctx context.Context, a vkattn.Args) (vkattn.Report, error) {
	op := p.op
	p.m.change(&op, &a)
	plan, err := p.m.Backend.Plan(ctx, op)
	if err != nil {
		return vkattn.Report{}, err
	}
	defer plan.Close()
	report, err := plan.Run(ctx, a)
	if err == nil && p.m.spoil != nil {
		p.m.spoil(op, a.Out)
	}
	return report, err
}

// TestTypeMutants: the suite notices wrong codes, wrong factors and outputs that are rounded too much.
func TestTypeMutants(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("runs the table nine times: without -short and -race only")
	}
	b := cpu.New(cpu.Config{})
	defer b.Close()
	other := map[vkattn.Type]vkattn.Type{vkattn.F8E4M3: vkattn.F8E5M2, vkattn.F8E5M2: vkattn.F8E4M3, vkattn.Float16: vkattn.BFloat16, vkattn.BFloat16: vkattn.Float16}
	swap := func(typ *vkattn.Type, x *vkattn.Tensor) {
		if o, ok := other[*typ]; ok {
			*typ, x.Type = o, o
		}
	}
	factors := func(change func(t *vkattn.Tensor)) func(op *vkattn.Attention, a *vkattn.Args) {
		return func(op *vkattn.Attention, a *vkattn.Args) {
			for _, d := range []*vkattn.Tensor{&a.DescaleQ, &a.DescaleK, &a.DescaleV} {
				if d.Given() {
					change(d)
				}
			}
		}
	}
	for name, m := range map[string]typeMutant{
		"":            {change: func(*vkattn.Attention, *vkattn.Args) {}},
		"other keys":  {change: func(op *vkattn.Attention, a *vkattn.Args) { swap(&op.TypeK, &a.K) }},
		"other value": {change: func(op *vkattn.Attention, a *vkattn.Args) { swap(&op.TypeV, &a.V) }},
		"no factor of keys": {change: func(op *vkattn.Attention, a *vkattn.Args) {
			op.With, a.DescaleK = op.With&^vkattn.WithDescaleK, vkattn.Tensor{}
		}},
		"no factor of queries": {change: func(op *vkattn.Attention, a *vkattn.Args) {
			op.With, a.DescaleQ = op.With&^vkattn.WithDescaleQ, vkattn.Tensor{}
		}},
		"the first head's factors":     {change: factors(func(t *vkattn.Tensor) { *t = t.Slice(1, 0, 1) })},
		"the first sequence's factors": {change: factors(func(t *vkattn.Tensor) { *t = t.Slice(0, 0, 1) })},
		"the first block's factors":    {change: factors(func(t *vkattn.Tensor) { *t = t.Slice(2, 0, min(t.Shape[2], 1)) })},
		"rounded twice": {change: func(*vkattn.Attention, *vkattn.Args) {}, spoil: func(op vkattn.Attention, out vkattn.Tensor) {
			for _, coarse := range []vkattn.Type{vkattn.BFloat16, vkattn.F8E4M3} {
				if (coarse == vkattn.BFloat16) == (op.TypeOut == vkattn.Float16) && out.Len() > 0 {
					narrow, err := out.To(coarse)
					if err == nil {
						err = vkattn.Convert(out, narrow, vkattn.Conversion{})
					}
					if err != nil {
						t.Error(err)
					}
				}
			}
		}},
	} {
		m.Backend = b
		caught, tried := 0, 0
		for n, c := range TypeCases() {
			if n%7 > 1 || c.factors == noFactors && n%2 == 0 {
				continue
			}
			tried++
			if r := VerifyTypeCase(t.Context(), &m, c, Options{}); r.Status == Failed {
				caught++
			}
		}
		t.Logf("%q: %d of %d cases notice", name, caught, tried)
		if (caught > 0) != (name != "") {
			t.Errorf("%q: %d of %d cases notice", name, caught, tried)
		}
	}
}

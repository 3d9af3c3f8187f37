package attntest

import (
	"context"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// sparseMutant computes other calls than it is asked to.
type sparseMutant struct {
	vkattn.Backend
	moba func(op *vkattn.MoBA, a *vkattn.Args)
	nsa  func(op *vkattn.NSA, a *vkattn.Args)
}

type sparseMutantPlan struct {
	vkattn.Plan
	m *sparseMutant
}

func (m *sparseMutant) Plan(ctx context.Context, op vkattn.Op) (vkattn.Plan, error) {
	plan, err := m.Backend.Plan(ctx, op)
	return &sparseMutantPlan{plan, m}, err
}

func (p *sparseMutantPlan) Run(ctx context.Context, a vkattn.Args) (vkattn.Report, error) {
	op := p.Op()
	switch x := op.(type) {
	case vkattn.MoBA:
		if p.m.moba != nil {
			p.m.moba(&x, &a)
		}
		op = x
	case vkattn.NSA:
		if p.m.nsa != nil {
			p.m.nsa(&x, &a)
		}
		op = x
	}
	plan, err := p.m.Backend.Plan(ctx, op)
	if err != nil {
		return vkattn.Report{}, err
	}
	defer plan.Close()
	return plan.Run(ctx, a)
}

// TestSparseMutants: the suite notices every call that is not the one it asked for.
func TestSparseMutants(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("one goroutine for a minute under the race detector")
	}
	b := cpu.New(cpu.Config{})
	defer b.Close()
	swap := func(i, j int) func(*vkattn.NSA, *vkattn.Args) {
		return func(_ *vkattn.NSA, a *vkattn.Args) {
			g := a.Gates.Mem.(*vkattn.Host).Float32s()
			each(a.Gates.Slice(3, 0, 1), func(_, _, _, _, at int) { g[at+i], g[at+j] = g[at+j], g[at+i] })
		}
	}
	for name, m := range map[string]sparseMutant{
		"none":                  {},
		"one block fewer":       {moba: func(op *vkattn.MoBA, _ *vkattn.Args) { op.TopK = max(1, op.TopK-1) }},
		"one block more":        {moba: func(op *vkattn.MoBA, _ *vkattn.Args) { op.TopK++ }},
		"wider blocks":          {moba: func(op *vkattn.MoBA, _ *vkattn.Args) { op.Block++ }},
		"keys of negative sign": {moba: func(op *vkattn.MoBA, a *vkattn.Args) { op.Attention.Scale = vkattn.Num(-1) }},
		"other head map":        {moba: func(op *vkattn.MoBA, _ *vkattn.Args) { op.Attention.HeadMap ^= 1 }},
		"other group":           {nsa: func(op *vkattn.NSA, _ *vkattn.Args) { op.Attention.HeadMap ^= 1 }},
		"one selected fewer":    {nsa: func(op *vkattn.NSA, _ *vkattn.Args) { op.TopN = max(1, op.TopN-1) }},
		"one selected more":     {nsa: func(op *vkattn.NSA, _ *vkattn.Args) { op.TopN++ }},
		"window too wide":       {nsa: func(op *vkattn.NSA, _ *vkattn.Args) { op.Window++ }},
		"window too narrow":     {nsa: func(op *vkattn.NSA, _ *vkattn.Args) { op.Window = max(0, op.Window-1) }},
		"longer compression":    {nsa: func(op *vkattn.NSA, _ *vkattn.Args) { op.Compress += op.Stride }},
		"wider selection":       {nsa: func(op *vkattn.NSA, _ *vkattn.Args) { op.Select += op.Stride }},
		"no overlap":            {nsa: func(op *vkattn.NSA, _ *vkattn.Args) { op.Stride = op.Compress; op.Select = op.Compress * 2 }},
		"gates 0 and 1":         {nsa: swap(0, 1)},
		"gates 1 and 2":         {nsa: swap(1, 2)},
	} {
		failed := 0
		m.Backend = b
		for _, c := range SparseCases() {
			r := VerifySparseCase(t.Context(), &m, c, Options{})
			if r.Status == Failed {
				failed++
				if name != "none" {
					break
				}
				t.Error(r)
			}
		}
		if (failed > 0) != (name != "none") {
			t.Errorf("%s: %d cases fail", name, failed)
		}
	}
}

// TestSparseTable: names are unique and ops valid.
func TestSparseTable(t *testing.T) {
	names := map[string]bool{}
	for _, c := range SparseCases() {
		if err := c.Op.Validate(); err != nil || names[c.Name] {
			t.Errorf("%s: %v, or its name is not its own", c.Name, err)
		}
		names[c.Name] = true
	}
	t.Logf("%d cases", len(names))
}

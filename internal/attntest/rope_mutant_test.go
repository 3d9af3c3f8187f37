package attntest

import (
	"context"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// ropeMutant computes other calls than it is asked to.
type ropeMutant struct {
	vkattn.Backend
	change func(op *vkattn.Rope, a *vkattn.Args)
}

type ropeMutantPlan struct {
	vkattn.Plan
	m  *ropeMutant
	op vkattn.Rope
}

func (m *ropeMutant) Plan(ctx context.Context, op vkattn.Op) (vkattn.Plan, error) {
	plan, err := m.Backend.Plan(ctx, op)
	return &ropeMutantPlan{plan, m, op.(vkattn.Rope)}, err
}

func (p *ropeMutantPlan) Run(ctx context.Context, a vkattn.Args) (vkattn.Report, error) {
	op := p.op
	p.m.change(&op, &a)
	plan, err := p.m.Backend.Plan(ctx, op)
	if err != nil {
		return vkattn.Report{}, err
	}
	defer plan.Close()
	return plan.Run(ctx, a)
}

// TestRopeMutants: the suite notices every call that is not the one it asked for.
func TestRopeMutants(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("one goroutine for a minute under the race detector")
	}
	b := cpu.New(cpu.Config{})
	defer b.Close()
	floats := func(t vkattn.Tensor) []float32 { return t.Mem.(*vkattn.Host).Float32s() }
	for name, change := range map[string]func(op *vkattn.Rope, a *vkattn.Args){
		"":             func(*vkattn.Rope, *vkattn.Args) {},
		"other layout": func(op *vkattn.Rope, _ *vkattn.Args) { op.Layout ^= 1 },
		"other way":    func(op *vkattn.Rope, _ *vkattn.Args) { op.Inverse = !op.Inverse },
		"cos for sin":  func(_ *vkattn.Rope, a *vkattn.Args) { a.Sin = a.Cos },
		"fewer columns": func(op *vkattn.Rope, a *vkattn.Args) {
			if n := a.Cos.Shape[3]; n > 1 {
				op.RotaryDim = 2*n - 2
				a.Cos, a.Sin = a.Cos.Slice(3, 0, n-1), a.Sin.Slice(3, 0, n-1)
			}
		},
		"one table for all": func(op *vkattn.Rope, a *vkattn.Args) {
			if a.Cos.Shape[0] > 1 {
				a.Cos, a.Sin = a.Cos.Slice(0, 0, 1), a.Sin.Slice(0, 0, 1)
			}
		},
		"one list for all": func(op *vkattn.Rope, a *vkattn.Args) {
			if a.Positions != nil {
				a.Positions = a.Positions[:a.Q.Shape[2]]
			}
		},
		"writes an input":  func(_ *vkattn.Rope, a *vkattn.Args) { floats(a.Cos)[0]++ },
		"writes outside":   func(_ *vkattn.Rope, a *vkattn.Args) { floats(a.Out)[0] = 0 },
		"one row is left":  func(op *vkattn.Rope, a *vkattn.Args) { leaveOut(a) },
		"reads the margin": func(_ *vkattn.Rope, a *vkattn.Args) { a.Cos.Offset--; a.Cos.Stride[3] = 1 },
	} {
		m, failed := &ropeMutant{b, change}, 0
		for _, c := range RopeCases() {
			if VerifyRopeCase(t.Context(), m, c, Options{}).Status == Failed {
				failed++
			}
		}
		if (failed > 0) != (name != "") {
			t.Errorf("%q: %d cases fail", name, failed)
		}
	}
}

// leaveOut shortens a call by its last token.
func leaveOut(a *vkattn.Args) {
	n := a.Q.Shape[2]
	if n == 0 || a.Positions != nil {
		return
	}
	for _, t := range []*vkattn.Tensor{&a.Q, &a.Out, &a.Cos, &a.Sin} {
		*t = t.Slice(2, 0, n-1)
	}
}

// TestRopeTable: names are unique and ops valid.
func TestRopeTable(t *testing.T) {
	names := map[string]bool{}
	for _, c := range RopeCases() {
		if err := c.Op.Validate(); err != nil || names[c.Name] {
			t.Errorf("%s: %v, or its name is not its own", c.Name, err)
		}
		names[c.Name] = true
	}
	t.Logf("%d cases", len(names))
}

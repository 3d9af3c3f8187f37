package cpu

import (
	"errors"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/golden"
)

// TestGolden compares oracle and backend with answers that others computed.
func TestGolden(t *testing.T) { onKernels(t, testGolden) }

func testGolden(t *testing.T, start func(Config) *Backend) {
	set := golden.ForTest(t)
	backend := start(Config{})
	defer backend.Close()
	for _, way := range []struct {
		name string
		run  func(*testing.T, *golden.Run)
	}{
		{"oracle", func(t *testing.T, r *golden.Run) {
			switch op := r.Op.(type) {
			case vkattn.Attention:
				result, err := Oracle(op, &r.Args)
				if err != nil {
					t.Fatal(err)
				}
				store(r.Args.Out, result.Out)
				if r.Args.LSE.Given() {
					store(r.Args.LSE, result.LSE)
				}
			case vkattn.Linear:
				result, err := OracleLinear(op, &r.Args)
				if err != nil {
					t.Fatal(err)
				}
				store(r.Args.Out, result.Out)
				if r.Args.StateOut.Given() {
					store(r.Args.StateOut, result.State)
				}
			case vkattn.Rope:
				out, err := OracleRope(op, &r.Args)
				if err != nil {
					t.Fatal(err)
				}
				store(r.Args.Out, out)
			}
		}},
		{"backend", func(t *testing.T, r *golden.Run) {
			plan, err := backend.Plan(t.Context(), r.Op)
			if err != nil {
				t.Fatal(err)
			}
			defer plan.Close()
			if _, err := plan.Run(t.Context(), r.Args); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(way.name, func(t *testing.T) {
			checked := 0
			for _, c := range set.Cases {
				p, err := c.Problem()
				if errors.Is(err, vkattn.ErrUnsupported) {
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				for i := range p.Runs {
					if err := backend.Supports(p.Runs[i].Op); err != nil {
						p.Runs[i].Skip = err.Error()
						continue
					}
					way.run(t, &p.Runs[i])
				}
				for _, r := range p.Check() {
					if r.Err != nil {
						t.Error(r.Err)
					} else if r.Skipped == "" {
						checked++
					}
				}
			}
			t.Logf("%d tensors agree", checked)
		})
	}
}

// store rounds x into t, element by element in the order of its axes.
func store(t vkattn.Tensor, x []float64) {
	from := make([]float32, len(x))
	for i := range x {
		from[i] = float32(x[i])
	}
	s := t.Shape
	if err := vkattn.Convert(t, vkattn.BHSD(vkattn.Float32s(from), s[0], s[1], s[2], s[3]), vkattn.Conversion{}); err != nil {
		panic(err)
	}
}

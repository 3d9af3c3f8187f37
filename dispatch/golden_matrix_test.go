package dispatch_test

import (
	"math"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/golden"
)

// TestGoldenMatrix: the inputs of the golden cases of attention, rounded to float16, on matrix units, against the oracle on the
// rounded inputs. Weights are rounded to float16, which moves an output by 2^-11 of the largest value at most. All cases
// with VKATTN_FULL=1, else those with small heads.
func TestGoldenMatrix(t *testing.T) {
	set := golden.ForTest(t)
	for _, path := range []string{"matrix", "matrix2"} {
		t.Run(path, func(t *testing.T) {
			if path == "matrix2" && !full {
				t.Skip("a current llvmpipe compiles its kernels for minutes: runs with VKATTN_FULL=1")
			}
			b := matrixOnly(t, path, dispatch.Config{})
			ran := 0
			for _, c := range set.Cases {
				if c.Op != "attention" && c.Op != "onnx.Attention" {
					continue
				}
				p, err := c.Problem()
				if err != nil {
					continue // TestGolden says why
				}
				op, args := p.Runs[0].Op.(vkattn.Attention), p.Runs[0].Args
				if !full && max(op.Canonical().HeadDim, op.Canonical().ValueDim) > 32 {
					continue
				}
				ran += goldenMatrix(t, b, c.Name, op, args)
			}
			t.Logf("%d cases, %d pipelines", ran, b.PipelinesCreated())
			if ran == 0 {
				t.Error("no case ran")
			}
		})
	}
}

func goldenMatrix(t *testing.T, b *dispatch.Backend, name string, op vkattn.Attention, args vkattn.Args) (ran int) {
	op.TypeQ, op.TypeK, op.TypeV, op.TypeOut = vkattn.Float16, vkattn.Float16, vkattn.Float16, vkattn.Float32
	if b.Supports(op) != nil {
		return 0
	}
	t.Run(name, func(t *testing.T) {
		for _, x := range []*vkattn.Tensor{&args.Q, &args.K, &args.V} {
			narrow, err := x.To(vkattn.Float16)
			if err != nil {
				t.Fatal(err)
			}
			*x = narrow
		}
		want, err := cpu.Oracle(op, &args)
		if err != nil {
			t.Fatal(err)
		}
		run(t, b, op, args)
		v, err := args.V.To(vkattn.Float32)
		if err != nil {
			t.Fatal(err)
		}
		most := 0.0
		for _, x := range v.Mem.(*vkattn.Host).Float32s() {
			most = math.Max(most, math.Abs(float64(x)))
		}
		allowed, got, n := most*0x1.1p-11+1e-5, args.Out.Mem.(*vkattn.Host).Float32s(), 0
		worst := 0.0
		for s := range args.Out.Shape[0] {
			for h := range args.Out.Shape[1] {
				for i := range args.Out.Shape[2] {
					for d := range args.Out.Shape[3] {
						x := float64(got[args.Out.Index(s, h, i, d)])
						if e := math.Abs(x - want.Out[n]); !(e <= worst) && !(x != x && want.Out[n] != want.Out[n]) {
							worst = e
						}
						n++
					}
				}
			}
		}
		if !(worst <= allowed) {
			t.Errorf("%v: off by %g, allowed %g", op, worst, allowed)
		}
	})
	return 1
}

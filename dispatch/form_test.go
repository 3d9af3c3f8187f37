package dispatch_test

import (
	"math"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
)

// TestFormTypes: block masks that have a form give the right answer in sixteen bits, too, where parts of a call join what others left, and on
// matrix units, which visit blocks instead.
func TestFormTypes(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *dispatch.Backend{
		"form": func(t *testing.T) *dispatch.Backend {
			return open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
		},
		"matrix": func(t *testing.T) *dispatch.Backend { return matrixOnly(t, "matrix", dispatch.Config{}) },
	} {
		t.Run(name, func(t *testing.T) {
			b := open(t)
			for _, p := range attntest.Patterns() {
				g := vkattn.MaskGrid{SeqQ: 150, SeqK: 310, BlockQ: 64, BlockK: 128, Batch: max(p.Batch, 1), Heads: max(p.Heads, 1)}
				if p.Self {
					g.SeqQ = g.SeqK
				}
				m, err := p.Build(g)
				if err != nil {
					t.Fatal(err)
				}
				if f, known := m.Form(); !known || f.Step < 2 && f.Period == 0 {
					continue
				}
				t.Run(p.Name, func(t *testing.T) {
					op := vkattn.Attention{Batch: g.Batch, HeadsQ: g.Heads, SeqQ: g.SeqQ, SeqK: g.SeqK, HeadDim: 32, With: vkattn.WithBlocks | vkattn.WithLSE,
						TypeQ: vkattn.Float16, TypeK: vkattn.Float16, TypeV: vkattn.Float16, TypeOut: vkattn.Float16}.Canonical()
					args := (&namedCall{op: op}).args(1)
					args.Blocks = m
					halve(t, &args.Q, &args.K, &args.V, &args.Out)
					want, err := cpu.Oracle(op, &args)
					if err != nil {
						t.Fatal(err)
					}
					r := run(t, b, op, args)
					near(t, args.Out, want.Out, 4e-3)
					near(t, args.LSE, want.LSE, 1e-3)
					t.Log(r.Kernel)
				})
			}
		})
	}
}

// halve makes tensors float16.
func halve(t *testing.T, tensors ...*vkattn.Tensor) {
	t.Helper()
	make16(t, vkattn.Float16, tensors...)
}

// make16 makes tensors of a type.
func make16(t *testing.T, typ vkattn.Type, tensors ...*vkattn.Tensor) {
	t.Helper()
	for _, x := range tensors {
		var err error
		if *x, err = x.To(typ); err != nil {
			t.Fatal(err)
		}
	}
}

// near holds the elements of a tensor in host memory, without gaps, against others.
func near(t *testing.T, x vkattn.Tensor, want []float64, allowed float64) {
	t.Helper()
	x, err := x.To(vkattn.Float32)
	if err != nil {
		t.Fatal(err)
	}
	for i, got := range x.Mem.(*vkattn.Host).Float32s() {
		if got := float64(got); !(math.Abs(got-want[i]) <= allowed) && got != want[i] {
			t.Fatalf("element %d is %v, want %v", i, got, want[i])
		}
	}
}

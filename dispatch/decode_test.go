package dispatch_test

import (
	"regexp"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// decodeCases are those of few rows and of types that flash_decode computes.
var decodeCases = regexp.MustCompile(`^types/f16/decode`)

// TestDecode: few rows on matrix units, whatever closed-form masks they have, in one part, in many that are merged, and in slices.
func TestDecode(t *testing.T) {
	h := vkattn.Float16
	ops := []vkattn.Attention{
		{HeadsQ: 4, HeadsK: 1, SeqQ: 1, SeqK: 700, HeadDim: 64, With: vkattn.WithLSE},
		{HeadsQ: 2, SeqQ: 1, SeqK: 513, HeadDim: 128, Causal: true},
		{HeadsQ: 2, HeadsK: 1, SeqQ: 1, SeqK: 520, HeadDim: 256, Causal: true},
		{HeadsQ: 7, HeadsK: 1, SeqQ: 1, SeqK: 600, HeadDim: 40, ValueDim: 24, With: vkattn.WithSinkLogits | vkattn.WithLSE},
		{HeadsQ: 8, HeadsK: 4, HeadsV: 2, HeadMap: vkattn.HeadCyclic, SeqQ: 3, SeqK: 530, HeadDim: 32, Causal: true, With: vkattn.WithLSE},
		{HeadsQ: 6, HeadsK: 3, SeqQ: 4, SeqK: 900, HeadDim: 80, Causal: true, Window: vkattn.Window{Left: vkattn.Tokens(100)}, With: vkattn.WithLSE},
		{Batch: 3, HeadsQ: 4, HeadsK: 1, SeqQ: 2, SeqK: 800, HeadDim: 64, Packed: true, TotalQ: 5, TotalK: 1500, Causal: true, With: vkattn.WithLSE},
		{HeadsQ: 4, HeadsK: 2, SeqQ: 2, SeqK: 640, HeadDim: 64, Chunk: 200, Causal: true, Scale: vkattn.Num(-0.3)},
		{Batch: 2, HeadsQ: 1, SeqQ: 1, SeqK: 600, HeadDim: 64, With: vkattn.WithKeyLengths | vkattn.WithLSE},
	}
	for _, c := range []struct {
		name string
		cfg  dispatch.Config
	}{{"whole", dispatch.Config{}}, {"parts", dispatch.Config{Splits: 5}}, {"slices", dispatch.Config{Budget: 1}},
		{"rounding not chosen", lowered(func(c *vk.Caps) { c.Features.RoundingModeRTE16 = false })}} {
		t.Run(c.name, func(t *testing.T) {
			b := matrixOnly(t, "matrix", c.cfg)
			b.TakeDecode()
			for _, op := range ops {
				op.TypeQ, op.TypeK, op.TypeV, op.TypeOut = h, h, h, h
				op.Batch = max(op.Batch, 1)
				op = op.Canonical()
				t.Run(op.String(), func(t *testing.T) {
					call := namedCall{op: op, lens: [][2]int{{2, 800}, {1, 0}, {2, 700}}}
					args := call.args(1)
					halve(t, &args.Q, &args.K, &args.V, &args.Out)
					want, err := cpu.Oracle(op, &args)
					if err != nil {
						t.Fatal(err)
					}
					if r := run(t, b, op, args); r.Kernel != "flash_decode" {
						t.Fatalf("%s ran, %s", r.Kernel, r.Tile)
					}
					near(t, args.Out, want.Out, 4e-3)
					if op.With.Has(vkattn.WithLSE) && !op.Packed {
						near(t, args.LSE, want.LSE, 1e-3)
					}
				})
			}
			if c.name != "slices" {
				attntest.RunTypes(t, b, attntest.Options{Filter: decodeCases, RequireAll: true})
				extremes(t, b, vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 4, SeqQ: 3, SeqK: 530, HeadDim: 32, ValueDim: 32, Causal: true, With: vkattn.WithLSE}, "flash_decode")
			}
			t.Logf("%d pipelines", b.PipelinesCreated())
		})
	}
}

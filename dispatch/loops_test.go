package dispatch_test

import (
	"math"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// TestEveryKeyCounts: with scores of 0 the LSE is the logarithm of the number of keys that a row saw, and none may
// be missing, however many there are and whatever the kernel does for each. Some drivers end long loops early.
func TestEveryKeyCounts(t *testing.T) {
	const keys = 150_000
	zeros := vkattn.Float32s(make([]float32, 4*keys))
	all := make([]bool, keys)
	for i := range all {
		all[i] = true
	}
	global := make([]int32, 300)
	for i := range global {
		global[i] = int32(i * 7)
	}
	blocks, err := vkattn.NewBlockMask(1, 1, 1, keys, 1, 50, func(_, _, _, _ int) (bool, bool) { return true, false })
	if err != nil {
		t.Fatal(err)
	}
	for name, cfg := range map[string]dispatch.Config{
		"subgroup": {Splits: 1}, "plain": {Splits: 1, Disable: []string{"subgroup"}}, "split": {Splits: 2}, "many parts": {SplitKeys: 128}, "standard": {Kernel: "standard"},
	} {
		cfg.CacheDir, cfg.SkipSelfTest, cfg.Budget = "off", true, time.Hour
		b := open(t, cfg)
		for _, c := range []struct {
			name string
			op   vkattn.Attention
			args vkattn.Args
		}{
			{"all", vkattn.Attention{}, vkattn.Args{}},
			{"mask", vkattn.Attention{With: vkattn.WithMask}, vkattn.Args{Mask: vkattn.BHSD(vkattn.Bools(all), 1, 1, 1, keys).As(vkattn.Bool)}},
			{"blocks", vkattn.Attention{With: vkattn.WithBlocks}, vkattn.Args{Blocks: blocks}},
			{"window and global tokens", vkattn.Attention{With: vkattn.WithGlobal, Window: vkattn.Window{Left: vkattn.Tokens(keys - 5000)}}, vkattn.Args{Global: global}},
		} {
			c.op.Batch, c.op.HeadsQ, c.op.SeqQ, c.op.SeqK, c.op.HeadDim, c.op.With = 1, 1, 1, keys, 4, c.op.With|vkattn.WithLSE
			out, lse := make([]float32, 4), make([]float32, 1)
			c.args.Q, c.args.K, c.args.V = vkattn.BHSD(zeros, 1, 1, 1, 4), vkattn.BHSD(zeros, 1, 1, keys, 4), vkattn.BHSD(zeros, 1, 1, keys, 4)
			c.args.Out, c.args.LSE = vkattn.BHSD(vkattn.Float32s(out), 1, 1, 1, 4), vkattn.BHSD(vkattn.Float32s(lse), 1, 1, 1, 1)
			r := run(t, b, c.op, c.args)
			want := keys
			if c.op.Window.Given() {
				want = keys - 5000 + 1 + len(global)
			}
			if seen := math.Exp(float64(lse[0])); math.Abs(seen-float64(want)) > 2 {
				t.Errorf("%s, %s: %.0f of %d keys, in %d slices, %d parts", name, c.name, seen, want, r.Slices, r.Splits)
			}
		}
	}
}

package dispatch_test

import (
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// TestBlockMasksAgain runs one plan with masks and lengths that come again and change: what the plan keeps of a mask
// serves no other, and no other lengths.
func TestBlockMasksAgain(t *testing.T) {
	for _, kernel := range []string{"flash", "standard"} {
		b := open(t, dispatch.Config{Kernel: kernel, CacheDir: "off", SkipSelfTest: true})
		op := vkattn.Attention{Batch: 2, HeadsQ: 2, SeqQ: 90, SeqK: 140, HeadDim: 16, With: vkattn.WithBlocks | vkattn.WithLSE}
		p, err := b.Plan(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		type grid struct{ sq, sk int }
		masks := map[grid][]*vkattn.BlockMask{}
		for _, g := range []grid{{90, 140}, {70, 140}} {
			for _, stride := range []int{9, 30} {
				m, err := vkattn.MaskGrid{SeqQ: g.sq, SeqK: g.sk, BlockQ: 16, BlockK: 32}.Strided(stride, vkattn.Merged)
				if err != nil {
					t.Fatal(err)
				}
				masks[g] = append(masks[g], m)
			}
		}
		args := problem(op, 1)
		for i, x := range []struct {
			grid
			mask int
		}{{grid{90, 140}, 0}, {grid{90, 140}, 0}, {grid{90, 140}, 1}, {grid{90, 140}, 0}, {grid{70, 140}, 0}, {grid{70, 140}, 1}, {grid{90, 140}, 1}} {
			a := args
			for _, t := range []*vkattn.Tensor{&a.Q, &a.Out, &a.LSE} {
				*t = t.Slice(2, 0, x.sq)
			}
			a.Blocks = masks[x.grid][x.mask]
			if _, err := p.Run(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			checkRows(t, op, &a, 4)
			if t.Failed() {
				t.Fatalf("%s: call %d", kernel, i)
			}
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
}

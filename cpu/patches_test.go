package cpu

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestPatchesKeepBits runs patterns with pairs of their own with their tiles cut and whole: with few and many rows,
// blocks that begin anywhere in a tile, scores that grow from tile to tile, and values and keys that are zeros below 0 or
// not finite. The bits are the same, on one worker and on several.
func TestPatchesKeepBits(t *testing.T) { onKernels(t, testPatchesKeepBits) }

func testPatchesKeepBits(t *testing.T, start func(Config) *Backend) {
	one, three := start(Config{Workers: 1}), start(Config{Workers: 3})
	defer one.Close()
	defer three.Close()
	negZero, nan, inf := float32(math.Copysign(0, -1)), float32(math.NaN()), float32(math.Inf(1))
	cut := 0
	for seed := range uint64(120) {
		rng := newRand(seed)
		pick := func(of ...int) int { return of[rng.IntN(len(of))] }
		heads := pick(1, 2, 5)
		op := vkattn.Attention{Batch: 1, HeadsQ: heads, HeadsK: 1, HeadsV: 1, SeqQ: pick(3, 14, 150, 200), SeqK: pick(90, 290, 310),
			HeadDim: pick(1, 13, 32, 40), ValueDim: pick(5, 16, 24), Causal: rng.IntN(2) == 0, With: vkattn.WithLSE}
		if rng.IntN(20) == 0 {
			op.SeqK = partKeys + 200
		}
		if rng.IntN(3) == 0 {
			op.Window.Left = vkattn.Tokens(pick(20, 100))
		}
		if rng.IntN(3) == 0 {
			op.With |= vkattn.WithMask | vkattn.WithBias
		}
		if rng.IntN(4) == 0 {
			op.Softcap = 3
		}
		r := newRun(rng, op)
		g := vkattn.MaskGrid{SeqQ: op.SeqQ, SeqK: op.SeqK, BlockQ: pick(16, 64, 128, 200), BlockK: pick(32, 70, 128, 256)}
		period, width, tilt := pick(20, 64, 128), pick(1, 3), pick(0, 1)
		m, err := g.Predicate(func(_, _, i, j int) bool {
			return (i+tilt*j)%period < width || (j-i+1<<20)%period < width || rng.IntN(4000) == 0
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if m.Tile == nil { // no pair of so few
			continue
		}
		r.op.With |= vkattn.WithBlocks
		r.args.Blocks = m
		if rng.IntN(3) == 0 { // maxima far above those before: sums become 0, of either sign
			each(r.args.K, func(at int) {
				floats32(r.args.K)[at] *= 1000
			})
		}
		zeros := pick(0, 50, 95)
		each(r.args.V, func(at int) {
			if rng.IntN(100) < zeros {
				floats32(r.args.V)[at] = negZero
			}
		})
		if rng.IntN(3) == 0 {
			poison := []float32{nan, inf, -inf}
			for range pick(1, 10) {
				for _, x := range []vkattn.Tensor{r.args.K, r.args.V} {
					floats32(x)[x.Index(0, 0, rng.IntN(op.SeqK), rng.IntN(x.Shape[3]))] = poison[rng.IntN(3)]
				}
			}
		}
		name := fmt.Sprintf("%d %s in blocks of %d x %d", seed, op, g.BlockQ, g.BlockK)
		do := func(b *Backend, whole bool) (out, lse []float32) {
			a := newAttention(r.op)
			c, err := bind(a.op, a.groups, r.args)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if whole {
				for n := range c.panels.rows {
					c.panels.rows[n] = rowSpan{0, m.BlockQ}
				}
			} else if c.panels.end(0, 0, m.BlockK) < m.BlockK {
				cut++
			}
			if _, err := c.run(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			return slices.Clone(r.out), slices.Clone(r.lse)
		}
		out, lse := do(one, true)
		for _, b := range []*Backend{one, three} {
			if gotOut, gotLSE := do(b, false); !sameBits(out, gotOut) || !sameBits(lse, gotLSE) {
				n := 0
				for sameBits(out[n:n+1], gotOut[n:n+1]) && n < len(out)-1 {
					n++
				}
				t.Fatalf("%s: %d workers: Out[%d] is %v cut, %v whole", name, len(b.workers), n, gotOut[n], out[n])
			}
		}
	}
	if cut < 80 {
		t.Errorf("the tiles of %d calls are cut", cut)
	}
}

// TestSignOfZero has rows whose sums become a zero below 0 in both parts of the keys: the results are +0, whether products
// of 0 with what other rows see come after that or not.
func TestSignOfZero(t *testing.T) { onKernels(t, testSignOfZero) }

func testSignOfZero(t *testing.T, start func(Config) *Backend) {
	b := start(Config{Workers: 1})
	defer b.Close()
	for _, last := range []int{partKeys + 130, partKeys + 250} { // beside the last key that the rows see, and apart
		q, k, v := make([]float32, 64), make([]float32, partKeys+256), make([]float32, partKeys+256)
		for i := range q {
			q[i] = 1
		}
		for j := range v {
			v[j] = float32(math.Copysign(0, -1))
		}
		v[0], v[partKeys], v[last] = -1, -1, 1
		k[partKeys], k[partKeys+128] = 500, 1000
		r := tiny(q, k, v, vkattn.Attention{})
		m, err := vkattn.MaskGrid{SeqQ: 64, SeqK: len(k), BlockQ: 64, BlockK: 128}.Predicate(func(_, _, i, j int) bool {
			return i < 6 && (j == 0 || j == partKeys || j == partKeys+128) || i >= 48 && j == last
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.op.With |= vkattn.WithBlocks
		r.args.Blocks = m
		if r.do(t, b); math.Float32bits(r.out[0]) != 0 {
			t.Errorf("key %d: row 0 is %v, want +0", last, r.out[0])
		}
	}
}

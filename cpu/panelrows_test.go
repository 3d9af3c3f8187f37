package cpu

import (
	"math"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestBlockPanels cuts the keys of tiles with all kinds of pairs, and checks that each visible pair is in the rows of
// its patch, that the patches are all keys, and that bands are cut and whole blocks are not.
func TestBlockPanels(t *testing.T) {
	rng := newRand(1)
	for name, c := range map[string]struct {
		visible func(i, j int) bool
		most    float64 // of the block's pairs, for large blocks
	}{
		"all but one":   {func(i, j int) bool { return i != 3 || j != 5 }, 1},
		"diagonal":      {func(i, j int) bool { return i == j }, 0.5},
		"anti-diagonal": {func(i, j int) bool { return i+j == 63 }, 0.5},
		"triangle":      {func(i, j int) bool { return j <= i }, 0.9},
		"one pair":      {func(i, j int) bool { return i == 1 && j == 2 }, 0.1},
		"two ends":      {func(i, j int) bool { return j == 0 && i != 1 }, 0.5},
		"random":        {func(i, j int) bool { return rng.IntN(2) == 0 }, 1},
		"rare":          {func(i, j int) bool { return rng.IntN(100) == 0 }, 1},
	} {
		for _, size := range [][2]int{{64, 64}, {1, 1}, {5, 7}, {16, 32}, {48, 80}, {33, 70}, {200, 17}, {7, 300}} {
			g := vkattn.MaskGrid{SeqQ: size[0], SeqK: size[1], BlockQ: size[0], BlockK: size[1]}
			m, err := g.Predicate(func(_, _, i, j int) bool { return c.visible(i, j) }, nil)
			if err != nil {
				t.Fatal(err)
			}
			p := newBlockPanels(m)
			if (p == nil) != (m.Tile == nil) {
				t.Fatalf("%s %v: panels of %v", name, size, m)
			}
			if p == nil {
				continue
			}
			for start := range min(20, size[1]) { // patches may begin anywhere
				area := 0
				for j0, j1 := start, 0; j0 < size[1]; j0 = j1 {
					if j1 = p.end(0, j0, size[1]); j1 <= j0 || j1 > size[1] {
						t.Fatalf("%s %v: keys from %d end at %d", name, size, j0, j1)
					}
					s := p.span(0, j0, j1)
					area += s.rows() * (j1 - j0)
					for i := range size[0] {
						for j := j0; j < j1; j++ {
							if m.Listed(0, 0, i, j) && (i < s.lo || i >= s.hi) {
								t.Fatalf("%s %v: row %d sees key %d, beyond %v of keys %d to %d", name, size, i, j, s, j0, j1)
							}
						}
					}
				}
				if start == 0 && size == [2]int{64, 64} && float64(area) > c.most*64*64 {
					t.Errorf("%s: %d pairs are left of %d", name, area, 64*64)
				}
			}
		}
	}
}

// TestKeepBits holds keepBits against a look at each bit.
func TestKeepBits(t *testing.T) {
	rng := newRand(2)
	for n := range 500 {
		row := make([]uint32, 5)
		for w := range row {
			row[w] = []uint32{0, math.MaxUint32, rng.Uint32(), 1 << 31, 1, rng.Uint32() & rng.Uint32() & rng.Uint32()}[rng.IntN(6)]
		}
		at := rng.IntN(100)
		x := normal(rng, rng.IntN(32*len(row)-at+1))
		want := make([]float32, len(x))
		for j := range x {
			if want[j] = x[j]; row[(at+j)/32]>>((at+j)%32)&1 == 0 {
				want[j] = negInf
			}
		}
		if keepBits(x, row, at); !sameBits(x, want) {
			t.Fatalf("%d: %d keys from bit %d of %x", n, len(x), at, row)
		}
	}
}

// TestSparsePatterns compares patterns whose blocks have bands of pairs with the oracle, under closed-form masks and
// with heads that share keys.
func TestSparsePatterns(t *testing.T) { onKernels(t, testSparsePatterns) }

func testSparsePatterns(t *testing.T, start func(Config) *Backend) {
	b := start(Config{Workers: 2})
	defer b.Close()
	for _, size := range [][2]int{{64, 64}, {16, 32}, {48, 80}, {33, 70}, {300, 20}} {
		for name, pattern := range map[string]func(g vkattn.MaskGrid) (*vkattn.BlockMask, error){
			"strided": func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Strided(100, vkattn.Merged) },
			"distant": func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Strided(150, vkattn.Distant) },
			"dilated": func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
				return g.Window(vkattn.Window{Left: vkattn.Tokens(100)}, 7)
			},
			"window": func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
				return g.Window(vkattn.Window{Left: vkattn.Tokens(90), Right: vkattn.Tokens(-20)}, 1)
			},
			"longformer": func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Longformer(40, []int32{0, 77}) },
		} {
			for _, heads := range []int{1, 4} {
				op := vkattn.Attention{Batch: 1, HeadsQ: heads, HeadsK: 1, HeadsV: 1, SeqQ: 250, SeqK: 270, HeadDim: 16, With: vkattn.WithLSE, Causal: heads > 1}
				r := newContiguousRun(newRand(3), op)
				m, err := pattern(vkattn.MaskGrid{SeqQ: 250, SeqK: 270, BlockQ: size[0], BlockK: size[1]})
				if err != nil {
					t.Fatal(err)
				}
				r.op.With |= vkattn.WithBlocks
				r.args.Blocks = m
				r.do(t, b)
				if r.check(t); t.Failed() {
					t.Fatalf("%s in blocks of %v, %d heads", name, size, heads)
				}
			}
		}
	}
}

package vkattn_test

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/attntest"
)

// grids are awkward ones: ragged tails, blocks larger than the grid, rows above and below the keys.
func grids(self bool) (out []vkattn.MaskGrid) {
	sizes := [][2]int{{64, 64}, {1, 1}, {17, 17}, {63, 63}, {65, 65}, {257, 257}, {0, 0}}
	if !self {
		sizes = append(sizes, [][2]int{{17, 65}, {65, 17}, {1, 257}, {257, 63}, {0, 5}, {5, 0}}...)
	}
	for n, s := range sizes {
		for m, block := range [][2]int{{64, 64}, {16, 16}, {7, 33}, {128, 32}, {1, 64}, {300, 300}} {
			g := vkattn.MaskGrid{SeqQ: s[0], SeqK: s[1], BlockQ: block[0], BlockK: block[1]}
			switch (n + m) % 4 {
			case 1:
				g.Align = vkattn.AlignTopLeft
			case 2:
				g.Align, g.Offset = vkattn.AlignOffset, 11
			case 3:
				g.Align, g.Offset = vkattn.AlignOffset, -20
			}
			out = append(out, g)
		}
	}
	return out
}

// TestPatterns: every builder keeps exactly the pairs of its definition, with blocks of the right kinds, and the
// counts, the transpose and the checks agree.
func TestPatterns(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, half a minute under the race detector: without -short only")
	}
	for _, c := range attntest.Patterns() {
		t.Run(c.Name, func(t *testing.T) {
			for _, g := range grids(c.Self) {
				g.Batch, g.Heads = max(c.Batch, 1), max(c.Heads, 1)
				m, err := c.Build(g)
				if err != nil {
					t.Fatalf("%+v: %v", g, err)
				}
				comparePattern(t, g, m, func(b, h, i, j int) bool { return c.Sees(g, b, h, i, j) })
			}
		})
	}
}

// comparePattern holds a mask against the definition of its pattern.
func comparePattern(t *testing.T, g vkattn.MaskGrid, m *vkattn.BlockMask, sees func(b, h, i, j int) bool) {
	t.Helper()
	if err := m.Check(m.Batch, m.Heads, g.SeqQ, g.SeqK); err != nil {
		t.Fatalf("%+v: %v", g, err)
	}
	transposed, err := m.Transpose()
	if err != nil {
		t.Fatal(err)
	}
	if err := transposed.Check(m.Batch, m.Heads, g.SeqK, g.SeqQ); err != nil {
		t.Fatalf("%+v: transposed: %v", g, err)
	}
	var want int64
	for b := range m.Batch {
		for h := range m.Heads {
			for r := range m.RowBlocks {
				compareBlocks(t, g, m, b, h, r, sees)
			}
			for i := range g.SeqQ {
				for j := range g.SeqK {
					visible := sees(b, h, i, j)
					if got := m.Listed(b, h, i, j); got != visible {
						t.Fatalf("%+v: (%d, %d) row %d key %d: the mask says %v, the definition %v", g, b, h, i, j, got, visible)
					}
					if got := transposed.Listed(b, h, j, i); got != visible {
						t.Fatalf("%+v: (%d, %d) row %d key %d: the transposed mask says %v, the definition %v", g, b, h, i, j, got, visible)
					}
					if visible {
						want++
					}
				}
			}
		}
	}
	for name, x := range map[string]struct {
		m      *vkattn.BlockMask
		sq, sk int
	}{"Pairs": {m, g.SeqQ, g.SeqK}, "Pairs transposed": {transposed, g.SeqK, g.SeqQ}} {
		if got, err := x.m.Pairs(x.sq, x.sk); got != want || err != nil {
			t.Fatalf("%+v: %s is %d, %v, want %d", g, name, got, err, want)
		}
	}
	again, err := transposed.Transpose()
	if err != nil || !slices.Equal(again.Start, m.Start) || !slices.Equal(again.Keys, m.Keys) || !slices.Equal(again.Full, m.Full) ||
		!slices.Equal(again.Tile, m.Tile) || !slices.Equal(again.Bits, m.Bits) {
		t.Fatalf("%+v: transposed twice it is another mask (%v)", g, err)
	}
}

// compareBlocks: a listed block has a pair, a full one all of them, and one with a tile some are missing from.
func compareBlocks(t *testing.T, g vkattn.MaskGrid, m *vkattn.BlockMask, b, h, r int, sees func(b, h, i, j int) bool) {
	t.Helper()
	keys, full := m.List(b, h, r)
	tiles := m.Tiles(b, h, r)
	for e, c := range keys {
		n, of := 0, 0
		for i := r * m.BlockQ; i < min((r+1)*m.BlockQ, g.SeqQ); i++ {
			for j := int(c) * m.BlockK; j < min((int(c)+1)*m.BlockK, g.SeqK); j++ {
				if of++; sees(b, h, i, j) {
					n++
				}
			}
		}
		hasTile := tiles != nil && tiles[e] >= 0
		if n == 0 || hasTile != (n < of) || full[e] != (n == m.BlockQ*m.BlockK) {
			t.Fatalf("%+v: (%d, %d) block %d, %d keeps %d of %d pairs, full %v, tile %v", g, b, h, r, c, n, of, full[e], hasTile)
		}
	}
}

// TestPatternPairs has the numbers of pairs that the literature's definitions give for 64 tokens.
func TestPatternPairs(t *testing.T) {
	g := vkattn.MaskGrid{SeqQ: 64, SeqK: 64, BlockQ: 16, BlockK: 16}
	for _, c := range []struct {
		name string
		m    func() (*vkattn.BlockMask, error)
		want int64
	}{
		{"local 8, n(2W+1)-W(W+1)", func() (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(8), Right: vkattn.Tokens(8)}, 1)
		}, 1016},
		{"causal window of 8, nW-W(W-1)/2", func() (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(7), Right: vkattn.Tokens(0)}, 1)
		}, 484},
		{"longformer", func() (*vkattn.BlockMask, error) { return g.Longformer(4, []int32{0, 1}) }, 790},
		{"strided, local", func() (*vkattn.BlockMask, error) { return g.Strided(8, vkattn.Local) }, 484},
		{"strided, distant", func() (*vkattn.BlockMask, error) { return g.Strided(8, vkattn.Distant) }, 288},
		{"strided", func() (*vkattn.BlockMask, error) { return g.Strided(8, vkattn.Merged) }, 708},
		{"fixed", func() (*vkattn.BlockMask, error) { return g.Fixed(8, 1, 1, vkattn.Merged) }, 512},
		{"streaming", func() (*vkattn.BlockMask, error) { return g.Streaming(4, 8) }, 702},
	} {
		m, err := c.m()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.Pairs(64, 64); got != c.want || err != nil {
			t.Errorf("%s: %d pairs, %v, want %d", c.name, got, err, c.want)
		}
	}
}

// TestMillionTokens: the blocks that a pattern repeats are stored once, so that a million tokens take little.
func TestMillionTokens(t *testing.T) {
	const n = 1 << 20
	g := vkattn.MaskGrid{SeqQ: n, SeqK: n, BlockQ: 128, BlockK: 128}
	for _, c := range []struct {
		name  string
		m     func() (*vkattn.BlockMask, error)
		pairs int64
		tiles int
	}{
		{"window of 4096", func() (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(4095), Right: vkattn.Tokens(0)}, 1)
		}, n*4096 - 4096*4095/2, 2},
		{"both sides", func() (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(1000), Right: vkattn.Tokens(1000)}, 1)
		}, n*2001 - 1000*1001, 4},
		{"streaming", func() (*vkattn.BlockMask, error) { return g.Streaming(4, 1024) }, n*1028 - 1027*1028/2, 4},
		{"chunk", func() (*vkattn.BlockMask, error) { return g.Chunk(8192, true) }, n / 8192 * (8192 * 8193 / 2), 1},
	} {
		m, err := c.m()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.Pairs(n, n); got != c.pairs || err != nil {
			t.Errorf("%s: %d pairs, %v, want %d", c.name, got, err, c.pairs)
		}
		if got := len(m.Bits) / (m.BlockQ * m.RowWords()); got != c.tiles {
			t.Errorf("%s: %d tiles, want %d", c.name, got, c.tiles)
		}
	}
}

func TestBigBird(t *testing.T) {
	for _, c := range []struct{ blocks, random, block, tail int }{{64, 3, 4, 0}, {512, 3, 2, 0}, {12, 3, 8, 3}, {1, 3, 8, 2}, {2, 3, 8, 0}, {3, 1, 8, 0},
		{4, 3, 8, 1}, {5, 3, 8, 0}, {6, 3, 8, 0}, {7, 3, 8, 5}, {8, 3, 8, 0}, {9, 3, 8, 0}, {10, 3, 8, 0}, {11, 3, 8, 0}, {20, 100, 2, 0}, {30, 0, 2, 0}} {
		n := c.blocks * c.block
		if c.tail > 0 {
			n += c.tail - c.block
		}
		g := vkattn.MaskGrid{SeqQ: n, SeqK: n, BlockQ: c.block, BlockK: c.block, Heads: 3}
		m, err := g.BigBird(vkattn.BigBird{Block: c.block, Random: c.random, Seed: 7})
		if err != nil {
			t.Fatal(err)
		}
		again, _ := g.BigBird(vkattn.BigBird{Block: c.block, Random: c.random, Seed: 7})
		if !reflect.DeepEqual(m, again) {
			t.Errorf("%+v: the same seed gives another mask", c)
		}
		NB, r := c.blocks, c.random
		if want := 2*NB + 2*(4+r) + (NB-4)*(5+r); NB >= r+6 {
			if got := len(m.Keys) / m.Heads; got != want {
				t.Errorf("%+v: %d blocks a head, want %d", c, got, want)
			}
		}
		for h := range m.Heads {
			for i := range NB {
				list, _ := m.List(0, h, i)
				must := []int{0, i - 1, i, i + 1, NB - 1}
				not := []int{i - 1, i, i + 1}
				switch i {
				case 0, NB - 1:
					must = nil
					for j := range NB {
						must = append(must, j)
					}
				case 1:
					must, not = []int{0, 1, 2, NB - 1}, []int{1, 2, NB - 2}
				case NB - 2:
					must, not = []int{0, NB - 3, NB - 2, NB - 1}, []int{1, NB - 3, NB - 2}
				}
				seen := map[int]bool{}
				for _, j := range must {
					if seen[j] = true; !slices.Contains(list, int32(j)) {
						t.Fatalf("%+v: head %d row %d: %v lacks %d", c, h, i, list, j)
					}
				}
				free := 0
				for j := 1; j <= NB-2; j++ {
					if !slices.Contains(not, j) && !seen[j] {
						free++
					}
				}
				if got, want := len(list)-len(seen), min(r, free); got != want {
					t.Fatalf("%+v: head %d row %d: %v has %d random blocks, want %d", c, h, i, list, got, want)
				}
				for _, j := range list {
					if !seen[int(j)] && slices.Contains(not, int(j)) {
						t.Fatalf("%+v: head %d row %d: block %d may not be drawn", c, h, i, j)
					}
				}
			}
		}
		// The pattern does not depend on the grid's blocks.
		other := g
		other.BlockQ, other.BlockK = 5, 17
		fine, err := other.BigBird(vkattn.BigBird{Block: c.block, Random: c.random, Seed: 7})
		if err != nil {
			t.Fatal(err)
		}
		if n <= 128 {
			other.Batch = 1
			comparePattern(t, other, fine, m.Listed)
		}
	}
	g := vkattn.MaskGrid{SeqQ: 640, SeqK: 640, Heads: 2}
	a, _ := g.BigBird(vkattn.BigBird{Random: 3, Seed: 1})
	b, _ := g.BigBird(vkattn.BigBird{Random: 3, Seed: 2})
	if reflect.DeepEqual(a.Keys, b.Keys) {
		t.Error("another seed gives the same mask")
	}
	if half := len(a.Keys) / 2; slices.Equal(a.Keys[:half], a.Keys[half:]) {
		t.Error("both heads have the same random blocks")
	}
}

// TestCombine: union and intersection are those of the pairs, between all kinds of blocks.
func TestCombine(t *testing.T) {
	if testing.Short() {
		t.Skip("one goroutine, half a minute under the race detector: without -short only")
	}
	for _, g := range grids(false) {
		var masks []*vkattn.BlockMask
		for _, c := range attntest.Patterns() {
			if !slices.Contains([]string{"window 8,8", "prefix 21", "chunk 24 causal", "strided 8 0", "dense", "lists"}, c.Name) {
				continue
			}
			g.Batch, g.Heads = max(c.Batch, 1), max(c.Heads, 1)
			m, err := c.Build(g)
			if err != nil {
				t.Fatal(err)
			}
			masks = append(masks, m)
		}
		for _, a := range masks {
			for _, b := range masks {
				both, err := a.Intersect(b)
				if err != nil {
					t.Fatal(err)
				}
				either, err := a.Union(b)
				if err != nil {
					t.Fatal(err)
				}
				for _, m := range []*vkattn.BlockMask{both, either} {
					if err := m.Check(max(a.Batch, b.Batch), max(a.Heads, b.Heads), g.SeqQ, g.SeqK); err != nil {
						t.Fatalf("%+v: %v", g, err)
					}
				}
				for bb := range both.Batch {
					for h := range both.Heads {
						for i := range g.SeqQ {
							for j := range g.SeqK {
								x, y := a.Listed(bb, h, i, j), b.Listed(bb, h, i, j)
								if both.Listed(bb, h, i, j) != (x && y) || either.Listed(bb, h, i, j) != (x || y) {
									t.Fatalf("%+v: row %d key %d: %v and %v", g, i, j, x, y)
								}
							}
						}
					}
				}
			}
		}
	}
}

// TestPatternErrors: what no pattern can be made of is refused by a typed error.
func TestPatternErrors(t *testing.T) {
	ok := vkattn.MaskGrid{SeqQ: 8, SeqK: 8}
	with := func(f func(*vkattn.MaskGrid)) vkattn.MaskGrid { g := ok; f(&g); return g }
	window := func(g vkattn.MaskGrid) func() (*vkattn.BlockMask, error) {
		return func() (*vkattn.BlockMask, error) { return g.Window(vkattn.Window{}, 1) }
	}
	for name, f := range map[string]func() (*vkattn.BlockMask, error){
		"negative rows":    window(with(func(g *vkattn.MaskGrid) { g.SeqQ = -1 })),
		"too many keys":    window(with(func(g *vkattn.MaskGrid) { g.SeqK = math.MaxInt })),
		"negative block":   window(with(func(g *vkattn.MaskGrid) { g.BlockQ = -4 })),
		"huge block":       window(with(func(g *vkattn.MaskGrid) { g.BlockK = math.MaxInt })),
		"huge blocks":      window(with(func(g *vkattn.MaskGrid) { g.BlockQ, g.BlockK = vkattn.MaxSequence, vkattn.MaxSequence })),
		"too many lists":   window(vkattn.MaskGrid{SeqQ: vkattn.MaxSequence, SeqK: 1, BlockQ: 1}),
		"offset, no align": window(with(func(g *vkattn.MaskGrid) { g.Offset = 1 })),
		"huge offset":      window(with(func(g *vkattn.MaskGrid) { g.Align, g.Offset = vkattn.AlignOffset, math.MinInt })),
		"unknown align":    window(with(func(g *vkattn.MaskGrid) { g.Align = 9 })),
		"huge window": func() (*vkattn.BlockMask, error) {
			return ok.Window(vkattn.Window{Left: vkattn.Tokens(math.MinInt)}, 1)
		},
		"dilation 0":      func() (*vkattn.BlockMask, error) { return ok.Window(vkattn.Window{}, 0) },
		"negative window": func() (*vkattn.BlockMask, error) { return ok.Longformer(-1, nil) },
		"global falls":    func() (*vkattn.BlockMask, error) { return ok.Longformer(1, []int32{4, 4}) },
		"negative sinks":  func() (*vkattn.BlockMask, error) { return ok.Streaming(-1, 1) },
		"negative prefix": func() (*vkattn.BlockMask, error) { return ok.Prefix(-1) },
		"chunk 0":         func() (*vkattn.BlockMask, error) { return ok.Chunk(0, true) },
		"stride 0":        func() (*vkattn.BlockMask, error) { return ok.Strided(0, vkattn.Merged) },
		"unknown part":    func() (*vkattn.BlockMask, error) { return ok.Strided(4, 9) },
		"c over stride":   func() (*vkattn.BlockMask, error) { return ok.Fixed(4, 5, 1, vkattn.Merged) },
		"too many verts":  func() (*vkattn.BlockMask, error) { return ok.Fixed(8, 4, 3, vkattn.Merged) },
		"verts 0":         func() (*vkattn.BlockMask, error) { return ok.Fixed(8, 4, 0, vkattn.Merged) },
		"bigbird rows":    func() (*vkattn.BlockMask, error) { return vkattn.MaskGrid{SeqQ: 8, SeqK: 9}.BigBird(vkattn.BigBird{}) },
		"bigbird random":  func() (*vkattn.BlockMask, error) { return ok.BigBird(vkattn.BigBird{Random: -1}) },
		"bigbird huge": func() (*vkattn.BlockMask, error) {
			return vkattn.MaskGrid{SeqQ: vkattn.MaxSequence, SeqK: vkattn.MaxSequence, BlockQ: 1 << 20, BlockK: 1 << 12}.BigBird(vkattn.BigBird{Block: 1, Random: vkattn.MaxSequence})
		},
		"block sparse":      func() (*vkattn.BlockMask, error) { return ok.BlockSparse(vkattn.BlockSparse{Stride: -1}) },
		"no documents":      func() (*vkattn.BlockMask, error) { return ok.Documents(nil, nil, false) },
		"short documents":   func() (*vkattn.BlockMask, error) { return ok.Documents([][]int32{{1, 2}}, nil, false) },
		"unequal documents": func() (*vkattn.BlockMask, error) { return ok.Documents(make([][]int32, 2), make([][]int32, 3), false) },
		"choice out of grid": func() (*vkattn.BlockMask, error) {
			return ok.SelectedBlocks([]int32{0, 0, 0, 0, 0, 0, 0, 2}, 1, 4, false)
		},
		"choice below -1":   func() (*vkattn.BlockMask, error) { return ok.SelectedKeys([]int32{0, 0, 0, 0, 0, 0, 0, -2}, 1) },
		"choice too short":  func() (*vkattn.BlockMask, error) { return ok.SelectedKeys([]int32{0}, 1) },
		"choice of width 0": func() (*vkattn.BlockMask, error) { return ok.SelectedKeys([]int32{0}, 0) },
		"choice of 3 groups": func() (*vkattn.BlockMask, error) {
			return with(func(g *vkattn.MaskGrid) { g.Heads = 4 }).SelectedKeys(make([]int32, 24), 1)
		},
		"no predicate":  func() (*vkattn.BlockMask, error) { return ok.Predicate(nil, nil) },
		"no dense mask": func() (*vkattn.BlockMask, error) { return ok.Dense(vkattn.Tensor{}) },
		"dense of floats": func() (*vkattn.BlockMask, error) {
			return ok.Dense(vkattn.BHSD(vkattn.Float32s(make([]float32, 64)), 1, 1, 8, 8))
		},
		"dense of 7 rows": func() (*vkattn.BlockMask, error) {
			return ok.Dense(vkattn.BHSD(vkattn.Bools(make([]bool, 64)), 1, 1, 7, 8).As(vkattn.Bool))
		},
		"dense beyond": func() (*vkattn.BlockMask, error) {
			return ok.Dense(vkattn.BHSD(vkattn.Bools(make([]bool, 63)), 1, 1, 8, 8).As(vkattn.Bool))
		},
		"dense of no heads": func() (*vkattn.BlockMask, error) {
			return ok.Dense(vkattn.BHSD(vkattn.Bools(make([]bool, 64)), 1, 0, 8, 8).As(vkattn.Bool))
		},
		"lists too short": func() (*vkattn.BlockMask, error) { return ok.Lists([]int32{0}, nil) },
		"no lists":        func() (*vkattn.BlockMask, error) { return ok.Lists(nil, nil) },
		"lists twice": func() (*vkattn.BlockMask, error) {
			return with(func(g *vkattn.MaskGrid) { g.BlockK = 4 }).Lists([]int32{0, 2}, []int32{1, 1})
		},
		"lists out of grid": func() (*vkattn.BlockMask, error) { return ok.Lists([]int32{0, 1}, []int32{1}) },
		"lists run on": func() (*vkattn.BlockMask, error) {
			return with(func(g *vkattn.MaskGrid) { g.BlockQ = 4 }).Lists([]int32{0, 9, 1}, []int32{0})
		},
		"combine nothing":   func() (*vkattn.BlockMask, error) { return (&vkattn.BlockMask{}).Union(nil) },
		"transpose nothing": func() (*vkattn.BlockMask, error) { return (*vkattn.BlockMask)(nil).Transpose() },
	} {
		if m, err := f(); !errors.Is(err, vkattn.ErrInvalid) || m != nil {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	a, _ := ok.Window(vkattn.Window{}, 1)
	b, _ := with(func(g *vkattn.MaskGrid) { g.BlockK = 4 }).Window(vkattn.Window{}, 1)
	if _, err := a.Intersect(b); !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("masks of other blocks: %v", err)
	}
	var none *vkattn.BlockMask
	if _, err := none.Pairs(1, 1); !errors.Is(err, vkattn.ErrInvalid) || none.Density() != 0 {
		t.Errorf("pairs of no mask: %v", err)
	}
	if _, err := a.Pairs(-1, 8); !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("pairs of -1 rows: %v", err)
	}
	huge, err := vkattn.MaskGrid{SeqQ: vkattn.MaxSequence, SeqK: vkattn.MaxSequence, BlockQ: 1 << 16, BlockK: 1 << 16, Heads: 1}.Lists(make([]int32, 1<<14+1), nil)
	if err != nil || len(huge.Start) != 1<<14+1 {
		t.Errorf("2^30 tokens of nothing: %v", err)
	}
}

// TestTileChecks: tiles that do not fit are found before anything reads them.
func TestTileChecks(t *testing.T) {
	for name, f := range map[string]func(m *vkattn.BlockMask){
		"tile beyond":      func(m *vkattn.BlockMask) { m.Tile[0] = 99 },
		"tile below -1":    func(m *vkattn.BlockMask) { m.Tile[0] = -2 },
		"tiles missing":    func(m *vkattn.BlockMask) { m.Tile = m.Tile[1:] },
		"bits missing":     func(m *vkattn.BlockMask) { m.Bits = m.Bits[1:] },
		"no bits":          func(m *vkattn.BlockMask) { m.Bits = nil },
		"full with a tile": func(m *vkattn.BlockMask) { m.Full[0] = true },
		"negative grid":    func(m *vkattn.BlockMask) { m.Batch, m.Heads = -1, -1 },
		"huge grid":        func(m *vkattn.BlockMask) { m.KeyBlocks = math.MaxInt },
	} {
		m, err := vkattn.MaskGrid{SeqQ: 32, SeqK: 32, BlockQ: 8, BlockK: 8}.Window(vkattn.Window{Left: vkattn.Tokens(3), Right: vkattn.Tokens(3)}, 1)
		if err != nil {
			t.Fatal(err)
		}
		f(m)
		for what, err := range map[string]error{"Check": m.Check(1, 1, 32, 32), "Pairs": second(m.Pairs(32, 32)), "Transpose": second(m.Transpose()), "Union": second(m.Union(m))} {
			if !errors.Is(err, vkattn.ErrInvalid) {
				t.Errorf("%s: %s says %v", name, what, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

package vkattn

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

// sparsePattern is a builder and the definition of its pattern, pair by pair. Position p is i+off.
type sparsePattern struct {
	name  string
	build func(MaskGrid) (*BlockMask, error)
	sees  func(g MaskGrid, b, h, p, j int) bool
	heads int  // 0: 1
	batch int  // 0: 1
	self  bool // rows and keys are as many
}

func mod(a, b int) int { return ((a % b) + b) % b }

func dist(a, b int) int { return max(a-b, b-a) }

func div(a, b int) int { return int(math.Floor(float64(a) / float64(b))) }

func documentOf(i, salt int) int32 {
	if i%29 == 7 { // documents are not in one piece
		return 1
	}
	return int32((i + salt) / 13)
}

func documentsOf(n, salt int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = documentOf(i, salt)
	}
	return ids
}

// chooser makes some choice of blocks, with -1, repetitions and any order, and remembers the last one.
func chooser() func(b, h, rows, width, blocks int) []int32 {
	var last []int32
	var of [5]int
	return func(b, h, rows, width, blocks int) []int32 {
		if at := [5]int{b, h, rows, width, blocks}; last == nil || at != of {
			last, of = chosenBlocks(b, h, rows, width, blocks), at
		}
		return last
	}
}

func chosenBlocks(b, h, rows, width, blocks int) []int32 {
	r := rand.New(rand.NewPCG(1, 2))
	c := make([]int32, b*h*rows*width)
	for n := range c {
		c[n] = int32(r.IntN(max(blocks, 0)+1)) - 1
	}
	return c
}

func sparsePatterns() []sparsePattern {
	chosen := chooser()
	causal := func(f func(p, j int) bool) func(g MaskGrid, b, h, p, j int) bool {
		return func(_ MaskGrid, _, _, p, j int) bool { return j <= p && f(p, j) }
	}
	plain := func(f func(p, j int) bool) func(g MaskGrid, b, h, p, j int) bool {
		return func(_ MaskGrid, _, _, p, j int) bool { return f(p, j) }
	}
	list := []sparsePattern{
		{name: "window 8,8", build: func(g MaskGrid) (*BlockMask, error) { return g.Window(Window{Tokens(8), Tokens(8)}, 1) },
			sees: plain(func(p, j int) bool { return dist(p, j) <= 8 })},
		{name: "window 7,0", build: func(g MaskGrid) (*BlockMask, error) { return g.Window(Window{Tokens(7), Tokens(0)}, 1) },
			sees: plain(func(p, j int) bool { return p-j >= 0 && p-j < 8 })},
		{name: "window unbounded", build: func(g MaskGrid) (*BlockMask, error) { return g.Window(Window{}, 1) }, sees: plain(func(_, _ int) bool { return true })},
		{name: "window shifted", build: func(g MaskGrid) (*BlockMask, error) { return g.Window(Window{Tokens(-3), Tokens(12)}, 1) },
			sees: plain(func(p, j int) bool { return j-p >= 3 && j-p <= 12 })},
		{name: "window empty", build: func(g MaskGrid) (*BlockMask, error) { return g.Window(Window{Tokens(-3), Tokens(2)}, 1) }, sees: plain(func(_, _ int) bool { return false })},
		{name: "dilated 5,3 by 4", build: func(g MaskGrid) (*BlockMask, error) { return g.Window(Window{Tokens(5), Tokens(3)}, 4) },
			sees: plain(func(p, j int) bool { return mod(p-j, 4) == 0 && p-j <= 20 && j-p <= 12 })},
		{name: "dilated by 70", build: func(g MaskGrid) (*BlockMask, error) { return g.Window(Window{Left: Tokens(2)}, 70) },
			sees: plain(func(p, j int) bool { return mod(p-j, 70) == 0 && p-j <= 140 })},
		{name: "longformer 4 g2", build: func(g MaskGrid) (*BlockMask, error) { return g.Longformer(4, []int32{0, 1}) },
			sees: plain(func(p, j int) bool { return dist(p, j) <= 4 || j >= 0 && j < 2 || p >= 0 && p < 2 })},
		{name: "longformer scattered", build: func(g MaskGrid) (*BlockMask, error) { return g.Longformer(3, []int32{-9, 5, 40, 63, 900}) },
			sees: plain(func(p, j int) bool {
				global := func(x int) bool { return slices.Contains([]int{-9, 5, 40, 63, 900}, x) }
				return dist(p, j) <= 3 || global(p) || global(j)
			})},
		{name: "streaming 4,8", build: func(g MaskGrid) (*BlockMask, error) { return g.Streaming(4, 8) }, sees: causal(func(p, j int) bool { return j < 4 || p-j < 8 })},
		{name: "streaming 70,1", build: func(g MaskGrid) (*BlockMask, error) { return g.Streaming(70, 1) }, sees: causal(func(p, j int) bool { return j < 70 || p == j })},
		{name: "streaming no sinks, no window", build: func(g MaskGrid) (*BlockMask, error) { return g.Streaming(0, 0) }, sees: plain(func(_, _ int) bool { return false })},
		{name: "prefix 0", build: func(g MaskGrid) (*BlockMask, error) { return g.Prefix(0) }, sees: causal(func(_, _ int) bool { return true })},
		{name: "prefix 21", build: func(g MaskGrid) (*BlockMask, error) { return g.Prefix(21) }, sees: plain(func(p, j int) bool { return j < 21 || j <= p })},
		{name: "chunk 16", build: func(g MaskGrid) (*BlockMask, error) { return g.Chunk(16, false) }, sees: plain(func(p, j int) bool { return div(p, 16) == div(j, 16) })},
		{name: "chunk 24 causal", build: func(g MaskGrid) (*BlockMask, error) { return g.Chunk(24, true) }, sees: causal(func(p, j int) bool { return div(p, 24) == div(j, 24) })},
		{name: "block sparse", heads: 4, build: func(g MaskGrid) (*BlockMask, error) { return g.BlockSparse(BlockSparse{Block: 8, Local: 2, Stride: 8}) },
			sees: func(_ MaskGrid, _, h, p, j int) bool {
				qb, kb := div(p, 8), div(j, 8)
				return j <= p && (qb-kb < 2 || (kb+h*2+1)%8 == 0)
			}},
		{name: "block sparse, same heads", build: func(g MaskGrid) (*BlockMask, error) {
			g.Heads = 16
			return g.BlockSparse(BlockSparse{Block: 5, Local: 3, Stride: 4, SameHeads: true})
		}, sees: causal(func(p, j int) bool { return div(p, 5)-div(j, 5) < 3 || (j/5+1)%4 == 0 })},
		{name: "documents", batch: 2, build: func(g MaskGrid) (*BlockMask, error) {
			return g.Documents([][]int32{documentsOf(g.SeqQ, 0), documentsOf(g.SeqQ, 5)}, [][]int32{documentsOf(g.SeqK, 0), documentsOf(g.SeqK, 5)}, false)
		}, sees: func(g MaskGrid, b, _, p, j int) bool {
			return documentOf(p-g.off(), 5*b) == documentOf(j, 5*b)
		}},
		{name: "documents causal", self: true, build: func(g MaskGrid) (*BlockMask, error) { return g.Documents([][]int32{documentsOf(g.SeqQ, 2)}, nil, true) },
			sees: func(g MaskGrid, _, _, p, j int) bool {
				return j <= p && documentOf(p-g.off(), 2) == documentOf(j, 2)
			}},
		{name: "selected blocks", batch: 2, heads: 4, build: func(g MaskGrid) (*BlockMask, error) {
			return g.SelectedBlocks(chosen(2, 2, g.SeqQ, 3, ceilDiv(g.SeqK, 16)), 3, 16, true)
		}, sees: func(g MaskGrid, b, h, p, j int) bool {
			c := chosen(2, 2, g.SeqQ, 3, ceilDiv(g.SeqK, 16))
			at := ((b*2+h/2)*g.SeqQ + p - g.off()) * 3
			return j <= p && slices.Contains(c[at:at+3], int32(j/16))
		}},
		{name: "selected keys", heads: 2, build: func(g MaskGrid) (*BlockMask, error) {
			return g.SelectedKeys(chosen(1, 2, g.SeqQ, 5, g.SeqK), 5)
		}, sees: func(g MaskGrid, _, h, p, j int) bool {
			c := chosen(1, 2, g.SeqQ, 5, g.SeqK)
			at := (h*g.SeqQ + p - g.off()) * 5
			return slices.Contains(c[at:at+5], int32(j))
		}},
		{name: "predicate", batch: 2, heads: 2, build: func(g MaskGrid) (*BlockMask, error) {
			return g.Predicate(func(b, h, i, j int) bool { return (i*7+j*3+b+h)%5 < 2 && i/32 != 1 }, func(_, _, i0, i1, _, _ int) BlockKind {
				if i0 >= 32 && i1 <= 64 {
					return BlockHidden
				}
				return BlockMixed
			})
		}, sees: func(g MaskGrid, b, h, p, j int) bool {
			i := p - g.off()
			return (i*7+j*3+b+h)%5 < 2 && i/32 != 1
		}},
		{name: "dense", batch: 2, build: func(g MaskGrid) (*BlockMask, error) {
			keep := make([]bool, 2*g.SeqQ*g.SeqK)
			for n := range keep {
				keep[n] = n%7 < 3
			}
			mask := BHSD(Bools(keep), 2, 1, g.SeqQ, g.SeqK).As(Bool)
			return g.Dense(mask.Broadcast(2, 3, g.SeqQ, g.SeqK))
		}, sees: func(g MaskGrid, b, _, p, j int) bool { return ((b*g.SeqQ+p-g.off())*g.SeqK+j)%7 < 3 }},
		{name: "lists", heads: 2, build: func(g MaskGrid) (*BlockMask, error) {
			start, keys := []int32{0}, []int32{}
			for range g.Heads {
				for r := range ceilDiv(g.SeqQ, g.BlockQ) {
					for c := ceilDiv(g.SeqK, g.BlockK) - 1; c >= 0; c-- { // in the wrong order
						if (r+c)%3 != 0 {
							keys = append(keys, int32(c))
						}
					}
					start = append(start, int32(len(keys)))
				}
			}
			return g.Lists(start, keys)
		}, sees: func(g MaskGrid, _, _, p, j int) bool { return ((p-g.off())/g.BlockQ+j/g.BlockK)%3 != 0 }},
	}
	for _, part := range []Part{Merged, Local, Distant} {
		either := func(local, distant bool) bool {
			return local && part != Distant || distant && part != Local
		}
		for _, s := range []int{8, 100} {
			list = append(list, sparsePattern{name: fmt.Sprint("strided ", s, " ", part), build: func(g MaskGrid) (*BlockMask, error) { return g.Strided(s, part) },
				sees: causal(func(p, j int) bool { return either(p-j < s, (p-j)%s == 0) })})
		}
		list = append(list, sparsePattern{name: fmt.Sprint("fixed 8,1 ", part), build: func(g MaskGrid) (*BlockMask, error) { return g.Fixed(8, 1, 1, part) },
			sees: causal(func(p, j int) bool { return either(div(p, 8) == div(j, 8), mod(j, 8) >= 7) })},
			sparsePattern{name: fmt.Sprint("fixed 40,9,4 ", part), heads: 5, build: func(g MaskGrid) (*BlockMask, error) { return g.Fixed(40, 9, 4, part) },
				sees: func(_ MaskGrid, _, h, p, j int) bool {
					at := 40 - (h%4+1)*9
					return j <= p && either(div(p, 40) == div(j, 40), j%40 >= at && j%40 < at+9)
				}})
	}
	return list
}

// grids are awkward ones: ragged tails, blocks larger than the grid, rows above and below the keys.
func grids(self bool) (out []MaskGrid) {
	sizes := [][2]int{{64, 64}, {1, 1}, {17, 17}, {63, 63}, {65, 65}, {257, 257}, {0, 0}}
	if !self {
		sizes = append(sizes, [][2]int{{17, 65}, {65, 17}, {1, 257}, {257, 63}, {0, 5}, {5, 0}}...)
	}
	for n, s := range sizes {
		for m, block := range [][2]int{{64, 64}, {16, 16}, {7, 33}, {128, 32}, {1, 64}, {300, 300}} {
			g := MaskGrid{SeqQ: s[0], SeqK: s[1], BlockQ: block[0], BlockK: block[1]}
			switch (n + m) % 4 {
			case 1:
				g.Align = AlignTopLeft
			case 2:
				g.Align, g.Offset = AlignOffset, 11
			case 3:
				g.Align, g.Offset = AlignOffset, -20
			}
			out = append(out, g)
		}
	}
	return out
}

// TestPatterns: every builder keeps exactly the pairs of its definition, with blocks of the right kinds, and the
// counts, the transpose and the checks agree.
func TestPatterns(t *testing.T) {
	for _, c := range sparsePatterns() {
		t.Run(c.name, func(t *testing.T) {
			for _, g := range grids(c.self) {
				g.Batch, g.Heads = max(c.batch, 1), max(c.heads, 1)
				m, err := c.build(g)
				if err != nil {
					t.Fatalf("%+v: %v", g, err)
				}
				comparePattern(t, g, m, func(b, h, i, j int) bool { return c.sees(g, b, h, i+g.off(), j) })
			}
		})
	}
}

// comparePattern holds a mask against the definition of its pattern.
func comparePattern(t *testing.T, g MaskGrid, m *BlockMask, sees func(b, h, i, j int) bool) {
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
		m      *BlockMask
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
func compareBlocks(t *testing.T, g MaskGrid, m *BlockMask, b, h, r int, sees func(b, h, i, j int) bool) {
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
	g := MaskGrid{SeqQ: 64, SeqK: 64, BlockQ: 16, BlockK: 16}
	for _, c := range []struct {
		name string
		m    func() (*BlockMask, error)
		want int64
	}{
		{"local 8, n(2W+1)-W(W+1)", func() (*BlockMask, error) { return g.Window(Window{Tokens(8), Tokens(8)}, 1) }, 1016},
		{"causal window of 8, nW-W(W-1)/2", func() (*BlockMask, error) { return g.Window(Window{Tokens(7), Tokens(0)}, 1) }, 484},
		{"longformer", func() (*BlockMask, error) { return g.Longformer(4, []int32{0, 1}) }, 790},
		{"strided, local", func() (*BlockMask, error) { return g.Strided(8, Local) }, 484},
		{"strided, distant", func() (*BlockMask, error) { return g.Strided(8, Distant) }, 288},
		{"strided", func() (*BlockMask, error) { return g.Strided(8, Merged) }, 708},
		{"fixed", func() (*BlockMask, error) { return g.Fixed(8, 1, 1, Merged) }, 512},
		{"streaming", func() (*BlockMask, error) { return g.Streaming(4, 8) }, 702},
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
	g := MaskGrid{SeqQ: n, SeqK: n, BlockQ: 128, BlockK: 128}
	for _, c := range []struct {
		name  string
		m     func() (*BlockMask, error)
		pairs int64
		tiles int
	}{
		{"window of 4096", func() (*BlockMask, error) { return g.Window(Window{Tokens(4095), Tokens(0)}, 1) }, n*4096 - 4096*4095/2, 2},
		{"both sides", func() (*BlockMask, error) { return g.Window(Window{Tokens(1000), Tokens(1000)}, 1) }, n*2001 - 1000*1001, 4},
		{"streaming", func() (*BlockMask, error) { return g.Streaming(4, 1024) }, n*1028 - 1027*1028/2, 4},
		{"chunk", func() (*BlockMask, error) { return g.Chunk(8192, true) }, n / 8192 * (8192 * 8193 / 2), 1},
	} {
		m, err := c.m()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := m.Pairs(n, n); got != c.pairs || err != nil {
			t.Errorf("%s: %d pairs, %v, want %d", c.name, got, err, c.pairs)
		}
		if got := len(m.Bits) / m.tileWords(); got != c.tiles {
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
		g := MaskGrid{SeqQ: n, SeqK: n, BlockQ: c.block, BlockK: c.block, Heads: 3}
		m, err := g.BigBird(BigBird{Block: c.block, Random: c.random, Seed: 7})
		if err != nil {
			t.Fatal(err)
		}
		again, _ := g.BigBird(BigBird{Block: c.block, Random: c.random, Seed: 7})
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
		fine, err := other.BigBird(BigBird{Block: c.block, Random: c.random, Seed: 7})
		if err != nil {
			t.Fatal(err)
		}
		if n <= 128 {
			other.Batch = 1
			comparePattern(t, other, fine, m.Listed)
		}
	}
	g := MaskGrid{SeqQ: 640, SeqK: 640, Heads: 2}
	a, _ := g.BigBird(BigBird{Random: 3, Seed: 1})
	b, _ := g.BigBird(BigBird{Random: 3, Seed: 2})
	if reflect.DeepEqual(a.Keys, b.Keys) {
		t.Error("another seed gives the same mask")
	}
	if half := len(a.Keys) / 2; slices.Equal(a.Keys[:half], a.Keys[half:]) {
		t.Error("both heads have the same random blocks")
	}
}

// TestCombine: union and intersection are those of the pairs, between all kinds of blocks.
func TestCombine(t *testing.T) {
	for _, g := range grids(false) {
		var masks []*BlockMask
		for _, c := range sparsePatterns() {
			if !slices.Contains([]string{"window 8,8", "prefix 21", "chunk 24 causal", "strided 8 0", "dense", "lists"}, c.name) {
				continue
			}
			g.Batch, g.Heads = max(c.batch, 1), max(c.heads, 1)
			m, err := c.build(g)
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
				for _, m := range []*BlockMask{both, either} {
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
	ok := MaskGrid{SeqQ: 8, SeqK: 8}
	with := func(f func(*MaskGrid)) MaskGrid { g := ok; f(&g); return g }
	window := func(g MaskGrid) func() (*BlockMask, error) {
		return func() (*BlockMask, error) { return g.Window(Window{}, 1) }
	}
	for name, f := range map[string]func() (*BlockMask, error){
		"negative rows":    window(with(func(g *MaskGrid) { g.SeqQ = -1 })),
		"too many keys":    window(with(func(g *MaskGrid) { g.SeqK = math.MaxInt })),
		"negative block":   window(with(func(g *MaskGrid) { g.BlockQ = -4 })),
		"huge block":       window(with(func(g *MaskGrid) { g.BlockK = math.MaxInt })),
		"huge blocks":      window(with(func(g *MaskGrid) { g.BlockQ, g.BlockK = MaxSequence, MaxSequence })),
		"too many lists":   window(MaskGrid{SeqQ: MaxSequence, SeqK: 1, BlockQ: 1}),
		"offset, no align": window(with(func(g *MaskGrid) { g.Offset = 1 })),
		"huge offset":      window(with(func(g *MaskGrid) { g.Align, g.Offset = AlignOffset, math.MinInt })),
		"unknown align":    window(with(func(g *MaskGrid) { g.Align = 9 })),
		"huge window":      func() (*BlockMask, error) { return ok.Window(Window{Left: Tokens(math.MinInt)}, 1) },
		"dilation 0":       func() (*BlockMask, error) { return ok.Window(Window{}, 0) },
		"negative window":  func() (*BlockMask, error) { return ok.Longformer(-1, nil) },
		"global falls":     func() (*BlockMask, error) { return ok.Longformer(1, []int32{4, 4}) },
		"negative sinks":   func() (*BlockMask, error) { return ok.Streaming(-1, 1) },
		"negative prefix":  func() (*BlockMask, error) { return ok.Prefix(-1) },
		"chunk 0":          func() (*BlockMask, error) { return ok.Chunk(0, true) },
		"stride 0":         func() (*BlockMask, error) { return ok.Strided(0, Merged) },
		"unknown part":     func() (*BlockMask, error) { return ok.Strided(4, 9) },
		"c over stride":    func() (*BlockMask, error) { return ok.Fixed(4, 5, 1, Merged) },
		"too many verts":   func() (*BlockMask, error) { return ok.Fixed(8, 4, 3, Merged) },
		"verts 0":          func() (*BlockMask, error) { return ok.Fixed(8, 4, 0, Merged) },
		"bigbird rows":     func() (*BlockMask, error) { return MaskGrid{SeqQ: 8, SeqK: 9}.BigBird(BigBird{}) },
		"bigbird random":   func() (*BlockMask, error) { return ok.BigBird(BigBird{Random: -1}) },
		"bigbird huge": func() (*BlockMask, error) {
			return MaskGrid{SeqQ: MaxSequence, SeqK: MaxSequence, BlockQ: 1 << 20, BlockK: 1 << 12}.BigBird(BigBird{Block: 1, Random: MaxSequence})
		},
		"block sparse":       func() (*BlockMask, error) { return ok.BlockSparse(BlockSparse{Stride: -1}) },
		"no documents":       func() (*BlockMask, error) { return ok.Documents(nil, nil, false) },
		"short documents":    func() (*BlockMask, error) { return ok.Documents([][]int32{{1, 2}}, nil, false) },
		"unequal documents":  func() (*BlockMask, error) { return ok.Documents(make([][]int32, 2), make([][]int32, 3), false) },
		"choice out of grid": func() (*BlockMask, error) { return ok.SelectedBlocks([]int32{0, 0, 0, 0, 0, 0, 0, 2}, 1, 4, false) },
		"choice below -1":    func() (*BlockMask, error) { return ok.SelectedKeys([]int32{0, 0, 0, 0, 0, 0, 0, -2}, 1) },
		"choice too short":   func() (*BlockMask, error) { return ok.SelectedKeys([]int32{0}, 1) },
		"choice of width 0":  func() (*BlockMask, error) { return ok.SelectedKeys([]int32{0}, 0) },
		"choice of 3 groups": func() (*BlockMask, error) {
			return with(func(g *MaskGrid) { g.Heads = 4 }).SelectedKeys(make([]int32, 24), 1)
		},
		"no predicate":      func() (*BlockMask, error) { return ok.Predicate(nil, nil) },
		"no dense mask":     func() (*BlockMask, error) { return ok.Dense(Tensor{}) },
		"dense of floats":   func() (*BlockMask, error) { return ok.Dense(BHSD(Float32s(make([]float32, 64)), 1, 1, 8, 8)) },
		"dense of 7 rows":   func() (*BlockMask, error) { return ok.Dense(BHSD(Bools(make([]bool, 64)), 1, 1, 7, 8).As(Bool)) },
		"dense beyond":      func() (*BlockMask, error) { return ok.Dense(BHSD(Bools(make([]bool, 63)), 1, 1, 8, 8).As(Bool)) },
		"dense of no heads": func() (*BlockMask, error) { return ok.Dense(BHSD(Bools(make([]bool, 64)), 1, 0, 8, 8).As(Bool)) },
		"lists too short":   func() (*BlockMask, error) { return ok.Lists([]int32{0}, nil) },
		"no lists":          func() (*BlockMask, error) { return ok.Lists(nil, nil) },
		"lists twice": func() (*BlockMask, error) {
			return with(func(g *MaskGrid) { g.BlockK = 4 }).Lists([]int32{0, 2}, []int32{1, 1})
		},
		"lists out of grid": func() (*BlockMask, error) { return ok.Lists([]int32{0, 1}, []int32{1}) },
		"lists run on": func() (*BlockMask, error) {
			return with(func(g *MaskGrid) { g.BlockQ = 4 }).Lists([]int32{0, 9, 1}, []int32{0})
		},
		"combine nothing":   func() (*BlockMask, error) { return (&BlockMask{}).Union(nil) },
		"transpose nothing": func() (*BlockMask, error) { return (*BlockMask)(nil).Transpose() },
	} {
		if m, err := f(); !errors.Is(err, ErrInvalid) || m != nil {
			t.Errorf("%s: %v, %v", name, m, err)
		}
	}
	a, _ := ok.Window(Window{}, 1)
	b, _ := with(func(g *MaskGrid) { g.BlockK = 4 }).Window(Window{}, 1)
	if _, err := a.Intersect(b); !errors.Is(err, ErrInvalid) {
		t.Errorf("masks of other blocks: %v", err)
	}
	var none *BlockMask
	if _, err := none.Pairs(1, 1); !errors.Is(err, ErrInvalid) || none.Density() != 0 {
		t.Errorf("pairs of no mask: %v", err)
	}
	if _, err := a.Pairs(-1, 8); !errors.Is(err, ErrInvalid) {
		t.Errorf("pairs of -1 rows: %v", err)
	}
	huge, err := MaskGrid{SeqQ: MaxSequence, SeqK: MaxSequence, BlockQ: 1 << 16, BlockK: 1 << 16, Heads: 1}.Lists(make([]int32, 1<<14+1), nil)
	if err != nil || len(huge.Start) != 1<<14+1 {
		t.Errorf("2^30 tokens of nothing: %v", err)
	}
}

// TestTileChecks: tiles that do not fit are found before anything reads them.
func TestTileChecks(t *testing.T) {
	for name, f := range map[string]func(m *BlockMask){
		"tile beyond":      func(m *BlockMask) { m.Tile[0] = 99 },
		"tile below -1":    func(m *BlockMask) { m.Tile[0] = -2 },
		"tiles missing":    func(m *BlockMask) { m.Tile = m.Tile[1:] },
		"bits missing":     func(m *BlockMask) { m.Bits = m.Bits[1:] },
		"no bits":          func(m *BlockMask) { m.Bits = nil },
		"full with a tile": func(m *BlockMask) { m.Full[0] = true },
		"negative grid":    func(m *BlockMask) { m.Batch, m.Heads = -1, -1 },
		"huge grid":        func(m *BlockMask) { m.KeyBlocks = math.MaxInt },
	} {
		m, err := MaskGrid{SeqQ: 32, SeqK: 32, BlockQ: 8, BlockK: 8}.Window(Window{Tokens(3), Tokens(3)}, 1)
		if err != nil {
			t.Fatal(err)
		}
		f(m)
		for what, err := range map[string]error{"Check": m.Check(1, 1, 32, 32), "Pairs": second(m.Pairs(32, 32)), "Transpose": second(m.Transpose()), "Union": second(m.Union(m))} {
			if !errors.Is(err, ErrInvalid) {
				t.Errorf("%s: %s says %v", name, what, err)
			}
		}
	}
}

func second[T any](_ T, err error) error { return err }

package attntest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/vkattn/vkattn"
)

// Pattern is a sparse pattern: the builder of its block mask, and its definition pair by pair, which shares no code
// with the builder.
type Pattern struct {
	Name  string
	Build func(vkattn.MaskGrid) (*vkattn.BlockMask, error)
	Batch int  // sequences with a pattern of their own; the grid says so when Build is called
	Heads int  // and heads
	Self  bool // rows and keys are as many

	sees func(g vkattn.MaskGrid, b, h, p, j int) bool // p is the position of the row, i+off
}

// Sees reports whether the definition lets row i of (b, h) see key j.
func (p *Pattern) Sees(g vkattn.MaskGrid, b, h, i, j int) bool { return p.sees(g, b, h, i+offOf(g), j) }

// offOf is the diagonal of a grid.
func offOf(g vkattn.MaskGrid) int {
	switch g.Align {
	case vkattn.AlignBottomRight:
		return g.SeqK - g.SeqQ
	case vkattn.AlignOffset:
		return g.Offset
	}
	return 0
}

func modulo(a, b int) int { return ((a % b) + b) % b }

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

// Patterns lists every builder of vkattn.MaskGrid, some with several sizes.
func Patterns() []Pattern {
	chosen := chooser()
	var of vkattn.MaskGrid
	var last *vkattn.BlockMask
	drawn := func(g vkattn.MaskGrid) *vkattn.BlockMask {
		if last == nil || g != of {
			m, err := g.BigBird(vkattn.BigBird{Block: 8, Random: 2, Seed: 5})
			if err != nil {
				panic(err)
			}
			last, of = m, g
		}
		return last
	}
	causal := func(f func(p, j int) bool) func(g vkattn.MaskGrid, b, h, p, j int) bool {
		return func(_ vkattn.MaskGrid, _, _, p, j int) bool { return j <= p && f(p, j) }
	}
	plain := func(f func(p, j int) bool) func(g vkattn.MaskGrid, b, h, p, j int) bool {
		return func(_ vkattn.MaskGrid, _, _, p, j int) bool { return f(p, j) }
	}
	list := []Pattern{
		{Name: "window 8,8", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(8), Right: vkattn.Tokens(8)}, 1)
		},
			sees: plain(func(p, j int) bool { return dist(p, j) <= 8 })},
		{Name: "window 7,0", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(7), Right: vkattn.Tokens(0)}, 1)
		},
			sees: plain(func(p, j int) bool { return p-j >= 0 && p-j < 8 })},
		{Name: "window unbounded", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Window(vkattn.Window{}, 1) }, sees: plain(func(_, _ int) bool { return true })},
		{Name: "window shifted", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(-3), Right: vkattn.Tokens(12)}, 1)
		},
			sees: plain(func(p, j int) bool { return j-p >= 3 && j-p <= 12 })},
		{Name: "window empty", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(-3), Right: vkattn.Tokens(2)}, 1)
		}, sees: plain(func(_, _ int) bool { return false })},
		{Name: "dilated 5,3 by 4", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(5), Right: vkattn.Tokens(3)}, 4)
		},
			sees: plain(func(p, j int) bool { return modulo(p-j, 4) == 0 && p-j <= 20 && j-p <= 12 })},
		{Name: "dilated by 70", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(2)}, 70)
		},
			sees: plain(func(p, j int) bool { return modulo(p-j, 70) == 0 && p-j <= 140 })},
		{Name: "longformer 4 g2", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Longformer(4, []int32{0, 1}) },
			sees: plain(func(p, j int) bool { return dist(p, j) <= 4 || j >= 0 && j < 2 || p >= 0 && p < 2 })},
		{Name: "longformer scattered", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Longformer(3, []int32{-9, 5, 40, 63, 900})
		},
			sees: plain(func(p, j int) bool {
				global := func(x int) bool { return slices.Contains([]int{-9, 5, 40, 63, 900}, x) }
				return dist(p, j) <= 3 || global(p) || global(j)
			})},
		{Name: "streaming 4,8", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Streaming(4, 8) }, sees: causal(func(p, j int) bool { return j < 4 || p-j < 8 })},
		{Name: "streaming 70,1", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Streaming(70, 1) }, sees: causal(func(p, j int) bool { return j < 70 || p == j })},
		{Name: "streaming no sinks, no window", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Streaming(0, 0) }, sees: plain(func(_, _ int) bool { return false })},
		{Name: "prefix 0", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Prefix(0) }, sees: causal(func(_, _ int) bool { return true })},
		{Name: "prefix 21", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Prefix(21) }, sees: plain(func(p, j int) bool { return j < 21 || j <= p })},
		{Name: "chunk 16", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Chunk(16, false) }, sees: plain(func(p, j int) bool { return div(p, 16) == div(j, 16) })},
		{Name: "chunk 24 causal", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Chunk(24, true) }, sees: causal(func(p, j int) bool { return div(p, 24) == div(j, 24) })},
		{Name: "block sparse", Heads: 4, Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.BlockSparse(vkattn.BlockSparse{Block: 8, Local: 2, Stride: 8})
		},
			sees: func(_ vkattn.MaskGrid, _, h, p, j int) bool {
				qb, kb := div(p, 8), div(j, 8)
				return j <= p && (qb-kb < 2 || (kb+h*2+1)%8 == 0)
			}},
		{Name: "block sparse, same heads", Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			g.Heads = 16
			return g.BlockSparse(vkattn.BlockSparse{Block: 5, Local: 3, Stride: 4, SameHeads: true})
		}, sees: causal(func(p, j int) bool { return div(p, 5)-div(j, 5) < 3 || (j/5+1)%4 == 0 })},
		{Name: "documents", Batch: 2, Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Documents([][]int32{documentsOf(g.SeqQ, 0), documentsOf(g.SeqQ, 5)}, [][]int32{documentsOf(g.SeqK, 0), documentsOf(g.SeqK, 5)}, false)
		}, sees: func(g vkattn.MaskGrid, b, _, p, j int) bool {
			return documentOf(p-offOf(g), 5*b) == documentOf(j, 5*b)
		}},
		{Name: "documents causal", Self: true, Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Documents([][]int32{documentsOf(g.SeqQ, 2)}, nil, true)
		},
			sees: func(g vkattn.MaskGrid, _, _, p, j int) bool {
				return j <= p && documentOf(p-offOf(g), 2) == documentOf(j, 2)
			}},
		{Name: "selected blocks", Batch: 2, Heads: 4, Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.SelectedBlocks(chosen(2, 2, g.SeqQ, 3, blocksOf(g.SeqK, 16)), 3, 16, true)
		}, sees: func(g vkattn.MaskGrid, b, h, p, j int) bool {
			c := chosen(2, 2, g.SeqQ, 3, blocksOf(g.SeqK, 16))
			at := ((b*2+h/2)*g.SeqQ + p - offOf(g)) * 3
			return j <= p && slices.Contains(c[at:at+3], int32(j/16))
		}},
		{Name: "selected keys", Heads: 2, Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.SelectedKeys(chosen(1, 2, g.SeqQ, 5, g.SeqK), 5)
		}, sees: func(g vkattn.MaskGrid, _, h, p, j int) bool {
			c := chosen(1, 2, g.SeqQ, 5, g.SeqK)
			at := (h*g.SeqQ + p - offOf(g)) * 5
			return slices.Contains(c[at:at+5], int32(j))
		}},
		{Name: "predicate", Batch: 2, Heads: 2, Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Predicate(func(b, h, i, j int) bool { return (i*7+j*3+b+h)%5 < 2 && i/32 != 1 }, func(_, _, i0, i1, _, _ int) vkattn.BlockKind {
				if i0 >= 32 && i1 <= 64 {
					return vkattn.BlockHidden
				}
				return vkattn.BlockMixed
			})
		}, sees: func(g vkattn.MaskGrid, b, h, p, j int) bool {
			i := p - offOf(g)
			return (i*7+j*3+b+h)%5 < 2 && i/32 != 1
		}},
		{Name: "dense", Batch: 2, Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			keep := make([]bool, 2*g.SeqQ*g.SeqK)
			for n := range keep {
				keep[n] = n%7 < 3
			}
			mask := vkattn.BHSD(vkattn.Bools(keep), 2, 1, g.SeqQ, g.SeqK).As(vkattn.Bool)
			return g.Dense(mask.Broadcast(2, 3, g.SeqQ, g.SeqK))
		}, sees: func(g vkattn.MaskGrid, b, _, p, j int) bool { return ((b*g.SeqQ+p-offOf(g))*g.SeqK+j)%7 < 3 }},
		{Name: "lists", Heads: 2, Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			start, keys := []int32{0}, []int32{}
			for range g.Heads {
				for r := range blocksOf(g.SeqQ, g.BlockQ) {
					for c := blocksOf(g.SeqK, g.BlockK) - 1; c >= 0; c-- { // in the wrong order
						if (r+c)%3 != 0 {
							keys = append(keys, int32(c))
						}
					}
					start = append(start, int32(len(keys)))
				}
			}
			return g.Lists(start, keys)
		}, sees: func(g vkattn.MaskGrid, _, _, p, j int) bool { return ((p-offOf(g))/g.BlockQ+j/g.BlockK)%3 != 0 }},
	}
	for _, part := range []vkattn.Part{vkattn.Merged, vkattn.Local, vkattn.Distant} {
		either := func(local, distant bool) bool {
			return local && part != vkattn.Distant || distant && part != vkattn.Local
		}
		for _, s := range []int{8, 100} {
			list = append(list, Pattern{Name: fmt.Sprint("strided ", s, " ", part), Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Strided(s, part) },
				sees: causal(func(p, j int) bool { return either(p-j < s, (p-j)%s == 0) })})
		}
		list = append(list, Pattern{Name: fmt.Sprint("fixed 8,1 ", part), Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Fixed(8, 1, 1, part) },
			sees: causal(func(p, j int) bool { return either(div(p, 8) == div(j, 8), modulo(j, 8) >= 7) })},
			Pattern{Name: fmt.Sprint("fixed 40,9,4 ", part), Heads: 5, Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Fixed(40, 9, 4, part) },
				sees: func(_ vkattn.MaskGrid, _, h, p, j int) bool {
					at := 40 - (h%4+1)*9
					return j <= p && either(div(p, 40) == div(j, 40), j%40 >= at && j%40 < at+9)
				}})
	}
	list = append(list, Pattern{Name: "bigbird", Heads: 3, Self: true, Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
		return g.BigBird(vkattn.BigBird{Block: 8, Random: 2, Seed: 5})
	}, sees: func(g vkattn.MaskGrid, _, h, p, j int) bool {
		// Which blocks are drawn is the builder's secret: on a grid of the pattern's own blocks they are plain lists.
		g.BlockQ, g.BlockK = 8, 8
		m := drawn(g)
		keys, _ := m.List(0, h, (p-offOf(g))/8)
		return slices.Contains(keys, int32(j/8))
	}})
	return list
}

func blocksOf(n, block int) int { return (n + block - 1) / block }

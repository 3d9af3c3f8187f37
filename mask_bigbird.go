package vkattn

import (
	"fmt"
	"math/rand/v2"
)

// BigBird says how the pattern of that name is made.
type BigBird struct {
	Block  int    // tokens of a block of the pattern; 0 is 64. The grid's blocks may be of another size
	Random int    // random blocks of a row, r; the paper has 3
	Seed   uint64 // heads draw their own blocks, the same for the same seed, head and sizes on every machine
}

// BigBird keeps, with NB = ceil(SeqQ/Block) blocks of tokens, the blocks
//
//	row 0, NB-1 : all
//	row 1       : {0, 1, 2, NB-1} and r random ones of 1..NB-2 without {1, 2, NB-2}
//	row NB-2    : {0, NB-3, NB-2, NB-1} and r random ones of 1..NB-2 without {1, NB-3, NB-2}
//	row i       : {0, i-1, i, i+1, NB-1} and r random ones of 1..NB-2 without {i-1, i, i+1}
//
// without a block twice: 2 NB + 2(4+r) + (NB-4)(5+r) blocks where there are enough to draw from; rows that have fewer
// than r to draw from take all of them. The last block may be shorter than the others, which the original refuses.
// SeqQ and SeqK are equal. The mask has g.Heads heads; with Random 0 they share one. The
// pattern is not causal; its Intersect with Prefix(0) is, and then no row but the last block's sees the last block.
// Source: Zaheer et al., "Big Bird" (2020), google-research/bigbird, whose plans for the random blocks are not here:
// every row draws from all blocks.
func (g MaskGrid) BigBird(b BigBird) (*BlockMask, error) {
	if b.Block == 0 {
		b.Block = 64
	}
	if err := inRange("BigBird.Block", b.Block, 1, MaxSequence); err != nil {
		return nil, err
	}
	if err := inRange("BigBird.Random", b.Random, 0, MaxSequence); err != nil {
		return nil, err
	}
	if g.SeqQ != g.SeqK {
		return nil, &ShapeError{"MaskGrid", "keys", g.SeqK, fmt.Sprintf("%d, as many as rows: BigBird is self-attention", g.SeqQ)}
	}
	if b.Random == 0 {
		g.Heads = 1
	}
	g.Batch = 1
	return g.perHead(func(g MaskGrid, _, h int) (pattern, error) {
		blocks := ceilDiv(g.SeqQ, b.Block)
		if most := 5 + min(b.Random, blocks); float64(most)*float64(blocks) > maxBlocks {
			return nil, &ArgError{"BigBird", fmt.Sprintf("%d blocks with %d random ones each are more than %d; larger blocks take less memory", blocks, b.Random, maxBlocks)}
		}
		r := rand.New(rand.NewPCG(b.Seed, uint64(h)))
		lists := make([][]Span, blocks)
		for i := range lists {
			lists[i] = b.row(i, blocks, r)
		}
		return &groupedPattern{rows: b.Block, keys: b.Block, lists: lists, sk: g.SeqK}, nil
	})
}

// row is the list of row block i of n.
func (b BigBird) row(i, n int, r *rand.Rand) []Span {
	if i == 0 || i == n-1 {
		return []Span{{0, n}}
	}
	taken := []int{i - 1, i, i + 1}
	switch i {
	case 1:
		taken = []int{1, 2, n - 2}
	case n - 2:
		taken = []int{1, n - 3, n - 2}
	}
	list := []Span{{0, 1}, {i - 1, i + 2}, {n - 1, n}}
	for _, c := range b.draw(n, taken, r) {
		list = append(list, Span{c, c + 1})
	}
	return mergeSpans(list, 0)
}

// draw takes Random different blocks of 1..n-2 that are not in taken, or all of them if there are fewer.
func (b BigBird) draw(n int, taken []int, r *rand.Rand) []int {
	free := n - 2
	out := map[int]bool{}
	for _, t := range taken {
		if t >= 1 && t <= n-2 && !out[t] {
			out[t] = true
			free--
		}
	}
	var drawn []int
	if free <= 2*b.Random { // few to choose from: shuffle them
		var left []int
		for c := 1; c <= n-2; c++ {
			if !out[c] {
				left = append(left, c)
			}
		}
		for k := range min(b.Random, len(left)) {
			other := k + r.IntN(len(left)-k)
			left[k], left[other] = left[other], left[k]
			drawn = append(drawn, left[k])
		}
		return drawn
	}
	for len(drawn) < b.Random {
		if c := 1 + r.IntN(n-2); !out[c] {
			out[c] = true
			drawn = append(drawn, c)
		}
	}
	return drawn
}

package main

import (
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
)

type pattern struct {
	name  string
	build func(g vkattn.MaskGrid) (*vkattn.BlockMask, error)
}

// patterns are the builders with parameters for about a half, a tenth and a hundredth of the pairs of n x n, or what comes
// closest.
func patterns(n int) []pattern {
	var list []pattern
	add := func(build func(g vkattn.MaskGrid) (*vkattn.BlockMask, error), format string, args ...any) {
		list = append(list, pattern{fmt.Sprintf(format, args...), build})
	}
	// sides is the window, on both sides, that keeps a share of the pairs; back the causal one.
	sides := func(share float64) int { return int(float64(n) * (1 - math.Sqrt(1-share))) }
	back := func(share float64) int { return max(1, int(float64(n)*(1-math.Sqrt(1-2*share)))) }
	for _, share := range []float64{0.5, 0.1, 0.01} {
		w := sides(share)
		add(func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(w), Right: vkattn.Tokens(w)}, 1)
		}, "window %d,%d", w, w)
	}
	for _, share := range []float64{0.5, 0.1, 0.01} {
		w, globals := sides(0.8*share), max(1, int(share*float64(n)/20))
		add(func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			positions := make([]int32, globals)
			for i := range positions {
				positions[i] = int32(i)
			}
			return g.Longformer(w, positions)
		}, "longformer %d + %d", w, globals)
	}
	for _, x := range [][2]int{{64, n / 64 / 2}, {64, n / 64 / 12}, {16, 3}} {
		add(func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.BigBird(vkattn.BigBird{Block: x[0], Random: x[1], Seed: 1})
		}, "bigbird %d x %d", x[0], x[1])
	}
	for _, stride := range []int{2, 5, max(2, int(math.Sqrt(float64(n))))} {
		add(func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Strided(stride, vkattn.Merged) }, "strided %d", stride)
	}
	for _, summary := range []int{64, 26, 8, 2} {
		add(func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Fixed(128, summary, 1, vkattn.Merged) }, "fixed 128, %d", summary)
	}
	for _, x := range [][2]int{{2, n}, {4, sides(0.4) / 4}, {4, sides(0.04) / 4}} {
		add(func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: vkattn.Tokens(x[1]), Right: vkattn.Tokens(x[1])}, x[0])
		}, "dilated by %d, %d steps", x[0], x[1])
	}
	for _, share := range []float64{0.25, 0.1, 0.01} {
		w := back(share)
		add(func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Streaming(4, w) }, "streaming 4 + %d", w)
	}
	for _, parts := range []int{2, 10, 100} {
		size := (n + parts - 1) / parts
		add(func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Chunk(size, false) }, "chunk %d", size)
		add(func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			ids := make([]int32, n)
			for i := range ids {
				ids[i] = int32(i / size)
			}
			return g.Documents([][]int32{ids}, nil, false)
		}, "%d documents", parts)
	}
	add(func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Prefix(0) }, "prefix 0, causal")
	for _, x := range [][2]int{{32, 2}, {8, 8}, {1, 64}} {
		add(func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.BlockSparse(vkattn.BlockSparse{Local: x[0], Stride: x[1], SameHeads: true})
		}, "blocksparse %d, %d", x[0], x[1])
	}
	return list
}

package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestShapes runs lengths around the tile and head sizes that no tile fits.
func TestShapes(t *testing.T) { onKernels(t, testShapes) }

func testShapes(t *testing.T, start func(Config) *Backend) {
	backend := start(Config{})
	defer backend.Close()
	rng := rand.New(rand.NewPCG(1, 2))
	for _, sq := range []int{0, 1, 17, 63, 65, 257} {
		for _, sk := range []int{0, 1, 17, 64, 65, 257} {
			d := [][2]int{{1, 1}, {40, 40}, {59, 80}, {80, 59}, {64, 128}}[rng.IntN(5)]
			newRunAndCheck(t, backend, rng, vkattn.Attention{Batch: 2, HeadsQ: 14, HeadsK: 2, SeqQ: sq, SeqK: sk,
				HeadDim: d[0], ValueDim: d[1], Causal: sk%2 == 1, With: vkattn.WithLSE})
		}
	}
	for _, d := range [][2]int{{576, 512}, {576, 576}, {257, 33}} {
		newRunAndCheck(t, backend, rng, vkattn.Attention{Batch: 1, HeadsQ: 3, HeadsK: 1, SeqQ: 33, SeqK: 70,
			HeadDim: d[0], ValueDim: d[1], Causal: true, With: vkattn.WithLSE})
	}
	for _, d := range [][2]int{{2049, 40}, {40, 2049}, {5000, 3000}} { // one row is more than what is read ahead
		for _, sq := range []int{1, 3, 8} {
			newRunAndCheck(t, backend, rng, vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: sq, SeqK: 71, HeadDim: d[0], ValueDim: d[1], With: vkattn.WithLSE})
		}
	}
}

func newRunAndCheck(t *testing.T, b *Backend, rng *rand.Rand, op vkattn.Attention) {
	t.Helper()
	r := newRun(rng, op)
	r.do(t, b)
	r.check(t)
}

// TestRandom draws ops with any combination of masks and extras.
func TestRandom(t *testing.T) { onKernels(t, testRandom) }

func testRandom(t *testing.T, start func(Config) *Backend) {
	backend := start(Config{Workers: 3})
	defer backend.Close()
	n := 240
	if testing.Short() {
		n = 60
	}
	for seed := range n {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(seed), 7))
			newRunAndCheck(t, backend, rng, randomOp(rng))
		})
	}
}

func randomOp(rng *rand.Rand) vkattn.Attention {
	pick := func(of ...int) int { return of[rng.IntN(len(of))] }
	op := vkattn.Attention{
		Batch: pick(1, 2, 3), HeadsQ: 6, HeadsK: pick(0, 1, 2, 3), HeadsV: pick(0, 1, 2, 6), HeadMap: vkattn.HeadMap(rng.IntN(2)),
		SeqQ: pick(0, 1, 5, 40, 70, 130), SeqK: pick(1, 9, 64, 90, 150), HeadDim: pick(1, 8, 13, 32), ValueDim: pick(0, 5, 16),
		With: vkattn.WithLSE,
	}
	if op.HeadsK == 0 {
		op.HeadsV = 0
	}
	if rng.IntN(4) == 0 {
		op.Packed, op.TotalQ, op.TotalK = true, op.Batch*op.SeqQ+3, op.Batch*op.SeqK
	}
	maybe := func(f func()) {
		if rng.IntN(3) == 0 {
			f()
		}
	}
	maybe(func() { op.Scale = vkattn.Num(float64(pick(0, -1, 2))) })
	maybe(func() { op.Softcap = 3 })
	maybe(func() { op.Causal = true; op.With |= vkattn.With(pick(0, int(vkattn.WithPrefix))) })
	maybe(func() { op.Align = vkattn.Align(1 + rng.IntN(2)) })
	maybe(func() {
		op.Window = vkattn.Window{Left: vkattn.Tokens(pick(-3, 0, 4, 70)), Right: vkattn.Tokens(pick(-1, 0, 9, 80))}
		op.SinkTokens = pick(0, 2)
		op.With |= vkattn.With(pick(0, int(vkattn.WithGlobal)))
	})
	maybe(func() { op.Window.Left = vkattn.Bound{} })
	maybe(func() { op.Chunk = pick(1, 16, 50) })
	for _, w := range []vkattn.With{vkattn.WithBias, vkattn.WithMask, vkattn.WithTree, vkattn.WithALiBi,
		vkattn.WithSinkLogits, vkattn.WithKeyLengths, vkattn.WithBlocks} {
		maybe(func() { op.With |= w })
	}
	if op.Packed {
		op.With &^= vkattn.WithKeyLengths
	}
	return op
}

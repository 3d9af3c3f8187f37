package cpu

import (
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestLongRows cuts the keys of the rows that see all of them, among rows that see few: neither the bits depend on it,
// nor does any row get lost.
func TestLongRows(t *testing.T) { onKernels(t, testLongRows) }

func testLongRows(t *testing.T, start func(Config) *Backend) {
	const sq, sk = 250, 2*partKeys + 300
	m, err := vkattn.MaskGrid{SeqQ: sq, SeqK: sk, BlockQ: 32, BlockK: 64}.Longformer(20, []int32{5, sk - sq + 100, sk - 1})
	if err != nil {
		t.Fatal(err)
	}
	op := vkattn.Attention{Batch: 1, HeadsQ: 2, HeadsK: 1, HeadsV: 1, SeqQ: sq, SeqK: sk, HeadDim: 8, With: vkattn.WithLSE | vkattn.WithSinkLogits}
	r := newContiguousRun(newRand(4), op)
	r.op.With |= vkattn.WithBlocks
	r.args.Blocks = m
	var out, lse []float32
	for _, workers := range []int{1, 2, 5} {
		b := start(Config{Workers: workers})
		report := r.do(t, b)
		b.Close()
		if want := min(workers, 2) + min(workers-1, 1); report.Splits != want {
			t.Errorf("%d workers split %d ways, want %d", workers, report.Splits, want)
		}
		if workers == 1 {
			out, lse = slices.Clone(r.out), slices.Clone(r.lse)
			r.check(t)
		} else if !sameBits(out, r.out) || !sameBits(lse, r.lse) {
			t.Errorf("%d workers give other bits", workers)
		}
	}
}

package vkattn

import (
	"errors"
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestBlockMask(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batch, heads := rapid.IntRange(1, 3).Draw(t, "batch"), rapid.IntRange(1, 3).Draw(t, "heads")
		sq, sk := rapid.IntRange(0, 40).Draw(t, "sq"), rapid.IntRange(0, 40).Draw(t, "sk")
		bq, bk := rapid.IntRange(1, 50).Draw(t, "bq"), rapid.IntRange(1, 50).Draw(t, "bk")
		wide := rapid.Bool().Draw(t, "broadcast")
		maskBatch, maskHeads := batch, heads
		if wide {
			maskBatch, maskHeads = 1, 1
		}
		listed := func(b, h, r, c int) bool { return (b*7+h*5+r*3+c)%3 != 0 }
		m, err := NewBlockMask(maskBatch, maskHeads, sq, sk, bq, bk, func(b, h, r, c int) (bool, bool) { return listed(b, h, r, c), true })
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Check(batch, heads, sq, sk); err != nil {
			t.Fatal(err)
		}
		for b := range batch {
			for h := range heads {
				for i := range sq {
					for j := range sk {
						bb, hh := b, h
						if wide {
							bb, hh = 0, 0
						}
						if got := m.Listed(b, h, i, j); got != listed(bb, hh, i/bq, j/bk) {
							t.Fatalf("Listed(%d, %d, %d, %d) is %v", b, h, i, j, got)
						}
					}
				}
				for r := range m.RowBlocks {
					keys, full := m.List(b, h, r)
					for n, c := range keys {
						edge := (r+1)*bq > sq || (int(c)+1)*bk > sk
						if full[n] == edge {
							t.Fatalf("block %d, %d of %d x %d: full is %v", r, c, sq, sk, full[n])
						}
					}
				}
			}
		}
	})
}

func TestBlockMaskSizes(t *testing.T) {
	all := func(_, _, _, _ int) (bool, bool) { return true, true }
	for _, size := range [][2]int{{0, 1}, {1, 0}, {-1, 4}, {math.MaxInt, 4}, {4, math.MaxInt}} {
		if _, err := NewBlockMask(1, 1, 8, 8, size[0], size[1], all); !errors.Is(err, ErrInvalid) {
			t.Errorf("block size %v: %v", size, err)
		}
	}
	huge := &BlockMask{BlockQ: 1, BlockK: 1, Batch: 1 << 20, Heads: 1 << 16, RowBlocks: 1 << 28, KeyBlocks: 1, Start: []int32{0}}
	if err := huge.Check(1<<20, 1<<16, 1<<28, 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("2^64 lists in one number: %v", err)
	}
	if err := (*BlockMask)(nil).Check(1, 1, 1, 1); !errors.Is(err, ErrInvalid) {
		t.Errorf("no mask: %v", err)
	}
}

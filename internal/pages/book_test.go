package pages

import (
	"errors"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestBanks: sequences that grow in turn stay in banks of their own, and go on in others only where theirs has no page left.
func TestBanks(t *testing.T) {
	const page, bank = 4, 10
	spec := vkattn.CacheSpec{Op: vkattn.Attention{Batch: 3, HeadsQ: 1, SeqQ: 200, SeqK: 200, HeadDim: 8}, Layers: 1, Page: page, Pages: 35}
	b := New(spec, bank)
	var seqs []vkattn.CacheSeq
	for range 3 {
		s, err := b.Add()
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, s)
	}
	banks := func(s vkattn.CacheSeq) (at []int) {
		q, err := b.Get(s)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range q.Pages {
			at = append(at, int(p)/bank)
		}
		return slices.Compact(at)
	}
	grow := func(n ...int) error {
		_, err := b.Grow(seqs, n)
		return err
	}
	for range bank {
		if err := grow(page, page, page); err != nil {
			t.Fatal(err)
		}
	}
	for i, s := range seqs {
		if at := banks(s); len(at) != 1 {
			t.Errorf("sequence %d lies in banks %v", i, at)
		}
	}
	if err := grow(page, 0, page); err != nil {
		t.Fatal(err)
	}
	for i, n := range []int{2, 1, 2} {
		if at := banks(seqs[i]); len(at) != n {
			t.Errorf("sequence %d lies in banks %v, want %d", i, at, n)
		}
	}
	if err := grow(0, 4*page, 0); !errors.Is(err, vkattn.ErrCacheFull) {
		t.Errorf("35 pages: %v", err)
	}
	if err := grow(0, 3*page, 0); err != nil {
		t.Error(err)
	}
}

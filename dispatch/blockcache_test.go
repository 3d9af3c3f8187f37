package dispatch

import (
	"reflect"
	"runtime"
	"slices"
	"sync"
	"testing"
	"weak"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// blockSections are the sections of a call of one sequence with one head.
func blockSections(cache *blockCache, g *geometry, m *vkattn.BlockMask, limit uint64) *sections {
	s := &g.seqs[0]
	return &sections{layout: newLayout(g, &vk.Limits{MaxStorageBufferRange: limit}), mask: &cutMask{m, s.Sq, s.Sk, cache}}
}

func blockGeometry(sq, sk, tileRows int) *geometry {
	op := vkattn.Attention{Batch: 1, HeadsQ: 1, HeadsK: 1, HeadsV: 1, SeqQ: sq, SeqK: sk, HeadDim: 64, ValueDim: 64, With: vkattn.WithBlocks}
	return newGeometry(op, []vkattn.Sequence{{Sq: sq, Sk: sk, Off: sk - sq, Rel: sk - sq}}, tileRows, keyTile, 1)
}

func strided(t testing.TB, sq, sk, stride int) *vkattn.BlockMask {
	t.Helper()
	m, err := vkattn.MaskGrid{SeqQ: sq, SeqK: sk}.Strided(stride, vkattn.Merged)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkSections walks the words of all sections, as kernels do, and compares every pair with the mask.
func checkSections(t *testing.T, s *sections) (n int) {
	t.Helper()
	sq, sk, rows := s.mask.sq, s.mask.sk, s.tileRows
	for at := 0; at < s.tiles; n++ {
		sec, err := s.next(at, 0)
		if err != nil {
			t.Fatal(err)
		}
		for tile := at; tile < sec.end; tile++ {
			kept := make([]bool, rows*sk)
			list := sec.words[sec.params.BlockList+2*uint32(tile):]
			for e := list[0]; e < list[1]; e += 2 {
				first, kind := int(sec.words[e]>>2)*keyTile, sec.words[e]&3
				for i := range rows {
					for j := first; j < min(first+keyTile, sk); j++ {
						kept[i*sk+j] = kind&blockBits == 0 || sec.words[int(sec.words[e+1])+i]>>(j-first)&1 != 0
					}
				}
			}
			for i := tile * rows; i < min((tile+1)*rows, sq); i++ {
				for j := range sk {
					if got := kept[(i-tile*rows)*sk+j]; got != s.mask.Listed(0, 0, i, j) {
						t.Fatalf("section %d lists row %d and key %d: %v", n, i, j, got)
					}
				}
			}
		}
		at = sec.end
	}
	return n
}

// TestBlockCacheLists: what is kept is right for its mask, lengths and limits, after calls with others as well.
func TestBlockCacheLists(t *testing.T) {
	var cache blockCache
	square, wide := blockGeometry(300, 300, 24), blockGeometry(300, 700, 24)
	a, b, c := strided(t, 300, 300, 17), strided(t, 300, 300, 40), strided(t, 300, 700, 17)
	for range 3 {
		for _, x := range []struct {
			g     *geometry
			m     *vkattn.BlockMask
			limit uint64
			parts int
		}{{square, a, 1 << 20, 1}, {square, b, 1 << 20, 1}, {wide, c, 1 << 20, 1}, {square, a, 2 << 10, 5}, {square, a, 4 << 10, 2}} {
			if n := checkSections(t, blockSections(&cache, x.g, x.m, x.limit)); n < x.parts {
				t.Fatalf("%d sections in %d bytes", n, x.limit)
			}
		}
	}
	s := blockSections(&cache, square, a, 1<<20)
	once := s.fill(0, 1<<18, 10)
	if s.fill(0, 1<<18, 10) != once {
		t.Error("a call with the same mask cuts it again")
	}
	for name, other := range map[string]*filled{"room": s.fill(0, 1<<17, 10), "sequence": s.fill(0, 1<<18, 11), "tile": s.fill(1, 1<<18, 10),
		"mask": blockSections(&cache, square, b, 1<<20).fill(0, 1<<18, 10), "geometry": blockSections(&cache, blockGeometry(300, 300, 24), a, 1<<20).fill(0, 1<<18, 10)} {
		if other == once {
			t.Errorf("another %s has the same lists", name)
		}
	}
	cache.close()
	if s.fill(0, 1<<18, 10) == once || len(cache.kept) > 0 {
		t.Error("a closed cache keeps lists")
	}
}

// TestBlockCacheBounds: the last used lists stay, those of masks that are gone and those beyond the bounds do not.
func TestBlockCacheBounds(t *testing.T) {
	var cache blockCache
	var masks []*vkattn.BlockMask
	key := func(i int) blockKey { return blockKey{mask: weak.Make(masks[i])} }
	lists := func(words int) *filled { return &filled{blocks: tiledBlocks{bits: make([]uint32, words)}} }
	for i := range maxCachedSections + 10 {
		masks = append(masks, &vkattn.BlockMask{BlockQ: i})
		cache.keep(key(i), lists(1))
		cache.find(key(0))
	}
	if last := len(masks) - 1; len(cache.kept) != maxCachedSections || cache.find(key(0)) == nil || cache.find(key(last)) == nil || cache.find(key(1)) != nil {
		t.Errorf("%d sections are kept, or the wrong ones", len(cache.kept))
	}
	cache.keep(key(1), lists(maxCachedWords/2))
	cache.keep(key(2), lists(maxCachedWords/2))
	if cache.find(key(1)) == nil || cache.find(key(2)) == nil || len(cache.kept) != 2 {
		t.Error("lists that fill the bound exactly are not kept, or others are")
	}
	cache.keep(key(3), lists(maxCachedWords+1))
	if cache.find(key(3)) != nil || len(cache.kept) != 2 {
		t.Error("lists larger than the bound are kept, or displace others")
	}
	cache.keep(key(1), lists(3))
	if f := cache.find(key(1)); f == nil || len(f.blocks.bits) != 3 || len(cache.kept) != 2 {
		t.Error("lists that are kept again stand beside the older ones")
	}
	masks = slices.Clone(masks[:2])
	runtime.GC()
	cache.keep(key(0), lists(1))
	if len(cache.kept) != 2 {
		t.Errorf("%d sections are kept, of two masks", len(cache.kept))
	}
	runtime.KeepAlive(masks)
}

// TestBlockCacheConcurrent cuts few masks many times at once.
func TestBlockCacheConcurrent(t *testing.T) {
	var cache blockCache
	g := blockGeometry(200, 200, 16)
	var want []*filled
	var masks []*vkattn.BlockMask
	for stride := range 5 {
		masks = append(masks, strided(t, 200, 200, 10+stride))
		want = append(want, blockSections(nil, g, masks[stride], 1<<20).cutLists(0, 1<<18, 10))
	}
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			for i := range 50 {
				k := (n + i) % len(masks)
				if f := blockSections(&cache, g, masks[k], 1<<20).fill(0, 1<<18, 10); !reflect.DeepEqual(f, want[k]) {
					t.Errorf("mask %d has the lists of another", k)
				}
			}
		})
	}
	group.Wait()
}

// BenchmarkBlockLists makes the work buffer of a call with a mask of 16k tokens, for the first time and again.
func BenchmarkBlockLists(b *testing.B) {
	m := strided(b, 16<<10, 16<<10, 128)
	g := blockGeometry(16<<10, 16<<10, 64)
	for _, name := range []string{"first", "again"} {
		b.Run(name, func(b *testing.B) {
			var cache blockCache
			b.ReportAllocs()
			for b.Loop() {
				if name == "first" {
					cache = blockCache{}
				}
				sec, err := blockSections(&cache, g, m, 128<<20).next(0, 0)
				if err != nil || sec.end != g.tiles {
					b.Fatal(sec.end, err)
				}
			}
		})
	}
}

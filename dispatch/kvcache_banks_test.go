package dispatch_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// banked is a cache whose pages lie in many banks on a device that binds 256 KiB: some 120 tokens in each.
func banked(page int) vkattn.CacheSpec {
	inv, _, err := vkattn.RopeFrequencies(64, 1e4, nil)
	if err != nil {
		panic(err)
	}
	op := vkattn.Attention{Batch: 5, HeadsQ: 8, SeqQ: 50, TotalQ: 110, SeqK: 300, HeadDim: 64}
	return vkattn.CacheSpec{Op: op, Layers: 1, Page: page, Pages: 1200 / page, Rope: vkattn.CacheRope{InvFreq: inv}}
}

func narrow(c *vk.Caps) { c.Limits.MaxStorageBufferRange = 256 << 10 }

// TestKVCacheBanks: a pool that is more than the device binds of a head gives the bits of one without pages, whatever the split.
func TestKVCacheBanks(t *testing.T) {
	for _, x := range []struct {
		split  int
		device string // whose numbers of workgroups at once are taken; "": this one's
		pages  []int
	}{{0, "", []int{4, 16, 20}}, {64, "", []int{4, 20}}, {64, "discrete", []int{8}}} {
		as := func(change func(*vk.Caps)) dispatch.Config {
			return lowered(func(c *vk.Caps) {
				if x.device != "" {
					c.DeviceType = x.device
				}
				change(c)
			})
		}
		if testing.Short() {
			x.pages = x.pages[:1]
		}
		plain := banked(1)
		plain.Page, plain.Pages, plain.SplitKeys = 0, 0, x.split
		want := serveLong(t, newCache(t, open(t, as(func(*vk.Caps) {})), plain))
		b := open(t, as(narrow))
		for _, page := range x.pages {
			spec := banked(page)
			spec.SplitKeys = x.split
			c := newCache(t, b, spec)
			if n := c.(*dispatch.KVCache).Banks(); n < 8 {
				t.Errorf("page %d: %d banks", page, n)
			}
			shuffle(t, c)
			if err := c.(*dispatch.KVCache).Poison(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := sameRows(serveLong(t, c), want); err != nil {
				t.Errorf("parts of %d keys, page %d: %v", x.split, page, err)
			}
		}
	}
}

// TestKVCacheOneHead: a device that binds the pages of one head, not of all, gives the bits of one that binds everything, also where
// heads take turns.
func TestKVCacheOneHead(t *testing.T) {
	wide, small := open(t, lowered(nil)), open(t, lowered(narrow))
	for _, heads := range []vkattn.HeadMap{vkattn.HeadBlock, vkattn.HeadCyclic} {
		for _, page := range []int{0, 4} {
			spec := banked(4)
			spec.Op.HeadsK, spec.Op.HeadMap, spec.Page, spec.Pages = 4, heads, page, 225
			if page == 0 {
				spec.Pages = 0
			}
			c := newCache(t, small, spec)
			if n := c.(*dispatch.KVCache).Banks(); n > 1 {
				t.Errorf("page %d: %d banks", page, n)
			}
			if err := sameRows(serveLong(t, c), serveLong(t, newCache(t, wide, spec))); err != nil {
				t.Errorf("head map %d, page %d: %v", heads, page, err)
			}
		}
	}
}

// TestKVCacheTexels: keys and values of two types, the pages of a head of which texel buffers just show, or just do not, wherever the
// buffers may begin.
func TestKVCacheTexels(t *testing.T) {
	spec := banked(4)
	spec.Op.TypeK, spec.Op.TypeV, spec.Pages = vkattn.Q8_0, vkattn.Float16, 119
	want := serveLong(t, newCache(t, open(t, lowered(nil)), spec))
	for _, align := range []uint64{16, 256} {
		b := open(t, lowered(func(c *vk.Caps) {
			c.Limits.MinTexelBufferOffsetAlignment = max(align, c.Limits.MinTexelBufferOffsetAlignment)
			c.Limits.MaxTexelBufferElements = 119*4*68/4 + 256 // a head of keys takes 68 bytes a row
		}))
		if err := sameRows(serveLong(t, newCache(t, b, spec)), want); err != nil {
			t.Errorf("texel buffers begin at multiples of %d bytes: %v", align, err)
		}
	}
}

// TestKVCacheTooManyTokens: rows that the device does not bind at once are refused before anything is done.
func TestKVCacheTooManyTokens(t *testing.T) {
	spec := banked(4)
	spec.Op.TotalQ = 150
	c := newCache(t, open(t, lowered(narrow)), spec)
	seqs := addSeqs(t, c, 3)
	var tokens []vkattn.CacheTokens
	for _, s := range seqs {
		tokens = append(tokens, vkattn.CacheTokens{Seq: s, N: 50})
	}
	step, err := c.Step(t.Context(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	rows := func() vkattn.Tensor {
		return vkattn.THD(vkattn.Float32s(make([]float32, 150*8*64)), 150, 8, 64)
	}
	_, err = step.Run(t.Context(), 0, vkattn.CacheArgs{Q: rows(), K: rows(), V: rows(), Out: rows()})
	if !errors.Is(err, vkattn.ErrUnsupported) || !strings.Contains(err.Error(), "Q of 150 tokens") {
		t.Error(err)
	}
}

// serveLong is serve with sequences that are longer than a bank.
func serveLong(t *testing.T, c vkattn.Cache) (all [][]float32) {
	seqs, names, lens := addSeqs(t, c, 3), []int{1, 2, 3}, []int{0, 0, 0}
	for _, n := range [][]int{{40, 1, 50}, {50, 10, 50}, {1, 50, 50}, {33, 20, 50}, {1, 1, 1}, {1, 50, 1}, {7, 1, 1}} {
		all = append(all, enter(t, c, seqs, names, lens, n, false)...)
		for i := range lens {
			lens[i] += n[i]
		}
	}
	return all
}

// TestKVCacheBanksAgainstModel: random operations on pools in banks, evicted pages among them.
func TestKVCacheBanksAgainstModel(t *testing.T) {
	b := open(t, lowered(narrow))
	n := 80
	if testing.Short() {
		n = 30
	}
	for i, spec := range append(bankedSpecs(), banked(12)) {
		t.Run(fmt.Sprintf("%d page %d", i, spec.Page), func(t *testing.T) {
			c := newCache(t, b, spec)
			r := attntest.NewCacheRun(c, uint64(i))
			r.Trees, r.Cascades = !spec.Op.Window.Given(), true
			if err := r.Do(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			t.Log(r.Counts, c.Stats())
		})
	}
}

// TestKVCacheBanksRefused: pages that no bank can have are refused with the way out.
func TestKVCacheBanksRefused(t *testing.T) {
	b := open(t, lowered(narrow))
	for _, page := range []int{1, 6, 200} {
		_, err := b.NewCache(t.Context(), banked(page))
		if !errors.Is(err, vkattn.ErrUnsupported) || !strings.Contains(err.Error(), "multiple of 4 tokens") {
			t.Errorf("page %d: %v", page, err)
		}
	}
}

// TestKVDecoderBanks: a recorded step is recorded anew when a sequence goes on in another bank.
func TestKVDecoderBanks(t *testing.T) {
	b := open(t, lowered(narrow))
	spec := banked(4)
	spec.SplitKeys = 64
	one, two := newDecoding(t, b, spec, []int{100, 230, 5}), newDecoding(t, b, spec, []int{100, 230, 5})
	two.args[0].Cascade = true
	decoder, err := two.c.(*dispatch.KVCache).NewDecoder(two.args)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	for i := range 30 {
		if _, err := one.step(t).Run(t.Context(), 0, one.args[0]); err != nil {
			t.Fatal(err)
		}
		r, err := decoder.Run(t.Context(), two.step(t))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Notes) != 1 || !strings.HasPrefix(r.Notes[0], "cascade not taken") {
			t.Fatalf("noted %q", r.Notes)
		}
		if err := sameRows(two.out(t), one.out(t)); err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
	if n := decoder.Recorded(); n < 3 || n > 6 {
		t.Errorf("recorded %d times: two sequences go to another bank, and one beyond 256 tokens", n)
	}
}

package dispatch_test

import (
	"errors"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
)

// TestCachesRefuse: what is wrong is an error that says so, before any work, and the cache goes on as if it had not been asked.
func TestCachesRefuse(t *testing.T) {
	host := cpu.New(cpu.Config{})
	defer host.Close()
	for name, b := range map[string]vkattn.CacheBackend{"cpu": host, "vulkan": open(t, dispatch.Config{})} {
		spec := bitsSpec(4)
		spec.Op.Batch, spec.Op.SeqK, spec.Pages, spec.Rope.Positions = 2, 100, 10, 30
		c := newCache(t, b, spec)
		s := addSeqs(t, c, 2)
		enter(t, c, s[:1], []int{1}, []int{0}, []int{9}, false)
		stale, err := c.Step(t.Context(), []vkattn.CacheTokens{{Seq: s[1], N: 1}})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Truncate(s[1], 0); err != nil {
			t.Fatal(err)
		}
		before := c.Stats()
		step := func(tokens ...vkattn.CacheTokens) func() error {
			return func() error { _, err := c.Step(t.Context(), tokens); return err }
		}
		adopt := func(n int, pages ...int32) func() error {
			return func() error { _, err := c.Adopt(pages, n); return err }
		}
		table := c.Table(s[0])
		for what, f := range map[string]struct {
			want error
			call func() error
		}{
			"no such sequence":          {vkattn.ErrInvalid, step(vkattn.CacheTokens{Seq: 99, N: 1})},
			"a sequence twice":          {vkattn.ErrInvalid, step(vkattn.CacheTokens{Seq: s[0], N: 1}, vkattn.CacheTokens{Seq: s[0], N: 1})},
			"no tokens":                 {vkattn.ErrInvalid, step(vkattn.CacheTokens{Seq: s[0]})},
			"a parent that comes later": {vkattn.ErrInvalid, step(vkattn.CacheTokens{Seq: s[0], N: 2, Parents: []int32{1, -1}})},
			"a parent too few":          {vkattn.ErrInvalid, step(vkattn.CacheTokens{Seq: s[0], N: 2, Parents: []int32{-1}})},
			"a position without angles": {vkattn.ErrInvalid, step(vkattn.CacheTokens{Seq: s[0], N: 22})},
			"no pages":                  {vkattn.ErrCacheFull, step(vkattn.CacheTokens{Seq: s[0], N: 20}, vkattn.CacheTokens{Seq: s[1], N: 20})},
			"a third sequence":          {vkattn.ErrCacheFull, func() error { _, err := c.Add(); return err }},
			"a fork too many":           {vkattn.ErrCacheFull, func() error { _, err := c.Fork(s[0]); return err }},
			"truncated to more":         {vkattn.ErrInvalid, func() error { return c.Truncate(s[0], 10) }},
			"a path that falls":         {vkattn.ErrInvalid, func() error { return c.Keep(t.Context(), s[0], 4, []int{2, 1}) }},
			"a path beyond the end":     {vkattn.ErrInvalid, func() error { return c.Keep(t.Context(), s[0], 4, []int{5}) }},
			"a page out of range":       {vkattn.ErrInvalid, adopt(4, 10)},
			"a page below all":          {vkattn.ErrInvalid, adopt(4, -1)},
			"a page that nobody holds":  {vkattn.ErrInvalid, adopt(8, table[0], (table[2]+1)%10)},
			"a page twice":              {vkattn.ErrInvalid, adopt(8, table[0], table[0])},
			"pages too few":             {vkattn.ErrInvalid, adopt(9, table[0], table[1])},
			"a stale step":              {vkattn.ErrInvalid, func() error { _, err := stale.Run(t.Context(), 0, vkattn.CacheArgs{}); return err }},
		} {
			if err := f.call(); !errors.Is(err, f.want) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
			if st := c.Stats(); st != before {
				t.Errorf("%s, %s: changed %+v to %+v", name, what, before, st)
			}
		}
	}
}

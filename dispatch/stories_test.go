package dispatch_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/golden"
	"github.com/vkattn/vkattn/internal/llama"
)

// TestStories: a whole model, whose attention, rotary positions and cache are on the device, writes llama2.c's texts
// token by token.
func TestStories(t *testing.T) {
	set := golden.ForTest(t)
	options := []llama.Options{{Tokens: 8}, {Tokens: 8, Page: 16}, {Tokens: 8, Page: 16, SplitKeys: 64}}
	b := open(t, dispatch.Config{CacheDir: "off"})
	texts := 0
	for _, c := range set.Cases {
		if c.Op != golden.Generate {
			continue
		}
		want, err := c.Text()
		if errors.Is(err, vkattn.ErrUnsupported) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		e, err := llama.Open(t.Context(), b, want.Model, want.Tokenizer, options[texts%len(options)])
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		got, err := e.Generate(t.Context(), &text, llama.Request{Prompt: want.Prompt, Steps: want.Steps})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range want.Check(got.Tokens, text.String(), got.Logits) {
			if r.Err != nil {
				t.Error(r.Err)
			}
		}
		t.Logf("%s: %d tokens in %v, %v of it attention by %s", c.Name, got.Stats.Tokens, got.Time, got.Attention, e.Report().Kernel)
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		texts++
	}
	if texts == 0 {
		t.Skipf("no texts in %s", set.Dir)
	}
}

// TestStoriesInTypes: caches that round keys and values on the device. What they change is reported; a device that has no such
// caches says so. 8-bit floats with VKATTN_FULL=1 only, float16 alone with -short.
func TestStoriesInTypes(t *testing.T) {
	c := golden.ForTest(t).Case("greedy_1")
	if c == nil {
		t.Skip("the golden set has no such text")
	}
	want, err := c.Text()
	if errors.Is(err, vkattn.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, dispatch.Config{CacheDir: "off"})
	types := []struct {
		typ   vkattn.Type
		least int // tokens that are the same, of 200
	}{{vkattn.Float16, 100}, {vkattn.F8E4M3, 20}, {vkattn.Q8_0, 20}}
	for _, x := range types {
		if x.typ != vkattn.Float16 && testing.Short() || x.typ == vkattn.F8E4M3 && !full {
			continue // each has pipelines of its own
		}
		e, err := llama.Open(t.Context(), b, want.Model, want.Tokenizer, llama.Options{Tokens: 8, Cache: x.typ})
		if errors.Is(err, vkattn.ErrUnsupported) {
			t.Logf("%s: not here: %v", x.typ, err)
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Generate(t.Context(), io.Discard, llama.Request{Prompt: want.Prompt, Steps: want.Steps})
		if err != nil {
			t.Fatal(err)
		}
		n := want.Agrees(got.Tokens)
		t.Logf("%s: %d of %d tokens", x.typ, n, want.Steps)
		if n < x.least {
			t.Errorf("%s: %d of %d tokens are the same, want %d", x.typ, n, want.Steps, x.least)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}

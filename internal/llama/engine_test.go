package llama_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/llama"
)

// TestTextsTogether: texts that are computed in the same steps, prompts beside single tokens, over pages, are those that they are alone,
// and so are the bits of their logits.
func TestTextsTogether(t *testing.T) {
	o := llama.Options{Sequences: 3, Tokens: 8, Page: 16, SplitKeys: 64}
	e := open(t, o)
	likeliest := func(logits []float32) int {
		id, err := (&llama.Sampler{}).Choose(logits)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	type text struct {
		seq    vkattn.CacheSeq
		tokens []int
		done   int
		logits []float32
	}
	var all []*text
	for _, prompt := range []string{"Once upon a time, there was a little girl", "Tom", "Lily and Tom"} {
		seq, err := e.Cache.Add()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, &text{seq: seq, tokens: e.Tokenizer.Encode(prompt)})
	}
	for range 60 {
		var chunks []llama.Chunk
		var who []*text
		left := o.Tokens
		for i, x := range all {
			if n := min(len(x.tokens)-x.done, left-(len(all)-1-i), 3); n > 0 {
				chunks, who, left = append(chunks, llama.Chunk{Text: x.seq, Tokens: x.tokens[x.done : x.done+n]}), append(who, x), left-n
			}
		}
		logits, err := e.Step(t.Context(), chunks...)
		if err != nil {
			t.Fatal(err)
		}
		for i, x := range who {
			if x.done += len(chunks[i].Tokens); x.done == len(x.tokens) {
				x.logits = slices.Clone(logits[i])
				x.tokens = append(x.tokens, likeliest(logits[i]))
			}
		}
	}
	alone := open(t, llama.Options{Tokens: 8, Page: 16, SplitKeys: 64})
	for i, prompt := range []string{"Once upon a time, there was a little girl", "Tom", "Lily and Tom"} {
		x := all[i]
		got, err := alone.Generate(t.Context(), io.Discard, llama.Request{Prompt: prompt, Steps: len(x.tokens) - 1})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Tokens, x.tokens) {
			t.Errorf("%q: %v together, %v alone", prompt, x.tokens, got.Tokens)
		}
		if !slices.Equal(got.Logits, x.logits) {
			t.Errorf("%q: other logits together than alone", prompt)
		}
		if len(x.tokens) < 50 {
			t.Errorf("%q: %d tokens", prompt, len(x.tokens))
		}
	}
}

// TestInterrupted: a text that is stopped is printed as far as it came, and the engine goes on.
func TestInterrupted(t *testing.T) {
	e := open(t, llama.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var out strings.Builder
	result, err := e.Generate(ctx, writer(func(b []byte) {
		if out.Write(b); out.Len() > 40 {
			cancel()
		}
	}), llama.Request{Prompt: "Once upon a time", Steps: 200})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if out.Len() < 40 || out.Len() > 60 || len(result.Tokens) < 10 || result.Time <= 0 {
		t.Errorf("%q, %d tokens in %v", out.String(), len(result.Tokens), result.Time)
	}
	if s := e.Cache.Stats(); s.Sequences != 0 || s.Tokens != 0 {
		t.Errorf("%+v", s)
	}
	if _, err := e.Generate(t.Context(), io.Discard, llama.Request{Steps: 5}); err != nil {
		t.Error(err)
	}
}

// TestFailedStep: a step that fails leaves the cache as it was.
func TestFailedStep(t *testing.T) {
	e := open(t, llama.Options{Context: 20, Tokens: 8})
	seq, err := e.Cache.Add()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Step(t.Context(), llama.Chunk{Text: seq, Tokens: []int{1, 2, 3}}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx    context.Context
		tokens []int
	}{
		"no such token":   {t.Context(), []int{4, 512}},
		"negative":        {t.Context(), []int{-1}},
		"none":            {t.Context(), nil},
		"more than fit":   {t.Context(), make([]int, 9)},
		"ended before it": {ctx, []int{4}},
	} {
		if _, err := e.Step(c.ctx, llama.Chunk{Text: seq, Tokens: c.tokens}); err == nil {
			t.Errorf("%s: no error", name)
		}
		if n := e.Cache.Len(seq); n != 3 {
			t.Errorf("%s: %d tokens in the cache", name, n)
		}
	}
	for range 2 {
		if _, err := e.Step(t.Context(), llama.Chunk{Text: seq, Tokens: make([]int, 8)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Step(t.Context(), llama.Chunk{Text: seq, Tokens: make([]int, 2)}); !errors.Is(err, vkattn.ErrCacheFull) {
		t.Errorf("beyond the context: %v", err)
	}
}

func TestLengths(t *testing.T) {
	e := open(t, llama.Options{Context: 50})
	for _, r := range []llama.Request{{Steps: 51}, {Steps: -1}, {Prompt: "Once upon a time", Steps: 4}, {Prompt: strings.Repeat("xyz ", 50)}} {
		var length *llama.LengthError
		if _, err := e.Generate(t.Context(), io.Discard, r); !errors.As(err, &length) {
			t.Errorf("%+v: %v", r, err)
		}
	}
	// As many as the context has.
	got, err := e.Generate(t.Context(), io.Discard, llama.Request{})
	if err != nil || len(got.Tokens) != 51 {
		t.Errorf("%d tokens, %v", len(got.Tokens), err)
	}
	for _, o := range []llama.Options{{Context: 513}, {Context: -1}, {Sequences: -1}, {Tokens: -1}} {
		if _, err := llama.NewEngine(t.Context(), nil, e.Model, nil, o); err == nil {
			t.Errorf("%+v passes", o)
		}
	}
}

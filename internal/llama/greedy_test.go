package llama_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/internal/golden"
	"github.com/vkattn/vkattn/internal/llama"
)

var (
	modelPath     = filepath.Join("..", "..", "testdata", "stories", "stories260K.bin")
	tokenizerPath = filepath.Join("..", "..", "testdata", "stories", "tok512.bin")
)

// open is an engine on the CPU.
func open(t testing.TB, o llama.Options) *llama.Engine {
	t.Helper()
	b := cpu.New(cpu.Config{})
	t.Cleanup(func() { b.Close() })
	e, err := llama.Open(t.Context(), b, modelPath, tokenizerPath, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// shipped are the golden cases about texts that come with the module.
func shipped(t testing.TB) []*golden.Text {
	t.Helper()
	set, err := golden.Load(filepath.Join("..", "..", "testdata", "golden"))
	if err != nil {
		t.Fatal(err)
	}
	var all []*golden.Text
	for _, c := range set.Cases {
		if c.Op != golden.Generate {
			continue
		}
		text, err := c.Text()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, text)
	}
	if len(all) != 3 {
		t.Fatalf("%d texts, want 3", len(all))
	}
	return all
}

// TestGreedy: the texts of llama2.c, token by token, whatever the parts that the prompt is computed in.
func TestGreedy(t *testing.T) {
	for _, o := range []llama.Options{{}, {Tokens: 3, Context: 200}} {
		e := open(t, o)
		for _, want := range shipped(t) {
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
			if n := want.Agrees(got.Tokens); n != want.Steps {
				t.Errorf("%s: %d of %d tokens", want.Case.Name, n, want.Steps)
			}
			if got.Stats.Tokens != want.Steps || got.Attention <= 0 || got.Attention > got.Stats.Time || got.Stats.Time > got.Time || got.First > got.Time {
				t.Errorf("%s: %+v", want.Case.Name, got.Stats)
			}
		}
	}
}

// TestGreedyNotices: another prompt is another text, and the comparison says so.
func TestGreedyNotices(t *testing.T) {
	e, want := open(t, llama.Options{}), shipped(t)[2]
	var text strings.Builder
	got, err := e.Generate(t.Context(), &text, llama.Request{Prompt: "Lily and Tim", Steps: want.Steps})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range want.Check(got.Tokens, text.String(), got.Logits) {
		if r.Err == nil {
			t.Errorf("%s of another text passes", r.Tensor)
		}
	}
	for _, r := range want.Check(nil, "", nil) {
		if r.Err == nil {
			t.Errorf("%s of no text passes", r.Tensor)
		}
	}
	if n := want.Agrees(got.Tokens); n < 2 || n > 6 {
		t.Errorf("%d tokens agree", n)
	}
}

package llama_test

import (
	"io"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/llama"
)

// TestCacheTypes: how many tokens of each text are llama2.c's when the cache rounds keys and values. The README has the numbers;
// what is asked for here leaves room for other roundings of other CPUs.
func TestCacheTypes(t *testing.T) {
	for _, c := range []struct {
		typ   vkattn.Type
		least int // tokens in every text
	}{
		{vkattn.Float32, 200}, {vkattn.Float16, 150}, {vkattn.BFloat16, 100}, {vkattn.F8E4M3, 20}, {vkattn.F8E5M2, 15}, {vkattn.Q8_0, 30}, {vkattn.Q4_0, 2},
	} {
		e := open(t, llama.Options{Cache: c.typ})
		var agree []int
		for _, want := range shipped(t) {
			got, err := e.Generate(t.Context(), io.Discard, llama.Request{Prompt: want.Prompt, Steps: want.Steps})
			if err != nil {
				t.Fatal(err)
			}
			n := want.Agrees(got.Tokens)
			if agree = append(agree, n); n < c.least {
				t.Errorf("%s: %s agrees for %d tokens, want %d", c.typ, want.Case.Name, n, c.least)
			}
		}
		t.Logf("%s: %v of 200 tokens, %d bytes", c.typ, agree, e.Cache.Stats().Bytes)
	}
}

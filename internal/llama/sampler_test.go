package llama_test

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/vkattn/vkattn/internal/llama"
)

func choose(t *testing.T, s *llama.Sampler, logits []float32) int {
	t.Helper()
	id, err := s.Choose(logits)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestLikeliest(t *testing.T) {
	var s llama.Sampler
	if id := choose(t, &s, []float32{-5, 3, 1, 3}); id != 1 {
		t.Errorf("token %d", id)
	}
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))} {
		if _, err := s.Choose([]float32{1, bad}); !errors.Is(err, llama.ErrNotFinite) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

// TestSampled: tokens come as often as their probabilities say, those beyond top-p never.
func TestSampled(t *testing.T) {
	p := []float64{0.05, 0.4, 0.1, 0.15, 0.3}
	logits := make([]float32, len(p))
	for i, x := range p {
		logits[i] = float32(math.Log(x)) + 7
	}
	for _, c := range []struct {
		temperature, topP float64
		want              []float64
	}{
		{1, 0, p}, {1, 1, p},
		{1, 0.8, []float64{0, 0.4 / 0.85, 0, 0.15 / 0.85, 0.3 / 0.85}},
		{1, 0.01, []float64{0, 1, 0, 0, 0}},
		{0.5, 1, []float64{0.05 * 0.05 / 0.285, 0.16 / 0.285, 0.01 / 0.285, 0.0225 / 0.285, 0.09 / 0.285}},
		{1e-9, 1, []float64{0, 1, 0, 0, 0}},
		{1e9, 1, []float64{0.2, 0.2, 0.2, 0.2, 0.2}},
	} {
		s := llama.Sampler{Temperature: c.temperature, TopP: c.topP, Seed: 42}
		const n = 20000
		counts := make([]float64, len(p))
		for range n {
			counts[choose(t, &s, logits)]++
		}
		for i, want := range c.want {
			if sigma := math.Sqrt(want * (1 - want) / n); math.Abs(counts[i]/n-want) > 5*sigma {
				t.Errorf("temperature %g, top-p %g: token %d came %g of the time, want %g", c.temperature, c.topP, i, counts[i]/n, want)
			}
		}
	}
}

func TestSeeds(t *testing.T) {
	logits := make([]float32, 100)
	run := func(seed uint64) []int {
		s := llama.Sampler{Temperature: 1, TopP: 0.9, Seed: seed}
		var ids []int
		for range 20 {
			ids = append(ids, choose(t, &s, logits))
		}
		return ids
	}
	if !slices.Equal(run(7), run(7)) || slices.Equal(run(7), run(8)) || slices.Equal(run(0), run(1)) {
		t.Error("seeds do not decide")
	}
}

func TestSamplerCheck(t *testing.T) {
	for _, s := range []llama.Sampler{{Temperature: -1}, {Temperature: math.NaN()}, {Temperature: math.Inf(1)}, {TopP: -0.1}, {TopP: 1.1}, {TopP: math.NaN()}} {
		if s.Check() == nil {
			t.Errorf("%+v passes", s)
		}
	}
}

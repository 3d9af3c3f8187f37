package llama

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrNotFinite: the model computes NaN or infinities.
var ErrNotFinite = errors.New("llama: the model computes NaN or infinities")

// Sampler chooses the next token. The zero value takes the likeliest, the first of equals. With the same seed it chooses as
// llama2.c does, as far as the logits are the same.
type Sampler struct {
	Temperature float64 // 0: the likeliest token; 1: by the probabilities of the model
	TopP        float64 // above 0 and below 1: only the likeliest tokens, which together have this probability
	Seed        uint64
	state       uint64
}

// Check refuses numbers that mean nothing.
func (s *Sampler) Check() error {
	if !(s.Temperature >= 0) || math.IsInf(s.Temperature, 0) {
		return fmt.Errorf("llama: temperature %v, want 0 or more", s.Temperature)
	}
	if !(s.TopP >= 0 && s.TopP <= 1) {
		return fmt.Errorf("llama: top-p %v, want 0 to 1", s.TopP)
	}
	return nil
}

// Choose is the next token by the model's logits, which it does not change.
func (s *Sampler) Choose(logits []float32) (int, error) {
	best := 0
	for i, x := range logits {
		if x-x != 0 {
			return 0, fmt.Errorf("%w: the logit of token %d is %v", ErrNotFinite, i, x)
		}
		if x > logits[best] {
			best = i
		}
	}
	if s.Temperature == 0 {
		return best, nil
	}
	type candidate struct {
		p  float32
		id int
	}
	all := make([]candidate, len(logits))
	sum := float32(0)
	for i, x := range logits {
		p := float32(math.Exp(float64(x-logits[best]) / s.Temperature))
		all[i] = candidate{p, i}
		sum += p
	}
	for i := range all {
		all[i].p /= sum
	}
	coin := s.random()
	mass := float32(1)
	if s.TopP > 0 && s.TopP < 1 && len(all) > 1 {
		// What is less likely cannot be among them.
		cut := float32(1-s.TopP) / float32(len(all)-1)
		all = slices.DeleteFunc(all, func(c candidate) bool { return c.p < cut })
		slices.SortStableFunc(all, func(a, b candidate) int {
			switch {
			case a.p > b.p:
				return -1
			case a.p < b.p:
				return 1
			}
			return 0
		})
		sum, last := float32(0), len(all)-1
		for i, c := range all {
			if sum += c.p; sum > float32(s.TopP) {
				last = i
				break
			}
		}
		all, mass = all[:last+1], sum
	}
	coin *= mass
	sum = 0
	for _, c := range all {
		if sum += c.p; coin < sum {
			return c.id, nil
		}
	}
	return all[len(all)-1].id, nil // the sum was rounded down
}

// random is a number from 0 up to 1: xorshift64*, which never leaves the state 0.
func (s *Sampler) random() float32 {
	if s.state == 0 {
		if s.state = s.Seed; s.state == 0 {
			s.state = 0x9e3779b97f4a7c15
		}
	}
	s.state ^= s.state >> 12
	s.state ^= s.state << 25
	s.state ^= s.state >> 27
	return float32(uint32(s.state*0x2545f4914f6cdd1d>>32)>>8) / (1 << 24)
}

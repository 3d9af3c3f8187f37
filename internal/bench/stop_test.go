package bench

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// samplesUntil feeds the criterion from next until it is met, or n times.
func samplesUntil(rule Rule, n int, next func(i int) float64) (taken int, why string) {
	c := newCriterion(rule.withDefaults())
	for i := range n {
		c.add(time.Duration(next(i)))
		if why := c.done(); why != "" && i >= 9 {
			return i + 1, why
		}
	}
	return n, ""
}

func TestStopRules(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, c := range []struct {
		name      string
		criterion string
		next      func(i int) float64
		why       string
		low, high int // samples
	}{
		{"constant", "stdrel", func(int) float64 { return 1e6 }, StopNoise, 10, 10},
		{"0.1% noise", "stdrel", func(int) float64 { return 1e6 * (1 + 0.001*r.NormFloat64()) }, StopNoise, 10, 10},
		{"1% noise never gets quiet but settles", "stdrel", func(int) float64 { return 1e6 * (1 + 0.01*r.NormFloat64()) }, StopSettled, 65, 2000},
		{"20% noise settles", "stdrel", func(int) float64 { return 1e6 * (1 + 0.2*r.NormFloat64()) }, StopSettled, 65, 2000},
		{"ever slower does not settle", "stdrel", func(i int) float64 { return 1e3 * math.Pow(1.05, float64(i)) }, "", 300, 300},
		{"entropy of a constant", "entropy", func(int) float64 { return 1e6 }, StopEntropy, 10, 10},
		{"entropy of two levels", "entropy", func(i int) float64 { return 1e6 * float64(1+i%2) }, StopEntropy, 10, 700},
		{"entropy of 1% noise", "entropy", func(int) float64 { return 1e6 * (1 + 0.01*r.NormFloat64()) }, StopEntropy, 20, 3000},
		{"entropy of ever new values", "entropy", func(i int) float64 { return 1e6 * float64(1+i) }, "", 300, 300},
	} {
		n := 3000
		if c.why == "" {
			n = c.high
		}
		taken, why := samplesUntil(Rule{Criterion: c.criterion}, n, c.next)
		if why != c.why || taken < c.low || taken > c.high {
			t.Errorf("%s: %q after %d samples, want %q after %d to %d", c.name, why, taken, c.why, c.low, c.high)
		}
	}
}

// TestStopNoiseIsTheSpread: the running deviation is the one that Summarize reports.
func TestStopNoiseIsTheSpread(t *testing.T) {
	c := newCriterion(Rule{}.withDefaults())
	var all []time.Duration
	for i := range 100 {
		d := time.Duration(1000 + 37*(i%7))
		all = append(all, d)
		c.add(d)
	}
	if got, want := c.noise[len(c.noise)-1], Summarize(all).Spread; got < want*0.999 || got > want*1.001 {
		t.Errorf("%v, want %v", got, want)
	}
}

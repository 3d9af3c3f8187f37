package bench

import (
	"math"
	"slices"
	"time"
)

// The rules that end a series, as records name them.
const (
	StopNoise       = "noise"       // the relative standard deviation fell below Rule.Spread
	StopSettled     = "settled"     // it is above, but does not change any more
	StopEntropy     = "entropy"     // the entropy of the samples does not grow any more
	StopTime        = "time"        // Rule.MaxTime
	StopSamples     = "samples"     // Rule.MaxSamples
	StopFailed      = "failed"      // a run failed
	StopInterrupted = "interrupted" // the context ended
)

// Criteria are the names that Rule.Criterion takes.
var Criteria = []string{"stdrel", "entropy"}

// What nvbench (NVIDIA/nvbench, stdrel_criterion.cxx and entropy_criterion.cxx) uses.
const (
	settledWindow    = 512   // estimates of the noise that are looked at
	settledAtLeast   = 64    // more than these have to be there
	settledEvery     = 16    // looked at after every so many samples
	settledSpread    = 0.05  // their deviation from the last one, relative to it
	entropyWindow    = 299   // entropies that the line is fitted to
	entropyMaxAngle  = 0.048 // degrees that it may rise
	entropyMinR2     = 0.36  // of the fit
	entropyStill     = 0.01  // bits of standard deviation that are no change
	entropyBinsPower = 0.005 // bins are this much wider than their lower end: clocks differ in resolution, nvbench has no bins
)

// criterion decides from the samples alone, before any limit, whether more of them would tell more.
type criterion struct {
	rule   Rule
	n      int
	ss     float64   // sum of squared deviations from the mean (Welford)
	mean   float64   // of the samples so far
	noise  []float64 // relative standard deviation after each sample, the last settledWindow
	counts map[int]int
	levels []float64 // entropy in bits after each sample, the last entropyWindow
}

func newCriterion(rule Rule) *criterion { return &criterion{rule: rule, counts: map[int]int{}} }

func (c *criterion) add(d time.Duration) {
	x := float64(d)
	c.n++
	delta := x - c.mean
	c.mean += delta / float64(c.n)
	c.ss += delta * (x - c.mean)
	if c.mean > 0 && c.n > 1 {
		c.noise = last(append(c.noise, math.Sqrt(c.ss/float64(c.n-1))/c.mean), settledWindow)
	}
	if c.rule.Criterion == "entropy" {
		bin := math.MinInt
		if x > 0 {
			bin = int(math.Floor(math.Log(x) / math.Log1p(entropyBinsPower)))
		}
		c.counts[bin]++
		c.levels = last(append(c.levels, c.entropy()), entropyWindow)
	}
}

// done is the name of the rule that is met, or empty.
func (c *criterion) done() string {
	if c.rule.Criterion == "entropy" {
		if c.n%2 == 0 && len(c.levels) > 1 && flat(c.levels) {
			return StopEntropy
		}
		return ""
	}
	if len(c.noise) == 0 {
		return ""
	}
	now := c.noise[len(c.noise)-1]
	if now <= c.rule.Spread {
		return StopNoise
	}
	if len(c.noise) > settledAtLeast && c.n%settledEvery == 0 {
		var squares float64
		for _, x := range c.noise {
			squares += (x - now) * (x - now)
		}
		if math.Sqrt(squares/float64(len(c.noise)-1))/now < settledSpread {
			return StopSettled
		}
	}
	return ""
}

func (c *criterion) entropy() (bits float64) {
	for _, n := range c.counts {
		p := float64(n) / float64(c.n)
		bits -= p * math.Log2(p)
	}
	return bits
}

// flat fits a line to y over 0, 1, 2, ... and says whether it is nearly level and explains y well. nvbench never
// ends where y swings about a level line, which explains nothing: values that hardly differ are flat here.
func flat(y []float64) bool {
	n := float64(len(y))
	var sum float64
	for _, v := range y {
		sum += v
	}
	mean, middle := sum/n, (n-1)/2
	var xy, xx, total float64
	for i, v := range y {
		x := float64(i) - middle
		xy += x * (v - mean)
		xx += x * x
		total += (v - mean) * (v - mean)
	}
	if total <= entropyStill*entropyStill*n {
		return true
	}
	slope := xy / xx
	return math.Atan(slope)*180/math.Pi <= entropyMaxAngle && slope*xy/total >= entropyMinR2
}

// last keeps the last n of x.
func last(x []float64, n int) []float64 {
	if len(x) > n {
		return slices.Delete(x, 0, len(x)-n)
	}
	return x
}

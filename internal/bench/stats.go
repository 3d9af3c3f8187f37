package bench

import (
	"math"
	"slices"
	"time"
)

// Summary describes a set of durations. The zero Summary is that of no samples.
type Summary struct {
	N      int           `json:"n"`
	Min    time.Duration `json:"min_ns"`
	P5     time.Duration `json:"p5_ns"`
	Median time.Duration `json:"median_ns"`
	P95    time.Duration `json:"p95_ns"`
	Max    time.Duration `json:"max_ns"`
	Mean   time.Duration `json:"mean_ns"`
	Spread float64       `json:"spread"` // standard deviation over mean; 0 for fewer than two samples
}

// Summarize sorts a copy of d. Quantiles between two samples are interpolated.
func Summarize(d []time.Duration) Summary {
	if len(d) == 0 {
		return Summary{}
	}
	d = slices.Sorted(slices.Values(d))
	var sum, squares float64
	for _, x := range d {
		sum += float64(x)
	}
	mean := sum / float64(len(d))
	for _, x := range d {
		squares += (float64(x) - mean) * (float64(x) - mean)
	}
	s := Summary{N: len(d), Min: d[0], P5: quantile(d, 0.05), Median: quantile(d, 0.5),
		P95: quantile(d, 0.95), Max: d[len(d)-1], Mean: time.Duration(mean)}
	if len(d) > 1 && mean > 0 {
		s.Spread = math.Sqrt(squares/float64(len(d)-1)) / mean
	}
	return s
}

// quantile of sorted durations, by linear interpolation between the two nearest.
func quantile(sorted []time.Duration, q float64) time.Duration {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	part := at - float64(i)
	return time.Duration(math.Round(float64(sorted[i])*(1-part) + float64(sorted[i+1])*part))
}

package serve

import (
	"math"
	"math/bits"
	"time"
)

// Histogram counts durations in memory that does not grow: buckets are 1/32 of a power of two wide, so that a percentile is
// within 3 % of the exact one.
type Histogram struct {
	count   int64
	sum     time.Duration
	largest time.Duration
	buckets [64 * perPower]int64
}

const perPower = 32

// Add counts a duration; negative ones are 0.
func (h *Histogram) Add(d time.Duration) {
	d = max(d, 0)
	h.count++
	h.sum += d
	h.largest = max(h.largest, d)
	h.buckets[bucket(d)]++
}

// bucket is linear below perPower nanoseconds, then perPower buckets for each power of two.
func bucket(d time.Duration) int {
	n := uint64(d)
	if n < perPower {
		return int(n)
	}
	power := bits.Len64(n) - 1 // at least 5
	return (power-4)*perPower + int(n>>(power-5)) - perPower
}

// upper is the largest duration of a bucket.
func upper(b int) time.Duration {
	if b < perPower {
		return time.Duration(b)
	}
	power := b/perPower + 4
	if power > 62 {
		return math.MaxInt64
	}
	return time.Duration(uint64(b%perPower+perPower+1)<<(power-5)) - 1
}

// Percentile is the duration that a share p, 0 to 1, of all does not exceed.
func (h *Histogram) Percentile(p float64) time.Duration {
	want := int64(math.Ceil(p * float64(h.count)))
	seen := int64(0)
	for b, n := range h.buckets {
		if seen += n; n > 0 && seen >= want {
			return min(upper(b), h.largest)
		}
	}
	return 0
}

// Latency is a histogram in a few numbers.
type Latency struct {
	Count int64         `json:"count"`
	Mean  time.Duration `json:"mean_ns"`
	P50   time.Duration `json:"p50_ns"`
	P90   time.Duration `json:"p90_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
}

// Latency sums a histogram up.
func (h *Histogram) Latency() Latency {
	l := Latency{Count: h.count, P50: h.Percentile(0.5), P90: h.Percentile(0.9), P99: h.Percentile(0.99), Max: h.largest}
	if h.count > 0 {
		l.Mean = h.sum / time.Duration(h.count)
	}
	return l
}

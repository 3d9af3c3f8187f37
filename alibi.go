package vkattn

import (
	"fmt"
	"math"
)

// ALiBiSlopes are the standard slopes of heads heads (Press et al., "Train Short, Test Long", 2022), for
// Args.Slopes by way of Vector:
//
//	m_h = 2^(-8(h+1)/n)  for n = heads a power of two
//
// and for other numbers the slopes of the power of two below, followed by every second one of the power
// above: those with h = 0, 2, 4, ... BLOOM and MPT have the same.
func ALiBiSlopes(heads int) ([]float32, error) {
	if heads < 1 || heads > maxHeads {
		return nil, &ShapeError{"Heads", "", heads, fmt.Sprintf("1 to %d", maxHeads)}
	}
	slopes := make([]float32, heads)
	for h := range slopes {
		slopes[h] = float32(alibiSlope(h, heads))
	}
	return slopes, nil
}

// alibiSlope is the slope of head h.
func alibiSlope(h, heads int) float64 {
	n := 1
	for 2*n <= heads {
		n *= 2
	}
	if h >= n {
		return math.Exp2(-8 * float64(2*(h-n)+1) / float64(2*n))
	}
	return math.Exp2(-8 * float64(h+1) / float64(n))
}

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
	n := 1
	for 2*n <= heads {
		n *= 2
	}
	slopes := make([]float32, heads)
	for h := range slopes {
		exponent := -8 * float64(h+1) / float64(n)
		if h >= n {
			exponent = -8 * float64(2*(h-n)+1) / float64(2*n)
		}
		slopes[h] = float32(math.Exp2(exponent))
	}
	return slopes, nil
}

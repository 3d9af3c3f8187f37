package vkattn

import (
	"fmt"
	"math"
)

// maxTable is the largest number of elements of a table that is made here, 4 GiB of float32.
const maxTable = 1 << 30

// maxFrequency keeps the rounding error of an angle so small that its square does not count, see sinCos.
const maxFrequency = 64

// RopeTable makes the tables of Rope for n positions from base on: row s has attention*cos and
// attention*sin of (base+s)*inv_i. Both are float32 in host memory, [1, 1, n, len(inv)].
//
// They are computed in float64 without the rounding error of the angle, so each number is within one
// float32 rounding of the exact one at every position that an int32 has. Float32 angles are off by 0.004
// radians at position 131072 already. Shaders have no such sine at all: Vulkan promises 2^-11 between
// -pi and pi.
//
// inv_i is at most 64 radians for a position, either way round; plain frequencies are at most 1. Errors are
// *ShapeError or *ArgError and name the argument. Tables of more than 2^30 elements are refused.
func RopeTable(inv []float64, attention float64, base, n int) (cos, sin Tensor, err error) {
	if err := checkRange(base, n); err != nil {
		return Tensor{}, Tensor{}, err
	}
	return ropeTable(inv, attention, n, func(s int) float64 { return float64(base + s) })
}

// RopeTableAt is RopeTable for positions in any order: row s belongs to positions[s].
func RopeTableAt(inv []float64, attention float64, positions []int32) (cos, sin Tensor, err error) {
	return ropeTable(inv, attention, len(positions), func(s int) float64 { return float64(positions[s]) })
}

func ropeTable(inv []float64, attention float64, n int, position func(s int) float64) (cos, sin Tensor, err error) {
	pairs := len(inv)
	if pairs < 1 || pairs > maxHeadDim/2 {
		return cos, sin, &ShapeError{"InvFreq", "length", pairs, fmt.Sprintf("1 to %d", maxHeadDim/2)}
	}
	for i, f := range inv {
		if !(math.Abs(f) <= maxFrequency) {
			return cos, sin, &ArgError{"InvFreq", fmt.Sprintf("number %d is %v, want at most %v radians for a position", i, f, float64(maxFrequency))}
		}
	}
	if err := checkPositive("AttentionFactor", attention); err != nil {
		return cos, sin, err
	}
	if err := checkTable(n, pairs); err != nil {
		return cos, sin, err
	}
	c, s := make([]float32, n*pairs), make([]float32, n*pairs)
	for row := range n {
		p := position(row)
		for i, f := range inv {
			y, x := sinCos(p, f)
			c[row*pairs+i], s[row*pairs+i] = float32(attention*x), float32(attention*y)
		}
	}
	return BHSD(Float32s(c), 1, 1, n, pairs), BHSD(Float32s(s), 1, 1, n, pairs), nil
}

// sinCos is the sine and cosine of p*f. What rounding the product loses, up to 1e-7 radians at positions
// around 2^30, is added again to first order.
func sinCos(p, f float64) (sin, cos float64) {
	angle := p * f
	lost := math.FMA(p, f, -angle)
	sin, cos = math.Sincos(angle)
	return sin + lost*cos, cos - lost*sin
}

// checkRange makes sure that n positions from base on are int32 numbers.
func checkRange(base, n int) error {
	if n < 0 || n > MaxSequence {
		return &ShapeError{"N", "", n, fmt.Sprintf("0 to %d positions", MaxSequence)}
	}
	if base < math.MinInt32 || base > math.MaxInt32-max(n-1, 0) {
		return &ArgError{"Base", fmt.Sprintf("%d and %d positions from there do not fit 32 bits", base, n)}
	}
	return nil
}

// checkTable makes sure that a table of n rows is not too large to be made.
func checkTable(n, columns int) error {
	if n > maxTable/max(columns, 1) {
		return &ShapeError{"N", "", n, fmt.Sprintf("at most %d rows of %d columns", maxTable/columns, columns)}
	}
	return nil
}

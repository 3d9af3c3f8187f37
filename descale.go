package vkattn

import (
	"fmt"
	"math"
)

// DescaleFactors are the factors that bring x, after the mean and the rotation of c, into the range of an 8-bit float:
// the largest magnitude over typ.Max(), so that x/factor fits and x = code * factor. They are made for every block
// tokens (0: all of a sequence), of each batch and head or, if perHead is false, of all of them: [B, H, N, 1] or
// [1, 1, N, 1] float32. NaN and infinities do not count. Where x is all 0, the factor is 1.
//
// c.Descale is not read. The factors go into Conversion.Descale, and into Args.DescaleQ, DescaleK or DescaleV of a call
// whose Op has the same DescaleBlock. Source: arXiv:2407.08608, section 3.3.
func DescaleFactors(x Tensor, typ Type, perHead bool, block int, c Conversion) (Tensor, error) {
	if !typ.is8BitFloat() {
		return Tensor{}, &ShapeError{"typ", "", typ, "f8_e4m3 or f8_e5m2"}
	}
	c.Descale, c.DescaleBlock = Tensor{}, block
	from, err := c.source("x", x)
	if err != nil {
		return Tensor{}, err
	}
	n := x.Shape
	if !perHead {
		n[0], n[1] = min(n[0], 1), min(n[1], 1)
	}
	shape := Attention{DescaleBlock: block}.descaleShape(n[0], n[1], n[2])
	if size := float64(shape[0]) * float64(shape[1]) * float64(shape[2]); size > math.MaxInt32 {
		return Tensor{}, &ArgError{"x", fmt.Sprintf("of shape %v needs %g factors", x.Shape, size)}
	}
	factors := make([]float32, shape[0]*shape[1]*shape[2])
	out := BHSD(Float32s(factors), shape[0], shape[1], shape[2], 1)
	index := func(b, h, i int) int { return Attention{DescaleBlock: block}.DescaleIndex(out, b, h, i) }
	err = from.eachRow(func(b, h, i int, row []float32) error {
		at := index(b, h, i)
		for _, v := range row {
			if a := float32(math.Abs(float64(v))); a > factors[at] && a <= math.MaxFloat32 {
				factors[at] = a
			}
		}
		return nil
	})
	for i, most := range factors {
		if factors[i] = most / float32(typ.Max()); factors[i] == 0 {
			factors[i] = 1
		}
	}
	return out, err
}

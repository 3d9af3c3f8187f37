package vkattn

import (
	"math"
	"math/bits"
	"math/rand/v2"
)

// Rotate multiplies a row of queries or keys by an orthogonal matrix, in place: x <- x diag(±1) H, where H is the
// Hadamard matrix over sqrt(n), and the signs are drawn from seed. With D that is no power of two, H is block-diagonal:
// of 96 columns the first 64 and the last 32, of 80 the first 64 and the last 16.
//
// Products of rows that were rotated alike are those of the rows themselves, in exact arithmetic. But an outlier in
// one column is spread over all, so that 8-bit floats and blocks with one scale lose less. The same seed and
// length give the same matrix in every process. Conversion.Rotate does this to whole tensors.
//
// Sources: arXiv:2407.08608, section 3.3 (incoherent processing); arXiv:2404.00456 (QuaRot).
func Rotate(row []float32, seed uint64) { newRotation(len(row), seed).apply(row) }

// rotation is the signs of the columns.
type rotation struct {
	signs []float64
	x     []float64 // scratch
}

func newRotation(n int, seed uint64) rotation {
	rng := rand.New(rand.NewPCG(seed, 0x48616461)) // "Hada"
	r := rotation{make([]float64, n), make([]float64, n)}
	for i := range r.signs {
		r.signs[i] = 1 - 2*float64(rng.Uint64()>>63)
	}
	return r
}

func (r rotation) apply(row []float32) {
	for i, v := range row {
		r.x[i] = r.signs[i] * float64(v)
	}
	for lo := 0; lo < len(row); {
		n := 1 << (bits.Len(uint(len(row)-lo)) - 1)
		block := r.x[lo : lo+n]
		for half := 1; half < n; half *= 2 {
			for i := 0; i < n; i += 2 * half {
				for j := i; j < i+half; j++ {
					block[j], block[j+half] = block[j]+block[j+half], block[j]-block[j+half]
				}
			}
		}
		norm := 1 / math.Sqrt(float64(n))
		for i, v := range block {
			row[lo+i] = float32(v * norm)
		}
		lo += n
	}
}

package vkattn

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// FavorRows is how the rows of a FAVOR+ projection are drawn.
type FavorRows uint8

const (
	// FavorOrthogonal draws blocks of HeadDim orthogonal rows, each as long as a fresh vector of HeadDim standard normal
	// numbers (chi distributed): the least variance. The reference calls it scaling 0.
	FavorOrthogonal FavorRows = iota
	// FavorRegular draws blocks of orthogonal rows that all have length sqrt(HeadDim): scaling 1.
	FavorRegular
	// FavorIndependent draws every number from N(0, 1).
	FavorIndependent
)

// FavorProjection draws Args.Projection for MapFavor: features rows of dim numbers, one behind the other; shape
// [1, 1, features, dim]. The same arguments give the same numbers in every process. Rows of different blocks of dim are
// independent, and a last block may be cut short.
//
// Sources: arXiv:2009.14794, sections 2.4 and appendix B; google-research/performer, fast_attention.py
// (GaussianOrthogonalRandomMatrix).
func FavorProjection(features, dim int, seed uint64, rows FavorRows) ([]float32, error) {
	for _, n := range []struct {
		name string
		n    int
	}{{"features", features}, {"dim", dim}} {
		if n.n < 1 || n.n > maxHeadDim {
			return nil, &ShapeError{n.name, "", n.n, fmt.Sprintf("1 to %d", maxHeadDim)}
		}
	}
	if rows > FavorIndependent {
		return nil, &ShapeError{"rows", "", rows, "FavorOrthogonal, FavorRegular or FavorIndependent"}
	}
	rng := rand.New(rand.NewPCG(seed, 0x4641564f522b)) // "FAVOR+"
	gaussian := func() []float64 {
		x := make([]float64, dim)
		for d := range x {
			x[d] = rng.NormFloat64()
		}
		return x
	}
	w := make([]float32, 0, features*dim)
	for len(w) < features*dim {
		block := make([][]float64, min(dim, features-len(w)/dim))
		for r := range block {
			block[r] = gaussian()
			if rows != FavorIndependent {
				for !orthonormal(block[r], block[:r]) {
					block[r] = gaussian()
				}
			}
		}
		for _, row := range block {
			length := 1.0
			switch rows {
			case FavorOrthogonal:
				length = norm(gaussian())
			case FavorRegular:
				length = math.Sqrt(float64(dim))
			}
			for _, x := range row {
				w = append(w, float32(length*x))
			}
		}
	}
	return w, nil
}

// orthonormal makes x orthogonal to the rows before it, by Gram and Schmidt done twice, which loses no digits, and gives it
// the length 1. It reports false for an x that lies among them, which chance does not bring about.
func orthonormal(x []float64, before [][]float64) bool {
	for range 2 {
		for _, row := range before {
			dot := 0.0
			for d := range x {
				dot += x[d] * row[d]
			}
			for d := range x {
				x[d] -= dot * row[d]
			}
		}
	}
	length := norm(x)
	for d := range x {
		x[d] /= length
	}
	return length > 1e-10
}

func norm(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	return math.Sqrt(sum)
}

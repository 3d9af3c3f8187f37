package cpu

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// The size of a tile: so many rows of queries by so many keys are scored at once. A tile of K or V with
// 128 columns is 32 KiB. Key tiles never cross a multiple of partKeys, where the softmax state is merged
// into a running one: that bounds rounding over long rows, and lets several workers share one row with
// the same bits.
const (
	tileRows = 64
	tileKeys = 64
	partKeys = 4096
)

// kernel is the two products of a tile, all that is worth writing in assembly. Matrices are row-major
// float32; tiles may be smaller than tileRows by tileKeys.
type kernel interface {
	name() string
	// scores sets s = q kᵀ, for q [rows, D] and k [keys, D]. Each score depends on one row of q and one
	// of k alone.
	scores(s, q, k blas32.General)
	// accumulate adds p v to o, for p [rows, keys] and v [keys, Dv]. All of v is finite.
	accumulate(o, p, v blas32.General)
}

// gonumKernel runs on gonum's Gemm, whose inner loops are SSE assembly on amd64.
type gonumKernel struct{}

func (gonumKernel) name() string { return "flash-cpu" }

func (gonumKernel) scores(s, q, k blas32.General) {
	blas32.Gemm(blas.NoTrans, blas.Trans, 1, q, k, 0, s)
}

// gemmColumns keeps Gemm from starting goroutines of its own, which it does from four 64 x 64 blocks.
const gemmColumns = 192

func (gonumKernel) accumulate(o, p, v blas32.General) {
	for c := 0; c < v.Cols; c += gemmColumns {
		n := min(gemmColumns, v.Cols-c)
		blas32.Gemm(blas.NoTrans, blas.NoTrans, 1, p, columns(v, c, n), 1, columns(o, c, n))
	}
}

func columns(m blas32.General, c, n int) blas32.General {
	m.Data, m.Cols = m.Data[c:], n
	return m
}

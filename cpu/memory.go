package cpu

import (
	"unsafe"

	"gonum.org/v1/gonum/blas/blas32"
)

// grow is s with length n; its content is undefined, except that fresh memory is zero.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// cacheLine is in float32 numbers.
const cacheLine = 16

// growAligned is like grow, and the result begins at a cache line.
func growAligned(s []float32, n int) []float32 {
	if cap(s) >= n {
		return s[:n]
	}
	s = make([]float32, n+cacheLine)
	skip := -int(uintptr(unsafe.Pointer(&s[0]))/4) & (cacheLine - 1)
	return s[skip : skip+n]
}

// copyPadded copies the rows of m to dst, stride apart, with zeros after each row, and returns how many
// numbers it wrote.
func copyPadded(dst []float32, stride int, m blas32.General) int {
	for r := range m.Rows {
		row := dst[r*stride : (r+1)*stride]
		clear(row[copy(row, m.Data[r*m.Stride:r*m.Stride+m.Cols]):])
	}
	return m.Rows * stride
}

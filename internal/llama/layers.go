package llama

import (
	"math"
	"runtime"
	"sync"

	"gonum.org/v1/gonum/blas/blas32"
)

// normalize is RMSNorm of each row of x [rows, len(weight)]: divided by the root of its mean square, times weight.
func normalize(out, x, weight []float32) {
	const epsilon = 1e-5
	n := len(weight)
	for at := 0; at < len(x); at += n {
		row, to := x[at:at+n], out[at:at+n]
		sum := float32(0)
		for _, v := range row {
			sum += v * v
		}
		factor := float32(1 / math.Sqrt(float64(sum/float32(n)+epsilon)))
		for i, v := range row {
			to[i] = weight[i] * (factor * v)
		}
	}
}

// gate is SwiGLU: a becomes silu(a) * b.
func gate(a, b []float32) {
	for i, v := range a {
		a[i] = v / (1 + float32(math.Exp(-float64(v)))) * b[i]
	}
}

// add adds b to a.
func add(a, b []float32) {
	for i, v := range b {
		a[i] += v
	}
}

// multiply is out = x w^T for x [rows, in], w [n, in] and out [rows, n]. Every weight is read once for all rows,
// and the bits of a row do not depend on the others: a text is the same whatever else is computed beside it.
func multiply(out, x, w []float32, in int) {
	n, rows := len(w)/in, len(x)/in
	vector := func(s []float32, row int) blas32.Vector {
		return blas32.Vector{N: in, Data: s[row*in : (row+1)*in], Inc: 1}
	}
	part := func(lo, hi int) {
		for o := lo; o < hi; o++ {
			weights := vector(w, o)
			for r := range rows {
				out[r*n+o] = blas32.Dot(vector(x, r), weights)
			}
		}
	}
	// Below some 100 µs of work other goroutines are not worth their start.
	const worthwhile = 1 << 19
	parts := min(runtime.GOMAXPROCS(0), rows*len(w)/worthwhile+1, n)
	var wait sync.WaitGroup
	for p := 1; p < parts; p++ {
		wait.Go(func() { part(p*n/parts, (p+1)*n/parts) })
	}
	part(0, n/parts)
	wait.Wait()
}

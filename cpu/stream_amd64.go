package cpu

import "gonum.org/v1/gonum/blas/blas32"

// stream is what a tile of few rows reads, once and in this order: keys, then values. While a row of them is
// used, one that is aheadBytes further comes into the second cache.
type stream struct {
	k, v blas32.General
	more bool // after the values, more keys
}

const aheadBytes = 8192

// streamTogether is how many rows of keys or values the assembly reads at once.
const streamTogether = 2

// aheadRows is how many rows of m lie in aheadBytes: a multiple of what is read at once.
func aheadRows(m blas32.General) int {
	return min(max(roundUp(aheadBytes/4/m.Cols, streamTogether), streamTogether), m.Rows)
}

// prefetch is memory that is needed soon: from offset numbers behind next, with a jump after each run, both in
// bytes. The assembly never reads it, so that it may lie anywhere.
type prefetch struct {
	next              *float32
	offset, run, jump int
}

// prefetchFrom is m and what follows it, from a row on.
func prefetchFrom(m blas32.General, row int) prefetch {
	p := prefetch{&m.Data[0], row * m.Stride, 1 << 40, 0}
	if m.Stride == m.Cols {
		return p
	}
	const line = 64
	step := streamTogether * line // is prefetched together
	if size := 4 * m.Cols; size%step == 0 {
		p.run, p.jump = size, 4*m.Stride-size
	} else {
		p.run, p.jump = step, -step // in place
	}
	return p
}

// mostTogether is how many rows are done at once at most.
const mostTogether = 4

// rowGroup is how many of n rows are done at once.
func rowGroup(n int) int {
	switch {
	case n >= mostTogether:
		return mostTogether
	case n >= 2:
		return 2
	}
	return 1
}

// pieces calls do for rows [j, end) of m, piece by piece, each with what to prefetch meanwhile: what lies aheadBytes further
// in m, or in next from row on. Short pieces stay in the first cache while several groups of rows take them in turn.
func pieces(m, next blas32.General, row int, short bool, do func(j, end int, p prefetch)) {
	ahead := aheadRows(m)
	near, step := m.Rows-ahead, m.Rows // up to near m comes, and then next
	if short {
		step = ahead
	}
	for j, end := 0, 0; j < near; j = end {
		end = min(j+step, near)
		do(j, end, prefetchFrom(m, j+ahead))
	}
	do(near, m.Rows, prefetchFrom(next, row))
}

func (k *avx2Kernel) streamScores(s, keys blas32.General, r0, r1 int) {
	k.soon.k = keys
	stride := roundUp(k.d, vectorLen)
	pieces(keys, k.soon.v, 0, r1-r0 > mostTogether, func(j, end int, p prefetch) {
		for r, n := r0, 0; r < r1; r += n {
			n = rowGroup(r1 - r)
			do := [...]func(s *float32, sStride int, q *float32, qStride int, k *float32, kStride, n, d int, next *float32, offset, run, jump int){
				1: streamScores1, 2: streamScores2, 4: streamScores4}[n]
			do(&s.Data[r*s.Stride+j], s.Stride, &k.q[r*stride], stride, &keys.Data[j*keys.Stride], keys.Stride, end-j, k.d, p.next, p.offset, p.run, p.jump)
		}
	})
}

// streamValues notices values that are not finite by the sums, which any of them spoils.
func (k *avx2Kernel) streamValues(t *state, p, v blas32.General, r0, r1 int) bool {
	o := rowSlice(t.o, r0, r1)
	k.saved = append(k.saved[:0], o.Data[:o.Rows*o.Stride]...)
	scaleRows(&o.Data[0], o.Stride, o.Rows, o.Cols, &k.w[r0])
	after := 0 // the row of keys that comes after the values
	if k.soon.more {
		after = k.soon.k.Rows
	}
	pieces(v, k.soon.k, after, o.Rows > mostTogether, func(j, end int, f prefetch) {
		for r, n := 0, 0; r < o.Rows; r += n {
			n = rowGroup(o.Rows - r)
			do := [...]func(o *float32, oStride int, p *float32, pStride int, v *float32, vStride, n, cols int, next *float32, offset, run, jump int){
				1: streamValues1, 2: streamValues2, 4: streamValues4}[n]
			do(&o.Data[r*o.Stride], o.Stride, &p.Data[(r0+r)*p.Stride+j], p.Stride, &v.Data[j*v.Stride], v.Stride, end-j, v.Cols, f.next, f.offset, f.run, f.jump)
		}
	})
	if allFinite(&o.Data[0], o.Stride, o.Rows, o.Cols) || allFinite(&v.Data[0], v.Stride, v.Rows, v.Cols) {
		k.scaled(r0, r1)
		return true
	}
	copy(o.Data, k.saved)
	return false
}

package cpu

import "gonum.org/v1/gonum/blas/blas32"

//go:generate go run -C ../tools/asm . -out ../../cpu/asm_amd64.s -stubs ../../cpu/asm_amd64.go -pkg cpu

// avx2Kernel runs on assembly for AVX2 and FMA. A tile of many rows is packed, so that register tiles of
// blockRows rows by panelCols keys or columns read memory in order: queries as [blocks][D][6], keys
// transposed as [panels][D][16], values as [panels][keys][16]. A tile of few rows is bound by memory: keys and
// values are read once, where they lie.
type avx2Kernel struct {
	streamRows int // up to so many rows are a stream
	stream     bool
	soon       stream // what is read next

	d       int
	q, k, v []float32 // packed; q of a stream is [rows][D up to a multiple of 8]
	tail    []float32 // the last keys of a tile, up to a panel
	saved   []float32 // the sums of a stream before a tile

	w    []float32 // by row: the factor that brings its sums to the new maximum
	newM []float32 // by row: the new maximum
	sum  []float32 // by row: the sum of the weights
}

// A unit packs each of its keys and values again, which pays from many rows. A stream was up to twice as fast
// as packed tiles with 4 to 10 rows, 1.2 times with 16, and no faster with 24.
const (
	avx2Rows   = 192
	avx2Keys   = 128
	streamRows = 16
)

func newAVX2Kernel() kernel {
	k := &avx2Kernel{streamRows: streamRows}
	rows := roundUp(avx2Rows, blockRows)
	k.w, k.newM, k.sum = make([]float32, rows), make([]float32, rows), make([]float32, rows)
	for r := range k.w {
		k.w[r] = 1
	}
	return k
}

func (*avx2Kernel) name() string           { return "avx2" }
func (*avx2Kernel) tile() (rows, keys int) { return avx2Rows, avx2Keys }

func (k *avx2Kernel) scratchBytes(d, dv int) int64 {
	return 4 * int64(avx2Rows*d+(avx2Keys+panelCols)*roundUp(d, vectorLen)+avx2Keys*roundUp(dv, panelCols)+3*avx2Rows+k.streamRows*roundUp(dv, panelCols))
}

func (k *avx2Kernel) queries(q blas32.General) {
	k.d, k.stream = q.Cols, q.Rows <= k.streamRows
	if k.stream {
		stride := roundUp(k.d, vectorLen)
		k.q = growAligned(k.q, q.Rows*stride)
		copyPadded(k.q, stride, q)
		return
	}
	blocks := roundUp(q.Rows, blockRows) / blockRows
	k.q = growAligned(k.q, blocks*blockRows*k.d)
	clear(k.q[(blocks-1)*blockRows*k.d:]) // the rows beyond the last
	for r := range q.Rows {
		to := k.q[r/blockRows*blockRows*k.d+r%blockRows:]
		for d, x := range q.Data[r*q.Stride : r*q.Stride+q.Cols] {
			to[d*blockRows] = x
		}
	}
}

func (k *avx2Kernel) ahead(v blas32.General, more bool) { k.soon = stream{v: v, more: more} }

func (k *avx2Kernel) scores(s, keys blas32.General, r0, r1 int) {
	if k.stream {
		k.streamScores(s, keys, r0, r1)
		return
	}
	width := roundUp(k.d, vectorLen)
	panels, rest := keys.Rows/panelCols, keys.Rows%panelCols
	k.k = growAligned(k.k, (panels+1)*panelCols*width)
	if panels > 0 {
		packKeys(&k.k[0], &keys.Data[0], keys.Stride, k.d, panels)
	}
	if rest > 0 {
		k.tail = growAligned(k.tail, panelCols*width)
		clear(k.tail[copyPadded(k.tail, width, rowSlice(keys, panels*panelCols, keys.Rows)):])
		packKeys(&k.k[panels*panelCols*width], &k.tail[0], width, k.d, 1)
		panels++
	}
	blocks := roundUp(r1-r0, blockRows) / blockRows
	for p := range panels {
		scoresPanel(&s.Data[r0*s.Stride+p*panelCols], s.Stride, &k.q[r0*k.d], &k.k[p*panelCols*width], k.d, blocks)
	}
}

func (k *avx2Kernel) softmax(t *state, s blas32.General, scale float32, r0, r1 int) {
	width := roundUp(s.Cols, panelCols)
	if pad := width - s.Cols; pad > 0 {
		for r := r0; r < r1; r++ {
			at := r*s.Stride + s.Cols
			hide(s.Data[at : at+pad])
		}
	}
	softmaxRows(&s.Data[r0*s.Stride], s.Stride, r1-r0, width/panelCols, scale, &t.m[r0], &k.newM[r0], &k.sum[r0])
	for r := r0; r < r1; r++ {
		k.w[r] = 1
		if m := k.newM[r]; m != t.m[r] {
			w := weight(t.m[r], m)
			t.l[r] *= w
			k.w[r], t.m[r] = float32(w), m
		}
		t.l[r] += float64(k.sum[r])
	}
}

func (k *avx2Kernel) accumulate(t *state, p, v blas32.General, r0, r1 int) bool {
	if k.stream {
		return k.streamValues(t, p, v, r0, r1)
	}
	k.v = growAligned(k.v, v.Rows*roundUp(v.Cols, panelCols))
	if !packValues(&k.v[0], &v.Data[0], v.Stride, v.Rows, v.Cols) {
		return false
	}
	blocks := roundUp(r1-r0, blockRows) / blockRows
	for c := 0; c < v.Cols; c += panelCols {
		accumulatePanel(&t.o.Data[r0*t.o.Stride+c], t.o.Stride, &p.Data[r0*p.Stride], p.Stride, &k.v[c*v.Rows], v.Rows, &k.w[r0], blocks)
	}
	k.scaled(r0, r1)
	return true
}

// scaled notes that rows [r0, r1) of the sums are at the new maximum.
func (k *avx2Kernel) scaled(r0, r1 int) {
	for r := r0; r < r1; r++ {
		k.w[r] = 1
	}
}

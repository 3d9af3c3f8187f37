package cpu

import (
	"unsafe"

	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// gonumKernel is the portable kernel: gonum's Gemm, whose inner loops are SSE assembly on amd64 and Go
// elsewhere. A tile of K or V with 128 columns is 32 KiB.
type gonumKernel struct {
	q     blas32.General
	pack  []float32 // keys
	zeros []float32 // one row of values
}

const (
	gonumRows = 64
	gonumKeys = 64
)

func newGonumKernel() kernel { return &gonumKernel{} }

func (*gonumKernel) name() string           { return "gonum" }
func (*gonumKernel) tile() (rows, keys int) { return gonumRows, gonumKeys }

func (*gonumKernel) scratchBytes(d, dv int) int64 { return 4 * int64(gonumKeys*rowStride(d)+dv) }

func (k *gonumKernel) queries(q blas32.General) { k.q = q }

func (*gonumKernel) ahead(v blas32.General, more bool) {}

func (k *gonumKernel) scores(s, keys blas32.General, r0, r1 int) {
	blas32.Gemm(blas.NoTrans, blas.Trans, 1, rowSlice(k.q, r0, r1), k.aligned(keys), 0, rowSlice(s, r0, r1))
}

// aligned is m with rows that begin at multiples of 16 bytes: BLAS sums a row in another order where it does
// not, and bits may not depend on where the caller's memory lies.
func (k *gonumKernel) aligned(m blas32.General) blas32.General {
	if m.Stride >= m.Cols && m.Stride%4 == 0 && uintptr(unsafe.Pointer(&m.Data[0]))%16 == 0 {
		return m
	}
	stride := rowStride(m.Cols)
	k.pack = grow(k.pack, m.Rows*stride)
	copyPadded(k.pack, stride, m)
	return blas32.General{Rows: m.Rows, Cols: m.Cols, Stride: stride, Data: k.pack}
}

func (*gonumKernel) softmax(t *state, s blas32.General, scale float32, r0, r1 int) {
	for r := r0; r < r1; r++ {
		row := s.Data[r*s.Stride : r*s.Stride+s.Cols]
		for j := range row {
			row[j] *= scale
		}
		t.update(r, row)
	}
}

// gemmColumns keeps Gemm from starting goroutines of its own, which it does from four 64 x 64 blocks.
const gemmColumns = 192

func (k *gonumKernel) accumulate(t *state, p, v blas32.General, r0, r1 int) bool {
	k.zeros = grow(k.zeros, v.Cols)
	for j := range v.Rows {
		if !finite(vector(v.Data[j*v.Stride:][:v.Cols]), vector(k.zeros)) {
			return false
		}
	}
	if v.Stride < v.Cols { // rows that overlap
		for j := range v.Rows {
			for r := r0; r < r1; r++ {
				add(p.Data[r*p.Stride+j], vector(v.Data[j*v.Stride:][:v.Cols]), t.row(r))
			}
		}
		return true
	}
	p, o := rowSlice(p, r0, r1), rowSlice(t.o, r0, r1)
	for c := 0; c < v.Cols; c += gemmColumns {
		n := min(gemmColumns, v.Cols-c)
		blas32.Gemm(blas.NoTrans, blas.NoTrans, 1, p, columns(v, c, n), 1, columns(o, c, n))
	}
	return true
}

func columns(m blas32.General, c, n int) blas32.General {
	m.Data, m.Cols = m.Data[c:], n
	return m
}

func rowSlice(m blas32.General, r0, r1 int) blas32.General {
	m.Data, m.Rows = m.Data[r0*m.Stride:], r1-r0
	return m
}

func (*gonumKernel) decode(dst []float32, t vkattn.Type, src []byte) { t.Decode(dst, src) }

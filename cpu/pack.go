package cpu

import (
	"unsafe"

	"gonum.org/v1/gonum/blas/blas32"
)

// rowStride is the stride of packed rows of d floats. Rows begin at multiples of 16 bytes, because BLAS sums
// a row in another order where it does not, and bits may not depend on where the caller's memory lies.
func rowStride(d int) int { return (d + 3) &^ 3 }

// keyTile is the tile of n keys from j0: the caller's memory where its rows are aligned, else a copy in
// pack. Key rows that are hidden may hold anything, since no product mixes two of them.
func (c *call) keyTile(pack []float32, u *unit, j0, n int) blas32.General {
	t, d := &c.args.K, c.op.HeadDim
	head := c.op.HeadMap.Map(u.heads[0], c.op.HeadsQ, c.op.HeadsK)
	at, stride := t.Index(u.seq.Batch, head, u.seq.K0+j0, 0), t.Stride[2]
	if stride >= d && stride%4 == 0 && uintptr(unsafe.Pointer(&c.k[at]))%16 == 0 {
		return blas32.General{Rows: n, Cols: d, Stride: stride, Data: c.k[at:]}
	}
	packed := rowStride(d)
	for j := range n {
		copy(pack[j*packed:j*packed+d], c.k[at+j*stride:])
	}
	return blas32.General{Rows: n, Cols: d, Stride: packed, Data: pack}
}

// value is the value row of key j.
func (c *call) value(u *unit, j int) []float32 {
	t := &c.args.V
	head := c.op.HeadMap.Map(u.heads[0], c.op.HeadsQ, c.op.HeadsV)
	at := t.Index(u.seq.Batch, head, u.seq.K0+j, 0)
	return c.v[at : at+c.op.ValueDim]
}

// finiteValues is the tile of n values from j0, with zeros for rows that hold a NaN or an infinity. Those
// are listed in w.bad: a product would carry them to rows that do not see them.
func (w *worker) finiteValues(c *call, u *unit, j0, n int) blas32.General {
	w.bad = w.bad[:0]
	dv, stride := c.op.ValueDim, c.args.V.Stride[2]
	zeros := blas32.Vector{N: dv, Inc: 1, Data: w.zeros}
	for j := range n {
		v := blas32.Vector{N: dv, Inc: 1, Data: c.value(u, j0+j)}
		if blas32.Dot(v, zeros) != 0 { // 0 x is 0 for every finite x
			w.bad = append(w.bad, j)
		}
	}
	if len(w.bad) == 0 && stride >= dv {
		v := c.args.V
		head := c.op.HeadMap.Map(u.heads[0], c.op.HeadsQ, c.op.HeadsV)
		return blas32.General{Rows: n, Cols: dv, Stride: stride, Data: c.v[v.Index(u.seq.Batch, head, u.seq.K0+j0, 0):]}
	}
	for j := range n {
		copy(w.v[j*dv:(j+1)*dv], c.value(u, j0+j))
	}
	for _, j := range w.bad {
		clear(w.v[j*dv : (j+1)*dv])
	}
	return blas32.General{Rows: n, Cols: dv, Stride: dv, Data: w.v}
}

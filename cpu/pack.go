package cpu

import "gonum.org/v1/gonum/blas/blas32"

// rowStride is the stride of packed rows of d floats, which begin at multiples of 16 bytes.
func rowStride(d int) int { return roundUp(d, 4) }

// keyTile is the tile of n keys from j0, in the caller's memory. Key rows that are hidden may hold anything,
// since no product mixes two of them.
func (c *call) keyTile(u *unit, j0, n int) blas32.General {
	t := &c.args.K
	head := c.op.HeadMap.Map(u.heads[0], c.op.HeadsQ, c.op.HeadsK)
	return tile(c.k, t.Index(u.seq.Batch, head, u.seq.K0+j0, 0), n, c.op.HeadDim, t.Stride[2])
}

// valueTile is the tile of n values from j0, in the caller's memory.
func (c *call) valueTile(u *unit, j0, n int) blas32.General {
	t := &c.args.V
	head := c.op.HeadMap.Map(u.heads[0], c.op.HeadsQ, c.op.HeadsV)
	return tile(c.v, t.Index(u.seq.Batch, head, u.seq.K0+j0, 0), n, c.op.ValueDim, t.Stride[2])
}

// tile is a matrix inside x. The slice ends with its last row, so that nothing is read beyond.
func tile(x []float32, at, rows, cols, stride int) blas32.General {
	return blas32.General{Rows: rows, Cols: cols, Stride: stride, Data: x[at : at+(rows-1)*stride+cols]}
}

// finite reports whether all of x is finite: 0 times x is 0 for every such x.
func finite(x, zeros blas32.Vector) bool { return blas32.Dot(x, zeros) == 0 }

// finiteValues is v, the values of a tile from key at of it, with zeros for rows that hold a NaN or an infinity. Those
// are appended to w.bad: a product would carry them to rows that do not see them.
func (w *worker) finiteValues(v blas32.General, at int) blas32.General {
	dv := v.Cols
	w.v, w.zeros = grow(w.v, v.Rows*dv), grow(w.zeros, dv)
	for j := range v.Rows {
		row, to := v.Data[j*v.Stride:j*v.Stride+dv], w.v[j*dv:(j+1)*dv]
		if finite(vector(row), vector(w.zeros)) {
			copy(to, row)
		} else {
			clear(to)
			w.bad = append(w.bad, at+j)
		}
	}
	return blas32.General{Rows: v.Rows, Cols: dv, Stride: dv, Data: w.v[:v.Rows*dv]}
}

func vector(x []float32) blas32.Vector { return blas32.Vector{N: len(x), Inc: 1, Data: x} }

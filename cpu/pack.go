package cpu

import (
	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/blas/blas32"
)

// rowStride is the stride of packed rows of d floats, which begin at multiples of 16 bytes.
func rowStride(d int) int { return roundUp(d, 4) }

// keyTile is the tile of n keys from j0. Key rows that are hidden may hold anything, since no product mixes two of
// them.
func (w *worker) keyTile(c *call, u *unit, j0, n int) blas32.General {
	head := c.op.HeadMap.Map(u.heads[0], c.op.HeadsQ, c.op.HeadsK)
	return w.rowTile(c, u, rowSource{&c.k, &c.args.K, c.descaleK, &c.args.DescaleK, &w.keyRows}, head, j0, n)
}

// valueTile is the tile of n values from j0.
func (w *worker) valueTile(c *call, u *unit, j0, n int) blas32.General {
	head := c.op.HeadMap.Map(u.heads[0], c.op.HeadsQ, c.op.HeadsV)
	return w.rowTile(c, u, rowSource{&c.v, &c.args.V, c.descaleV, &c.args.DescaleV, &w.valueRows}, head, j0, n)
}

// rowSource is keys or values: their elements and factors, and the scratch that takes them.
type rowSource struct {
	numbers  *numbers
	tensor   *vkattn.Tensor
	factors  []float32
	descale  *vkattn.Tensor
	unpacked *[]float32
}

// rowTile is n rows from j0, in the caller's memory if they are float32 and lie there so, else unpacked.
func (w *worker) rowTile(c *call, u *unit, r rowSource, head, j0, n int) blas32.General {
	t := r.tensor
	at, d := t.Index(u.seq.Batch, head, u.seq.K0+j0, 0), t.Shape[3]
	if r.numbers.inPlace() && !c.gathers() {
		return tile(r.numbers.f32, at, n, d, t.Stride[2])
	}
	stride := rowStride(d)
	*r.unpacked = growAligned(*r.unpacked, n*stride)
	m := blas32.General{Rows: n, Cols: d, Stride: stride, Data: *r.unpacked}
	if r.factors == nil && !c.gathers() && t.Stride[2] == d && stride == d {
		r.numbers.load(w.kernel, m.Data, at, 1)
		return m
	}
	for j := range n {
		at := t.Index(u.seq.Batch, head, c.keyRow(u.seq, j0+j), 0)
		r.numbers.load(w.kernel, m.Data[j*stride:j*stride+d], at, c.factor(r.factors, r.descale, u.seq, head, j0+j))
	}
	return m
}

// factor is what the codes of token s of a head are multiplied by.
func (c *call) factor(factors []float32, descale *vkattn.Tensor, seq *vkattn.Sequence, head, s int) float32 {
	if factors == nil {
		return 1
	}
	return factors[c.op.DescaleIndex(*descale, seq.Index, head, s)]
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

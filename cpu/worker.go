package cpu

import (
	"context"

	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/blas/blas32"
)

// worker is the scratch memory of one core. A backend keeps its workers, so that repeated runs reuse it.
type worker struct {
	kernel     kernel
	q, s, k, v []float32 // tiles: packed queries, scores, packed keys, packed values
	zeros      []float32 // one row of values
	part, sum  state
	spans      []vkattn.Span
	ranges     []keyRange
	bad        []int // keys of the tile whose values are not finite
}

// scratchBytes is the memory of one worker for heads of d and dv columns.
func scratchBytes(d, dv int) int64 {
	return 4 * int64(tileRows*d+tileRows*tileKeys+tileKeys*d+tileKeys*dv+dv+2*tileRows*stateFloats(dv))
}

// fit makes room for heads of d and dv columns.
func (w *worker) fit(d, dv int) {
	w.q = grow(w.q, tileRows*rowStride(d))
	w.k = grow(w.k, tileKeys*rowStride(d))
	w.v = grow(w.v, tileKeys*dv)
	w.s = grow(w.s, tileRows*tileKeys)
	w.zeros = grow(w.zeros, dv)
	for _, t := range []*state{&w.part, &w.sum} {
		if cap(t.o.Data) < tileRows*dv || t.m == nil {
			*t = newState(tileRows, dv)
		}
		t.o.Cols, t.o.Stride, t.o.Data = dv, dv, t.o.Data[:tileRows*dv]
	}
}

// grow is s with length n; its content is undefined, except that fresh memory is zero.
func grow(s []float32, n int) []float32 {
	if cap(s) < n {
		return make([]float32, n)
	}
	return s[:n]
}

// attend does one unit. It returns ctx's error when ctx ends before it is done.
func (w *worker) attend(ctx context.Context, c *call, u *unit) error {
	w.fit(c.op.HeadDim, c.op.ValueDim)
	s, rows := u.seq, u.rows()
	q := w.packQ(c, u)
	w.spans = s.Spans(w.spans[:0], u.i0, u.i1)
	w.ranges = c.keyRanges(w.ranges[:0], w.spans, s, u.heads[0], u.i0)
	if u.join != nil {
		w.part.reset(rows)
		if _, err := w.keys(ctx, c, u, q, u.part*partKeys, (u.part+1)*partKeys); err != nil {
			return err
		}
		return w.leave(c, u)
	}
	w.sum.reset(rows)
	for lo := 0; lo < s.Sk; lo += partKeys {
		w.part.reset(rows)
		any, err := w.keys(ctx, c, u, q, lo, lo+partKeys)
		if err != nil {
			return err
		}
		if any {
			w.sum.merge(&w.part)
		}
	}
	w.write(c, u)
	return nil
}

// leave hands the state of a part to the units of the same rows; the last one merges them in order.
func (w *worker) leave(c *call, u *unit) error {
	rows := u.rows()
	t := newState(rows, c.op.ValueDim)
	t.reset(rows)
	copy(t.m, w.part.m)
	copy(t.l, w.part.l)
	copy(t.o.Data, w.part.o.Data)
	u.join.parts[u.part] = t
	if u.join.left.Add(-1) > 0 {
		return nil
	}
	w.sum.reset(rows)
	for p := range u.join.parts {
		w.sum.merge(&u.join.parts[p])
	}
	w.write(c, u)
	return nil
}

// packQ gathers the rows of the unit, head by head.
func (w *worker) packQ(c *call, u *unit) blas32.General {
	d, stride, n := c.op.HeadDim, rowStride(c.op.HeadDim), 0
	for _, h := range u.heads {
		for i := u.i0; i < u.i1; i++ {
			at := c.args.Q.Index(u.seq.Batch, h, u.seq.Q0+i, 0)
			copy(w.q[n*stride:n*stride+d], c.q[at:])
			n++
		}
	}
	return blas32.General{Rows: n, Cols: d, Stride: stride, Data: w.q[:n*stride]}
}

// keys takes the visited keys of [lo, hi) into w.part, tile by tile. any says whether there were some.
func (w *worker) keys(ctx context.Context, c *call, u *unit, q blas32.General, lo, hi int) (any bool, err error) {
	for _, r := range w.ranges {
		for j0 := max(lo, r.lo); j0 < min(hi, r.hi); j0 += tileKeys {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			w.tile(c, u, q, j0, min(j0+tileKeys, hi, r.hi), r.full)
			any = true
		}
	}
	return any, nil
}

// tile takes keys [j0, j1) into w.part.
func (w *worker) tile(c *call, u *unit, q blas32.General, j0, j1 int, full bool) {
	n := j1 - j0
	s := blas32.General{Rows: q.Rows, Cols: n, Stride: tileKeys, Data: w.s}
	w.kernel.scores(s, q, c.keyTile(w.k, u, j0, n))
	r := 0
	for _, h := range u.heads {
		for i := u.i0; i < u.i1; i++ {
			row := s.Data[r*s.Stride : r*s.Stride+n]
			c.transform(row, u.seq, h, i, j0, full)
			w.part.update(r, row)
			r++
		}
	}
	w.kernel.accumulate(w.part.o, s, w.finiteValues(c, u, j0, n))
	if len(w.bad) > 0 {
		w.addBad(c, u, s, j0)
	}
}

// addBad adds the values that finiteValues left out to the rows that see them, and to no other row.
func (w *worker) addBad(c *call, u *unit, s blas32.General, j0 int) {
	for _, j := range w.bad {
		v := c.value(u, j0+j)
		r := 0
		for _, h := range u.heads {
			for i := u.i0; i < u.i1; i++ {
				if c.sees(u.seq, h, i, j0+j) {
					p, o := s.Data[r*s.Stride+j], w.part.row(r).Data
					for d := range o {
						o[d] += p * v[d] // 0 times NaN is NaN
					}
				}
				r++
			}
		}
	}
}

// write finishes the rows of w.sum into Out and LSE.
func (w *worker) write(c *call, u *unit) {
	s, a := u.seq, &c.args
	r := 0
	for _, h := range u.heads {
		var sink float32
		if c.sinks != nil {
			sink = c.sinks[a.SinkLogits.HeadIndex(s.Index, h)]
		}
		for i := u.i0; i < u.i1; i++ {
			at := a.Out.Index(s.Batch, h, s.Q0+i, 0)
			out := c.out[at : at+c.op.ValueDim]
			lse := w.sum.finish(r, out, sink, c.sinks != nil, func() bool { return !w.seesAny(c, s, h, i) })
			if c.lse != nil {
				c.lse[a.LSE.Index(s.Batch, h, s.Q0+i, 0)] = lse
			}
			r++
		}
	}
}

// seesAny reports whether row i sees any key at all, by the masks alone.
func (w *worker) seesAny(c *call, s *vkattn.Sequence, h, i int) bool {
	for _, r := range w.ranges {
		for j := r.lo; j < r.hi; j++ {
			if c.sees(s, h, i, j) {
				return true
			}
		}
	}
	return false
}

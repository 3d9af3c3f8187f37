package cpu

import (
	"context"

	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/blas/blas32"
)

// worker is the scratch memory of one core. A backend keeps its workers, so that repeated runs reuse it.
type worker struct {
	linear    linearScratch
	kernel    kernel
	q, s      []float32 // tiles: packed queries, scores
	v, zeros  []float32 // values of a tile that are finite, one row of zeros
	keyRows   []float32 // keys and values of a tile, if the caller's are not float32
	valueRows []float32
	outRow    []float32 // one row of results, likewise
	part, sum state
	rows      []rowKeys // by row of one head
	spans     []vkattn.Span
	chosen    []vkattn.Span // what a mask by blocks leaves of spans
	ranges    []keyRange
	patches   []patch // of the tile
	bad       []int   // keys of the tile whose values are not finite
}

// scratchBytes is the memory of one worker with kernel k for heads of d and dv columns.
func scratchBytes(k kernel, d, dv int) int64 {
	rows, keys := k.tile()
	return 4*int64(rows*d+rows*keys+2*rows*stateFloats(dv)) + k.scratchBytes(d, dv)
}

// fit makes room for heads of d and dv columns.
func (w *worker) fit(d, dv int) {
	rows, keys := w.kernel.tile()
	rows = roundUp(rows, blockRows)
	w.q = growAligned(w.q, rows*rowStride(d))
	w.s = growAligned(w.s, rows*keys)
	w.part.fit(rows, dv)
	w.sum.fit(rows, dv)
}

// attend does one unit. It returns ctx's error when ctx ends before it is done.
func (w *worker) attend(ctx context.Context, c *call, u *unit) error {
	w.fit(c.op.HeadDim, c.op.ValueDim)
	s, rows := u.seq, u.rows()
	q := w.packQ(c, u)
	w.kernel.queries(q)
	defer w.kernel.ahead(blas32.General{}, false) // lets go of the caller's memory
	w.find(c, u)
	if u.join != nil {
		w.part.reset(rows)
		if _, err := w.keys(ctx, c, u, u.part*partKeys, (u.part+1)*partKeys); err != nil {
			return err
		}
		return w.leave(c, u)
	}
	w.sum.reset(rows)
	for lo := 0; lo < s.Sk; lo += partKeys {
		w.part.reset(rows)
		any, err := w.keys(ctx, c, u, lo, lo+partKeys)
		if err != nil {
			return err
		}
		switch {
		case any && s.Sk <= partKeys: // there is nothing else
			w.sum, w.part = w.part, w.sum
		case any:
			w.sum.merge(&w.part)
		}
	}
	w.write(c, u)
	return nil
}

// find sets the ranges of keys that the unit visits.
func (w *worker) find(c *call, u *unit) {
	w.rows = w.rowKeys(w.rows[:0], u.seq, u.i0, u.i1)
	w.spans = u.seq.Spans(w.spans[:0], u.i0, u.i1)
	spans := w.spans
	if c.op.MaskBlock >= shortBlock && c.args.Blocks == nil {
		w.chosen = w.chosenKeys(w.chosen[:0], spans, c, u)
		spans = w.chosen
	}
	w.ranges = c.keyRanges(w.ranges[:0], spans, u.seq, u.heads[0], u.i0)
}

// leave hands the state of a part to the units of the same rows; the last one merges them in order.
func (w *worker) leave(c *call, u *unit) error {
	rows := u.rows()
	var t state
	t.fit(rows, c.op.ValueDim)
	t.reset(rows)
	copy(t.m, w.part.m)
	copy(t.l, w.part.l)
	for r := range rows {
		copy(t.row(r).Data, w.part.row(r).Data)
	}
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

// packQ gathers the rows of the unit: all heads of its first row, then of the second, and so on.
func (w *worker) packQ(c *call, u *unit) blas32.General {
	d, stride, n := c.op.HeadDim, rowStride(c.op.HeadDim), 0
	for i := u.i0; i < u.i1; i++ {
		for _, h := range u.heads {
			at := c.args.Q.Index(u.seq.Batch, h, u.seq.Q0+i, 0)
			c.q.load(w.kernel, w.q[n*stride:n*stride+d], at, c.factor(c.descaleQ, &c.args.DescaleQ, u.seq, h, i))
			n++
		}
	}
	return blas32.General{Rows: n, Cols: d, Stride: stride, Data: w.q[:n*stride]}
}

// keys takes the visited keys of [lo, hi) into w.part, tile by tile. any says whether there were some.
func (w *worker) keys(ctx context.Context, c *call, u *unit, lo, hi int) (any bool, err error) {
	_, step := w.kernel.tile()
	for n := range w.ranges {
		r := &w.ranges[n]
		for j0, j1 := max(lo, r.lo), 0; j0 < min(hi, r.hi); j0 = j1 {
			if err := ctx.Err(); err != nil {
				return false, err
			}
			j1 = min(j0+step, hi, r.hi)
			if w.rows[0].hi < j1 { // a smaller step wastes less at the diagonal: 4% of a causal call of 1,024 tokens
				j1 = min(j0+step/2, j1)
			}
			w.tile(c, u, r, j0, j1)
			any = true
		}
	}
	return any, nil
}

// tile takes keys [j0, j1) of a range into w.part.
func (w *worker) tile(c *call, u *unit, keys *keyRange, j0, j1 int) {
	w.cut(c, u, keys, j0, j1)
	if len(w.patches) == 0 {
		return
	}
	_, stride := w.kernel.tile()
	n := j1 - j0
	s := blas32.General{Rows: u.rows(), Cols: n, Stride: stride, Data: w.s}
	k, v := w.keyTile(c, u, j0, n), w.valueTile(c, u, j0, n)
	w.kernel.ahead(rowSlice(v, w.patches[0].from, n), j1 < keys.hi && c.k.inPlace() && !c.gathers()) // those right after them are next
	for _, p := range w.patches {
		w.kernel.scores(columns(s, p.from, p.to-p.from), rowSlice(k, p.from, p.to), p.r0, p.r1)
	}
	for b := w.band(0, s.Rows); b.r0 < s.Rows; b = w.band(b.r1, s.Rows) {
		if b.from < b.to {
			x := columns(s, b.from, b.to-b.from)
			scale := w.transform(c, u, x, keys, j0+b.from, b.r0, b.r1)
			w.kernel.softmax(&w.part, x, scale, b.r0, b.r1)
		}
	}
	w.bad = w.bad[:0]
	for _, p := range w.patches {
		weights, values := columns(s, p.from, p.to-p.from), rowSlice(v, p.from, p.to)
		if !w.kernel.accumulate(&w.part, weights, values, p.r0, p.r1) {
			w.kernel.accumulate(&w.part, weights, w.finiteValues(values, p.from), p.r0, p.r1)
		}
	}
	w.addBad(c, u, s, v, j0)
}

// addBad adds the values that finiteValues left out to the rows that see them, and to no other row.
func (w *worker) addBad(c *call, u *unit, s, v blas32.General, j0 int) {
	for _, j := range w.bad {
		value := v.Data[j*v.Stride : j*v.Stride+v.Cols]
		for r := range s.Rows {
			if !c.sees(u.seq, u.heads[r%len(u.heads)], u.i0+r/len(u.heads), j0+j) {
				continue
			}
			p, o := s.Data[r*s.Stride+j], w.part.row(r).Data
			for d := range o {
				o[d] += p * value[d] // 0 times NaN is NaN
			}
		}
	}
}

// write finishes the rows of w.sum into Out and LSE.
func (w *worker) write(c *call, u *unit) {
	s, a := u.seq, &c.args
	w.outRow = grow(w.outRow, c.op.ValueDim)
	for n, h := range u.heads {
		var sink float32
		if c.sinks != nil {
			sink = c.sinks[a.SinkLogits.HeadIndex(s.Index, h)]
		}
		for i := u.i0; i < u.i1; i++ {
			row := (i-u.i0)*len(u.heads) + n
			if c.leaves != nil {
				w.leaveRow(c, s, h, i, row)
				continue
			}
			sees := c.joins != nil && w.joinRow(c, s, h, i, row)
			at := a.Out.Index(s.Batch, h, s.Q0+i, 0)
			out := c.out.row(w.outRow, at, c.op.ValueDim)
			lse := w.sum.finish(row, out, sink, c.sinks != nil, func() bool { return !sees && !w.seesAny(c, s, h, i) })
			c.out.store(at, out)
			if c.lse != nil {
				c.lse[a.LSE.Index(s.Batch, h, s.Q0+i, 0)] = lse
			}
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

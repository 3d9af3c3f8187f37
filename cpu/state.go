package cpu

import (
	"math"

	"gonum.org/v1/gonum/blas/blas32"
)

var negInf = float32(math.Inf(-1))

// state is the running softmax of some rows over the keys seen so far: m the largest score, l the sum of
// exp(s-m), o the sum of exp(s-m) v, not yet divided by l. A row without any key has m = -inf, l = 0, o = 0.
type state struct {
	m []float32
	l []float64
	o blas32.General // [rows, Dv]
}

// stateFloats is the room that a state of one row needs, in float32 numbers.
func stateFloats(dv int) int { return roundUp(dv, cacheLine) + 3 }

// fit makes room for rows rows of dv columns. Rows of o begin at cache lines.
func (t *state) fit(rows, dv int) {
	stride := roundUp(dv, cacheLine)
	if cap(t.m) < rows {
		t.m, t.l = make([]float32, rows), make([]float64, rows)
	}
	t.o = blas32.General{Rows: rows, Cols: dv, Stride: stride, Data: growAligned(t.o.Data, rows*stride)}
}

// reset makes the state empty, with room for rows rows.
func (t *state) reset(rows int) {
	t.m, t.l, t.o.Rows = t.m[:rows], t.l[:rows], rows
	for r := range t.m {
		t.m[r] = negInf
	}
	clear(t.l)
	clear(t.o.Data[:min(roundUp(rows, blockRows)*t.o.Stride, len(t.o.Data))])
}

func (t *state) row(r int) blas32.Vector {
	return blas32.Vector{N: t.o.Cols, Inc: 1, Data: t.o.Data[r*t.o.Stride : r*t.o.Stride+t.o.Cols]}
}

// update takes in the scores s of row r, turns them into weights relative to the new maximum, and brings
// m, l and o to it. The caller then adds the weighted values to o. Hidden scores are -inf.
func (t *state) update(r int, s []float32) {
	old := t.m[r]
	m := old
	for _, x := range s {
		if x > m { // never for a NaN, which reaches l and o through its weight
			m = x
		}
	}
	base := m
	if m == negInf {
		base = 0 // nothing but -inf (and NaN) so far: weights of 0, not of exp(-inf+inf)
	}
	sum := expRow(s, float64(base))
	if m != old {
		w := weight(old, m)
		t.l[r] *= w
		scale(float32(w), t.row(r))
		t.m[r] = m
	}
	t.l[r] += sum
}

// merge takes in a state of the same rows over other keys.
func (t *state) merge(part *state) {
	for r, pm := range part.m {
		t.mergeRow(r, pm, part.l[r], part.row(r).Data)
	}
}

// mergeRow is merge for one row.
func (t *state) mergeRow(r int, pm float32, pl float64, po []float32) {
	m := max(t.m[r], pm)
	wt, wp := weight(t.m[r], m), weight(pm, m)
	t.m[r], t.l[r] = m, t.l[r]*wt+pl*wp
	o := t.row(r)
	scale(float32(wt), o)
	add(float32(wp), blas32.Vector{N: len(po), Inc: 1, Data: po}, o)
}

// scale is x *= w. Unlike BLAS, which takes 0 for "forget x", it keeps a NaN a NaN.
func scale(w float32, x blas32.Vector) {
	switch w {
	case 1:
	case 0:
		for i := range x.Data {
			x.Data[i] *= w
		}
	default:
		blas32.Scal(w, x)
	}
}

// add is y += w x, where 0 times NaN is NaN.
func add(w float32, x, y blas32.Vector) {
	if w != 0 {
		blas32.Axpy(w, x, y)
		return
	}
	for i, v := range x.Data {
		y.Data[i] += w * v
	}
}

// finish divides row r by its denominator, which a sink logit joins, into out, and returns the LSE.
// empty says that the masks hide every key from the row; it is asked only when no weight came in.
func (t *state) finish(r int, out []float32, sink float32, hasSink bool, empty func() bool) (lse float32) {
	m, l := t.m[r], t.l[r]
	if l == 0 && empty() {
		clear(out)
		if hasSink {
			return sink
		}
		return negInf
	}
	w := 1.0
	if hasSink && sink != negInf {
		to := max(m, sink)
		w = weight(m, to)
		m, l = to, l*w+weight(sink, to)
	}
	if l == 0 { // every visible score is -inf
		m, l = float32(math.NaN()), math.NaN()
	}
	for d, o := range t.row(r).Data {
		out[d] = float32(float64(o)*(w/l) + 0) // never -0: products of 0 that a kernel may leave out change no other bit
	}
	return float32(float64(m) + math.Log(l))
}

package cpu

import (
	"context"
	"math"

	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/blas/blas32"
)

// linearScratch is the memory of one worker for linear attention, and the unit that it works on.
type linearScratch struct {
	c      *linearCall
	u      *linearUnit
	kernel kernel

	f, stride int // features, and how far rows of them lie apart
	rows      int // of the matrices below: a chunk and what panels need behind it
	stateRows int // of a panel of s

	x           []float32 // [rows][HeadDim up to a multiple of 4]: what is projected
	k, q, erase []float32 // [rows][stride]: features of keys and queries; what the delta rule takes off values
	keys        []float32 // k transposed, in panels
	projection  []float32 // transposed, in panels
	s           []float32 // S, in panels of stateRows rows
	values      []float32 // u, in panels of rows rows
	o           []float32 // [rows][columns of the panels]
	p, a        []float32 // [rows][chunk]: weights of the pairs; the delta rule's matrix
	pairs       []float32 // [chunk][chunk]: decay from one token to another
	channel     []float32 // [rows][stride]: exp(g) of channels
	since       []float32 // [rows][stride]: the product of channel so far in the chunk

	decays   []float64 // by token: exp(g) without channels
	from     []float32 // by token: decay since the chunk began
	beta     []float32 // by token
	half     []float64 // by token: |y|²/2 of MapFavor
	ones     []float32
	keep     []float32 // by row of S: decay over the chunk
	z        []float64 // by feature: the column of the denominator
	zs       []float64 // [chunk][f]: z after each token
	favor    float32   // c of MapFavor
	infinite bool      // S is not finite
}

// fit makes room for units of l with so many panels and returns the bytes that it takes; without alloc it only counts.
func (w *linearScratch) fit(l *linear, panels int, alloc bool) int64 {
	d, f := l.op.HeadDim, l.op.FeatureDim()
	w.f, w.stride = f, roundUp(f, panelCols)
	w.rows = max(roundUp(l.chunk, blockRows), roundUp(l.chunk, panelCols))
	w.stateRows = roundUp(f, blockRows)
	delta, channel := w.rows*w.stride, 0
	if l.channels() {
		channel = delta
	}
	projected := 0
	if l.op.Features > 0 {
		projected = 1
	}
	behind := blockRows * panelCols // rows that a product may touch behind the last
	var bytes int64
	for _, b := range []struct {
		to *[]float32
		n  int
	}{
		{&w.x, projected * w.rows * rowStride(d)}, {&w.projection, projected * w.stride * roundUp(d, vectorLen)},
		{&w.k, delta}, {&w.q, delta}, {&w.erase, delta}, {&w.keys, roundUp(l.chunk, panelCols)*roundUp(f, vectorLen) + behind},
		{&w.s, panels * w.stateRows * panelCols}, {&w.values, panels * w.rows * panelCols}, {&w.o, panels * w.rows * panelCols},
		{&w.p, w.rows * l.chunk}, {&w.a, w.rows * l.chunk}, {&w.pairs, l.chunk * l.chunk},
		{&w.channel, channel}, {&w.since, channel}, {&w.from, w.rows}, {&w.beta, w.rows},
		{&w.ones, max(w.rows, w.stateRows)}, {&w.keep, w.stateRows},
	} {
		bytes += 4 * int64(b.n)
		if alloc {
			*b.to = growAligned(*b.to, b.n)
		}
	}
	for _, b := range []struct {
		to *[]float64
		n  int
	}{{&w.decays, l.chunk}, {&w.half, l.chunk}, {&w.z, f}, {&w.zs, l.chunk * f}} {
		bytes += 8 * int64(b.n)
		if alloc && cap(*b.to) < b.n {
			*b.to = make([]float64, b.n)
		}
		if alloc {
			*b.to = (*b.to)[:b.n]
		}
	}
	return bytes
}

// attend does one unit. It returns ctx's error when ctx ends before it is done.
func (w *linearScratch) attend(ctx context.Context, c *linearCall, u *linearUnit, k kernel) error {
	w.c, w.u, w.kernel = c, u, k
	defer func() { w.c, w.u = nil, nil }() // lets go of the caller's memory
	w.fit(c.linear, u.p1-u.p0, true)
	for i := range w.ones {
		w.ones[i] = 1
	}
	w.loadProjection()
	w.enter()
	var err error
	if c.op.Causal {
		err = w.causal(ctx)
	} else if err = w.sumUp(ctx); err == nil {
		err = w.readAll(ctx)
	}
	if err == nil {
		w.leave()
	}
	return err
}

// causal goes through the tokens chunk by chunk.
func (w *linearScratch) causal(ctx context.Context) error {
	for t := 0; t < w.u.seq.Sq; t += w.c.chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(w.c.chunk, w.u.seq.Sq-t)
		w.gates(t, n)
		w.loadKeys(t, n)
		w.sums(n)
		finite := w.loadValues(t, n)
		if finite && w.plain(n) {
			w.chunkForm(t, n)
		} else {
			w.tokens(t, n)
		}
		w.infinite = !w.finiteState()
	}
	return nil
}

// plain reports whether a chunk can be computed as products: everything finite, so that 0 times it is 0, and
// decays of at most 1, whose products cannot overflow.
func (w *linearScratch) plain(n int) bool {
	if w.infinite || !w.kernel.finite(w.beta[:n]) {
		return false
	}
	for _, e := range w.decays[:n] {
		if !(e <= 1) {
			return false
		}
	}
	for a := range n {
		if !w.kernel.finite(w.k[a*w.stride : a*w.stride+w.f]) {
			return false
		}
		if w.c.channels() {
			for _, e := range w.channel[a*w.stride : a*w.stride+w.f] {
				if !(e <= 1) {
					return false
				}
			}
		}
	}
	return true
}

// panelCount is how many panels the unit has.
func (w *linearScratch) panelCount() int { return w.u.p1 - w.u.p0 }

// columns is the range of value columns of panel p.
func (w *linearScratch) columns(p int) (lo, hi int) {
	lo = (w.u.p0 + p) * panelCols
	return lo, min(lo+panelCols, w.c.op.ValueDim)
}

// state is the panel p of S.
func (w *linearScratch) state(p int) blas32.General {
	return blas32.General{Rows: w.f, Cols: panelCols, Stride: panelCols, Data: w.s[p*w.stateRows*panelCols : (p+1)*w.stateRows*panelCols]}
}

// update is the panel p of u, of n tokens.
func (w *linearScratch) update(p, n int) blas32.General {
	return blas32.General{Rows: n, Cols: panelCols, Stride: panelCols, Data: w.values[p*w.rows*panelCols : (p+1)*w.rows*panelCols]}
}

// output is the panel p of o, of n tokens.
func (w *linearScratch) output(p, n int) blas32.General {
	return blas32.General{Rows: n, Cols: panelCols, Stride: w.panelCount() * panelCols, Data: w.o[p*panelCols:]}
}

// matrix is n rows of features.
func (w *linearScratch) matrix(x []float32, n int) blas32.General {
	return blas32.General{Rows: n, Cols: w.f, Stride: w.stride, Data: x}
}

func (w *linearScratch) finiteState() bool {
	for p := range w.panelCount() {
		if !w.kernel.finite(w.state(p).Data[:w.f*panelCols]) {
			return false
		}
	}
	return true
}

// loadValues packs the values of n tokens and reports whether all are finite.
func (w *linearScratch) loadValues(t, n int) bool {
	finite := true
	v, s := &w.c.args.V, w.u.seq
	for p := range w.panelCount() {
		lo, hi := w.columns(p)
		at := v.Index(s.Batch, w.u.head.value, s.K0+t, lo)
		finite = w.kernel.packPanel(w.update(p, n).Data, tile(w.c.v, at, n, hi-lo, v.Stride[2])) && finite
	}
	return finite
}

// gates reads decay and beta of n tokens. All of them are 1 in calls without.
func (w *linearScratch) gates(t, n int) {
	c, s, head := w.c, w.u.seq, w.u.head.index
	for a := range n {
		w.decays[a], w.beta[a] = 1, 1
		if d := &c.args.Decay; d.Given() && !c.channels() {
			at := d.Index(0, head, 0, 0)
			if c.op.Decay == vkattn.DecayToken {
				at = d.Index(s.Batch, head, s.K0+t+a, 0)
			}
			w.decays[a] = math.Exp(float64(c.decay[at]))
		}
		if b := &c.args.Beta; b.Given() {
			w.beta[a] = c.beta[b.Index(s.Batch, head, s.K0+t+a, 0)]
		}
	}
	if !c.channels() {
		return
	}
	d := &c.args.Decay
	for a := range n {
		row := w.channel[a*w.stride : a*w.stride+w.f]
		for r := range row {
			row[r] = c.decay[d.Index(s.Batch, head, s.K0+t+a, r)]
		}
		w.kernel.exp(row, 0)
	}
}

package cpu

import (
	"context"

	"github.com/vkattn/vkattn"
)

// entries reads z and c of every state before the first token.
func (c *linearCall) entries() []linearEntry {
	all := make([]linearEntry, len(c.seqs)*len(c.heads))
	t, f := &c.args.StateIn, c.op.FeatureDim()
	for n := range all {
		e := &all[n]
		e.z, e.c = make([]float64, f), negInf
		if !t.Given() {
			continue
		}
		s, h := n/len(c.heads), n%len(c.heads)
		if c.hasZ() {
			for r := range f {
				e.z[r] = float64(c.stateIn[t.Index(s, h, r, c.op.ValueDim)])
			}
		}
		if c.op.Map == vkattn.MapFavor {
			e.c = c.stateIn[t.Index(s, h, f, 0)]
		}
	}
	return all
}

// enter sets the state of the unit to what it is before the first token.
func (w *linearScratch) enter() {
	c := w.c
	e := &c.entry[w.u.seq.Index*len(c.heads)+w.u.head.index]
	copy(w.z, e.z)
	w.favor = e.c
	clear(w.s)
	if t := &c.args.StateIn; t.Given() {
		w.eachRow(func(p, r, lo int, row []float32) {
			if t.Stride[3] == 1 {
				copy(row, c.stateIn[t.Index(w.u.seq.Index, w.u.head.index, r, lo):])
				return
			}
			for i := range row { // broadcast
				row[i] = c.stateIn[t.Index(w.u.seq.Index, w.u.head.index, r, lo+i)]
			}
		})
	}
	w.infinite = !w.finiteState()
}

// eachRow calls f for every row of every panel of S, with its columns from lo.
func (w *linearScratch) eachRow(f func(p, r, lo int, row []float32)) {
	for p := range w.panelCount() {
		lo, hi := w.columns(p)
		S := w.state(p).Data
		for r := range w.f {
			f(p, r, lo, S[r*panelCols:r*panelCols+hi-lo])
		}
	}
}

// leave writes the unit's part of StateOut. The first unit of a state writes what belongs to no value.
func (w *linearScratch) leave() {
	c, t := w.c, &w.c.args.StateOut
	if !t.Given() {
		return
	}
	at := func(r, col int) int { return t.Index(w.u.seq.Index, w.u.head.index, r, col) }
	w.eachRow(func(_, r, lo int, row []float32) { copy(c.stateOut[at(r, lo):], row) })
	if w.u.p0 > 0 {
		return
	}
	if c.hasZ() {
		for r, z := range w.z {
			c.stateOut[at(r, c.op.ValueDim)] = float32(z)
		}
	}
	if c.op.Map == vkattn.MapFavor {
		row := c.stateOut[at(w.f, 0):][:t.Shape[3]]
		clear(row)
		row[0] = w.favor
	}
}

// maximum finds the largest exponent of all keys, for MapFavor, and brings the state to it.
func (w *linearScratch) maximum(ctx context.Context) error {
	if w.c.op.Map != vkattn.MapFavor {
		return nil
	}
	s, before := w.u.seq, w.favor
	for t := 0; t < s.Sk; t += w.c.chunk {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(w.c.chunk, s.Sk-t)
		w.load(w.k, w.c.k, &w.c.args.K, w.u.head.key, s.K0+t, n)
		for a := range n {
			w.raise(w.exponent(w.k[a*w.stride:a*w.stride+w.f], a))
		}
	}
	if w.favor == before {
		return nil
	}
	factor := weight(before, w.favor)
	for i := range w.s {
		w.s[i] *= float32(factor)
	}
	for r := range w.z {
		w.z[r] *= factor
	}
	return nil
}

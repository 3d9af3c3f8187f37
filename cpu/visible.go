package cpu

import "github.com/vkattn/vkattn"

// rowKeys is what the closed-form masks let one row see: keys [lo, hi), with holes or without.
type rowKeys struct {
	lo, hi int
	holes  bool
}

// rowKeys appends to dst what rows [i0, i1) see.
func (w *worker) rowKeys(dst []rowKeys, s *vkattn.Sequence, i0, i1 int) []rowKeys {
	for i := i0; i < i1; i++ {
		w.spans = s.Spans(w.spans[:0], i, i+1) // of a single row they are exact
		var v rowKeys
		if n := len(w.spans); n > 0 {
			v = rowKeys{w.spans[0].Lo, w.spans[n-1].Hi, n > 1}
		}
		dst = append(dst, v)
	}
	return dst
}

// sees reports whether the row may see some of keys [j0, j1).
func (v rowKeys) sees(j0, j1 int) bool { return v.lo < j1 && v.hi > j0 }

// seesSome is sees without doubt: row i does see some of them.
func (v rowKeys) seesSome(s *vkattn.Sequence, i, j0, j1 int) bool {
	if !v.holes || !v.sees(j0, j1) {
		return v.sees(j0, j1)
	}
	for j := j0; j < j1; j++ {
		if s.Visible(i, j) {
			return true
		}
	}
	return false
}

// seesAll reports whether the row sees all of keys [j0, j1), or may not.
func (v rowKeys) seesAll(j0, j1 int) bool { return v.lo <= j0 && v.hi >= j1 && !v.holes }

// hide sets the scores of the keys from j0 that row i does not see to -inf.
func (v rowKeys) hide(x []float32, s *vkattn.Sequence, i, j0 int) {
	lo := min(max(v.lo-j0, 0), len(x))
	hi := min(max(v.hi-j0, lo), len(x))
	hide(x[:lo])
	hide(x[hi:])
	if v.holes {
		for j := lo; j < hi; j++ {
			if !s.Visible(i, j0+j) {
				x[j] = negInf
			}
		}
	}
}

func hide(x []float32) {
	for j := range x {
		x[j] = negInf
	}
}

// rowRange is the range of rows of the unit, up to multiples of blockRows, outside of which no row sees
// any of keys [j0, j1) of a range.
func (w *worker) rowRange(c *call, u *unit, keys *keyRange, j0, j1 int) (r0, r1 int) {
	first, last := 0, len(w.rows)
	if keys.tile >= 0 {
		s, at := c.panels.span(keys.tile, j0-keys.block, j1-keys.block), u.i0%c.args.Blocks.BlockQ
		first = min(max(s.lo-at, 0), last)
		last = max(min(s.hi-at, last), first)
	}
	for first < last && !w.rows[first].sees(j0, j1) {
		first++
	}
	for last > first && !w.rows[last-1].sees(j0, j1) {
		last--
	}
	r0 = first * len(u.heads) / blockRows * blockRows
	r1 = min(roundUp(last*len(u.heads), blockRows), u.rows())
	return r0, max(r0, r1)
}

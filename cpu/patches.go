package cpu

// patch is rows [r0, r1) of a unit and columns [from, to) of its tile of scores.
type patch struct{ r0, r1, from, to int }

// cut sets the patches of keys [j0, j1) of a range, in ascending order of keys: rows see nothing of the tile outside of
// them, so that neither scores nor sums need more. The softmax takes a row's keys of all patches in one step, and a weight
// of 0 adds nothing, so that results are the same bits as of a tile in one patch. Patches begin at panels of the tile.
func (w *worker) cut(c *call, u *unit, keys *keyRange, j0, j1 int) {
	w.patches = w.patches[:0]
	for at, end := j0, 0; at < j1; at = end {
		end = j1
		if keys.tile >= 0 {
			end = keys.block + c.panels.end(keys.tile, at-keys.block, j1-keys.block)
		}
		if r0, r1 := w.rowRange(c, u, keys, at, end); r0 < r1 {
			w.patches = append(w.patches, patch{r0, r1, at - j0, end - j0})
		}
	}
}

// band is the rows of the unit from r0 on whose patches hold the same columns, and these columns, from the first to the
// last: what their softmax takes. There are none where the rows see nothing.
func (w *worker) band(r0, rows int) patch {
	b := patch{r0: r0, r1: r0 + blockRows}
	b.from, b.to = w.columns(r0)
	for ; b.r1 < rows; b.r1 += blockRows {
		if from, to := w.columns(b.r1); from != b.from || to != b.to {
			return b
		}
	}
	b.r1 = rows
	return b
}

// columns is the columns of all patches of row r, from the first to the last.
func (w *worker) columns(r int) (from, to int) {
	for _, p := range w.patches {
		if p.r0 <= r && r < p.r1 {
			if to == 0 {
				from = p.from
			}
			to = p.to
		}
	}
	return from, to
}

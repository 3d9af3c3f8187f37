package vkattn

// closedPattern is a pattern of masks that a Sequence knows in closed form.
type closedPattern struct{ Sequence }

// closed is the Sequence of a grid without any mask.
func (g MaskGrid) closed() *closedPattern {
	off := g.off()
	return &closedPattern{Sequence{Sq: g.SeqQ, Sk: g.SeqK, Off: off, Rel: off, SinkTokens: far / 2, Prefix: far / 2}}
}

func (p *closedPattern) repeats(i0, j0, rows, keys int) (key blockKey, ok bool) {
	first := i0 + p.Rel
	last := first + rows - 1
	has := func(lo, hi int) bool {
		n := p.firstGlobal(lo)
		return n < len(p.Global) && int(p.Global[n]) < hi
	}
	if has(first, last+1) || has(j0, j0+keys) {
		return nil, false
	}
	k := [5]int{j0 - first, min(max(p.Prefix-j0, 0), keys), min(max(p.SinkTokens-j0, 0), keys)}
	w := p.Window
	switch {
	case p.Chunk > 0:
		k[3], k[4] = first-floorDiv(first, p.Chunk)*p.Chunk, j0%p.Chunk
	case w.Left.Set && w.Left.N >= 0 && j0+keys-1 < first-w.Left.N: // left of every row's window, and of the diagonal
		k[0] = far
	}
	return k, true
}

package cpu

import "github.com/vkattn/vkattn"

// blockPanels says of a block mask whose blocks have pairs of their own which rows of a block see keys of its
// panels: of each tile, panel by panel of panelCols keys, the range that holds all such rows.
type blockPanels struct {
	panels int // of a tile
	rows   []rowSpan
}

// rowSpan is rows [lo, hi) of a block; lo == hi for none.
type rowSpan struct{ lo, hi int }

// newBlockPanels looks at each tile once, from its ends inwards.
func newBlockPanels(m *vkattn.BlockMask) *blockPanels {
	if m == nil || m.Tile == nil {
		return nil
	}
	p := &blockPanels{panels: panelsOf(m.BlockK)}
	tiles := len(m.Bits) / (m.BlockQ * m.RowWords())
	p.rows = make([]rowSpan, 0, tiles*p.panels)
	for t := range int32(tiles) {
		for panel := range p.panels {
			from := panel * panelCols
			keep := uint32(1<<min(panelCols, m.BlockK-from)-1) << (from % 32) // a panel lies in one word
			sees := func(i int) bool { return m.TileRow(t, i)[from/32]&keep != 0 }
			s := rowSpan{0, m.BlockQ}
			for s.lo < s.hi && !sees(s.lo) {
				s.lo++
			}
			for s.hi > s.lo && !sees(s.hi-1) {
				s.hi--
			}
			p.rows = append(p.rows, s)
		}
	}
	return p
}

// span is the range of rows that see some of keys [j0, j1) of a tile, counted from the block's first key, or of more.
func (p *blockPanels) span(tile int32, j0, j1 int) (s rowSpan) {
	for panel := j0 / panelCols; panel*panelCols < j1; panel++ {
		s = s.union(p.rows[int(tile)*p.panels+panel])
	}
	return s
}

func (s rowSpan) union(t rowSpan) rowSpan {
	switch {
	case s.lo == s.hi:
		return t
	case t.lo == t.hi:
		return s
	}
	return rowSpan{min(s.lo, t.lo), max(s.hi, t.hi)}
}

func (s rowSpan) rows() int { return s.hi - s.lo }

// A row costs about as much as cutCost pairs more for each patch that it lies in.
const cutCost = 8

// end is where to end a patch of keys [j0, j1) of a tile, so that rows that see none of them are spared: some panels
// from j0, where the rows of the next one are others.
func (p *blockPanels) end(tile int32, j0, j1 int) int {
	at := j0
	var s rowSpan
	for at < j1 {
		next := min(at+panelCols, j1)
		n := p.span(tile, at, next)
		all := s.union(n)
		if at > j0 && all.rows()*(next-j0)-s.rows()*(at-j0)-n.rows()*(next-at) > cutCost*(n.rows()+blockRows) {
			break
		}
		s, at = all, next
	}
	return at
}

package vkattn

import (
	"fmt"
	"slices"
)

// SelectedBlocks keeps, for every row, the blocks of keys that were chosen for it, as the top-k of MoBA and of the
// selection branch of NSA:
//
//	floor(j/block) in choice[b, h, i, :]  and  (not causal or j <= i+off)
//
// choice is [g.Batch, G, SeqQ, width], one behind the other, where G divides g.Heads: head h reads group
// h / (g.Heads/G), so that all heads of a group can share what was chosen for the group. An index of -1 is ignored, one
// that comes twice counts once, and order does not matter. block need not be the grid's: a block of the grid keeps
// with its pairs which of its rows chose what. Package cpu has the selections as oracles. Sources: Lu et al., "MoBA"
// (2025), MoonshotAI/MoBA; Yuan et al., "Native Sparse Attention" (2025).
func (g MaskGrid) SelectedBlocks(choice []int32, width, block int, causal bool) (*BlockMask, error) {
	if err := inRange("width", width, 0, MaxSequence); err != nil {
		return nil, err
	}
	if err := inRange("block", block, 1, MaxSequence); err != nil {
		return nil, err
	}
	groups := 0
	return g.perHead(func(g MaskGrid, b, h int) (pattern, error) {
		if b == 0 && h == 0 {
			var err error
			if groups, err = g.checkChoice(choice, width, block); err != nil {
				return nil, err
			}
		}
		n := g.SeqQ * width
		p := &selectedPattern{width: width, block: block, sk: g.SeqK, off: g.off(), causal: causal}
		if n > 0 {
			at := (b*groups + h/(g.Heads/groups)) * n
			p.choice = choice[at : at+n]
		}
		return p, nil
	})
}

// SelectedKeys keeps, for every row, the keys that were chosen for it, token by token:
//
//	j in index[b, h, i, :]
//
// with index as choice of SelectedBlocks, of blocks of one key. The mask has its rows' lists beside its blocks, so that the
// heads of a group gather the keys of their row where that is less to do (see BlockMask.RowLists).
func (g MaskGrid) SelectedKeys(index []int32, width int) (*BlockMask, error) {
	m, err := g.SelectedBlocks(index, width, 1, false)
	if err != nil || m.Batch*m.Heads*g.SeqQ*width == 0 {
		return m, err
	}
	rows := m.Batch * g.SeqQ
	l := &RowLists{Batch: m.Batch, Groups: len(index) / (rows * width), Rows: g.SeqQ, Start: []int{0}}
	for at := 0; at < len(index); at += width {
		first := len(l.Keys)
		for _, key := range index[at : at+width] {
			if key >= 0 {
				l.Keys = append(l.Keys, key)
			}
		}
		slices.Sort(l.Keys[first:])
		l.Keys = l.Keys[:first+len(slices.Compact(l.Keys[first:]))]
		l.Start = append(l.Start, len(l.Keys))
	}
	return m.withForm(MaskForm{}, l), nil
}

// checkChoice checks indices and finds the number of groups.
func (g MaskGrid) checkChoice(choice []int32, width, block int) (groups int, err error) {
	one := float64(g.Batch) * float64(g.SeqQ) * float64(width)
	if one == 0 {
		if len(choice) != 0 {
			return 0, &ShapeError{"choice", "length", len(choice), "0"}
		}
		return 1, nil
	}
	groups = int(float64(len(choice)) / one)
	if groups < 1 || float64(groups)*one != float64(len(choice)) || g.Heads%groups != 0 {
		return 0, &ShapeError{"choice", "length", len(choice), fmt.Sprintf("%.0f times a divisor of %d heads", one, g.Heads)}
	}
	last := ceilDiv(g.SeqK, block) - 1
	for n, c := range choice {
		if c < -1 || int(c) > last {
			return 0, &ArgError{"choice", fmt.Sprintf("index %d of row %d is out of range -1 to %d", c, n/width%g.SeqQ, last)}
		}
	}
	return groups, nil
}

// selectedPattern gives each row a list of blocks of keys.
type selectedPattern struct {
	unlike
	choice       []int32 // [rows, width]
	width, block int
	sk, off      int
	causal       bool
}

func (p *selectedPattern) Spans(dst []Span, i0, i1 int) []Span {
	base := len(dst)
	end := p.sk
	if p.causal {
		end = min(end, i1+p.off)
	}
	for _, c := range p.choice[i0*p.width : i1*p.width] {
		if lo := int(c) * p.block; c >= 0 && lo < end {
			dst = append(dst, Span{lo, min(lo+p.block, end)})
		}
	}
	return mergeSpans(dst, base)
}

// FullyVisible leaves it to the pairs: rows choose each for itself.
func (p *selectedPattern) FullyVisible(_, _, _, _ int) bool { return false }

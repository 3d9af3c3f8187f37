package vkattn

import (
	"fmt"
	"slices"
)

// Lists keeps all pairs of the blocks that compressed lists (CSR) name: row block r of (b, h) sees the key blocks
// keys[start[n]:start[n+1]] with n = (b*g.Heads+h)*ceil(SeqQ/BlockQ) + r. Their order does not matter; a block that
// comes twice is an error, as is one that the grid does not have.
func (g MaskGrid) Lists(start, keys []int32) (*BlockMask, error) {
	g, a, err := g.assembler()
	if err != nil {
		return nil, err
	}
	lists := g.Batch * g.Heads * a.m.RowBlocks
	if len(start) != lists+1 {
		return nil, &ShapeError{"start", "length", len(start), fmt.Sprint(lists + 1)}
	}
	if start[0] != 0 || int(start[lists]) != len(keys) {
		return nil, &ArgError{"start", fmt.Sprintf("runs from %d to %d, want 0 to %d, the number of keys", start[0], start[lists], len(keys))}
	}
	var list []int32
	for n := range lists {
		if start[n+1] < start[n] || int(start[n+1]) > len(keys) {
			return nil, &ArgError{"start", fmt.Sprintf("falls or runs beyond the keys at list %d", n)}
		}
		list = append(list[:0], keys[start[n]:start[n+1]]...)
		slices.Sort(list)
		for e, c := range list {
			if c < 0 || int(c) >= a.m.KeyBlocks || e > 0 && c == list[e-1] {
				return nil, &ArgError{"keys", fmt.Sprintf("list %d: key block %d comes twice or is out of range 0 to %d", n, c, a.m.KeyBlocks-1)}
			}
			a.list(n%a.m.RowBlocks, int(c), true, -1)
		}
		if err := a.endRow(); err != nil {
			return nil, err
		}
	}
	return a.m, nil
}

package vkattn

// BlockKind is what is known about a block before its pairs are looked at.
type BlockKind uint8

// The kinds.
const (
	BlockMixed  BlockKind = iota // its pairs have to be looked at
	BlockHidden                  // no pair is visible
	BlockFull                    // every pair is visible
)

// Predicate keeps the pairs that visible says. It asks for every pair of every block of kind BlockMixed, once. kind
// tells for rows [i0, i1) and keys [j0, j1), which lie inside of the grid, what is known about a block; nil stands for
// BlockMixed everywhere, which asks for all of g.Batch x g.Heads x SeqQ x SeqK pairs. This is FlexAttention's
// create_block_mask with a classifier.
func (g MaskGrid) Predicate(visible func(b, h, i, j int) bool, kind func(b, h, i0, i1, j0, j1 int) BlockKind) (*BlockMask, error) {
	if visible == nil {
		return nil, &ArgError{"visible", "missing"}
	}
	g, a, err := g.assembler()
	if err != nil {
		return nil, err
	}
	words, err := a.newTile()
	if err != nil {
		return nil, err
	}
	look := func(b, h, r, c int) blockPairs {
		rows, keys := a.size(r, c)
		i0, j0 := r*g.BlockQ, c*g.BlockK
		if kind != nil {
			switch kind(b, h, i0, i0+rows, j0, j0+keys) {
			case BlockHidden:
				return keepsNone
			case BlockFull:
				return keepsAll
			}
		}
		clear(words)
		for i := range rows {
			row := words[i*a.m.RowWords():]
			for j := range keys {
				if visible(b, h, i0+i, j0+j) {
					row[j/32] |= 1 << (j % 32)
				}
			}
		}
		return a.pairs(r, c, words)
	}
	for b := range g.Batch {
		for h := range g.Heads {
			for r := range a.m.RowBlocks {
				for c := range a.m.KeyBlocks {
					a.add(r, c, look(b, h, r, c))
				}
				if err := a.endRow(); err != nil {
					return nil, err
				}
			}
		}
	}
	return a.m, nil
}

// Dense keeps the pairs where a boolean mask [Batch, Heads, SeqQ, SeqK] in host memory is not 0. Axes of stride 0, or
// of size 1, are shared: such a mask's lists are, too. It reads all of the mask; g.Batch and g.Heads do not matter.
func (g MaskGrid) Dense(mask Tensor) (*BlockMask, error) {
	host, ok := mask.Mem.(*Host)
	if !ok {
		return nil, &ArgError{"Mask", "missing, or not in host memory"}
	}
	if err := mask.check("Mask", Bool, [4]int{mask.Shape[0], mask.Shape[1], g.SeqQ, g.SeqK}, false); err != nil {
		return nil, err
	}
	shape := mask.Shape
	for axis := range 2 {
		if shape[axis] < 0 {
			return nil, &ShapeError{"Mask", axisNames[axis], shape[axis], "0 or more"}
		}
		if shape[axis] > 1 && mask.Stride[axis] == 0 {
			shape[axis] = 1
		}
	}
	if g.Batch, g.Heads = shape[0], shape[1]; g.Batch == 0 || g.Heads == 0 {
		return nil, &ShapeError{"Mask", "batch and heads", shape[:2], "1 or more"}
	}
	bytes := host.Bytes()
	return g.Predicate(func(b, h, i, j int) bool { return bytes[mask.Index(b, h, i, j)] != 0 }, nil)
}

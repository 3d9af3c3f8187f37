package vkattn

import "fmt"

// Intersect keeps the pairs that both masks keep. The masks are of the same grid and block size; Batch and
// Heads are 1 or the same. A block is full where both say so.
func (m *BlockMask) Intersect(o *BlockMask) (*BlockMask, error) { return combineBlocks(m, o, false) }

// Union keeps the pairs that either mask keeps, under the same conditions. A block that one of the masks keeps
// whole is full where that mask says so.
func (m *BlockMask) Union(o *BlockMask) (*BlockMask, error) { return combineBlocks(m, o, true) }

func combineBlocks(m, o *BlockMask, union bool) (*BlockMask, error) {
	for _, x := range []*BlockMask{m, o} {
		if err := x.checkLists(); err != nil {
			return nil, err
		}
	}
	if got, want := [4]int{o.BlockQ, o.BlockK, o.RowBlocks, o.KeyBlocks}, [4]int{m.BlockQ, m.BlockK, m.RowBlocks, m.KeyBlocks}; got != want {
		return nil, &ShapeError{"Blocks", "block size and numbers of blocks", got, fmt.Sprintf("%v, as the other mask", want)}
	}
	if m.Batch != o.Batch && m.Batch != 1 && o.Batch != 1 || m.Heads != o.Heads && m.Heads != 1 && o.Heads != 1 {
		return nil, &ShapeError{"Blocks", "batch and heads", [2]int{o.Batch, o.Heads}, fmt.Sprintf("1 or %v, as the other mask", [2]int{m.Batch, m.Heads})}
	}
	// Of two sizes one is 1 or both are equal: the size that is not 1 wins, 0 included.
	wider := func(a, b int) int {
		if a == 1 {
			return b
		}
		return a
	}
	// Edges need not be known: a block that crosses one is partial in both masks, or in the one that lists it.
	c := &blockCombiner{m: m, o: o, union: union}
	var err error
	c.a, err = newBlockAssembler(wider(m.Batch, o.Batch), wider(m.Heads, o.Heads), min(m.RowBlocks*m.BlockQ, MaxSequence), min(m.KeyBlocks*m.BlockK, MaxSequence), m.BlockQ, m.BlockK)
	if err != nil {
		return nil, err
	}
	if m.Tile != nil || o.Tile != nil {
		if c.words, err = c.a.newTile(); err != nil {
			return nil, err
		}
	}
	for b := range c.a.m.Batch {
		for h := range c.a.m.Heads {
			for r := range m.RowBlocks {
				c.row(b, h, r)
				if err := c.a.endRow(); err != nil {
					return nil, err
				}
			}
		}
	}
	return c.a.m, nil
}

type blockCombiner struct {
	a     *blockAssembler
	m, o  *BlockMask
	union bool
	words []uint32
}

// row merges the lists of row block r.
func (c *blockCombiner) row(b, h, r int) {
	x, xEnd := c.m.entries(b, h, r)
	y, yEnd := c.o.entries(b, h, r)
	for x < xEnd || y < yEnd {
		switch {
		case y == yEnd || x < xEnd && c.m.Keys[x] < c.o.Keys[y]:
			c.alone(c.m, r, x)
			x++
		case x == xEnd || c.m.Keys[x] > c.o.Keys[y]:
			c.alone(c.o, r, y)
			y++
		default:
			c.both(r, x, y)
			x, y = x+1, y+1
		}
	}
}

// alone takes an entry of a block that the other mask does not list.
func (c *blockCombiner) alone(m *BlockMask, r, e int) {
	if c.union {
		c.a.list(r, int(m.Keys[e]), m.Full[e], c.copyTile(m, e))
	}
}

// both takes the entries of a block that both masks list.
func (c *blockCombiner) both(r, x, y int) {
	m, o, key := c.m, c.o, int(c.m.Keys[x])
	xt, yt := m.entryTile(x), o.entryTile(y)
	switch {
	case xt < 0 && yt < 0:
		full := m.Full[x] && o.Full[y]
		if c.union {
			full = m.Full[x] || o.Full[y]
		}
		c.a.list(r, key, full, -1)
	case xt < 0 && c.union:
		c.a.list(r, key, m.Full[x], -1)
	case yt < 0 && c.union:
		c.a.list(r, key, o.Full[y], -1)
	case xt < 0:
		c.a.list(r, key, false, c.copyTile(o, y))
	case yt < 0:
		c.a.list(r, key, false, c.copyTile(m, x))
	default:
		any := uint32(0)
		a, b := m.tileBits(xt), o.tileBits(yt)
		for i := range c.words {
			if c.words[i] = a[i] & b[i]; c.union {
				c.words[i] = a[i] | b[i]
			}
			any |= c.words[i]
		}
		if any != 0 {
			c.a.list(r, key, false, c.a.tile(c.words))
		}
	}
}

func (c *blockCombiner) copyTile(m *BlockMask, e int) int32 {
	if t := m.entryTile(e); t >= 0 {
		return c.a.tile(m.tileBits(t))
	}
	return -1
}

// entryTile is the tile of an entry, or -1.
func (m *BlockMask) entryTile(e int) int32 {
	if m.Tile == nil {
		return -1
	}
	return m.Tile[e]
}

// tileBits are the words of a tile.
func (m *BlockMask) tileBits(t int32) []uint32 {
	n := m.tileWords()
	return m.Bits[int(t)*n : (int(t)+1)*n]
}

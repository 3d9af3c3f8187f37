package vkattn

import "fmt"

// Transpose is the mask of the transposed grid: keys as rows, rows as keys. Its lists are the columns of m, for
// each key block the row blocks that list it, which is what the gradients of keys and values walk over.
// Transposing twice gives m again, but for unused tiles and the numbers of tiles.
func (m *BlockMask) Transpose() (*BlockMask, error) {
	if err := m.checkLists(); err != nil {
		return nil, err
	}
	if float64(m.Batch)*float64(m.Heads)*float64(m.KeyBlocks) > maxBlocks {
		return nil, &ShapeError{"Blocks", "key blocks", m.KeyBlocks, fmt.Sprintf("at most %d lists", maxBlocks)}
	}
	t := &BlockMask{BlockQ: m.BlockK, BlockK: m.BlockQ, Batch: m.Batch, Heads: m.Heads, RowBlocks: m.KeyBlocks, KeyBlocks: m.RowBlocks,
		Start: make([]int32, m.Batch*m.Heads*m.KeyBlocks+1), Keys: make([]int32, len(m.Keys)), Full: make([]bool, len(m.Keys))}
	if m.Tile != nil {
		t.Tile = make([]int32, len(m.Keys))
		if err := t.transposeTiles(m); err != nil {
			return nil, err
		}
	}
	// Counting sort by (b, h, key block): lists are walked by ascending row block, and stay in that order.
	list := func(n int, e int32) int { return n/max(m.RowBlocks, 1)*m.KeyBlocks + int(m.Keys[e]) }
	for n := range len(m.Start) - 1 {
		for e := m.Start[n]; e < m.Start[n+1]; e++ {
			t.Start[list(n, e)+1]++
		}
	}
	for n := range len(t.Start) - 1 {
		t.Start[n+1] += t.Start[n]
	}
	next := append([]int32(nil), t.Start...)
	for n := range len(m.Start) - 1 {
		for e := m.Start[n]; e < m.Start[n+1]; e++ {
			at := next[list(n, e)]
			next[list(n, e)]++
			t.Keys[at], t.Full[at] = int32(n%m.RowBlocks), m.Full[e]
			if t.Tile != nil {
				t.Tile[at] = m.Tile[e]
			}
		}
	}
	return t, nil
}

// transposeTiles fills t.Bits with the transposed tiles of m, of the same numbers.
func (t *BlockMask) transposeTiles(m *BlockMask) error {
	tiles := len(m.Bits) / m.tileWords()
	if float64(tiles)*float64(t.tileWords()) > maxTileWords {
		return &ArgError{"Blocks", fmt.Sprintf("the pairs of transposed blocks take more than %d bytes", 4*maxTileWords)}
	}
	t.Bits = make([]uint32, tiles*t.tileWords())
	for tile := range int32(tiles) {
		for i := range m.BlockQ {
			for w, word := range m.TileRow(tile, i) {
				for j := 32 * w; word != 0 && j < m.BlockK; j, word = j+1, word>>1 {
					if word&1 != 0 {
						t.TileRow(tile, j)[i/32] |= 1 << (i % 32)
					}
				}
			}
		}
	}
	return nil
}

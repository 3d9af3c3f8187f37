package vkattn

import "math/bits"

// Density is the share of the grid's blocks that are listed, from 0 to 1: what a kernel that skips whole blocks
// still has to do. A grid without blocks has density 0.
func (m *BlockMask) Density() float64 {
	if m == nil {
		return 0
	}
	grid := float64(m.Batch) * float64(m.Heads) * float64(m.RowBlocks) * float64(m.KeyBlocks)
	if grid <= 0 {
		return 0
	}
	return float64(len(m.Keys)) / grid
}

// Pairs is the exact number of pairs (i, j) inside of sq x sk that the mask keeps, summed over the Batch x Heads
// lists that it holds: a mask that all heads share counts once. Closed-form masks of the call are not in it;
// Attention.Work counts everything together, pair by pair. It checks the mask first.
func (m *BlockMask) Pairs(sq, sk int) (int64, error) {
	if m == nil {
		return 0, &ArgError{"Blocks", "missing"}
	}
	if err := m.Check(m.Batch, m.Heads, sq, sk); err != nil {
		return 0, err
	}
	whole := make([]int64, len(m.Bits)/m.tileWords()) // bits of a tile, by tile, counted once
	for t := range whole {
		whole[t] = -1
	}
	var sum, over uint64
	for n := range len(m.Start) - 1 {
		rows := min(m.BlockQ, sq-n%m.RowBlocks*m.BlockQ)
		for e := m.Start[n]; e < m.Start[n+1]; e++ {
			keys := min(m.BlockK, sk-int(m.Keys[e])*m.BlockK)
			pairs := int64(rows) * int64(keys)
			if m.Tile != nil && m.Tile[e] >= 0 {
				t := m.Tile[e]
				if inside := rows == m.BlockQ && keys == m.BlockK; !inside {
					pairs = m.tilePairs(t, rows, keys)
				} else {
					if whole[t] < 0 {
						whole[t] = m.tilePairs(t, rows, keys)
					}
					pairs = whole[t]
				}
			}
			var carry uint64
			sum, carry = bits.Add64(sum, uint64(pairs), 0)
			over |= carry | sum>>63
		}
	}
	if over != 0 {
		return 0, &ArgError{"Blocks", "keeps more than 2^63 pairs"}
	}
	return int64(sum), nil
}

// tilePairs counts the bits of a tile inside of rows x keys.
func (m *BlockMask) tilePairs(t int32, rows, keys int) (n int64) {
	for i := range rows {
		for w, word := range m.TileRow(t, i)[:ceilDiv(keys, 32)] {
			n += int64(bits.OnesCount32(word & rangeBits(0, min(32, keys-32*w))))
		}
	}
	return n
}

// visible is the number of keys in spans, ascending and disjoint, that the mask lets row i of (b, h) see.
func (m *BlockMask) visible(b, h, i int, spans []Span) (n int64) {
	lo, hi := m.entries(b, h, i/m.BlockQ)
	for e := lo; e < hi; e++ {
		from := int(m.Keys[e]) * m.BlockK
		var row []uint32 // nil: the block keeps all pairs
		if m.Tile != nil && m.Tile[e] >= 0 {
			row = m.TileRow(m.Tile[e], i%m.BlockQ)
		}
		for _, s := range spans {
			first, end := max(s.Lo, from)-from, min(s.Hi-from, m.BlockK)
			if first >= end {
				continue
			}
			if row == nil {
				n += int64(end - first)
				continue
			}
			for w := first / 32; w*32 < end; w++ {
				n += int64(bits.OnesCount32(row[w] & rangeBits(max(first-32*w, 0), min(end-32*w, 32))))
			}
		}
	}
	return n
}

package vkattn

import "fmt"

// Check finds everything that is wrong with the mask for a problem of so many sequences, query heads, rows and
// keys. Errors are *ShapeError or *ArgError and name Blocks. It takes time proportional to the lists.
func (m *BlockMask) Check(batch, heads, sq, sk int) error {
	if err := m.checkLists(); err != nil {
		return err
	}
	if m.Batch != 1 && m.Batch != batch {
		return &ShapeError{"Blocks", "batch", m.Batch, fmt.Sprintf("1 or %d", batch)}
	}
	if m.Heads != 1 && m.Heads != heads {
		return &ShapeError{"Blocks", "heads", m.Heads, fmt.Sprintf("1 or %d", heads)}
	}
	if err := checkGridSize(sq, sk); err != nil {
		return err
	}
	if want := ceilDiv(sq, m.BlockQ); m.RowBlocks != want {
		return &ShapeError{"Blocks", "row blocks", m.RowBlocks, fmt.Sprint(want)}
	}
	if want := ceilDiv(sk, m.BlockK); m.KeyBlocks != want {
		return &ShapeError{"Blocks", "key blocks", m.KeyBlocks, fmt.Sprint(want)}
	}
	for n := range len(m.Start) - 1 {
		rowEdge := (n%m.RowBlocks+1)*m.BlockQ > sq
		for e := m.Start[n]; e < m.Start[n+1]; e++ {
			if k := int(m.Keys[e]); m.Full[e] && (rowEdge || (k+1)*m.BlockK > sk) {
				return &ArgError{"Blocks", fmt.Sprintf("list %d: key block %d crosses the edge and must be partial", n, k)}
			}
		}
	}
	return nil
}

// checkLists validates what can be said without the problem's sizes: the lists and the tiles.
func (m *BlockMask) checkLists() error {
	if m == nil {
		return &ArgError{"Blocks", "missing"}
	}
	if err := checkBlockSize(m.BlockQ, m.BlockK); err != nil {
		return err
	}
	for _, c := range []struct {
		axis   string
		n, max int
	}{
		{"batch", m.Batch, MaxSequence}, {"heads", m.Heads, MaxSequence},
		{"row blocks", m.RowBlocks, ceilDiv(MaxSequence, m.BlockQ)}, {"key blocks", m.KeyBlocks, ceilDiv(MaxSequence, m.BlockK)},
	} {
		if c.n < 0 || c.n > c.max {
			return &ShapeError{"Blocks", c.axis, c.n, fmt.Sprintf("0 to %d", c.max)}
		}
	}
	if want := float64(m.Batch)*float64(m.Heads)*float64(m.RowBlocks) + 1; float64(len(m.Start)) != want {
		return &ShapeError{"Blocks", "length of Start", len(m.Start), fmt.Sprintf("%.0f", want)}
	}
	lists := len(m.Start) - 1
	if len(m.Full) != len(m.Keys) || m.Start[0] != 0 || int(m.Start[lists]) != len(m.Keys) {
		return &ArgError{"Blocks", "Start, Keys and Full do not agree"}
	}
	if m.Tile != nil && len(m.Tile) != len(m.Keys) {
		return &ShapeError{"Blocks", "length of Tile", len(m.Tile), fmt.Sprint(len(m.Keys))}
	}
	tiles := len(m.Bits) / m.tileWords()
	if len(m.Bits)%m.tileWords() != 0 {
		return &ShapeError{"Blocks", "length of Bits", len(m.Bits), fmt.Sprintf("a multiple of %d, the words of a tile", m.tileWords())}
	}
	for n := range lists {
		lo, hi := m.Start[n], m.Start[n+1]
		if hi < lo || int(hi) > len(m.Keys) {
			return &ArgError{"Blocks", fmt.Sprintf("Start falls at list %d", n)}
		}
		for e := lo; e < hi; e++ {
			k := m.Keys[e]
			if k < 0 || int(k) >= m.KeyBlocks || e > lo && k <= m.Keys[e-1] {
				return &ArgError{"Blocks", fmt.Sprintf("list %d: key block %d is out of order or out of range 0 to %d", n, k, m.KeyBlocks-1)}
			}
			if m.Tile == nil || m.Tile[e] == -1 {
				continue
			}
			if t := m.Tile[e]; t < -1 || int(t) >= tiles {
				return &ArgError{"Blocks", fmt.Sprintf("list %d: tile %d of key block %d is out of range -1 to %d", n, t, k, tiles-1)}
			}
			if m.Full[e] {
				return &ArgError{"Blocks", fmt.Sprintf("list %d: key block %d has pairs of its own and must be partial", n, k)}
			}
		}
	}
	return nil
}

func (m *BlockMask) tileWords() int { return m.BlockQ * m.RowWords() }

func checkBlockSize(blockQ, blockK int) error {
	if blockQ < 1 || blockQ > MaxSequence || blockK < 1 || blockK > MaxSequence {
		return &ShapeError{"Blocks", "block size", [2]int{blockQ, blockK}, fmt.Sprintf("1 to %d", MaxSequence)}
	}
	return nil
}

func checkGridSize(sq, sk int) error {
	if sq < 0 || sq > MaxSequence || sk < 0 || sk > MaxSequence {
		return &ShapeError{"Blocks", "rows and keys", [2]int{sq, sk}, fmt.Sprintf("0 to %d", MaxSequence)}
	}
	return nil
}

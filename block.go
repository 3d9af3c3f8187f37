package vkattn

import "slices"

// BlockMask lists, per row block of the Sq x Sk grid, the key blocks that its rows may see. Blocks are
// BlockQ rows by BlockK keys; the last block of each axis may be partial. Every block in a list is
// either full (no boolean or tree mask hides anything in it, so a kernel need not look) or partial.
// Closed-form masks (causal, window, ...) apply on top of both.
//
// Lists are per (batch, head): Batch and Heads are 1 or the size in the problem. The list of row block
// r of (b, h) is Keys[Start[n]:Start[n+1]] with n = (b*Heads+h)*RowBlocks + r, in ascending order;
// Full has one flag for each entry of Keys.
//
// A partial block may carry its own pairs, so that a pattern needs no boolean mask of Sq x Sk: entry e with
// Tile[e] = t >= 0 keeps the pairs whose bits are set in tile t of Bits. A tile is BlockQ rows of
// RowWords() words; bit j%32 of word j/32 is key j of the block. Entries with equal pairs share a tile.
// Bits beyond the block or the grid are ignored. An entry with Tile[e] = -1, and every entry of a mask whose
// Tile is nil, keeps all pairs of its block.
//
// NewBlockMask and the methods of MaskGrid make block masks. A BlockMask is immutable once it is used: plans keep what
// they have made of it, and know it by its address. Another mask is another BlockMask. One that all steps of a model
// share is best made once.
type BlockMask struct {
	BlockQ, BlockK       int
	Batch, Heads         int
	RowBlocks, KeyBlocks int
	Start                []int32
	Keys                 []int32
	Full                 []bool
	Tile                 []int32  // by entry of Keys: its tile of Bits, or -1; nil: -1 for all
	Bits                 []uint32 // tiles, one behind the other

	form *knownForm // of the builder, or nil
}

// NewBlockMask builds a block mask of sq x sk tokens by asking block once for every block of the grid.
// A block that crosses sq or sk is stored as partial even when block says full.
func NewBlockMask(batch, heads, sq, sk, blockQ, blockK int, block func(b, h, row, key int) (listed, full bool)) (*BlockMask, error) {
	if err := checkBlockSize(blockQ, blockK); err != nil {
		return nil, err
	}
	a, err := newBlockAssembler(batch, heads, sq, sk, blockQ, blockK)
	if err != nil {
		return nil, err
	}
	for b := range batch {
		for h := range heads {
			for r := range a.m.RowBlocks {
				for c := range a.m.KeyBlocks {
					if listed, full := block(b, h, r, c); listed {
						a.list(r, c, full, -1)
					}
				}
				if err := a.endRow(); err != nil {
					return nil, err
				}
			}
		}
	}
	return a.m, nil
}

// entries is the range of the list of row block r for (b, h), with broadcasting over batch and heads.
func (m *BlockMask) entries(b, h, r int) (lo, hi int) {
	n := (min(b, m.Batch-1)*m.Heads+min(h, m.Heads-1))*m.RowBlocks + r
	return int(m.Start[n]), int(m.Start[n+1])
}

// List is the list of row block r for (b, h), with broadcasting over batch and heads.
func (m *BlockMask) List(b, h, r int) (keys []int32, full []bool) {
	lo, hi := m.entries(b, h, r)
	return m.Keys[lo:hi], m.Full[lo:hi]
}

// Tiles has one number for each entry of List: its tile of Bits, or -1. It is nil when no entry of m has one.
func (m *BlockMask) Tiles(b, h, r int) []int32 {
	if m.Tile == nil {
		return nil
	}
	lo, hi := m.entries(b, h, r)
	return m.Tile[lo:hi]
}

// RowWords is the number of words that one row of a tile takes.
func (m *BlockMask) RowWords() int { return ceilDiv(m.BlockK, 32) }

// TileRow is row i of a tile of Bits, i from 0 to BlockQ-1.
func (m *BlockMask) TileRow(tile int32, i int) []uint32 {
	words := m.RowWords()
	at := (int(tile)*m.BlockQ + i) * words
	return m.Bits[at : at+words]
}

// Listed reports whether the mask lets row i of (b, h) see key j: the block of the pair is listed, and its
// tile, if it has one, keeps the pair.
func (m *BlockMask) Listed(b, h, i, j int) bool {
	lo, hi := m.entries(b, h, i/m.BlockQ)
	e, found := slices.BinarySearch(m.Keys[lo:hi], int32(j/m.BlockK))
	if !found {
		return false
	}
	if e += lo; m.Tile == nil || m.Tile[e] < 0 {
		return true
	}
	j %= m.BlockK
	return m.TileRow(m.Tile[e], i%m.BlockQ)[j/32]>>(j%32)&1 != 0
}

// UnderMasks is m with every block partial, so that a boolean or a tree mask may hide pairs in any of them, and
// without its form. The lists are shared with m.
func (m *BlockMask) UnderMasks() *BlockMask {
	u := *m
	u.Full, u.form = make([]bool, len(m.Full)), nil
	return &u
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

package vkattn

import (
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"unsafe"
)

// Builders refuse masks beyond these, in place of taking all memory: a mask that is so large has too small blocks.
const (
	maxBlocks    = 1 << 27 // entries, and lists
	maxTileWords = 1 << 30
)

// blockAssembler appends lists to a block mask in their order. Equal tiles are kept once.
type blockAssembler struct {
	m      *BlockMask
	sq, sk int
	seed   maphash.Seed
	first  map[uint64]int32 // the last tile with a hash
	older  []int32          // by tile: the one before it with the same hash, or -1
}

func newBlockAssembler(batch, heads, sq, sk, blockQ, blockK int) (*blockAssembler, error) {
	if err := checkBlockSize(blockQ, blockK); err != nil {
		return nil, err
	}
	if err := checkGridSize(sq, sk); err != nil {
		return nil, err
	}
	m := &BlockMask{BlockQ: blockQ, BlockK: blockK, Batch: batch, Heads: heads,
		RowBlocks: ceilDiv(sq, blockQ), KeyBlocks: ceilDiv(sk, blockK), Start: []int32{0}}
	if batch < 0 || heads < 0 || float64(batch)*float64(heads)*max(float64(m.RowBlocks), 1) > maxBlocks {
		return nil, &ShapeError{"Blocks", "batch, heads and row blocks", [3]int{batch, heads, m.RowBlocks}, fmt.Sprintf("0 or more, and at most %d lists", maxBlocks)}
	}
	return &blockAssembler{m: m, sq: sq, sk: sk, seed: maphash.MakeSeed(), first: map[uint64]int32{}}, nil
}

// size is how many rows and keys of block (r, c) lie inside of the grid.
func (a *blockAssembler) size(r, c int) (rows, keys int) {
	return min(a.m.BlockQ, a.sq-r*a.m.BlockQ), min(a.m.BlockK, a.sk-c*a.m.BlockK)
}

// list appends block (r, c), with the pairs of a tile, or with all pairs for -1. A block that crosses the edge is
// partial whatever full says.
func (a *blockAssembler) list(r, c int, full bool, tile int32) {
	m := a.m
	if len(m.Keys) > maxBlocks { // endRow says so
		return
	}
	rows, keys := a.size(r, c)
	m.Keys = append(m.Keys, int32(c))
	m.Full = append(m.Full, full && rows == m.BlockQ && keys == m.BlockK)
	if tile >= 0 && m.Tile == nil {
		m.Tile = slices.Repeat([]int32{-1}, len(m.Keys)-1)
	}
	if m.Tile != nil {
		m.Tile = append(m.Tile, tile)
	}
}

// blockPairs is what a block keeps: nothing, all of its pairs, or those of a tile.
type blockPairs int32

const (
	keepsNone blockPairs = -2
	keepsAll  blockPairs = -1
)

// add appends block (r, c) unless it keeps nothing.
func (a *blockAssembler) add(r, c int, pairs blockPairs) {
	if pairs != keepsNone {
		a.list(r, c, pairs == keepsAll, int32(pairs))
	}
}

// pairs says what block (r, c) keeps when its bits are these. No bit beyond the grid is set.
func (a *blockAssembler) pairs(r, c int, words []uint32) blockPairs {
	rows, keys := a.size(r, c)
	n := 0
	for _, w := range words {
		n += bits.OnesCount32(w)
	}
	switch n {
	case 0:
		return keepsNone
	case rows * keys:
		return keepsAll
	}
	return blockPairs(a.tile(words))
}

// tile is the number of the tile with these words.
func (a *blockAssembler) tile(words []uint32) int32 {
	m := a.m
	hash := maphash.Bytes(a.seed, unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), 4*len(words)))
	last, known := a.first[hash]
	if !known {
		last = -1
	}
	for t := last; t >= 0; t = a.older[t] {
		if slices.Equal(m.Bits[int(t)*len(words):(int(t)+1)*len(words)], words) {
			return t
		}
	}
	if len(m.Bits) > maxTileWords { // endRow says so
		return 0
	}
	t := int32(len(a.older))
	a.first[hash] = t
	a.older = append(a.older, last)
	m.Bits = append(m.Bits, words...)
	return t
}

// endRow ends the list of a row block. It fails when the mask has become too large.
func (a *blockAssembler) endRow() error {
	m := a.m
	m.Start = append(m.Start, int32(len(m.Keys)))
	if len(m.Keys) > maxBlocks {
		return &ArgError{"Blocks", fmt.Sprintf("more than %d blocks of %d x %d are listed; larger blocks take less memory", maxBlocks, m.BlockQ, m.BlockK)}
	}
	if len(m.Bits) > maxTileWords {
		return &ArgError{"Blocks", fmt.Sprintf("the pairs of partial blocks take more than %d bytes", 4*maxTileWords)}
	}
	return nil
}

// newTile is room for the bits of one block.
func (a *blockAssembler) newTile() ([]uint32, error) {
	if n := a.m.tileWords(); n <= maxTileWords {
		return make([]uint32, n), nil
	}
	return nil, &ShapeError{"Blocks", "block size", [2]int{a.m.BlockQ, a.m.BlockK}, fmt.Sprintf("at most %d pairs in a block", 32*maxTileWords)}
}

// setBits sets bits [lo, hi) of a row.
func setBits(row []uint32, lo, hi int) {
	for lo < hi {
		n := min(32-lo%32, hi-lo)
		row[lo/32] |= rangeBits(lo%32, lo%32+n)
		lo += n
	}
}

// rangeBits has bits [lo, hi) of a word set, 0 <= lo <= hi <= 32.
func rangeBits(lo, hi int) uint32 { return uint32(1<<hi - 1<<lo) }

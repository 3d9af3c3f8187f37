package dispatch

import (
	"math/bits"
	"slices"

	"github.com/vkattn/vkattn"
)

// tiledBlocks are the block lists of consecutive row tiles: for each the key tiles to visit, every one with
// its kind, and bits for those that a block border crosses. Equal lists and equal bits are kept once.
type tiledBlocks struct {
	starts  []uint32 // first and end entry of each row tile, in words of entries
	entries []uint32 // pairs: key tile << 2 | kind, offset into bits
	bits    []uint32 // one word per row of the tile, bit j: the pair of key j of the tile is listed
	lists   map[[3]int][2]uint32
	places  map[string]uint32
}

const (
	blockFull = 1 // the boolean and tree masks hide nothing there
	blockBits = 2 // the bits say which pairs are listed
)

func (t *tiledBlocks) words() int { return len(t.starts) + len(t.entries) + len(t.bits) }

// blockCutter cuts a block mask to tiles of tileRows x keyTile. The cost is proportional to the visited tiles.
type blockCutter struct {
	mask             *vkattn.BlockMask
	sq, sk, tileRows int
	listed           []uint32 // by key tile: rows x keys of the tile that are listed
	fullIn           []uint32 // of those, in blocks that are full
	own              []bool   // some of those blocks have pairs of their own
	seen             []bool
	touched          []int
	rows             []uint32 // the bits of one tile
}

func newBlockCutter(m *vkattn.BlockMask, sq, sk, tileRows int) *blockCutter {
	n := ceilDiv(sk, keyTile)
	return &blockCutter{mask: m, sq: sq, sk: sk, tileRows: tileRows, listed: make([]uint32, n), fullIn: make([]uint32, n), own: make([]bool, n), seen: make([]bool, n), rows: make([]uint32, tileRows)}
}

// add appends the list of a row tile of a query head.
func (c *blockCutter) add(t *tiledBlocks, batch, head, tile int) {
	m := c.mask
	batch, head = min(batch, m.Batch-1), min(head, m.Heads-1)
	if t.lists == nil {
		t.lists, t.places = map[[3]int][2]uint32{}, map[string]uint32{}
	}
	key := [3]int{batch, head, tile}
	at, known := t.lists[key]
	if !known {
		at[0] = uint32(len(t.entries))
		c.entries(t, batch, head, tile)
		at[1] = uint32(len(t.entries))
		t.lists[key] = at
	}
	t.starts = append(t.starts, at[0], at[1])
}

func (c *blockCutter) entries(t *tiledBlocks, b, h, tile int) {
	m := c.mask
	r0, r1 := tile*c.tileRows, min((tile+1)*c.tileRows, c.sq)
	c.touched = c.touched[:0]
	for rb := r0 / m.BlockQ; rb*m.BlockQ < r1; rb++ {
		rows := min(r1, (rb+1)*m.BlockQ) - max(r0, rb*m.BlockQ)
		keys, full := m.List(b, h, rb)
		tiles := m.Tiles(b, h, rb)
		for e, kb := range keys {
			k0, k1 := int(kb)*m.BlockK, min((int(kb)+1)*m.BlockK, c.sk)
			for kt := k0 / keyTile; kt*keyTile < k1; kt++ {
				n := min(k1, (kt+1)*keyTile) - max(k0, kt*keyTile)
				if !c.seen[kt] {
					c.seen[kt], c.listed[kt], c.fullIn[kt], c.own[kt] = true, 0, 0, false
					c.touched = append(c.touched, kt)
				}
				c.listed[kt] += uint32(rows * n)
				if full[e] {
					c.fullIn[kt] += uint32(rows * n)
				}
				c.own[kt] = c.own[kt] || tiles != nil && tiles[e] >= 0
			}
		}
	}
	slices.Sort(c.touched)
	for _, kt := range c.touched {
		c.seen[kt] = false
		kind, at := uint32(0), uint32(0)
		if c.fullIn[kt] == c.listed[kt] {
			kind = blockFull
		}
		size := uint32((r1 - r0) * (min((kt+1)*keyTile, c.sk) - kt*keyTile))
		if c.own[kt] || c.listed[kt] != size {
			switch c.rowBits(b, h, r0, r1, kt) {
			case 0:
				continue
			case size: // blocks with pairs of their own that keep all of these
			default:
				kind |= blockBits
				at = c.place(t)
			}
		}
		t.entries = append(t.entries, uint32(kt)<<2|kind, at)
	}
}

// rowBits fills c.rows with the pairs of one tile and counts them. Rows beyond the sequence get no bits.
func (c *blockCutter) rowBits(b, h, r0, r1, kt int) (pairs uint32) {
	m := c.mask
	clear(c.rows)
	j0, j1 := kt*keyTile, min((kt+1)*keyTile, c.sk)
	for rb := r0 / m.BlockQ; rb*m.BlockQ < r1; rb++ {
		keys, _ := m.List(b, h, rb)
		tiles := m.Tiles(b, h, rb)
		e, _ := slices.BinarySearch(keys, int32(j0/m.BlockK))
		for ; e < len(keys) && int(keys[e])*m.BlockK < j1; e++ {
			k0 := int(keys[e]) * m.BlockK
			lo, hi := max(k0, j0), min(k0+m.BlockK, j1)
			keep := uint32(1<<(hi-j0) - 1<<(lo-j0))
			for i := max(r0, rb*m.BlockQ); i < min(r1, (rb+1)*m.BlockQ); i++ {
				word := keep
				if tiles != nil && tiles[e] >= 0 {
					word &= bitsAt(m.TileRow(tiles[e], i%m.BlockQ), lo-k0) << (lo - j0)
				}
				c.rows[i-r0] |= word
			}
		}
	}
	for _, word := range c.rows {
		pairs += uint32(bits.OnesCount32(word))
	}
	return pairs
}

// bitsAt are the 32 bits of a row of words from bit at on. Bits behind the last word are 0.
func bitsAt(row []uint32, at int) uint32 {
	word := row[at/32] >> (at % 32)
	if at%32 != 0 && at/32+1 < len(row) {
		word |= row[at/32+1] << (32 - at%32)
	}
	return word
}

// place returns where c.rows lie among the bits.
func (c *blockCutter) place(t *tiledBlocks) uint32 {
	at, known := t.places[string(wordBytes(c.rows))]
	if !known {
		at = uint32(len(t.bits))
		t.places[string(wordBytes(c.rows))] = at
		t.bits = append(t.bits, c.rows...)
	}
	return at
}

// appendTo lays the lists out behind w, turning offsets into places in w.
func (t *tiledBlocks) appendTo(w []uint32) []uint32 {
	w = slices.Grow(w, t.words())
	entries := uint32(len(w) + len(t.starts))
	bits := entries + uint32(len(t.entries))
	for _, s := range t.starts {
		w = append(w, entries+s)
	}
	for i := 0; i < len(t.entries); i += 2 {
		w = append(w, t.entries[i], bits+t.entries[i+1])
	}
	return append(w, t.bits...)
}

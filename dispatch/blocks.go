package dispatch

import (
	"slices"

	"github.com/vkattn/vkattn"
)

// tiledBlocks is a block mask cut to a kernel's tiles: for each (batch or 1, head or 1, row tile) the key
// tiles to visit, each with its kind, and bits for those tiles that a block border crosses.
type tiledBlocks struct {
	batchStride, headStride int // of starts; 0 when shared
	starts                  []uint32
	entries                 []uint32 // pairs: key tile << 2 | kind, offset into bits
	bits                    []uint32 // one word per row of the tile, bit j: key j of the tile is listed
}

const (
	blockFull = 1 // the boolean and tree masks hide nothing there
	blockBits = 2 // the bits say which pairs are listed
)

// tileBlocks cuts m to tiles of tileRows x keyTile. The cost is proportional to the visited tiles.
func tileBlocks(m *vkattn.BlockMask, sq, sk, tileRows int) *tiledBlocks {
	rowTiles := ceilDiv(sq, tileRows)
	t := &tiledBlocks{starts: []uint32{0}}
	if m.Heads > 1 {
		t.headStride = rowTiles
	}
	if m.Batch > 1 {
		t.batchStride = rowTiles * m.Heads
	}
	keyTiles := ceilDiv(sk, keyTile)
	listed := make([]uint32, keyTiles) // by key tile: rows x keys of the tile that are listed
	fullIn := make([]uint32, keyTiles) // of those, in blocks that are full
	var touched []int
	seen := make([]bool, keyTiles)
	for b := range m.Batch {
		for h := range m.Heads {
			for rt := range rowTiles {
				r0, r1 := rt*tileRows, min((rt+1)*tileRows, sq)
				touched = touched[:0]
				for rb := r0 / m.BlockQ; rb*m.BlockQ < r1; rb++ {
					rows := min(r1, (rb+1)*m.BlockQ) - max(r0, rb*m.BlockQ)
					keys, full := m.List(b, h, rb)
					for e, kb := range keys {
						k0, k1 := int(kb)*m.BlockK, min((int(kb)+1)*m.BlockK, sk)
						for kt := k0 / keyTile; kt*keyTile < k1; kt++ {
							n := min(k1, (kt+1)*keyTile) - max(k0, kt*keyTile)
							if !seen[kt] {
								seen[kt], listed[kt], fullIn[kt] = true, 0, 0
								touched = append(touched, kt)
							}
							listed[kt] += uint32(rows * n)
							if full[e] {
								fullIn[kt] += uint32(rows * n)
							}
						}
					}
				}
				slices.Sort(touched)
				for _, kt := range touched {
					seen[kt] = false
					size := uint32((r1 - r0) * (min((kt+1)*keyTile, sk) - kt*keyTile))
					kind := uint32(0)
					if fullIn[kt] == listed[kt] {
						kind = blockFull
					}
					at := uint32(0)
					if listed[kt] != size {
						kind |= blockBits
						at = uint32(len(t.bits))
						t.addBits(m, b, h, r0, r1, kt, sk, tileRows)
					}
					t.entries = append(t.entries, uint32(kt)<<2|kind, at)
				}
				t.starts = append(t.starts, uint32(len(t.entries)))
			}
		}
	}
	return t
}

// addBits appends the rows of one tile. Rows beyond the sequence get no bits.
func (t *tiledBlocks) addBits(m *vkattn.BlockMask, b, h, r0, r1, kt, sk, tileRows int) {
	base := len(t.bits)
	t.bits = append(t.bits, make([]uint32, tileRows)...)
	for i := r0; i < r1; i++ {
		if i > r0 && i%m.BlockQ != 0 {
			t.bits[base+i-r0] = t.bits[base+i-r0-1]
			continue
		}
		keys, _ := m.List(b, h, i/m.BlockQ)
		var word uint32
		for _, kb := range keys {
			k0, k1 := max(int(kb)*m.BlockK, kt*keyTile), min((int(kb)+1)*m.BlockK, (kt+1)*keyTile, sk)
			for j := k0; j < k1; j++ {
				word |= 1 << (j - kt*keyTile)
			}
		}
		t.bits[base+i-r0] = word
	}
}

// appendTo lays the lists out behind w, turning offsets into places in w.
func (t *tiledBlocks) appendTo(w []uint32) []uint32 {
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

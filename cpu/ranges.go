package cpu

import "github.com/vkattn/vkattn"

// keyRange is a range [lo, hi) of keys that a row tile visits. full says that the boolean and tree masks
// hide nothing in it. A range of a block that has pairs of its own has their tile, and the block's first key.
type keyRange struct {
	lo, hi int
	full   bool
	tile   int32 // of the block mask, or -1
	block  int
}

// shortBlock is the block of keys of a mask from which on tiles that no row of a unit chose are skipped.
const shortBlock = 32

// nearKeys is the widest gap between two ranges that is cheaper to score and hide than to skip.
const nearKeys = 8

// chosenKeys appends to dst what is left of spans where a mask by blocks of keys hides the others from all rows of u. What
// the mask says about keys that a row cannot see is not looked at.
func (w *worker) chosenKeys(dst, spans []vkattn.Span, c *call, u *unit) []vkattn.Span {
	block := c.op.MaskBlock
	any := func(b, lo, hi int) bool {
		for i := u.i0; i < u.i1; i++ {
			if !w.rows[i-u.i0].seesSome(u.seq, i, lo, hi) {
				continue
			}
			for _, h := range u.heads {
				if c.mask[c.maskAt(u.seq, h, i, b)] != 0 {
					return true
				}
			}
		}
		return false
	}
	base := len(dst)
	for _, sp := range spans {
		for lo, hi := sp.Lo, 0; lo < sp.Hi; lo = hi {
			b := lo / block
			hi = min((b+1)*block, sp.Hi)
			if !any(b, lo, hi) {
				continue
			}
			if n := len(dst); n > base && dst[n-1].Hi == lo {
				dst[n-1].Hi = hi
			} else {
				dst = append(dst, vkattn.Span{Lo: lo, Hi: hi})
			}
		}
	}
	return dst
}

// keyRanges appends to dst the ranges of keys that rows [i0, i1) of head h visit, ascending, with the
// tiles that no row sees left out. With a block mask the rows lie in one row block.
func (c *call) keyRanges(dst []keyRange, spans []vkattn.Span, s *vkattn.Sequence, h, i0 int) []keyRange {
	m := c.args.Blocks
	if m == nil {
		for _, sp := range spans {
			if n := len(dst); n > 0 && sp.Lo-dst[n-1].hi <= nearKeys {
				dst[n-1].hi = sp.Hi
			} else {
				dst = append(dst, keyRange{lo: sp.Lo, hi: sp.Hi, tile: -1})
			}
		}
		return dst
	}
	keys, full := m.List(s.Index, h, i0/m.BlockQ)
	tiles := m.Tiles(s.Index, h, i0/m.BlockQ)
	n := 0
	for e, key := range keys {
		lo, hi := int(key)*m.BlockK, (int(key)+1)*m.BlockK
		for n < len(spans) && spans[n].Hi <= lo {
			n++
		}
		for at := n; at < len(spans) && spans[at].Lo < hi; at++ {
			r := keyRange{max(lo, spans[at].Lo), min(hi, spans[at].Hi), full[e], -1, lo}
			if tiles != nil {
				r.tile = tiles[e]
			}
			if last := len(dst) - 1; last >= 0 && dst[last].hi == r.lo && dst[last].full == r.full && dst[last].tile < 0 && r.tile < 0 {
				dst[last].hi = r.hi
			} else {
				dst = append(dst, r)
			}
		}
	}
	return dst
}

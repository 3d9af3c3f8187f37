package cpu

import (
	"math"
	"math/bits"

	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/blas/blas32"
)

// plain reports whether scores are scaled products under closed-form masks alone. full says that the boolean
// and tree masks hide nothing.
func (c *call) plain(full bool) bool {
	return c.op.Softcap == 0 && c.slopes == nil && c.relative == nil && c.bias == nil && (full || c.mask == nil && c.tree == nil) &&
		c.scale > 0 && c.scale <= math.MaxFloat32
}

// transform turns rows [r0, r1) of s, raw products of the rows of u with the keys from j0, into scores, and
// returns the factor by which they are still to be multiplied.
func (w *worker) transform(c *call, u *unit, s blas32.General, keys *keyRange, j0, r0, r1 int) (scale float32) {
	plain := c.plain(keys.full)
	for r := r0; r < r1; r++ {
		n, h := r/len(u.heads), u.heads[r%len(u.heads)]
		v := w.rows[n]
		x := s.Data[r*s.Stride : r*s.Stride+s.Cols]
		switch {
		case !plain:
			c.transform(x, u.seq, v, h, u.i0+n, j0, keys.full)
		case !v.seesAll(j0, j0+s.Cols):
			v.hide(x, u.seq, u.i0+n, j0) // -inf times scale is -inf
		}
		if keys.tile >= 0 {
			m := c.args.Blocks
			keepBits(x, m.TileRow(keys.tile, (u.i0+n)%m.BlockQ), j0-keys.block)
		}
	}
	if plain {
		return c.scale
	}
	return 1
}

// transform turns the raw products of row i of head h with the keys [j0, j0+len(x)) into scores: scale,
// softcap, ALiBi, biases, mask, in this order. Hidden keys become -inf whatever their product. v is what row
// i sees by closed-form masks.
func (c *call) transform(x []float32, s *vkattn.Sequence, v rowKeys, h, i, j0 int, full bool) {
	for j := range x {
		x[j] *= c.scale
	}
	if c.op.Softcap > 0 {
		softcap(x, c.op.Softcap)
	}
	if c.slopes != nil {
		slope := c.slopes[c.args.Slopes.HeadIndex(s.Index, h)]
		alibi(x, float64(slope), i+s.Rel-j0)
	}
	if c.bias != nil {
		t := &c.args.Bias
		bias(x, c.bias[t.Index(s.Index, h, i, j0):], t.Stride[3])
	}
	if c.relative != nil {
		t := &c.args.Relative
		relative(x, c.relative[t.HeadIndex(s.Index, h):][:t.Shape[3]], j0-i-s.Rel)
	}
	v.hide(x, s, i, j0)
	if full {
		return
	}
	if c.mask != nil {
		c.keepMask(x, s, h, i, j0)
	}
	if c.tree != nil {
		t := &c.args.Tree
		keep(x, c.tree[t.Index(s.Index, 0, i, j0):], t.Stride[3])
	}
}

func softcap(x []float32, limit float64) {
	for j, s := range x {
		x[j] = float32(limit * math.Tanh(float64(s)/limit))
	}
}

// alibi subtracts slope times the distance from key j to the row, which stands at local position p.
func alibi(x []float32, slope float64, p int) {
	for j, s := range x {
		d := p - j
		if d < 0 {
			d = -d
		}
		x[j] = float32(float64(s) - slope*float64(d))
	}
}

// relative adds the entries of table by clipped distance, which is from for x[0]; -inf hides the key.
func relative(x, table []float32, from int) {
	for j := range x {
		bias(x[j:j+1], table[vkattn.RelativeIndex(from+j, len(table)/2):], 1)
	}
}

// bias adds b; -inf hides the key.
func bias(x, b []float32, stride int) {
	for j := range x {
		if v := b[j*stride]; v == negInf {
			x[j] = negInf
		} else {
			x[j] += v
		}
	}
}

// keepMask hides the keys from j0 on that the boolean mask hides from row i of head h: those of a byte at once.
func (c *call) keepMask(x []float32, s *vkattn.Sequence, h, i, j0 int) {
	t, block := &c.args.Mask, c.op.MaskBlock
	if block == 0 {
		keep(x, c.mask[c.maskAt(s, h, i, j0):], t.Stride[3])
		return
	}
	for j := 0; j < len(x); {
		b := (j0 + j) / block
		end := min((b+1)*block-j0, len(x))
		if c.mask[c.maskAt(s, h, i, b)] == 0 {
			hide(x[j:end])
		}
		j = end
	}
}

// keepBits hides the keys whose bit is 0, run by run. The bit of x[j] is bit at+j.
func keepBits(x []float32, row []uint32, at int) {
	for j := 0; j < len(x); {
		shift := (at + j) % 32
		word, n := row[(at+j)/32]>>shift, min(32-shift, len(x)-j)
		hidden := min(bits.TrailingZeros32(word), n)
		hide(x[j : j+hidden])
		j += hidden
		if hidden < n {
			j += min(bits.TrailingZeros32(^(word >> hidden)), n-hidden)
		}
	}
}

// keep hides the keys whose byte is 0.
func keep(x []float32, m []byte, stride int) {
	for j := range x {
		if m[j*stride] == 0 {
			x[j] = negInf
		}
	}
}

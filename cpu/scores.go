package cpu

import (
	"math"

	"github.com/vkattn/vkattn"
)

// transform turns the raw products of row i of head h with the keys [j0, j0+len(x)) into scores: scale,
// softcap, ALiBi, bias, mask, in this order. Hidden keys become -inf whatever their product. full says
// that the boolean and tree masks hide nothing here.
func (c *call) transform(x []float32, s *vkattn.Sequence, h, i, j0 int, full bool) {
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
	if !s.FullyVisible(i, i+1, j0, j0+len(x)) {
		for j := range x {
			if !s.Visible(i, j0+j) {
				x[j] = negInf
			}
		}
	}
	if full {
		return
	}
	if c.mask != nil {
		t := &c.args.Mask
		keep(x, c.mask[t.Index(s.Index, h, i, j0):], t.Stride[3])
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

// keep hides the keys whose byte is 0.
func keep(x []float32, m []byte, stride int) {
	for j := range x {
		if m[j*stride] == 0 {
			x[j] = negInf
		}
	}
}

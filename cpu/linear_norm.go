package cpu

import (
	"context"
	"math"

	"github.com/vkattn/vkattn"
)

// sums advances z, the column of the denominator, over n tokens and keeps it after each. It is a
// column of S like those of the values, of which each is 1.
func (w *linearScratch) sums(n int) {
	if !w.c.hasZ() {
		return
	}
	for a := range n {
		if w.c.channels() {
			for r, e := range w.channel[a*w.stride : a*w.stride+w.f] {
				w.z[r] *= float64(e)
			}
		} else if e := w.decays[a]; e != 1 {
			for r := range w.z {
				w.z[r] *= e
			}
		}
		k, u := w.k[a*w.stride:a*w.stride+w.f], 1.0
		if w.c.args.Beta.Given() {
			u = float64(w.beta[a]) * (1 - dot64(k, w.z))
		}
		for r, x := range k {
			w.z[r] += float64(x) * u
		}
		copy(w.zs[a*w.f:], w.z)
	}
}

// zAfter is z after token a of the chunk.
func (w *linearScratch) zAfter(a int) []float64 { return w.zs[a*w.f : (a+1)*w.f] }

// denominators is what the outputs of n tokens are divided by, whose queries are in q; nil for nothing.
func (w *linearScratch) denominators(n int, z func(a int) []float64) []float64 {
	if w.c.op.Norm != vkattn.NormSum {
		return nil
	}
	for a := range n {
		w.half[a] = w.c.op.Eps.Value + dot64(w.q[a*w.stride:a*w.stride+w.f], z(a)) // |y|²/2 is used up
	}
	return w.half[:n]
}

func dot64(x []float32, y []float64) (sum float64) {
	for i, v := range x {
		sum += float64(v) * y[i]
	}
	return sum
}

// write stores the rows of o, divided by den if there is one, as tokens t to t+n of an output head.
func (w *linearScratch) write(head, t, n int, den []float64) {
	s, out := w.u.seq, &w.c.args.Out
	stride := w.panelCount() * panelCols
	lo, _ := w.columns(0)
	_, hi := w.columns(w.panelCount() - 1)
	for a := range n {
		at := out.Index(s.Batch, head, s.Q0+t+a, lo)
		row, o := w.c.out[at:at+hi-lo], w.o[a*stride:]
		if den == nil {
			copy(row, o)
			continue
		}
		if den[a] == 0 {
			clear(row)
			continue
		}
		for c := range row {
			row[c] = float32(float64(o[c]) / den[a])
		}
	}
}

// srmsTokens is how many tokens a worker normalises at once.
const srmsTokens = 64

// srms divides each token by its root mean square over all heads and values, plus Eps.
func (c *linearCall) srms(ctx context.Context, b *Backend) error {
	type piece struct {
		seq    *vkattn.Sequence
		t0, t1 int
	}
	var pieces []piece
	for n := range c.seqs {
		s := &c.seqs[n]
		for t := 0; t < s.Sq; t += srmsTokens {
			pieces = append(pieces, piece{s, t, min(t+srmsTokens, s.Sq)})
		}
	}
	t := &c.args.Out
	heads, dv := t.Shape[1], t.Shape[3]
	return b.spread(len(pieces), func(_ *worker, i int) error {
		p := &pieces[i]
		for token := p.t0; token < p.t1; token++ {
			sum := 0.0
			row := func(h int) []float32 {
				at := t.Index(p.seq.Batch, h, p.seq.Q0+token, 0)
				return c.out[at : at+dv]
			}
			for h := range heads {
				for _, x := range row(h) {
					sum += float64(x) * float64(x)
				}
			}
			den := math.Sqrt(sum/float64(heads*dv)) + c.op.Eps.Value
			if den == 0 {
				den = 1 // all of them are 0
			}
			for h := range heads {
				for d, x := range row(h) {
					row(h)[d] = float32(float64(x) / den)
				}
			}
		}
		return ctx.Err()
	})
}

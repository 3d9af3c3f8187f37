package cpu

import (
	"fmt"

	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// choiceBytes is about the memory that a call takes for what its rows choose: more rows go one part after the other.
const choiceBytes = 64 << 20

// choiceRows is how many rows go at once, each of which takes so many bytes, of rows. Parts begin at multiples of 256
// rows, so that the tiles of a large call are those of a small one.
func choiceRows(rows int, rowBytes float64) int {
	n := max(1, int(min(choiceBytes/max(rowBytes, 1), 1<<30)))
	if n > 256 {
		n = n / 256 * 256
	}
	return min(rows, n)
}

// tooMuch refuses what no machine has room for, so that a short tensor that is broadcast to a long one cannot ask for it.
func tooMuch(what string, bytes float64) error {
	if bytes > 1<<38 {
		return fmt.Errorf("%w: %s take %g bytes", vkattn.ErrOutOfMemory, what, bytes)
	}
	return nil
}

// pooled is a tensor of means over blocks of keys, [B, heads, blocks, columns] and contiguous.
type pooled struct {
	data []float32
	vkattn.Tensor
}

// newPooled makes room for blocks means of each head of t.
func newPooled(t vkattn.Tensor, blocks int) (pooled, error) {
	n := float64(t.Shape[0]) * float64(t.Shape[1]) * float64(blocks) * float64(t.Shape[3])
	if err := tooMuch("the means of blocks", 4*n); err != nil {
		return pooled{}, err
	}
	p := pooled{data: make([]float32, int(n))}
	p.Tensor = vkattn.BHSD(vkattn.Float32s(p.data), t.Shape[0], t.Shape[1], blocks, t.Shape[3])
	return p, nil
}

// matrix is the first n means of a head.
func (p *pooled) matrix(b, h, n int) blas32.General {
	d := p.Shape[3]
	return blas32.General{Rows: n, Cols: d, Stride: d, Data: p.data[p.Index(b, h, 0, 0):][:n*d]}
}

// pool sets the means of t over keys [b stride, min(b stride + length, Sk)) for every b < blocks(sequence).
func (p *pooled) pool(back *Backend, t vkattn.Tensor, x []float32, seqs []vkattn.Sequence, length, stride int, blocks func(s *vkattn.Sequence) int) error {
	heads, d := t.Shape[1], t.Shape[3]
	return back.spread(len(seqs)*heads, func(_ *worker, n int) error {
		s, h := &seqs[n/heads], n%heads
		sum := make([]float64, d)
		for b := range blocks(s) {
			clear(sum)
			lo, hi := b*stride, min(b*stride+length, s.Sk)
			for j := lo; j < hi; j++ {
				for c, v := range x[t.Index(s.Batch, h, j, 0):][:d] {
					sum[c] += float64(v)
				}
			}
			mean := p.data[p.Index(s.Batch, h, b, 0):]
			for c := range sum {
				mean[c] = float32(sum[c] / float64(hi-lo))
			}
		}
		return nil
	})
}

// products sets dst to the products of the rows of m with q.
func products(dst []float32, m blas32.General, q []float32) {
	if m.Rows > 0 {
		blas32.Gemv(blas.NoTrans, 1, m, blas32.Vector{N: m.Cols, Inc: 1, Data: q}, 0, blas32.Vector{N: m.Rows, Inc: 1, Data: dst})
	}
}

// chooser finds the largest of some scores.
type chooser struct {
	scores []float32
	best   []int // descending
}

// before reports whether score a of a block comes before score b of a later one.
func before(a, b float32) bool { return a >= b || a != a }

// top are the n blocks with the largest of the first scores that skip does not name. Of equal ones the lowest wins; a NaN is
// larger than every number.
func (c *chooser) top(blocks, n int, skip ...int) []int {
	c.best = c.best[:0]
	for b := range blocks {
		if n <= 0 || contains(skip, b) {
			continue
		}
		if k := len(c.best); k == n {
			if before(c.scores[c.best[k-1]], c.scores[b]) {
				continue
			}
			c.best = c.best[:k-1]
		}
		at := len(c.best)
		for at > 0 && !before(c.scores[c.best[at-1]], c.scores[b]) {
			at--
		}
		c.best = append(c.best, 0)
		copy(c.best[at+1:], c.best[at:])
		c.best[at] = b
	}
	return c.best
}

func contains(list []int, x int) bool {
	for _, v := range list {
		if v == x {
			return true
		}
	}
	return false
}

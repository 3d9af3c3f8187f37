package cpu

import (
	"math"

	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/blas/blas32"
)

// loadProjection transposes the projection into panels.
func (w *linearScratch) loadProjection() {
	if w.c.op.Features == 0 {
		return
	}
	t, height := &w.c.args.Projection, roundUp(w.c.op.HeadDim, vectorLen)*panelCols
	clear(w.projection)
	for r := range w.f {
		to := w.projection[r/panelCols*height+r%panelCols:]
		for d := range w.c.op.HeadDim {
			to[d*panelCols] = w.c.projection[t.Index(0, 0, r, d)]
		}
	}
}

// loadKeys sets k to the features of n keys. With MapFavor a key that raises the maximum makes what came before it
// decay.
func (w *linearScratch) loadKeys(t, n int) {
	s := w.u.seq
	w.load(w.k, w.c.k, &w.c.args.K, w.u.head.key, s.K0+t, n)
	if w.c.op.Map != vkattn.MapFavor {
		w.mapRows(w.k, n)
		return
	}
	for a := range n {
		row := w.k[a*w.stride : a*w.stride+w.f]
		if w.c.op.Causal {
			w.decays[a] *= w.raise(w.exponent(row, a))
		}
		w.favorRow(row, w.half[a]+float64(w.favor))
	}
}

// exponent is the largest exponent of token a, whose projection is row.
func (w *linearScratch) exponent(row []float32, a int) float32 {
	return float32(float64(largest32(row)) - w.half[a])
}

// raise lifts the maximum of the keys to at least to, and returns the factor of what was summed up under the old one.
func (w *linearScratch) raise(to float32) float64 {
	if !(to > w.favor) {
		return 1
	}
	factor := math.Exp(float64(w.favor) - float64(to))
	w.favor = to
	return factor
}

// loadQueries sets q to the features of n queries of one head, times Scale, ready for Sᵀ q. z holds the
// denominators of NormLiteral.
func (w *linearScratch) loadQueries(head, t, n int, z func(a int) []float64) {
	op := &w.c.op
	w.load(w.q, w.c.q, &w.c.args.Q, head, w.u.seq.Q0+t, n)
	if op.Map == vkattn.MapFavor {
		for a := range n {
			row := w.q[a*w.stride : a*w.stride+w.f]
			w.favorRow(row, float64(largest32(row))+w.half[a])
		}
	} else {
		w.mapRows(w.q, n)
	}
	scale := float32(op.Scale.Value)
	for a := range n {
		row := w.q[a*w.stride : a*w.stride+w.f]
		if op.Norm == vkattn.NormLiteral {
			literalRow(row, z(a), op.Eps.Value)
		}
		if scale != 1 {
			for r := range row {
				row[r] *= scale
			}
		}
	}
}

// load sets the rows of dst to n tokens, or to their projections.
func (w *linearScratch) load(dst, src []float32, t *vkattn.Tensor, head, token, n int) {
	d := w.c.op.HeadDim
	from := tile(src, t.Index(w.u.seq.Batch, head, token, 0), n, d, t.Stride[2])
	if w.c.op.Features == 0 {
		for a := range n {
			copy(dst[a*w.stride:a*w.stride+d], from.Data[a*from.Stride:])
		}
		return
	}
	x := blas32.General{Rows: n, Cols: d, Stride: rowStride(d), Data: w.x}
	copyPadded(w.x, x.Stride, from)
	if w.c.op.Map == vkattn.MapFavor {
		w.damp(x)
	}
	clear(dst[:n*w.stride])
	height := roundUp(d, vectorLen) * panelCols
	for p := range w.stride / panelCols {
		w.kernel.product(blas32.General{Rows: n, Cols: panelCols, Stride: w.stride, Data: dst[p*panelCols:]}, x, w.projection[p*height:], w.ones)
	}
}

// damp is y = x HeadDim^(-1/4), of which it keeps |y|²/2.
func (w *linearScratch) damp(x blas32.General) {
	root := math.Sqrt(math.Sqrt(float64(x.Cols)))
	for a := range x.Rows {
		sum := 0.0
		row := x.Data[a*x.Stride : a*x.Stride+x.Cols]
		for d, v := range row {
			y := float64(v) / root
			row[d] = float32(y)
			sum += y * y
		}
		w.half[a] = sum / 2
	}
}

// favorRow turns projections into features: (exp(row - shift) + MapEps) / sqrt(Features).
func (w *linearScratch) favorRow(row []float32, shift float64) {
	w.kernel.exp(row, shift)
	root := math.Sqrt(float64(w.f))
	eps, factor := float32(w.c.op.MapEps.Value), float32(1/root)
	for r := range row {
		row[r] = (row[r] + eps) * factor
	}
}

// mapRows applies the map to n rows.
func (w *linearScratch) mapRows(x []float32, n int) {
	eps := float32(w.c.op.MapEps.Value)
	for a := range n {
		row := x[a*w.stride : a*w.stride+w.f]
		w.mapRow(row)
		if eps != 0 {
			for r := range row {
				row[r] += eps
			}
		}
	}
}

// mapRow applies a map to x.
func (w *linearScratch) mapRow(x []float32) {
	switch m := w.c.op.Map; m {
	case vkattn.MapELU:
		w.kernel.elu(x)
	case vkattn.MapReLU, vkattn.MapSquaredReLU:
		for r, v := range x {
			v = max(v, 0)
			if m == vkattn.MapSquaredReLU {
				v *= v
			}
			x[r] = v
		}
	case vkattn.MapSiLU:
		w.kernel.silu(x)
	case vkattn.MapExp:
		w.kernel.exp(x, 0)
	case vkattn.MapSoftmax:
		factor := 1 / w.kernel.exp(x, float64(largest32(x)))
		for r := range x {
			x[r] = float32(float64(x[r]) * factor)
		}
	}
}

// largest32 is the largest number of x; NaN is left out.
func largest32(x []float32) float32 {
	m := negInf
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

// literalRow normalises a layer and divides feature r by z_r.
func literalRow(x []float32, z []float64, eps float64) {
	var mean, variance float64
	for _, v := range x {
		mean += float64(v) / float64(len(x))
	}
	for _, v := range x {
		variance += (float64(v) - mean) * (float64(v) - mean) / float64(len(x))
	}
	root := math.Sqrt(variance + eps)
	for r, v := range x {
		if z[r] == 0 {
			x[r] = 0
		} else {
			x[r] = float32((float64(v) - mean) / root / z[r])
		}
	}
}

package cpu

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

func (*gonumKernel) transpose(dst []float32, m blas32.General) {
	height := roundUp(m.Cols, vectorLen) * panelCols
	for r := range m.Rows {
		to := dst[r/panelCols*height+r%panelCols:]
		for c, x := range m.Data[r*m.Stride : r*m.Stride+m.Cols] {
			to[c*panelCols] = x
		}
	}
}

func (k *gonumKernel) packPanel(dst []float32, v blas32.General) bool {
	for r := range v.Rows {
		row := dst[r*panelCols : (r+1)*panelCols]
		clear(row[copy(row, v.Data[r*v.Stride:r*v.Stride+v.Cols]):])
	}
	return k.finite(dst[:v.Rows*panelCols])
}

// gemmRows keeps Gemm from starting goroutines of its own, like gemmColumns.
const gemmRows = 192

func (*gonumKernel) product(o, p blas32.General, v, w []float32) {
	o.Cols = panelCols
	for r := range o.Rows {
		scale(w[r], vector(o.Data[r*o.Stride:r*o.Stride+panelCols]))
	}
	if p.Cols == 0 {
		return
	}
	b := blas32.General{Rows: p.Cols, Cols: panelCols, Stride: panelCols, Data: v}
	for r := 0; r < o.Rows; r += gemmRows {
		end := min(r+gemmRows, o.Rows)
		blas32.Gemm(blas.NoTrans, blas.NoTrans, 1, rowSlice(p, r, end), b, 1, rowSlice(o, r, end))
	}
}

func (*gonumKernel) finite(x []float32) bool {
	var sum float32
	for _, v := range x {
		sum += v * 0
	}
	return sum == 0
}

package cpu

import "gonum.org/v1/gonum/blas/blas32"

func (*avx2Kernel) transpose(dst []float32, m blas32.General) {
	if m.Rows > 0 {
		packKeys(&dst[0], &m.Data[0], m.Stride, m.Cols, m.Rows/panelCols)
	}
}

func (*avx2Kernel) packPanel(dst []float32, v blas32.General) bool {
	return v.Rows == 0 || packValues(&dst[0], &v.Data[0], v.Stride, v.Rows, v.Cols)
}

func (*avx2Kernel) product(o, p blas32.General, v, w []float32) {
	if o.Rows > 0 && p.Cols > 0 {
		accumulatePanel(&o.Data[0], o.Stride, &p.Data[0], p.Stride, &v[0], p.Cols, &w[0], roundUp(o.Rows, blockRows)/blockRows)
	}
}

func (*avx2Kernel) finite(x []float32) bool {
	return len(x) == 0 || allFinite(&x[0], len(x), 1, len(x))
}

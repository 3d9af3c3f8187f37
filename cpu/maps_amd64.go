package cpu

func (*avx2Kernel) exp(x []float32, m float64) float64 {
	if len(x) == 0 {
		return 0
	}
	return expFloats(&x[0], len(x), m)
}

func (*avx2Kernel) elu(x []float32) {
	if len(x) > 0 {
		eluFloats(&x[0], len(x))
	}
}

func (*avx2Kernel) silu(x []float32) {
	if len(x) > 0 {
		siluFloats(&x[0], len(x))
	}
}

package cpu

import "math"

func (*gonumKernel) exp(x []float32, m float64) float64 { return expRow(x, m) }

// elu is exp(min(x, 0)) + max(x, 0), of which one is a constant: signs at random would cost a branch more than both.
func (*gonumKernel) elu(x []float32) {
	var e [64]float32
	for len(x) > 0 {
		n := min(len(e), len(x))
		for r, v := range x[:n] {
			e[r] = min(v, 0)
		}
		expRow(e[:n], 0)
		for r, v := range x[:n] {
			x[r] = e[r] + max(v, 0)
		}
		x = x[n:]
	}
}

func (*gonumKernel) silu(x []float32) {
	for r, v := range x {
		x[r] = float32(float64(v) / (1 + math.Exp(-float64(v))))
	}
}

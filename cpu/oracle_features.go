package cpu

import (
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/floats"
)

// keyFeatures is the features of key t of state head n. With MapFavor a key that raises the maximum scales S.
func (p *linearProblem) keyFeatures(S *linearState, s vkattn.Sequence, n, t int) []float64 {
	x := p.key(s, n, t)
	if p.op.Map != vkattn.MapFavor {
		return p.features(x)
	}
	u, _ := p.exponents(x)
	S.raise(largest(u))
	return p.favor(u, S.c)
}

// queryFeatures is the features of query i of output head h.
func (p *linearProblem) queryFeatures(s vkattn.Sequence, h, i int) []float64 {
	x := p.query(s, h, i)
	if p.op.Map != vkattn.MapFavor {
		return p.features(x)
	}
	u, half := p.exponents(x)
	return p.favor(u, largest(u)+half) // the largest w_r.y
}

// features is the map, plus MapEps, of x or of its projection.
func (p *linearProblem) features(x []float64) []float64 {
	if p.op.Features > 0 {
		x = p.project(x)
	}
	m := largest(x)
	sum := 0.0
	for _, v := range x {
		sum += math.Exp(v - m)
	}
	f := make([]float64, len(x))
	for r, v := range x {
		switch p.op.Map {
		case vkattn.MapIdentity:
			f[r] = v
		case vkattn.MapELU:
			f[r] = math.Exp(v)
			if v > 0 {
				f[r] = v + 1
			}
		case vkattn.MapReLU:
			f[r] = math.Max(v, 0)
		case vkattn.MapSiLU:
			f[r] = v / (1 + math.Exp(-v))
		case vkattn.MapExp:
			f[r] = math.Exp(v)
		case vkattn.MapSquaredReLU:
			f[r] = math.Max(v, 0) * math.Max(v, 0)
		case vkattn.MapSoftmax:
			f[r] = math.Exp(v-m) / sum
		default:
			panic(fmt.Sprintf("cpu: oracle has no map %v", p.op.Map))
		}
		f[r] += p.op.MapEps.Value
	}
	return f
}

// exponents is u_r = w_r.y - |y|²/2 with y = x HeadDim^(-1/4), and |y|²/2.
func (p *linearProblem) exponents(x []float64) (u []float64, half float64) {
	y := make([]float64, len(x))
	for d := range x {
		y[d] = x[d] / math.Sqrt(math.Sqrt(float64(p.op.HeadDim)))
		half += y[d] * y[d] / 2
	}
	u = p.project(y)
	for r := range u {
		u[r] -= half
	}
	return u, half
}

// favor is (exp(u_r - c) + MapEps) / sqrt(Features).
func (p *linearProblem) favor(u []float64, c float64) []float64 {
	f := make([]float64, len(u))
	for r := range u {
		f[r] = (math.Exp(u[r]-c) + p.op.MapEps.Value) / math.Sqrt(float64(len(u)))
	}
	return f
}

// raise lifts c to at least to, and brings what was summed up to it.
func (S *linearState) raise(to float64) {
	if !(to > S.c) {
		return
	}
	factor := math.Exp(S.c - to)
	for _, row := range S.S {
		for c := range row {
			row[c] *= factor
		}
	}
	S.c = to
}

// project is W x.
func (p *linearProblem) project(x []float64) []float64 {
	y := make([]float64, len(p.w))
	for r, w := range p.w {
		y[r] = floats.Dot(w, x)
	}
	return y
}

func largest(x []float64) float64 {
	m := math.Inf(-1)
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

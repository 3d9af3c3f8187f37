package cpu

import (
	"math"

	"github.com/vkattn/vkattn"
)

// LinearResult is what OracleLinear computes.
type LinearResult struct {
	// Out is [B, Heads(), Sq, ValueDim], contiguous; [1, Heads(), T, ValueDim] for packed sequences. Packed
	// tokens that lie in no sequence stay 0.
	Out []float64
	// State is StateShape of the number of sequences: the state after the last token, whether or not the op
	// asks for it.
	State []float64
}

// OracleLinear computes linear attention in float64, token by token, as vkattn.Linear defines it, for tensors of
// any type in host memory. Args.Out and Args.StateOut are checked and not written. It takes time proportional
// to tokens, heads, FeatureDim and ValueDim.
func OracleLinear(op vkattn.Linear, args *vkattn.Args) (*LinearResult, error) {
	p, err := newLinearProblem(op, args)
	if err != nil {
		return nil, err
	}
	tokens, heads, dv := args.Q.Shape[2], p.op.Heads(), p.op.ValueDim
	shape := p.op.StateShape(len(p.seqs))
	r := &LinearResult{
		Out:   make([]float64, args.Q.Shape[0]*heads*tokens*dv),
		State: make([]float64, 0, shape[0]*shape[1]*shape[2]*shape[3]),
	}
	out := func(s vkattn.Sequence, h, i int) []float64 {
		at := (s.Batch*heads+h)*tokens + s.Q0 + i
		return r.Out[at*dv : (at+1)*dv]
	}
	for _, s := range p.seqs {
		for n := range p.op.States() {
			S := p.stateIn(s, n)
			if !p.op.Causal {
				p.sumUp(&S, s, n)
			}
			for i := range s.Sq {
				if p.op.Causal {
					p.write(&S, s, n, i)
				}
				for h := range heads {
					if p.op.HeadMap.Map(h, heads, p.op.States()) == n {
						p.readOut(out(s, h, i), &S, s, h, i)
					}
				}
			}
			r.State = S.append(r.State, p.op)
		}
		if p.op.Norm == vkattn.NormSRMS {
			for i := range s.Sq {
				p.srms(heads, func(h int) []float64 { return out(s, h, i) })
			}
		}
	}
	return r, nil
}

// linearState is S with its row r for feature r; with NormSum and NormLiteral the last column is z. c is what
// the keys' exponents of MapFavor are relative to.
type linearState struct {
	S [][]float64
	c float64
}

// sumUp is S = sum_j k_j v_jᵀ, of a call that is not causal.
func (p *linearProblem) sumUp(S *linearState, s vkattn.Sequence, n int) {
	if p.op.Map == vkattn.MapFavor {
		for j := range s.Sk {
			u, _ := p.exponents(p.key(s, n, j))
			S.raise(largest(u))
		}
	}
	for j := range s.Sk {
		p.write(S, s, n, j)
	}
}

// write takes in token t: S = diag(exp(g)) S; u = v, or beta (v - Sᵀ k); S = S + k uᵀ.
func (p *linearProblem) write(S *linearState, s vkattn.Sequence, n, t int) {
	p.decay(S.S, s, n, t)
	k := p.keyFeatures(S, s, n, t)
	u := p.value(s, n, t)
	if p.op.Rule == vkattn.RuleDelta {
		beta := p.element(p.args.Beta, s.Batch, n, s.K0+t, 0)
		for c, known := range transposeTimes(S.S, k, len(u)) {
			u[c] = beta * (u[c] - known)
		}
	}
	for r, row := range S.S {
		for c := range row {
			row[c] += k[r] * u[c]
		}
	}
}

// decay is S = diag(exp(g_t)) S.
func (p *linearProblem) decay(S [][]float64, s vkattn.Sequence, n, t int) {
	for r, row := range S {
		g := 0.0
		switch p.op.Decay {
		case vkattn.DecayNone:
			return
		case vkattn.DecayHead:
			g = p.element(p.args.Decay, 0, n, 0, 0)
		case vkattn.DecayToken:
			g = p.element(p.args.Decay, s.Batch, n, s.K0+t, 0)
		case vkattn.DecayChannel:
			g = p.element(p.args.Decay, s.Batch, n, s.K0+t, r)
		}
		factor := math.Exp(g)
		for c := range row {
			row[c] *= factor
		}
	}
}

// readOut is out = Scale Sᵀ q, normalised.
func (p *linearProblem) readOut(out []float64, S *linearState, s vkattn.Sequence, h, i int) {
	q := p.queryFeatures(s, h, i)
	dv := len(out)
	if p.op.Norm == vkattn.NormLiteral {
		layerNorm(q, p.op.Eps.Value)
		for r, row := range S.S {
			if z := row[dv]; z == 0 {
				q[r] = 0
			} else {
				q[r] /= z
			}
		}
	}
	num := transposeTimes(S.S, q, dv)
	for c := range out {
		out[c] = p.op.Scale.Value * num[c]
	}
	if p.op.Norm == vkattn.NormSum {
		den := p.op.Eps.Value
		for r, row := range S.S {
			den += p.op.Scale.Value * q[r] * row[dv]
		}
		for c := range out {
			if den == 0 {
				out[c] = 0
			} else {
				out[c] /= den
			}
		}
	}
}

// transposeTimes is Sᵀ x, of the first n columns.
func transposeTimes(S [][]float64, x []float64, n int) []float64 {
	y := make([]float64, n)
	for r, row := range S {
		for c := range y {
			y[c] += row[c] * x[r]
		}
	}
	return y
}

// layerNorm is x = (x - mean) / sqrt(variance + eps).
func layerNorm(x []float64, eps float64) {
	var mean, variance float64
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	for r := range x {
		x[r] = (x[r] - mean) / math.Sqrt(variance+eps)
	}
}

// srms divides a token by its root mean square over all heads and values, plus Eps.
func (p *linearProblem) srms(heads int, out func(h int) []float64) {
	sum := 0.0
	for h := range heads {
		for _, x := range out(h) {
			sum += x * x
		}
	}
	den := math.Sqrt(sum/float64(heads*p.op.ValueDim)) + p.op.Eps.Value
	for h := range heads {
		o := out(h)
		for c := range o {
			if den == 0 {
				o[c] = 0
			} else {
				o[c] /= den
			}
		}
	}
}

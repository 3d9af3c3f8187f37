package cpu

import (
	"math"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// The steps of one row of exact attention, in their order. S holds one score per key, hidden or not; a
// hidden key's score is never looked at again after the mask.

// scaled is step 1: S_j = scale (q . k_j).
func (p *problem) scaled(q []float64, K *mat.Dense) []float64 {
	S := make([]float64, rows(K))
	for j := range S {
		S[j] = p.op.Scale.Value * floats.Dot(q, K.RawRowView(j))
	}
	return S
}

// cap is step 2: S_j = c tanh(S_j / c).
func (p *problem) cap(S []float64) {
	c := p.op.Softcap
	if c == 0 {
		return
	}
	for j := range S {
		S[j] = c * math.Tanh(S[j]/c)
	}
}

// alibi is step 3: S_j -= slope_h |position(i) - position(j)|.
func (p *problem) alibi(S []float64, s sequence, h, i int) {
	t := p.args.Slopes
	if !t.Given() {
		return
	}
	slope := p.read(t, t.HeadIndex(s.index, h))
	for j := range S {
		S[j] -= slope * math.Abs(float64(p.rowPosition(s, i)-p.keyPosition(j)))
	}
}

// bias is step 4: S_j += relative_h(position(j) - position(i)) + bias_ij.
func (p *problem) bias(S []float64, s sequence, h, i int) {
	if p.args.Relative.Given() {
		for j := range S {
			S[j] += p.byDistance(s, h, i, j)
		}
	}
	t := p.args.Bias
	if !t.Given() {
		return
	}
	for j := range S {
		S[j] += p.read(t, t.Index(s.index, h, i, j))
	}
}

// byDistance is relative_h(position(j) - position(i)).
func (p *problem) byDistance(s sequence, h, i, j int) float64 {
	t := p.args.Relative
	reach := t.Shape[3] / 2
	distance := p.keyPosition(j) - p.rowPosition(s, i)
	return p.read(t, t.Index(min(s.index, t.Shape[0]-1), h, 0, min(max(distance, -reach), reach)+reach))
}

// mask is step 5: which keys row i sees.
func (p *problem) mask(s sequence, h, i, n int) []bool {
	mask := make([]bool, n)
	for j := range mask {
		mask[j] = p.visible(s, h, i, j)
	}
	return mask
}

// softmax is step 6: P_j = exp(S_j - m) / l over the visible keys, with l = sum_j exp(S_j - m) and the sink
// logit's exp(b - m) in it, and L = m + log l. Without anything visible P is 0 and L is b, or -inf.
func (p *problem) softmax(S []float64, mask []bool, s sequence, h int) (P []float64, L float64) {
	b := math.Inf(-1)
	if t := p.args.SinkLogits; t.Given() {
		b = p.read(t, t.HeadIndex(s.index, h))
	}
	P = make([]float64, len(S))
	m, none := b, true
	for j, keep := range mask {
		if keep {
			m, none = math.Max(m, S[j]), false
		}
	}
	if none {
		return P, b
	}
	l := 0.0
	for j, keep := range mask {
		if keep {
			P[j] = math.Exp(S[j] - m)
			l += P[j]
		}
	}
	if p.args.SinkLogits.Given() {
		l += math.Exp(b - m)
	}
	for j, keep := range mask {
		if keep {
			P[j] /= l
		}
	}
	return P, m + math.Log(l)
}

// output is step 7: O = sum_j P_j v_j over the visible keys.
func output(O, P []float64, V *mat.Dense, mask []bool) {
	clear(O)
	for j, keep := range mask {
		if keep {
			floats.AddScaled(O, P[j], V.RawRowView(j))
		}
	}
}

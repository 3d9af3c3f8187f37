package cpu

import (
	"fmt"

	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/floats"
)

// Shaw is the relative position representation of Shaw et al., "Self-Attention with Relative Position
// Representations", 2018: a vector for each clipped distance, added to the keys and to the values,
//
//	s_ij = scale * q_i . (k_j + aK_r),  o_i = sum_j p_ij (v_j + aV_r),  r = min(max(p_j-p_i, -K), K) + K
//
// shared by all heads. p_i and p_j are the absolute positions that ALiBi has too; r is vkattn.RelativeIndex.
type Shaw struct {
	K      int
	Keys   []float32 // aK [2K+1, HeadDim], nil: none
	Values []float32 // aV [2K+1, ValueDim], nil: none
}

// OracleShaw is Oracle with relative keys and values. The relative part of a score is scaled and capped with it.
func OracleShaw(op vkattn.Attention, args *vkattn.Args, rel Shaw) (*Result, error) {
	p, err := newProblem(op, args)
	if err != nil {
		return nil, err
	}
	if rel.K < 0 || rel.K > vkattn.MaxSequence {
		return nil, &vkattn.ShapeError{Arg: "K", Got: rel.K, Want: fmt.Sprintf("0 to %d", vkattn.MaxSequence)}
	}
	for _, t := range []struct {
		name  string
		table []float32
		d     int
	}{{"Keys", rel.Keys, p.op.HeadDim}, {"Values", rel.Values, p.op.ValueDim}} {
		if want := (2*rel.K + 1) * t.d; t.table != nil && len(t.table) != want {
			return nil, &vkattn.ShapeError{Arg: t.name, Axis: "length", Got: len(t.table), Want: fmt.Sprintf("%d: %d distances of %d columns", want, 2*rel.K+1, t.d)}
		}
	}
	p.rel = &rel
	return p.all(), nil
}

// row64 is row r of a table of relative representations.
func row64(table []float32, r, d int) []float64 {
	x := make([]float64, d)
	for i, v := range table[r*d : (r+1)*d] {
		x[i] = float64(v)
	}
	return x
}

func (p *problem) relative(s sequence, i, j int) int {
	return vkattn.RelativeIndex(p.keyPosition(j)-p.rowPosition(s, i), p.rel.K)
}

// shawKeys belongs to step 1: S_j += scale (q . aK_r).
func (p *problem) shawKeys(S, q []float64, s sequence, i int) {
	if p.rel == nil || p.rel.Keys == nil {
		return
	}
	for j := range S {
		S[j] += p.op.Scale.Value * floats.Dot(q, row64(p.rel.Keys, p.relative(s, i, j), len(q)))
	}
}

// shawValues belongs to step 7: O += sum_j P_j aV_r over the visible keys.
func (p *problem) shawValues(O, P []float64, mask []bool, s sequence, i int) {
	if p.rel == nil || p.rel.Values == nil {
		return
	}
	for j, keep := range mask {
		if keep {
			floats.AddScaled(O, P[j], row64(p.rel.Values, p.relative(s, i, j), len(O)))
		}
	}
}

package cpu

import (
	"math"

	"github.com/vkattn/vkattn"
)

// linearProblem is a checked call of Linear, as the oracle reads it.
type linearProblem struct {
	problem // reads elements
	op      vkattn.Linear
	args    *vkattn.Args
	seqs    []vkattn.Sequence
	w       [][]float64 // the rows of the projection
}

func newLinearProblem(op vkattn.Linear, args *vkattn.Args) (*linearProblem, error) {
	seqs, err := op.Check(args)
	if err != nil {
		return nil, err
	}
	for _, t := range []struct {
		name string
		t    vkattn.Tensor
	}{{"Q", args.Q}, {"K", args.K}, {"V", args.V}, {"Projection", args.Projection}, {"Decay", args.Decay},
		{"Beta", args.Beta}, {"StateIn", args.StateIn}} {
		if _, host := t.t.Mem.(*vkattn.Host); t.t.Given() && !host {
			return nil, &vkattn.ArgError{Arg: t.name, Reason: "not in host memory, where the oracle reads"}
		}
	}
	p := &linearProblem{op: op.Canonical(), args: args, seqs: seqs}
	for r := range op.Features {
		p.w = append(p.w, p.row(args.Projection, 0, 0, r))
	}
	return p, nil
}

func (p *linearProblem) element(t vkattn.Tensor, b, h, s, d int) float64 {
	return p.read(t, t.Index(b, h, s, d))
}

func (p *linearProblem) row(t vkattn.Tensor, b, h, s int) []float64 {
	x := make([]float64, t.Shape[3])
	for d := range x {
		x[d] = p.element(t, b, h, s, d)
	}
	return x
}

// query is q_i of output head h.
func (p *linearProblem) query(s vkattn.Sequence, h, i int) []float64 {
	return p.row(p.args.Q, s.Batch, p.op.HeadMap.Map(h, p.op.Heads(), p.op.HeadsQ), s.Q0+i)
}

// key is k_j of state head n.
func (p *linearProblem) key(s vkattn.Sequence, n, j int) []float64 {
	return p.row(p.args.K, s.Batch, p.op.HeadMap.Map(n, p.op.States(), p.op.HeadsK), s.K0+j)
}

// value is v_j of state head n, with a 1 behind it where the state has a column for z.
func (p *linearProblem) value(s vkattn.Sequence, n, j int) []float64 {
	v := p.row(p.args.V, s.Batch, p.op.HeadMap.Map(n, p.op.States(), p.op.HeadsV), s.K0+j)
	for len(v) < p.op.StateShape(0)[3] {
		v = append(v, 1)
	}
	return v
}

// stateIn is the state of head n before the first token.
func (p *linearProblem) stateIn(s vkattn.Sequence, n int) linearState {
	S := linearState{S: make([][]float64, p.op.FeatureDim()), c: math.Inf(-1)}
	for r := range S.S {
		S.S[r] = make([]float64, p.op.StateShape(0)[3])
		if p.op.StateIn {
			S.S[r] = p.row(p.args.StateIn, s.Index, n, r)
		}
	}
	if p.op.StateIn && p.op.Map == vkattn.MapFavor {
		S.c = p.element(p.args.StateIn, s.Index, n, p.op.FeatureDim(), 0)
	}
	return S
}

// append appends the state in the layout of StateShape.
func (S *linearState) append(to []float64, op vkattn.Linear) []float64 {
	for _, row := range S.S {
		to = append(to, row...)
	}
	if op.Map == vkattn.MapFavor {
		to = append(to, S.c)
		to = append(to, make([]float64, op.StateShape(0)[3]-1)...)
	}
	return to
}

package attntest

import (
	"context"
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// asParts holds the whole call against calls of some tokens each, of which every one begins with the state that the one
// before it left. cuts are the lengths of the parts; the last is repeated.
func asParts(cuts ...int) relation {
	return func(ctx context.Context, b vkattn.Backend, p *LinearProblem, v *verdict, tolerance float64) error {
		p.Zero()
		want, err := cpu.OracleLinear(p.Op, &p.Args)
		if err != nil {
			return err
		}
		tokens := p.Args.Q.Shape[2]
		shape := p.Args.StateOut.Shape
		state := p.Args.StateIn
		for t, n := 0, 0; t < tokens; n++ {
			end := min(t+cuts[min(n, len(cuts)-1)], tokens)
			op, a := p.Op, p.Args
			for _, x := range []*vkattn.Tensor{&a.Q, &a.K, &a.V, &a.Out, &a.Beta} {
				if x.Given() {
					*x = x.Slice(2, t, end)
				}
			}
			if op.Decay == vkattn.DecayToken || op.Decay == vkattn.DecayChannel {
				a.Decay = a.Decay.Slice(2, t, end)
			}
			op.StateIn, a.StateIn = state.Given(), state
			if end < tokens {
				a.StateOut = vkattn.BHSD(vkattn.Float32s(make([]float32, shape[0]*shape[1]*shape[2]*shape[3])), shape[0], shape[1], shape[2], shape[3])
			}
			if err := compute(ctx, b, op, a); err != nil {
				return fmt.Errorf("tokens %d to %d: %w", t, end, err)
			}
			state, t = a.StateOut, end
		}
		return p.compare(v, want, tolerance)
	}
}

// asSeparate holds packed sequences against a call for each of them.
func asSeparate(ctx context.Context, b vkattn.Backend, p *LinearProblem, v *verdict, tolerance float64) error {
	p.Zero()
	want := &cpu.LinearResult{Out: make([]float64, p.Args.Out.Len()), State: make([]float64, p.Args.StateOut.Len())}
	for _, s := range p.seqs {
		op, a := p.Op, p.Args
		op.Packed, op.TotalQ, op.TotalK, op.Batch = false, 0, 0, 1
		a.CuSeqQ, a.CuSeqK = nil, nil
		a.Q = a.Q.Slice(2, s.Q0, s.Q0+s.Sq)
		for _, x := range []*vkattn.Tensor{&a.K, &a.V, &a.Beta} {
			if x.Given() {
				*x = x.Slice(2, s.K0, s.K0+s.Sk)
			}
		}
		if op.Decay == vkattn.DecayToken || op.Decay == vkattn.DecayChannel {
			a.Decay = a.Decay.Slice(2, s.K0, s.K0+s.Sk)
		}
		if a.StateIn.Given() {
			a.StateIn = a.StateIn.Slice(0, s.Index, s.Index+1)
		}
		heads, dv, shape := a.Out.Shape[1], a.Out.Shape[3], a.StateOut.Shape
		out, state := make([]float32, heads*s.Sq*dv), make([]float32, shape[1]*shape[2]*shape[3])
		a.Out = vkattn.BHSD(vkattn.Float32s(out), 1, heads, s.Sq, dv)
		a.StateOut = vkattn.BHSD(vkattn.Float32s(state), 1, shape[1], shape[2], shape[3])
		if err := compute(ctx, b, op, a); err != nil {
			return fmt.Errorf("sequence %d alone: %w", s.Index, err)
		}
		for n, x := range out {
			h, i, d := n/(s.Sq*dv), n/dv%s.Sq, n%dv
			want.Out[(h*p.Args.Out.Shape[2]+s.Q0+i)*dv+d] = float64(x)
		}
		for n, x := range state {
			want.State[s.Index*len(state)+n] = float64(x)
		}
	}
	if err := p.once(ctx, b, zeroPattern); err != nil {
		return err
	}
	return p.compare(v, want, tolerance)
}

// asQuadratic holds the call against the parallel form, of identity features, the plain rule and one number of decay a
// token at most: out_t = Scale sum_s (q_t.k_s) exp(g_s+1 + .. + g_t) v_s over s up to t.
func asQuadratic(ctx context.Context, b vkattn.Backend, p *LinearProblem, v *verdict, tolerance float64) error {
	p.Zero()
	op, a := p.Op.Canonical(), &p.Args
	f := func(t vkattn.Tensor, b, h, s, d int) float64 {
		return float64(t.Mem.(*vkattn.Host).Float32s()[t.Index(b, h, s, d)])
	}
	heads, tokens, dv := op.Heads(), a.Q.Shape[2], op.ValueDim
	want := make([]float64, 0, a.Out.Len())
	for n := range a.Q.Shape[0] {
		for h := range heads {
			hq, hk, hv, hs := op.HeadMap.Map(h, heads, op.HeadsQ), op.HeadMap.Map(h, heads, op.HeadsK), op.HeadMap.Map(h, heads, op.HeadsV), op.HeadMap.Map(h, heads, op.States())
			for t := range tokens {
				row := make([]float64, dv)
				for s := range t + 1 {
					weight := 0.0
					for d := range op.HeadDim {
						g := 0.0
						for m := s + 1; m <= t; m++ {
							switch op.Decay {
							case vkattn.DecayHead:
								g += f(a.Decay, 0, hs, 0, 0)
							case vkattn.DecayToken:
								g += f(a.Decay, n, hs, m, 0)
							case vkattn.DecayChannel:
								g += f(a.Decay, n, hs, m, d)
							}
						}
						weight += f(a.Q, n, hq, t, d) * f(a.K, n, hk, s, d) * math.Exp(g)
					}
					for c := range row {
						row[c] += op.Scale.Value * weight * f(a.V, n, hv, s, c)
					}
				}
				want = append(want, row...)
			}
		}
	}
	if err := p.once(ctx, b, zeroPattern); err != nil {
		return err
	}
	p.against(v, 0, want, tolerance, false)
	return nil
}

// apartFromNaN spoils a key of the first key head: the heads that read it are NaN from there on, no other is.
func apartFromNaN(ctx context.Context, b vkattn.Backend, p *LinearProblem, v *verdict, tolerance float64) error {
	p.Zero()
	k := p.Args.K
	k.Mem.(*vkattn.Host).Float32s()[k.Index(0, 0, 5, 1)] = float32(math.NaN())
	want, err := cpu.OracleLinear(p.Op, &p.Args)
	if err != nil {
		return err
	}
	if err := p.once(ctx, b, zeroPattern); err != nil {
		return err
	}
	p.against(v, 0, want.Out, tolerance, false)
	heads, c := p.Op.Heads(), p.Op.Canonical()
	for n, o := range p.outs[:1] {
		p.elements(n, func(s, h, i, at, _ int) {
			if s > 0 || c.HeadMap.Map(h, heads, c.HeadsK) != 0 {
				if x := o.s.f[at]; x != x && err == nil {
					err = fmt.Errorf("NaN in key head 0 of sequence 0 reaches b%d h%d i%d", s, h, i)
				}
			}
		})
	}
	return err
}

package attntest

import (
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

func inTypes(t typeSet) linearMod {
	return func(s *linearSpec, _ *LinearCase) {
		s.op.TypeQ, s.op.TypeK, s.op.TypeV, s.op.TypeOut = t[0], t[1], t[2], t[3]
	}
}

// linearTypeCases are calls in other types than float32: every kind of call in the types of models, and some of them in
// mixed ones.
func linearTypeCases() []LinearCase {
	f32, f16, bf16 := vkattn.Float32, vkattn.Float16, vkattn.BFloat16
	sets := []typeSet{{f16, f16, f16, f16}, {bf16, bf16, bf16, bf16}, {f16, f16, f16, f32}, {bf16, f16, f32, f16}, {f32, f32, f32, bf16}}
	one, grouped := [3]int{1, 1, 1}, [3]int{4, 2, 2}
	odd := layout{order: "bsh", pad: [3]int{3, 5, 1}, offset: 7}
	kinds := []struct {
		name string
		mods []linearMod
	}{
		{"plain", []linearMod{tokens(130)}},
		{"head", []linearMod{shape([3]int{2, 2, 4}, 32, 24), rule(vkattn.RuleAdd, vkattn.DecayHead)}},
		{"token", []linearMod{tokens(100), shape(grouped, 40, 40), rule(vkattn.RuleAdd, vkattn.DecayToken)}},
		{"channel", []linearMod{rule(vkattn.RuleAdd, vkattn.DecayChannel)}},
		{"delta", []linearMod{tokens(100), rule(vkattn.RuleDelta, vkattn.DecayNone)}},
		{"delta-token", []linearMod{shape(grouped, 64, 32), rule(vkattn.RuleDelta, vkattn.DecayToken)}},
		{"delta-channel", []linearMod{rule(vkattn.RuleDelta, vkattn.DecayChannel)}},
		{"alike", []linearMod{tokens(150), rule(vkattn.RuleDelta, vkattn.DecayToken), alike(alikeKeys, 1.9), decaying(0.01)}},
		{"odd", []linearMod{tokens(33), shape(one, 37, 21), rule(vkattn.RuleAdd, vkattn.DecayToken)}},
		{"one", []linearMod{tokens(1), shape(grouped, 64, 64), rule(vkattn.RuleDelta, vkattn.DecayToken)}},
		{"cyclic", []linearMod{shape([3]int{6, 2, 2}, 24, 12), cyclicHeads}},
		{"packed", []linearMod{inSequences(3, 17, 0, 65, 1), rule(vkattn.RuleAdd, vkattn.DecayToken)}},
		{"strided", []linearMod{placed(map[string]layout{"Q": odd, "K": odd, "V": odd, "Out": odd}), rule(vkattn.RuleAdd, vkattn.DecayToken)}},
		{"forgets", []linearMod{tokens(130), rule(vkattn.RuleAdd, vkattn.DecayToken), decaying(5)}},
		{"large", []linearMod{tokens(130), rule(vkattn.RuleAdd, vkattn.DecayToken), func(s *linearSpec, _ *LinearCase) {
			s.large, s.op.Scale = 256, vkattn.Num(1e-7) // scores and states are beyond float16
		}}},
		{"elu-sum", []linearMod{tokens(100), mapped(vkattn.MapELU, vkattn.NormSum, 0), rule(vkattn.RuleAdd, vkattn.DecayToken)}},
		{"relu-sum", []linearMod{tokens(100), mapped(vkattn.MapReLU, vkattn.NormSum, 0)}},
		{"silu-srms", []linearMod{mapped(vkattn.MapSiLU, vkattn.NormSRMS, 0), rule(vkattn.RuleAdd, vkattn.DecayHead)}},
		{"exp", []linearMod{mapped(vkattn.MapExp, vkattn.NormNone, 0)}},
		{"relu2-srms", []linearMod{mapped(vkattn.MapSquaredReLU, vkattn.NormSRMS, 0), shape(one, 20, 37)}},
		{"softmax-sum", []linearMod{mapped(vkattn.MapSoftmax, vkattn.NormSum, 0)}},
		{"features", []linearMod{mapped(vkattn.MapReLU, vkattn.NormNone, 19)}},
		{"favor", []linearMod{mapped(vkattn.MapFavor, vkattn.NormSum, 19)}},
		{"literal", []linearMod{mapped(vkattn.MapELU, vkattn.NormLiteral, 0)}},
		{"full", []linearMod{notCausal, mapped(vkattn.MapELU, vkattn.NormSum, 0), func(s *linearSpec, _ *LinearCase) { s.sk = 100 }}},
		{"full-favor", []linearMod{notCausal, mapped(vkattn.MapFavor, vkattn.NormSRMS, 19)}},
	}
	var all []LinearCase
	for n, types := range sets {
		for m, kind := range kinds {
			if n >= 2 && m%3 != n-2 {
				continue
			}
			mods := append([]linearMod{bothStates, inTypes(types)}, kind.mods...)
			if n == 0 && m%2 == 0 || (n+m)%5 == 1 {
				mods = append(mods, inSample)
			}
			all = append(all, linearCase(fmt.Sprintf("types/%s/%s", types, kind.name), mods...))
		}
	}
	return all
}

// narrow brings Q, K, V and Out to the types of the op.
func (p *LinearProblem) narrow() {
	a := &p.Args
	for i, t := range []struct {
		t   *vkattn.Tensor
		typ vkattn.Type
	}{{&a.Q, p.Op.TypeQ}, {&a.K, p.Op.TypeK}, {&a.V, p.Op.TypeV}} {
		if t.typ != vkattn.Float32 {
			r := narrowed(p.inputs[i], t.typ)
			p.raw = append(p.raw, r)
			t.t.Type, t.t.Mem = t.typ, r.host
		}
	}
	if o := &p.outs[0]; p.Op.TypeOut != vkattn.Float32 {
		o.raw = narrowed(o.s, p.Op.TypeOut)
		a.Out.Type, a.Out.Mem = p.Op.TypeOut, o.raw.host
	}
}

// rule is the type that the error of Out is measured by. Matrix units round features and weights to that of the queries.
func (p *LinearProblem) rule() vkattn.Type {
	if p.units && p.Op.TypeOut == vkattn.Float32 {
		return p.Op.TypeQ
	}
	return p.Op.TypeOut
}

// unfused is the computation that rounds what it stores: features, numerators, denominators and outputs, to the type that
// the error is measured by; states are float32. want is the oracle's answer, which stands in where features depend on
// more than their token.
func (p *LinearProblem) unfused(want *cpu.LinearResult) (*cpu.LinearResult, error) {
	round := func(x float64) float64 { return roundTo(p.rule(), x) }
	op, a := p.Op.Canonical(), p.Args
	if op.Map == vkattn.MapFavor || op.Norm == vkattn.NormLiteral {
		r := &cpu.LinearResult{State: want.State}
		for _, x := range want.Out {
			r.Out = append(r.Out, round(x))
		}
		return r, nil
	}
	sum, heads, dv := op.Norm == vkattn.NormSum, op.Heads(), op.ValueDim
	project, mapEps := a.Projection, op.MapEps.Value
	features := func(t vkattn.Tensor) vkattn.Tensor {
		n := op.FeatureDim()
		to := vkattn.BHSD(nil, t.Shape[0], t.Shape[1], t.Shape[2], n)
		var all []float32
		eachToken(t, func(x []float32) {
			y := make([]float64, n)
			top, total := math.Inf(-1), 0.0
			for r := range y {
				if project.Given() {
					for d := range x {
						y[r] += float64(project.Mem.(*vkattn.Host).Float32s()[project.Index(0, 0, r, d)]) * float64(x[d])
					}
				} else {
					y[r] = float64(x[r])
				}
				top = math.Max(top, y[r])
			}
			for _, x := range y {
				total += math.Exp(x - top)
			}
			for _, x := range y {
				all = append(all, float32(round(mapOf(op.Map, x, top, total)+mapEps)))
			}
		})
		to.Mem = vkattn.Float32s(all)
		return to
	}
	a.Q, a.K = features(a.Q), features(a.K)
	var values []float32
	shape := a.V.Shape
	eachToken(a.V, func(x []float32) {
		if values = append(values, x...); sum {
			values = append(values, 1)
		}
	})
	width := dv
	if sum {
		width++
	}
	a.V = vkattn.BHSD(vkattn.Float32s(values), shape[0], shape[1], shape[2], width)
	shape = a.Out.Shape
	a.Out = vkattn.BHSD(vkattn.Float32s(make([]float32, shape[0]*heads*shape[2]*width)), shape[0], heads, shape[2], width)
	a.Projection = vkattn.Tensor{}
	other := op
	other.HeadDim, other.Features, other.ValueDim = op.FeatureDim(), 0, width
	other.Map, other.Norm, other.MapEps, other.Eps = vkattn.MapIdentity, vkattn.NormNone, vkattn.Number{}, vkattn.Number{}
	other.TypeQ, other.TypeK, other.TypeV, other.TypeOut = 0, 0, 0, 0
	r, err := cpu.OracleLinear(other, &a)
	if err != nil {
		return nil, err
	}
	stored := r.Out
	r.Out = nil
	for ; len(stored) > 0; stored = stored[width:] {
		over := 1.0
		if sum {
			over = round(stored[dv] + op.Eps.Value)
		}
		for _, x := range stored[:dv] {
			if x = round(x); sum {
				if x /= over; over == 0 {
					x = 0
				}
			}
			r.Out = append(r.Out, round(x))
		}
	}
	if op.Norm == vkattn.NormSRMS {
		tokens := shape[2]
		for n := range shape[0] * tokens {
			at := func(h, d int) *float64 { return &r.Out[((n/tokens*heads+h)*tokens+n%tokens)*dv+d] }
			square := 0.0
			for i := range heads * dv {
				square += *at(i/dv, i%dv) * *at(i/dv, i%dv) / float64(heads*dv)
			}
			for i := range heads * dv {
				if x := at(i/dv, i%dv); square > 0 {
					*x = round(*x / (math.Sqrt(square) + op.Eps.Value))
				}
			}
		}
	}
	return r, nil
}

// mapOf is a map of the logit x of a token, whose largest is top and whose sum of exp(x - top) is total.
func mapOf(m vkattn.FeatureMap, x, top, total float64) float64 {
	switch m {
	case vkattn.MapELU:
		if x > 0 {
			return x + 1
		}
		return math.Exp(x)
	case vkattn.MapReLU:
		return math.Max(x, 0)
	case vkattn.MapSiLU:
		return x / (1 + math.Exp(-x))
	case vkattn.MapExp:
		return math.Exp(x)
	case vkattn.MapSquaredReLU:
		return math.Max(x, 0) * math.Max(x, 0)
	case vkattn.MapSoftmax:
		return math.Exp(x-top) / total
	}
	return x
}

// eachToken calls f with the numbers of every head of a token, in the order of the axes.
func eachToken(t vkattn.Tensor, f func(x []float32)) {
	raw := t.Mem.(*vkattn.Host).Bytes()
	x := make([]float32, t.Shape[3])
	for b := range t.Shape[0] {
		for h := range t.Shape[1] {
			for s := range t.Shape[2] {
				at := t.Type.Bytes(t.Index(b, h, s, 0))
				if err := t.Type.Decode(x, raw[at:][:t.Type.Bytes(len(x))]); err != nil {
					panic(err) // the room is right
				}
				f(x)
			}
		}
	}
}

// compareTypes holds Out against the oracle's by the rule of TypeProblem.compareTypes, and states by that of float32, and by
// twice what rounded features leave in them.
func (p *LinearProblem) compareTypes(v *verdict, want *cpu.LinearResult, tolerance float64) error {
	plain, err := p.unfused(want)
	if err != nil {
		return fmt.Errorf("oracle: %w", err)
	}
	var plainMax, shiftMax, plainSum, sum, most, absMax float64
	n, where := 0, ""
	round := func(x float64) float64 { return roundTo(p.rule(), x) }
	p.elements(0, func(s, h, i, at, number int) {
		got, ref := float64(p.outs[0].s.f[at]), want.Out[number]
		off := math.Abs(plain.Out[number] - ref)
		plainMax, plainSum = math.Max(plainMax, off), plainSum+off
		shiftMax = math.Max(shiftMax, math.Abs(round(round(round(ref)+0.3)-0.3)-ref))
		absMax = math.Max(absMax, math.Abs(ref))
		e := math.Abs(got - ref)
		if e != e {
			e = math.Inf(1)
		}
		sum += e
		n++
		if e > most || where == "" {
			most, where = e, fmt.Sprintf("Out b%d h%d i%d: %v, want %v", s, h, i, got, ref)
		}
	})
	if n > 0 {
		v.add(most, 2*plainMax+2*shiftMax, "%s", where)
		v.add(sum/float64(n), 1.5*plainSum/float64(n)+1e-6*absMax, "the mean error of Out")
	}
	if len(p.outs) > 1 {
		off, norm := 0.0, 1e-300
		for i, x := range want.State {
			if x-x == 0 {
				off, norm = off+(plain.State[i]-x)*(plain.State[i]-x), norm+x*x
			}
		}
		if p.units {
			tolerance += 2 * math.Sqrt(off/norm)
		}
		p.against(v, 1, want.State, tolerance, false)
	}
	return nil
}

package attntest

import (
	"fmt"

	"github.com/vkattn/vkattn"
)

type linearMod func(*linearSpec, *LinearCase)

func tokens(sq int) linearMod { return func(s *linearSpec, _ *LinearCase) { s.sq, s.sk = sq, sq } }
func shape(heads [3]int, d, dv int) linearMod {
	return func(s *linearSpec, _ *LinearCase) {
		s.op.HeadsQ, s.op.HeadsK, s.op.HeadsV, s.op.HeadDim, s.op.ValueDim = heads[0], heads[1], heads[2], d, dv
	}
}
func rule(r vkattn.UpdateRule, d vkattn.Decay) linearMod {
	return func(s *linearSpec, _ *LinearCase) { s.op.Rule, s.op.Decay = r, d }
}
func decaying(strength float64) linearMod {
	return func(s *linearSpec, _ *LinearCase) { s.strength = strength }
}
func mapped(m vkattn.FeatureMap, n vkattn.Norm, features int) linearMod {
	return func(s *linearSpec, _ *LinearCase) { s.op.Map, s.op.Norm, s.op.Features = m, n, features }
}
func bothStates(s *linearSpec, _ *LinearCase)  { s.op.StateIn, s.op.StateOut = true, true }
func notCausal(s *linearSpec, _ *LinearCase)   { s.op.Causal = false }
func cyclicHeads(s *linearSpec, _ *LinearCase) { s.op.HeadMap = vkattn.HeadCyclic }
func inSample(_ *linearSpec, c *LinearCase)    { c.Sample = true }
func within(tolerance float64) linearMod {
	return func(_ *linearSpec, c *LinearCase) { c.tolerance = tolerance }
}
func placed(l map[string]layout) linearMod {
	return func(s *linearSpec, _ *LinearCase) { s.layouts = l }
}
func inSequences(slack int, lens ...int) linearMod {
	return func(s *linearSpec, _ *LinearCase) { s.op.Packed, s.lens, s.slack = true, lens, slack }
}
func alike(kind keyKind, beta float64) linearMod {
	return func(s *linearSpec, _ *LinearCase) { s.keys, s.beta = kind, beta }
}

// linearCase freezes a spec. Without other words a case has two sequences of 65 tokens, two heads of 32, and a
// decay of up to 0.2 where it has one.
func linearCase(name string, mods ...linearMod) LinearCase {
	s := &linearSpec{op: vkattn.Linear{HeadsQ: 2, HeadDim: 32, Causal: true}, sq: 65, sk: 65, strength: 0.2}
	s.op.Batch = 2
	c := LinearCase{Name: "linear/" + name, spec: s, tolerance: linearTolerance}
	for _, m := range mods {
		m(s, &c)
	}
	s.op.Batch += s.spare
	s.op.SeqQ, s.op.SeqK = s.sq+s.spare, s.sk+s.spare
	if s.op.Packed {
		s.op.Batch, s.op.SeqQ = len(s.lens)+s.spare, 0
		for _, n := range s.lens {
			s.op.SeqQ = max(s.op.SeqQ, n)
			s.op.TotalQ += n
		}
		s.op.SeqK, s.op.TotalK = s.op.SeqQ, s.op.TotalQ
		if s.lensK != nil {
			s.op.SeqK, s.op.TotalK = 0, 0
			for _, n := range s.lensK {
				s.op.SeqK = max(s.op.SeqK, n)
				s.op.TotalK += n
			}
		}
		s.op.TotalQ += s.slack
		s.op.TotalK += s.slack
	}
	c.Op = s.op
	return c
}

// LinearCases is the whole table. The order and the data are the same in every run.
func LinearCases() []LinearCase {
	var all []LinearCase
	add := func(name string, mods ...linearMod) { all = append(all, linearCase(name, mods...)) }
	one := [3]int{1, 1, 1}
	rules := []struct {
		name string
		rule vkattn.UpdateRule
		d    vkattn.Decay
	}{
		{"plain", vkattn.RuleAdd, vkattn.DecayNone}, {"head", vkattn.RuleAdd, vkattn.DecayHead},
		{"token", vkattn.RuleAdd, vkattn.DecayToken}, {"channel", vkattn.RuleAdd, vkattn.DecayChannel},
		{"delta", vkattn.RuleDelta, vkattn.DecayNone}, {"delta-token", vkattn.RuleDelta, vkattn.DecayToken},
		{"delta-channel", vkattn.RuleDelta, vkattn.DecayChannel},
	}
	for _, r := range rules {
		for _, n := range []int{1, 15, 17, 63, 64, 65, 100, 257, 1024} {
			mods := []linearMod{tokens(n), rule(r.rule, r.d), bothStates}
			if n >= 1024 {
				mods = append(mods, shape(one, 32, 32))
			}
			if n == 65 {
				mods = append(mods, inSample)
			}
			add(fmt.Sprintf("length/%s/%d", r.name, n), mods...)
		}
		for _, d := range []int{1, 32, 40, 59, 60, 64, 100, 128, 256} {
			add(fmt.Sprintf("headdim/%s/%d", r.name, d), tokens(70), shape(one, d, d), rule(r.rule, r.d), bothStates)
		}
		for _, d := range [][2]int{{64, 32}, {40, 72}, {17, 5}, {128, 1}} {
			add(fmt.Sprintf("headdim/%s/%d-%d", r.name, d[0], d[1]), shape(one, d[0], d[1]), rule(r.rule, r.d), bothStates)
		}
		for _, h := range [][3]int{{4, 2, 2}, {5, 1, 1}, {2, 2, 4}, {4, 4, 2}, {1, 1, 3}, {6, 2, 6}} {
			mods := []linearMod{shape(h, 24, 24), rule(r.rule, r.d), bothStates}
			add(fmt.Sprintf("heads/%s/%d-%d-%d", r.name, h[0], h[1], h[2]), mods...)
			add(fmt.Sprintf("heads/%s/%d-%d-%d-cyclic", r.name, h[0], h[1], h[2]), append(mods, cyclicHeads)...)
		}
		for _, at := range []int{1, 15, 16, 63, 64, 65, 99} {
			add(fmt.Sprintf("split/%s/%d", r.name, at), tokens(100), rule(r.rule, r.d), bothStates, related(asParts(at, 100)))
		}
		add("split/"+r.name+"/tokens", tokens(21), rule(r.rule, r.d), bothStates, related(asParts(1)), inSample)
		add("packed/"+r.name, inSequences(3, 17, 0, 65, 1), rule(r.rule, r.d), bothStates, related(asSeparate))
		add("packed/"+r.name+"/oracle", inSequences(5, 64, 33, 0), rule(r.rule, r.d), bothStates, inSample)
		add("nan/"+r.name, shape([3]int{4, 2, 2}, 24, 24), rule(r.rule, r.d), related(apartFromNaN))
		if r.rule == vkattn.RuleAdd {
			add("quadratic/"+r.name, tokens(70), shape(one, 12, 8), rule(r.rule, r.d), related(asQuadratic))
		}
		if r.d != vkattn.DecayNone {
			for _, g := range []float64{5, -5, 1e4, -1e4} {
				add(fmt.Sprintf("decay/%s/%g", r.name, g), tokens(130), rule(r.rule, r.d), decaying(g), bothStates)
			}
		}
		if r.rule == vkattn.RuleDelta {
			for _, k := range []struct {
				name string
				kind keyKind
			}{{"same", sameKeys}, {"alike", alikeKeys}, {"ordinary", ordinaryKeys}} {
				for _, beta := range []float64{0.5, 1, 1.9} {
					add(fmt.Sprintf("keys/%s/%s/%g", r.name, k.name, beta), tokens(200), shape(one, 64, 32), rule(r.rule, r.d),
						decaying(0.01), alike(k.kind, beta), bothStates, within(1e-4))
				}
			}
		}
	}
	for _, causal := range []bool{true, false} {
		way, mods := "causal", []linearMod{bothStates}
		if !causal {
			way = "full"
			mods = append(mods, notCausal, func(s *linearSpec, _ *LinearCase) { s.sk = 100 })
		}
		for m := vkattn.MapIdentity; m <= vkattn.MapFavor; m++ {
			for n := vkattn.NormNone; n <= vkattn.NormLiteral; n++ {
				signed := m == vkattn.MapIdentity || m == vkattn.MapSiLU
				if signed && (n == vkattn.NormSum || n == vkattn.NormLiteral) {
					continue // sums of signed weights vanish here and there, and so do all digits
				}
				for _, features := range []int{0, 19} {
					if m == vkattn.MapFavor && features == 0 {
						continue
					}
					c := append([]linearMod{mapped(m, n, features)}, mods...)
					if features == 0 || m == vkattn.MapFavor {
						c = append(c, inSample)
					}
					if causal && n != vkattn.NormLiteral {
						c = append(c, rule(vkattn.RuleAdd, vkattn.DecayToken))
					}
					add(fmt.Sprintf("map/%s/%s/%s/%d", way, m, n, features), c...)
				}
			}
		}
		add("strided/"+way, append(mods, placed(map[string]layout{"Q": bshd, "K": bshd, "V": {order: "shb", pad: [3]int{3, 1, 0}},
			"Out": {order: "bsh", pad: [3]int{1, 0, 2}, offset: 3}, "StateOut": {order: "hbs", pad: [3]int{5, 0, 0}}, "StateIn": {order: "bsh", offset: 1}}), inSample)...)
		add("spare/"+way, append(mods, func(s *linearSpec, _ *LinearCase) { s.spare = 3 })...)
		add("empty/"+way, append(mods, tokens(0))...)
	}
	add("full/few-queries", notCausal, bothStates, func(s *linearSpec, _ *LinearCase) { s.sq, s.sk = 1, 300 })
	add("full/no-keys", notCausal, bothStates, func(s *linearSpec, _ *LinearCase) { s.sq, s.sk = 20, 0 })
	add("full/packed", notCausal, bothStates, inSequences(2, 20, 0, 70), func(s *linearSpec, _ *LinearCase) { s.lensK = []int{100, 3, 0} })
	add("scale", func(s *linearSpec, _ *LinearCase) { s.op.Scale = vkattn.Num(-0.3) })
	add("broadcast-gates", rule(vkattn.RuleDelta, vkattn.DecayChannel), placed(map[string]layout{"Beta": {order: "bhs", zero: "h"}, "Decay": {order: "bhs", zero: "hd"}}))
	return append(all, linearTypeCases()...)
}

func related(r relation) linearMod { return func(_ *linearSpec, c *LinearCase) { c.relation = r } }

package main

import (
	"slices"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/preset"
	"github.com/vkattn/vkattn/internal/tensorio"
)

// linearFromFiles completes a problem whose q, k and v come from files: decay, beta, projection and state_in of --in,
// in the layout of q. Decays of a model are made, as is the projection where the file has none.
func (p *problemFlags) linearFromFiles(pr *problem, s spec, arrays map[string]*tensorio.Array) error {
	l := preset.Shaped(*s.linear, pr.op)
	pr.linear = &l
	a := &pr.args
	if a.CuSeqQ = s.cuQ; !l.Causal {
		a.CuSeqK = s.cuK
	}
	for _, what := range []string{"bias", "mask", "tree", "slopes", "sinks", "key-lengths"} {
		if x := arrays[what]; x != nil {
			return usagef("%s of %s is about softmax attention, --linear does not take it", x.Name, p.in)
		}
	}
	need := func(what string) (*tensorio.Array, error) {
		if x := arrays[what]; x != nil {
			pr.note("using %s of %s", x.Name, p.in)
			return x, nil
		}
		return nil, usagef("%s needs %s, of a file that --in names", l, strings.Join(namesOf[what], " or "))
	}
	axes := len(arrays["q"].Shape)
	if x := arrays["decay"]; x != nil && !p.given("decay") && p.preset == "" {
		if l.Decay = vkattn.DecayChannel; len(x.Shape) == 1 && x.Shape[0] == l.States() {
			l.Decay = vkattn.DecayHead
		} else if len(x.Shape) < axes || x.Shape[axes-1] == 1 {
			l.Decay = vkattn.DecayToken
		}
	}
	if arrays["beta"] != nil && !p.given("rule") && p.preset == "" {
		l.Rule = vkattn.RuleDelta
	}
	switch {
	case l.Decay == vkattn.DecayHead && slices.Contains(modelDecays, s.decays):
		g, err := p.headDecays(s.decays, l.States())
		if err != nil {
			return err
		}
		a.Decay = vkattn.Vector(vkattn.Float32s(g), len(g))
	case l.Decay == vkattn.DecayHead:
		x, err := need("decay")
		if err != nil {
			return err
		}
		a.Decay = vkattn.Vector(vkattn.Float32s(x.Float32s()), x.Elements())
	case l.Decay != vkattn.DecayNone:
		x, err := need("decay")
		if err != nil {
			return err
		}
		if a.Decay, err = asPerToken(x, pr.layout, axes); err != nil {
			return err
		}
	}
	if l.Rule == vkattn.RuleDelta {
		x, err := need("beta")
		if err != nil {
			return err
		}
		if a.Beta, err = asPerToken(x, pr.layout, axes); err != nil {
			return err
		}
	}
	if l.Features > 0 {
		if err := p.projection(pr, arrays["projection"]); err != nil {
			return err
		}
	}
	if x := arrays["state"]; x != nil {
		if len(x.Shape) != 4 {
			return usagef("%s of %s is %v, want four axes: sequences, heads, features, values", x.Name, p.in, x.Shape)
		}
		pr.note("using %s of %s", x.Name, p.in)
		a.StateIn = asTensor(x, "bhsd")
	}
	l.StateIn, l.StateOut = a.StateIn.Given(), a.StateIn.Given() || p.state
	return nil
}

// projection takes the rows of a file, or makes them up.
func (p *problemFlags) projection(pr *problem, x *tensorio.Array) error {
	l := pr.linear
	w, err := vkattn.FavorProjection(l.Features, l.HeadDim, p.seed, vkattn.FavorOrthogonal)
	if x != nil {
		if !slices.Equal(x.Shape, []int{l.Features, l.HeadDim}) {
			return usagef("%s of %s is %v, want %d features by %d", x.Name, p.in, x.Shape, l.Features, l.HeadDim)
		}
		w, err = x.Float32s(), nil
	}
	if err != nil {
		return err
	}
	pr.args.Projection = vkattn.BHSD(vkattn.Float32s(w), 1, 1, l.Features, l.HeadDim)
	return nil
}

// asPerToken views numbers of tokens in the layout of tensors with so many axes. The last axis may be missing where it
// is 1.
func asPerToken(x *tensorio.Array, layout string, axes int) (vkattn.Tensor, error) {
	whole := *x
	if len(x.Shape) == axes-1 {
		whole.Shape = append(slices.Clone(x.Shape), 1)
	}
	if len(whole.Shape) != axes {
		return vkattn.Tensor{}, usagef("%s is %v, want the axes of q, or all but its last", x.Name, x.Shape)
	}
	return asTensor(&whole, layout), nil
}

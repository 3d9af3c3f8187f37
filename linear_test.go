package vkattn

import (
	"errors"
	"strings"
	"testing"
)

func linearArgs(l Linear, batch, sq, sk int) Args {
	mem := Float32s(make([]float32, 1<<16))
	t := func(h, s, d int) Tensor { return BHSD(mem, batch, h, s, d) }
	c := l.Canonical()
	a := Args{Q: t(c.HeadsQ, sq, c.HeadDim), K: t(c.HeadsK, sk, c.HeadDim), V: t(c.HeadsV, sk, c.ValueDim)}
	a.Out = BHSD(Float32s(make([]float32, 1<<16)), batch, c.Heads(), sq, c.ValueDim)
	if c.Features > 0 {
		a.Projection = BHSD(mem, 1, 1, c.Features, c.HeadDim)
	}
	switch c.Decay {
	case DecayHead:
		a.Decay = BHSD(mem, 1, c.States(), 1, 1)
	case DecayToken:
		a.Decay = t(c.States(), sk, 1)
	case DecayChannel:
		a.Decay = t(c.States(), sk, c.FeatureDim())
	}
	if c.Rule == RuleDelta {
		a.Beta = t(c.States(), sk, 1)
	}
	s := c.StateShape(batch)
	state := BHSD(Float32s(make([]float32, 1<<16)), s[0], s[1], s[2], s[3])
	if c.StateIn {
		a.StateIn = state
	}
	if c.StateOut {
		a.StateOut = state
	}
	return a
}

func TestLinearValidate(t *testing.T) {
	good := Linear{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 9, HeadDim: 8, Causal: true}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Linear){
		"HeadsQ":   func(l *Linear) { l.HeadsQ, l.HeadsK, l.HeadsV = 4, 6, 6 },
		"HeadsV":   func(l *Linear) { l.HeadsQ, l.HeadsK, l.HeadsV = 6, 2, 3 },
		"Features": func(l *Linear) { l.Map = MapFavor },
		"Map":      func(l *Linear) { l.Map = mapCount },
		"Rule":     func(l *Linear) { l.Causal, l.Rule = false, RuleDelta },
		"Decay":    func(l *Linear) { l.Causal, l.Decay = false, DecayHead },
		"Norm":     func(l *Linear) { l.Norm = 9 },
		"SeqK":     func(l *Linear) { l.SeqK = 8 },
		"TotalQ":   func(l *Linear) { l.TotalQ = 8 },
		"Eps":      func(l *Linear) { l.Norm, l.Eps = NormSum, Num(-1) },
		"Scale":    func(l *Linear) { l.Scale = Num(1e300) },
		"HeadDim":  func(l *Linear) { l.HeadDim = 0 },
		"TypeV":    func(l *Linear) { l.TypeV = Bool },
	} {
		bad := good
		change(&bad)
		if err := bad.Validate(); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLinearNames(t *testing.T) {
	for want, l := range map[string]Linear{
		"linear b1 h4 q9 d8 f32 identity causal": {Batch: 1, HeadsQ: 4, SeqQ: 9, HeadDim: 8, Causal: true},
		"linear b2 h16/16/32 q9 d8/4 f32 silu causal delta decay-token scale1 state-in state-out": {Batch: 2, HeadsQ: 16, HeadsV: 32, SeqQ: 9, HeadDim: 8,
			ValueDim: 4, Map: MapSiLU, Causal: true, Rule: RuleDelta, Decay: DecayToken, Scale: Num(1), StateIn: true, StateOut: true},
		"linear b1 h4/2 q9 k7 d8 f32 favor features32 norm-sum": {Batch: 1, HeadsQ: 4, HeadsK: 2, SeqQ: 9, SeqK: 7, HeadDim: 8, Map: MapFavor, Features: 32, Norm: NormSum},
	} {
		if got := l.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if c := l.Canonical(); c.Canonical() != c || c.Hash() != l.Hash() || c.String() != want && !l.Scale.Set {
			t.Errorf("%s: its canonical form is another: %s", want, c)
		}
	}
}

func TestLinearStates(t *testing.T) {
	l := Linear{Batch: 1, HeadsQ: 16, HeadsV: 32, SeqQ: 1, HeadDim: 8, ValueDim: 4, Causal: true}
	if l.Heads() != 32 || l.States() != 32 || l.StateShape(3) != [4]int{3, 32, 8, 4} {
		t.Error(l.Heads(), l.States(), l.StateShape(3))
	}
	l = Linear{Batch: 1, HeadsQ: 8, HeadsK: 2, SeqQ: 1, HeadDim: 8, Features: 32, Map: MapFavor, Norm: NormSum}
	if l.Heads() != 8 || l.States() != 2 || l.StateShape(1) != [4]int{1, 2, 33, 9} {
		t.Error(l.Heads(), l.States(), l.StateShape(1))
	}
}

func TestLinearCheck(t *testing.T) {
	l := Linear{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 9, HeadDim: 8, Causal: true, Rule: RuleDelta, Decay: DecayToken, StateIn: true, StateOut: true}
	args := linearArgs(l, 2, 7, 7)
	seqs, err := l.Check(&args)
	if err != nil || len(seqs) != 2 || seqs[1].Batch != 1 || seqs[1].Sq != 7 {
		t.Fatal(seqs, err)
	}
	for name, change := range map[string]func(*Args){
		"K":        func(a *Args) { a.K.Shape[2] = 6 },
		"Beta":     func(a *Args) { a.Beta = Tensor{} },
		"Decay":    func(a *Args) { a.Decay.Shape[3] = 8 },
		"Bias":     func(a *Args) { a.Bias = a.Q },
		"StateIn":  func(a *Args) { a.StateIn = Tensor{} },
		"StateOut": func(a *Args) { a.StateOut.Offset = 1 },
		"Out":      func(a *Args) { a.Out.Mem = a.Q.Mem },
		"Q":        func(a *Args) { a.Q.Shape[0] = 3 },
		"KBase":    func(a *Args) { a.KBase = 1 },
	} {
		bad := args
		change(&bad)
		if _, err := l.Check(&bad); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	attention := Attention{Batch: 2, HeadsQ: 2, SeqQ: 9, SeqK: 9, HeadDim: 8}
	args = Args{Q: args.K, K: args.K, V: args.V, Out: args.Q, Beta: args.Beta}
	if _, err := attention.Check(&args); err == nil || !strings.Contains(err.Error(), "Beta") {
		t.Error(err)
	}
}

func TestLinearPacked(t *testing.T) {
	l := Linear{Batch: 3, HeadsQ: 1, SeqQ: 5, Packed: true, TotalQ: 9, HeadDim: 8, Causal: true, StateOut: true}
	args := linearArgs(l, 1, 9, 9)
	args.CuSeqQ = []int32{0, 4, 4, 9}
	s := l.StateShape(3)
	args.StateOut = BHSD(args.StateOut.Mem, s[0], s[1], s[2], s[3])
	seqs, err := l.Check(&args)
	if err != nil || len(seqs) != 3 || seqs[2].Q0 != 4 || seqs[2].Sk != 5 {
		t.Fatal(seqs, err)
	}
	args.CuSeqK = args.CuSeqQ
	if _, err := l.Check(&args); err == nil {
		t.Error("CuSeqK of a causal call passes")
	}
}

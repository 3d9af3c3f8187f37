package vkattn

import "testing"

func (f *fuzzSource) linear() Linear {
	l := Linear{Batch: f.upTo(4), HeadsQ: 1 + f.upTo(3), HeadsK: f.upTo(4), HeadsV: f.upTo(4), HeadMap: HeadMap(f.upTo(1)), SeqQ: f.upTo(20),
		HeadDim: 1 + f.upTo(8), ValueDim: f.upTo(8), Map: FeatureMap(f.upTo(7)), Causal: f.bool(), Rule: UpdateRule(f.upTo(1)),
		Decay: Decay(f.upTo(3)), Norm: Norm(f.upTo(3)), StateIn: f.bool(), StateOut: f.bool(), Packed: f.bool(),
		Scale: Number{f.bool(), float64(f.byte()) / 8}}
	if f.bool() {
		l.Features = f.upTo(9)
	}
	if l.Packed {
		l.TotalQ = f.upTo(40)
	}
	if !l.Causal {
		l.Rule, l.Decay, l.SeqK = RuleAdd, DecayNone, f.upTo(20)
	}
	for f.byte()%16 == 1 { // now and then anything
		*[]*int{&l.Batch, &l.HeadsQ, &l.HeadsK, &l.HeadsV, &l.SeqQ, &l.SeqK, &l.TotalQ, &l.TotalK, &l.HeadDim, &l.ValueDim, &l.Features}[f.byte()%11] = f.int()
		*[]*Number{&l.Scale, &l.Eps, &l.MapEps}[f.byte()%3] = Number{f.bool(), f.float()}
		l.Map, l.Rule, l.Decay, l.Norm, l.TypeK = FeatureMap(f.byte()), UpdateRule(f.byte()), Decay(f.byte()), Norm(f.byte()), Type(f.byte()%10)
	}
	return l
}

// linearArgs are arguments that fit l, with mistakes here and there.
func (f *fuzzSource) linearArgs(l Linear) Args {
	c := l.Canonical()
	b, sq, sk := max(0, min(c.Batch, f.upTo(4))), max(0, min(c.SeqQ, f.upTo(20))), max(0, min(c.SeqK, f.upTo(20)))
	if l.Causal {
		sk = sq
	}
	n := b
	var args Args
	if l.Packed {
		b, sq, sk = 1, max(0, min(c.TotalQ, 40)), max(0, min(c.TotalK, 40))
		args.CuSeqQ = f.cumulative(n, sq)
		if f.bool() {
			args.CuSeqK = f.cumulative(n, sk)
		}
	}
	states := c.States()
	decay := [4]int{b, states, sk, 1}
	switch c.Decay {
	case DecayHead:
		decay = [4]int{1, states, 1, 1}
	case DecayChannel:
		decay[3] = c.FeatureDim()
	}
	for _, t := range []struct {
		to    *Tensor
		on    bool
		shape [4]int
		typ   Type
	}{
		{&args.Q, true, [4]int{b, c.HeadsQ, sq, c.HeadDim}, c.TypeQ}, {&args.K, true, [4]int{b, c.HeadsK, sk, c.HeadDim}, c.TypeK},
		{&args.V, true, [4]int{b, c.HeadsV, sk, c.ValueDim}, c.TypeV}, {&args.Out, true, [4]int{b, c.Heads(), sq, c.ValueDim}, c.TypeOut},
		{&args.Projection, c.Features > 0, [4]int{1, 1, c.Features, c.HeadDim}, Float32}, {&args.Decay, c.Decay != DecayNone, decay, Float32},
		{&args.Beta, c.Rule == RuleDelta, [4]int{b, states, sk, 1}, Float32}, {&args.StateIn, c.StateIn, c.StateShape(n), Float32},
		{&args.StateOut, c.StateOut, c.StateShape(n), Float32}, {&args.Bias, false, [4]int{}, Float32},
	} {
		if t.on != (f.byte() == 1) {
			*t.to = f.tensor(t.shape, t.typ)
		}
	}
	return args
}

// FuzzLinear: no op and no arguments make Linear panic or return an error without a type, and what it accepts can be asked
// about.
func FuzzLinear(f *testing.F) {
	f.Add([]byte{})
	addNoise(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		src := &fuzzSource{data}
		op := src.linear()
		if !typed(t, op, op.Validate()) {
			if _, again := op.Check(&Args{}); again == nil {
				t.Errorf("Validate refuses, Check accepts: %+v", op)
			}
			return
		}
		if c := op.Canonical(); c.Canonical() != c || c.Hash() != op.Hash() || op.String() == "" {
			t.Errorf("canonical form of %+v", op)
		}
		args := src.linearArgs(op)
		seqs, err := op.Check(&args)
		if !typed(t, op, err) || len(seqs) > 1<<10 || op.Batch > 1<<10 || op.SeqQ > 1<<10 || op.SeqK > 1<<10 {
			return
		}
		if w := op.Work(&args, seqs); w.Pairs < 0 || w.Bytes < 0 || w.FLOPs < 0 {
			t.Errorf("%+v: %+v", op, w)
		}
		op.Warnings(&args)
	})
}

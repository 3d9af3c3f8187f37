package vkattn

import "fmt"

// Check finds everything that the host can see to be wrong with a call, and resolves its sequences: their
// places in the tensors and lengths; the masks of a Sequence are those of Attention and say nothing here.
// Errors are *ShapeError or *ArgError and name the argument. Backends call it before any work.
//
// Shapes are [batch, heads, tokens, last], for packed sequences [1, heads, all tokens, last] with CuSeqQ, and
// CuSeqK where the call is not causal. Q and K have HeadDim numbers a token, V ValueDim, and Out is
// [.., Heads(), .., ValueDim]. See Args for the others. StateIn and StateOut, one state for each sequence, may
// be the same tensor; else outputs overlap nothing.
func (l Linear) Check(args *Args) ([]Sequence, error) {
	if err := l.Validate(); err != nil {
		return nil, err
	}
	l = l.Canonical()
	if err := args.unused("linear"); err != nil {
		return nil, err
	}
	sizes := l.sizes()
	if err := sizes.checkSizes(args); err != nil {
		return nil, err
	}
	batch, sq, sk := args.Q.Shape[0], args.Q.Shape[2], args.K.Shape[2]
	lengths := *args
	if l.Causal {
		if sk != sq {
			return nil, &ShapeError{"K", "sequence", sk, fmt.Sprintf("%d, as Q: a causal call has a key for each query", sq)}
		}
		if l.Packed && args.CuSeqK != nil {
			return nil, &ArgError{"CuSeqK", "given, but a causal call has a key for each query: CuSeqQ says where"}
		}
		lengths.CuSeqK = args.CuSeqQ
	}
	seqs, err := sizes.lengths(&lengths, batch, sq, sk)
	if err != nil {
		return nil, err
	}
	states := l.StateShape(len(seqs))
	decay := [4]int{1, states[1], 1, 1}
	switch l.Decay {
	case DecayToken:
		decay = [4]int{batch, states[1], sk, 1}
	case DecayChannel:
		decay = [4]int{batch, states[1], sk, l.FeatureDim()}
	}
	for _, t := range []struct {
		name  string
		t     Tensor
		typ   Type
		shape [4]int
		write bool
		need  bool
	}{
		{"Q", args.Q, l.TypeQ, [4]int{batch, l.HeadsQ, sq, l.HeadDim}, false, true},
		{"K", args.K, l.TypeK, [4]int{batch, l.HeadsK, sk, l.HeadDim}, false, true},
		{"V", args.V, l.TypeV, [4]int{batch, l.HeadsV, sk, l.ValueDim}, false, true},
		{"Out", args.Out, l.TypeOut, [4]int{batch, l.Heads(), sq, l.ValueDim}, true, true},
		{"Projection", args.Projection, Float32, [4]int{1, 1, l.Features, l.HeadDim}, false, l.Features > 0},
		{"Decay", args.Decay, Float32, decay, false, l.Decay != DecayNone},
		{"Beta", args.Beta, Float32, [4]int{batch, states[1], sk, 1}, false, l.Rule == RuleDelta},
		{"StateIn", args.StateIn, Float32, states, false, l.StateIn},
		{"StateOut", args.StateOut, Float32, states, true, l.StateOut},
	} {
		if !t.need {
			if t.t.Given() {
				return nil, &ArgError{t.name, "given, but the op does not take it"}
			}
			continue
		}
		if err := t.t.check(t.name, t.typ, t.shape, t.write); err != nil {
			return nil, err
		}
	}
	return seqs, l.checkOverlap(args)
}

func (l Linear) checkOverlap(args *Args) error {
	for _, in := range []struct {
		name string
		t    Tensor
	}{{"Q", args.Q}, {"K", args.K}, {"V", args.V}, {"Projection", args.Projection}, {"Decay", args.Decay},
		{"Beta", args.Beta}, {"StateIn", args.StateIn}} {
		if args.Out.overlaps(in.t) {
			return &ArgError{"Out", "overlaps " + in.name}
		}
		if args.StateOut.overlaps(in.t) && !(in.name == "StateIn" && args.StateOut == args.StateIn) {
			return &ArgError{"StateOut", "overlaps " + in.name}
		}
	}
	if args.Out.overlaps(args.StateOut) {
		return &ArgError{"StateOut", "overlaps Out"}
	}
	return nil
}

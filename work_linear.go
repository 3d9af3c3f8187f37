package vkattn

// Work counts what a checked call does, by the recurrence, multiplication and addition apart. With F features,
// C columns of the state (ValueDim, and one for the denominator of NormSum and NormLiteral):
//
//	2 F C for each key and state head: S += k uᵀ
//	2 F C more for the delta rule: Sᵀ k
//	  F C more with a decay
//	2 F C for each query and head of the output: Sᵀ q
//	2 F HeadDim for each key of a key head and query of a query head: the projection, if there is one
//
// Maps and norms are not counted, and whoever computes in chunks multiplies more. Pairs is what softmax attention of
// the same lengths would see, and FLOPsFA what it would be said to cost. Bytes is every input and output once.
func (l Linear) Work(args *Args, seqs []Sequence) Work {
	l = l.Canonical()
	w := Work{Exact: true}
	heads, states, f := int64(l.Heads()), int64(l.States()), int64(l.FeatureDim())
	shape := l.StateShape(len(seqs))
	cell := float64(f) * float64(shape[3])
	perKey := 2 * cell
	if l.Rule == RuleDelta {
		perKey += 2 * cell
	}
	if l.Decay != DecayNone {
		perKey += cell
	}
	var queries, keys int64
	for _, s := range seqs {
		sq, sk := int64(s.Sq), int64(s.Sk)
		pairs, fa := sq*sk, 4*float64(heads)*float64(sq)*float64(sk)*float64(l.HeadDim)
		if l.Causal {
			pairs, fa = sq*(sq+1)/2, fa/2
		}
		w.Pairs += heads * pairs
		w.FLOPsFA += fa
		queries += sq
		keys += sk
	}
	w.FLOPs = float64(keys*states)*perKey + float64(queries*heads)*2*cell
	w.FLOPs += 2 * float64(l.Features) * float64(l.HeadDim) * float64(keys*int64(l.HeadsK)+queries*int64(l.HeadsQ))
	d, dv := int64(l.HeadDim), int64(l.ValueDim)
	w.Bytes = queries*int64(l.HeadsQ)*d*elemBytes(l.TypeQ)/32 + queries*heads*dv*elemBytes(l.TypeOut)/32 +
		keys*int64(l.HeadsK)*d*elemBytes(l.TypeK)/32 + keys*int64(l.HeadsV)*dv*elemBytes(l.TypeV)/32
	state := 4 * int64(shape[0]) * int64(shape[1]) * int64(shape[2]) * int64(shape[3])
	for _, t := range []struct {
		given bool
		bytes int64
	}{
		{l.Features > 0, 4 * int64(l.Features) * d}, {l.Decay == DecayHead, 4 * states}, {l.Decay == DecayToken, 4 * keys * states},
		{l.Decay == DecayChannel, 4 * keys * states * f}, {l.Rule == RuleDelta, 4 * keys * states}, {l.StateIn, state}, {l.StateOut, state},
	} {
		if t.given {
			w.Bytes += t.bytes
		}
	}
	return w
}

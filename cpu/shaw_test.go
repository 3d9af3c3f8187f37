package cpu

import (
	"errors"
	"math"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestShaw compares with the factored form: q aK as a bias, and the mass of each distance times aV.
func TestShaw(t *testing.T) {
	for seed := range uint64(40) {
		rng := newRand(seed)
		op := vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 1 + rng.IntN(20), SeqK: 1 + rng.IntN(20), HeadDim: 6, ValueDim: 5,
			Causal: rng.IntN(2) == 0, With: vkattn.WithKeyLengths, Align: vkattn.Align(rng.IntN(3))}
		r := newRun(rng, op)
		r.args.QBase = rng.IntN(5)
		rel := Shaw{K: rng.IntN(8)}
		keys, values := rng.IntN(3) > 0, rng.IntN(3) > 0
		if keys {
			rel.Keys = normal(rng, (2*rel.K+1)*6)
		}
		if values {
			rel.Values = normal(rng, (2*rel.K+1)*5)
		}
		got, err := OracleShaw(op, &r.args, rel)
		if err != nil {
			t.Fatal(err)
		}
		seqs, err := op.Check(&r.args)
		if err != nil {
			t.Fatal(err)
		}
		index := func(b, i, j int) int {
			distance := j - (i + seqs[b].Rel)
			switch {
			case distance < -rel.K:
				return 0
			case distance > rel.K:
				return 2 * rel.K
			}
			return distance + rel.K
		}

		// The bias is float32, so the comparison is too.
		biased, args := op, r.args
		biased.With |= vkattn.WithBias
		bias := make([]float32, 2*4*op.SeqQ*op.SeqK)
		args.Bias = vkattn.BHSD(vkattn.Float32s(bias), 2, 4, op.SeqQ, op.SeqK)
		for b := range 2 {
			for h := range 4 {
				for i := range op.SeqQ {
					for j := range op.SeqK {
						var dot float64
						for d := range 6 {
							if keys {
								dot += float64(floats32(args.Q)[args.Q.Index(b, h, i, d)]) * float64(rel.Keys[index(b, i, j)*6+d])
							}
						}
						bias[args.Bias.Index(b, h, i, j)] = float32(dot / math.Sqrt(6))
					}
				}
			}
		}
		want, err := Oracle(biased, &args)
		if err != nil {
			t.Fatal(err)
		}
		P, err := Scores(biased, &args, StageSoftmax)
		if err != nil {
			t.Fatal(err)
		}
		for n := range want.LSE {
			b, i := n/op.SeqQ/4, n%op.SeqQ
			mass := make([]float64, 2*rel.K+1)
			for j := range op.SeqK {
				mass[index(b, i, j)] += P[n*op.SeqK+j]
			}
			if x, y := got.LSE[n], want.LSE[n]; x != y && math.Abs(x-y) > 1e-6 {
				t.Fatalf("%d: LSE %d is %v, want %v", seed, n, x, y)
			}
			for d := range 5 {
				x := want.Out[n*5+d]
				for r, m := range mass {
					if values {
						x += m * float64(rel.Values[r*5+d])
					}
				}
				if math.Abs(got.Out[n*5+d]-x) > 2e-6 {
					t.Fatalf("%d: row %d, column %d is %v, want %v", seed, n, d, got.Out[n*5+d], x)
				}
			}
		}
	}
}

func TestShawRefuses(t *testing.T) {
	r := newRun(newRand(1), vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 2, SeqK: 2, HeadDim: 3, ValueDim: 2})
	for arg, rel := range map[string]Shaw{
		"K": {K: -1}, "Keys": {K: 1, Keys: make([]float32, 6)}, "Values": {K: 1, Values: make([]float32, 9)},
	} {
		var shape *vkattn.ShapeError
		if _, err := OracleShaw(r.op, &r.args, rel); !errors.As(err, &shape) || shape.Arg != arg {
			t.Errorf("%s: %v", arg, err)
		}
	}
	plain, err := Oracle(r.op, &r.args)
	none, other := OracleShaw(r.op, &r.args, Shaw{})
	if err != nil || other != nil || plain.Out[0] != none.Out[0] {
		t.Errorf("nothing relative: %v, %v", err, other)
	}
}

package golden

import (
	"math"
	"testing"

	"github.com/vkattn/vkattn"
)

// naiveLinear computes a run in float64 from the definition, for what the cases use: no map but elu and relu, heads in
// blocks of keys and values alike.
func naiveLinear(t *testing.T, op vkattn.Linear, args *vkattn.Args) {
	t.Helper()
	if _, err := op.Check(args); err != nil {
		t.Fatal(err)
	}
	op = op.Canonical()
	f := func(x vkattn.Tensor, b, h, s, d int) float64 {
		return float64(x.Mem.(*vkattn.Host).Float32s()[x.Index(b, h, s, d)])
	}
	set := func(x vkattn.Tensor, b, h, s, d int, v float64) {
		x.Mem.(*vkattn.Host).Float32s()[x.Index(b, h, s, d)] = float32(v)
	}
	phi := func(x float64) float64 {
		switch op.Map {
		case vkattn.MapELU:
			if x > 0 {
				return x + 1
			}
			return math.Exp(x)
		case vkattn.MapReLU:
			return math.Max(x, 0)
		}
		return x
	}
	dk, dv := op.HeadDim, op.ValueDim
	columns := op.StateShape(1)[3]
	for b := range args.Q.Shape[0] {
		for h := range op.HeadsQ {
			n := h / (op.HeadsQ / op.HeadsK)
			S := make([]float64, dk*columns)
			if op.StateIn {
				for i := range S {
					S[i] = f(args.StateIn, b, n, i/columns, i%columns)
				}
			}
			write := func(j int) {
				u := make([]float64, columns)
				for c := range u {
					u[c] = 1
					if c < dv {
						u[c] = f(args.V, b, n, j, c)
					}
				}
				for i := range S {
					switch op.Decay {
					case vkattn.DecayHead:
						S[i] *= math.Exp(f(args.Decay, 0, n, 0, 0))
					case vkattn.DecayToken:
						S[i] *= math.Exp(f(args.Decay, b, n, j, 0))
					case vkattn.DecayChannel:
						S[i] *= math.Exp(f(args.Decay, b, n, j, i/columns))
					}
				}
				if op.Rule == vkattn.RuleDelta {
					for i, x := range S {
						u[i%columns] -= x * phi(f(args.K, b, n, j, i/columns))
					}
					for c := range u {
						u[c] *= f(args.Beta, b, n, j, 0)
					}
				}
				for i := range S {
					S[i] += u[i%columns] * phi(f(args.K, b, n, j, i/columns))
				}
			}
			if !op.Causal {
				for j := range op.SeqK {
					write(j)
				}
			}
			for i := range op.SeqQ {
				if op.Causal {
					write(i)
				}
				o := make([]float64, columns)
				for at, x := range S {
					o[at%columns] += op.Scale.Value * x * phi(f(args.Q, b, h, i, at/columns))
				}
				for c := range dv {
					if columns > dv {
						o[c] /= o[dv] + op.Eps.Value
					}
					set(args.Out, b, h, i, c, o[c])
				}
			}
			if op.StateOut {
				for i, x := range S {
					set(args.StateOut, b, n, i/columns, i%columns, x)
				}
			}
		}
	}
}

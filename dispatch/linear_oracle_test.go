package dispatch_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/vkattn/vkattn"
)

// linearAnswer is what a linear call should give, in float64, dense: out [B, H, Sq, Dv] (packed: [1, H, all, Dv]) and
// the states [sequences, Hs, rows, columns].
type linearAnswer struct{ out, state []float64 }

// linearOracle computes a call by the definition: one token after the other, all in float64; the norms of NormSum by a
// sum over pairs where nothing decays. Tensors are in host memory.
func linearOracle(t *testing.T, op vkattn.Linear, args *vkattn.Args) linearAnswer {
	t.Helper()
	seqs, err := op.Check(args)
	if err != nil {
		t.Fatal(err)
	}
	op = op.Canonical()
	f, dv, heads, states := op.FeatureDim(), op.ValueDim, op.Heads(), op.States()
	shape := op.StateShape(len(seqs))
	at := func(x vkattn.Tensor, b, h, s, d int) float64 {
		return float64(x.Mem.(*vkattn.Host).Float32s()[x.Index(b, h, s, d)])
	}
	outSeq := args.Q.Shape[2]
	a := linearAnswer{make([]float64, args.Q.Shape[0]*heads*outSeq*dv), make([]float64, shape[0]*shape[1]*shape[2]*shape[3])}
	// logits are W y or y, and half the square of y for FAVOR+.
	logits := func(x vkattn.Tensor, b, h, s int) (y []float64, half float64) {
		raw := make([]float64, op.HeadDim)
		for d := range raw {
			raw[d] = at(x, b, h, s, d)
			if op.Map == vkattn.MapFavor {
				raw[d] *= math.Pow(float64(op.HeadDim), -0.25)
				half += raw[d] * raw[d] / 2
			}
		}
		if op.Features == 0 {
			return raw, half
		}
		y = make([]float64, f)
		for r := range y {
			for d := range raw {
				y[r] += at(args.Projection, 0, 0, r, d) * raw[d]
			}
		}
		return y, half
	}
	mapped := func(y []float64) []float64 {
		z := make([]float64, len(y))
		sum, top := 0.0, math.Inf(-1)
		for _, x := range y {
			top = max(top, x)
		}
		for _, x := range y {
			sum += math.Exp(x - top)
		}
		for i, x := range y {
			switch op.Map {
			case vkattn.MapIdentity:
				z[i] = x
			case vkattn.MapELU:
				if z[i] = x + 1; x <= 0 {
					z[i] = math.Exp(x)
				}
			case vkattn.MapReLU:
				z[i] = max(x, 0)
			case vkattn.MapSiLU:
				z[i] = x / (1 + math.Exp(-x))
			case vkattn.MapExp:
				z[i] = math.Exp(x)
			case vkattn.MapSquaredReLU:
				z[i] = max(x, 0) * max(x, 0)
			case vkattn.MapSoftmax:
				z[i] = math.Exp(x-top) / sum
			}
			z[i] += op.MapEps.Value
		}
		return z
	}
	root := math.Sqrt(float64(f))
	for n := range seqs {
		seq := &seqs[n]
		for hs := range states {
			hk, hv := op.HeadMap.Map(hs, states, op.HeadsK), op.HeadMap.Map(hs, states, op.HeadsV)
			s, z := make([]float64, f*dv), make([]float64, f)
			c := math.Inf(-1)
			cell := func(row, column int) int { return ((n*states+hs)*shape[2]+row)*shape[3] + column }
			if op.StateIn {
				for r := range f {
					for e := range dv {
						s[r*dv+e] = at(args.StateIn, n, hs, r, e)
					}
					if shape[3] > dv {
						z[r] = at(args.StateIn, n, hs, r, dv)
					}
				}
				if op.Map == vkattn.MapFavor {
					c = at(args.StateIn, n, hs, f, 0)
				}
			}
			last := c
			if op.Map == vkattn.MapFavor && !op.Causal {
				for j := range seq.Sk {
					y, half := logits(args.K, seq.Batch, hk, seq.K0+j)
					for _, x := range y {
						last = max(last, x-half)
					}
				}
			}
			write := func(j int) {
				y, half := logits(args.K, seq.Batch, hk, seq.K0+j)
				k := mapped(y)
				if op.Map == vkattn.MapFavor {
					now := last
					if op.Causal {
						now = c
						for _, x := range y {
							now = max(now, x-half)
						}
					}
					for i := range s {
						s[i] *= math.Exp(c - now)
					}
					for i := range z {
						z[i] *= math.Exp(c - now)
					}
					c = now
					for i, x := range y {
						k[i] = (math.Exp(x-half-c) + op.MapEps.Value) / root
					}
				}
				beta := 1.0
				for r := range f {
					g := 0.0
					switch op.Decay {
					case vkattn.DecayHead:
						g = at(args.Decay, 0, hs, 0, 0)
					case vkattn.DecayToken:
						g = at(args.Decay, seq.Batch, hs, seq.K0+j, 0)
					case vkattn.DecayChannel:
						g = at(args.Decay, seq.Batch, hs, seq.K0+j, r)
					}
					for e := range dv {
						s[r*dv+e] *= math.Exp(g)
					}
					z[r] *= math.Exp(g)
				}
				found, foundZ := make([]float64, dv), 0.0
				if op.Rule == vkattn.RuleDelta {
					beta = at(args.Beta, seq.Batch, hs, seq.K0+j, 0)
					for r := range f {
						for e := range dv {
							found[e] += s[r*dv+e] * k[r]
						}
						foundZ += z[r] * k[r]
					}
				}
				for r := range f {
					for e := range dv {
						s[r*dv+e] += k[r] * beta * (at(args.V, seq.Batch, hv, seq.K0+j, e) - found[e])
					}
					z[r] += k[r] * beta * (1 - foundZ)
				}
			}
			read := func(h, i int) {
				y, half := logits(args.Q, seq.Batch, op.HeadMap.Map(h, heads, op.HeadsQ), seq.Q0+i)
				q := mapped(y)
				if op.Map == vkattn.MapFavor {
					top := math.Inf(-1)
					for _, x := range y {
						top = max(top, x)
					}
					for r, x := range y {
						q[r] = (math.Exp(x-half-top) + op.MapEps.Value) / root
					}
				}
				if op.Norm == vkattn.NormLiteral {
					mean, square := 0.0, 0.0
					for _, x := range q {
						mean += x / float64(f)
					}
					for _, x := range q {
						square += (x - mean) * (x - mean) / float64(f)
					}
					for r := range q {
						if q[r] = (q[r] - mean) / math.Sqrt(square+op.Eps.Value) / z[r]; z[r] == 0 {
							q[r] = 0
						}
					}
				}
				den := op.Eps.Value
				for r := range f {
					den += op.Scale.Value * q[r] * z[r]
				}
				for e := range dv {
					x := 0.0
					for r := range f {
						x += op.Scale.Value * q[r] * s[r*dv+e]
					}
					if op.Norm == vkattn.NormSum {
						if x /= den; den == 0 {
							x = 0
						}
					}
					a.out[((seq.Batch*heads+h)*outSeq+seq.Q0+i)*dv+e] = x
				}
			}
			reads := func(i int) {
				for h := range heads {
					if op.HeadMap.Map(h, heads, states) == hs {
						read(h, i)
					}
				}
			}
			for j := range seq.Sk {
				write(j)
				if op.Causal {
					reads(j)
				}
			}
			for i := 0; !op.Causal && i < seq.Sq; i++ {
				reads(i)
			}
			for r := range f {
				for e := range dv {
					a.state[cell(r, e)] = s[r*dv+e]
				}
				if shape[3] > dv {
					a.state[cell(r, dv)] = z[r]
				}
			}
			if op.Map == vkattn.MapFavor {
				a.state[cell(f, 0)] = c
			}
		}
		for i := 0; op.Norm == vkattn.NormSRMS && i < seq.Sq; i++ {
			square := 0.0
			for h := range heads {
				for e := range dv {
					x := a.out[((seq.Batch*heads+h)*outSeq+seq.Q0+i)*dv+e]
					square += x * x / float64(heads*dv)
				}
			}
			for h := range heads {
				for e := range dv {
					a.out[((seq.Batch*heads+h)*outSeq+seq.Q0+i)*dv+e] /= math.Sqrt(square) + op.Eps.Value
				}
			}
		}
	}
	return a
}

// linearArgs makes random arguments in host memory. Keys of the delta rule have norm 1 after the map where that is the
// identity, and cosines of about 0.9 with each other where correlated. strength is the mean decay of a token.
func linearArgs(op vkattn.Linear, lens []int, seed uint64, strength float64, correlated bool) vkattn.Args {
	op = op.Canonical()
	rng := rand.New(rand.NewPCG(seed, 1))
	batch, sq, sk, n := op.Batch, op.SeqQ, op.SeqK, op.Batch
	if op.Packed {
		batch, sq, sk, n = 1, op.TotalQ, op.TotalK, len(lens)
	}
	tensor := func(heads, seq, last int) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(normal(rng, batch*heads*seq*last)), batch, heads, seq, last)
	}
	a := vkattn.Args{Q: tensor(op.HeadsQ, sq, op.HeadDim), K: tensor(op.HeadsK, sk, op.HeadDim), V: tensor(op.HeadsV, sk, op.ValueDim), Out: tensor(op.Heads(), sq, op.ValueDim)}
	if op.Packed {
		a.CuSeqQ = []int32{0}
		for i, l := range lens {
			a.CuSeqQ = append(a.CuSeqQ, a.CuSeqQ[i]+int32(l))
		}
		if !op.Causal {
			a.CuSeqK = a.CuSeqQ
		}
	}
	decays := func(x []float32) {
		for i := range x {
			x[i] = -float32(strength * rng.ExpFloat64())
		}
	}
	switch op.Decay {
	case vkattn.DecayHead:
		a.Decay = vkattn.Vector(vkattn.Float32s(make([]float32, op.States())), op.States())
	case vkattn.DecayToken:
		a.Decay = tensor(op.States(), sk, 1)
	case vkattn.DecayChannel:
		a.Decay = tensor(op.States(), sk, op.FeatureDim())
	}
	if a.Decay.Given() {
		decays(a.Decay.Mem.(*vkattn.Host).Float32s())
	}
	if op.Rule == vkattn.RuleDelta {
		a.Beta = tensor(op.States(), sk, 1)
		for i, x := range a.Beta.Mem.(*vkattn.Host).Float32s() {
			a.Beta.Mem.(*vkattn.Host).Float32s()[i] = float32(2 / (1 + math.Exp(-float64(x))))
		}
		k := a.K.Mem.(*vkattn.Host).Float32s()
		for i := 0; i+op.HeadDim <= len(k); i += op.HeadDim {
			norm := 0.0
			for d := range op.HeadDim {
				if correlated {
					k[i+d] = k[d] + 0.3*k[i+d]
				}
				norm += float64(k[i+d]) * float64(k[i+d])
			}
			for d := range op.HeadDim {
				k[i+d] /= float32(math.Sqrt(norm))
			}
		}
	}
	if op.Features > 0 {
		a.Projection = vkattn.BHSD(vkattn.Float32s(normal(rng, op.Features*op.HeadDim)), 1, 1, op.Features, op.HeadDim)
		if op.Map == vkattn.MapFavor {
			for _, x := range []vkattn.Tensor{a.Q, a.K} {
				for i := range x.Mem.(*vkattn.Host).Float32s() {
					x.Mem.(*vkattn.Host).Float32s()[i] *= 0.5
				}
			}
		}
	}
	shape := op.StateShape(n)
	state := func() vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(normal(rng, shape[0]*shape[1]*shape[2]*shape[3])), shape[0], shape[1], shape[2], shape[3])
	}
	if op.StateIn {
		a.StateIn = state()
		x := a.StateIn.Mem.(*vkattn.Host).Float32s()
		for i := range x {
			if column := i % shape[3]; column == op.ValueDim {
				x[i] = float32(math.Abs(float64(x[i]))) // a denominator
			}
		}
	}
	if op.StateOut {
		a.StateOut = state()
	}
	blankLinear(&a)
	return a
}

func blankLinear(a *vkattn.Args) {
	for _, t := range []vkattn.Tensor{a.Out, a.StateOut} {
		if h, ok := t.Mem.(*vkattn.Host); ok && t != a.StateIn {
			for i := range h.Float32s() {
				h.Float32s()[i] = float32(math.NaN())
			}
		}
	}
}

// checkLinear holds out and states of a call against the oracle: the root mean square of the error, as a part of that of
// the answer.
func checkLinear(t *testing.T, op vkattn.Linear, args *vkattn.Args, want linearAnswer, tolerance float64) {
	t.Helper()
	for _, x := range []struct {
		name string
		t    vkattn.Tensor
		want []float64
	}{{"out", args.Out, want.out}, {"state", args.StateOut, want.state}} {
		if !x.t.Given() {
			continue
		}
		got := x.t.Mem.(*vkattn.Host).Float32s()
		off, square, i, worst := 0.0, 1e-30, 0, 0.0
		for b := range x.t.Shape[0] {
			for h := range x.t.Shape[1] {
				for s := range x.t.Shape[2] {
					for d := range x.t.Shape[3] {
						w := x.want[i]
						i++
						e := float64(got[x.t.Index(b, h, s, d)]) - w
						off, square, worst = off+e*e, square+w*w, max(worst, math.Abs(e))
						if math.IsNaN(e) && !math.IsNaN(w) {
							t.Fatalf("%v: %s[%d, %d, %d, %d] is NaN, want %g", op, x.name, b, h, s, d, w)
						}
					}
				}
			}
		}
		if e := math.Sqrt(off / square); !(e <= tolerance) {
			t.Errorf("%v: %s is off by %.3g of its norm, at worst by %.3g", op, x.name, e, worst)
		}
	}
}

package cpu

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestPoison puts poison into the rows of K and V that some row does not see. Rows that do not see it
// have the bits that zeros give; rows that see it become NaN.
func TestPoison(t *testing.T) { onKernels(t, testPoison) }

func testPoison(t *testing.T, start func(Config) *Backend) {
	backend := start(Config{})
	defer backend.Close()
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for seed := range uint64(150) {
		rng := newRand(seed)
		op := randomOp(rng)
		op.SinkTokens, op.Scale = 0, vkattn.Number{}
		r := newRun(rng, op)
		p, err := newProblem(op, &r.args)
		if err != nil {
			t.Fatal(err)
		}
		c := p.op
		name := fmt.Sprintf("%d %s", seed, op)
		// Poison K and V of one key each per sequence and head of theirs, first with zeros.
		type spot struct{ s, head, j int }
		var ks, vs []spot
		for _, s := range p.seqs {
			for head := range c.HeadsK {
				if s.sk > 0 {
					ks = append(ks, spot{s.index, head, rng.IntN(s.sk)})
				}
			}
			for head := range c.HeadsV {
				if s.sk > 0 {
					vs = append(vs, spot{s.index, head, rng.IntN(s.sk)})
				}
			}
		}
		set := func(t vkattn.Tensor, at []spot, x float32) {
			for _, n := range at {
				s := p.seqs[n.s]
				i := t.Index(s.batch, n.head, s.k0+n.j, 0)
				for d := range t.Shape[3] {
					floats32(t)[i+d] = x
				}
			}
		}
		set(r.args.K, ks, 0)
		set(r.args.V, vs, 0)
		r.do(t, backend)
		out, lse := slices.Clone(r.out), slices.Clone(r.lse)
		poison := []float32{nan, inf, -inf, 1e30, -1e38}[seed%5]
		set(r.args.K, ks, poison)
		set(r.args.V, vs, poison)
		r.do(t, backend)

		tokens, dv := r.args.Q.Shape[2], c.ValueDim
		sees := func(at []spot, s sequence, h, heads, i int) bool {
			return slices.ContainsFunc(at, func(n spot) bool {
				return n.s == s.index && n.head == c.HeadMap.Map(h, c.HeadsQ, heads) && p.visible(s, h, i, n.j)
			})
		}
		for _, s := range p.seqs {
			for h := range c.HeadsQ {
				for i := range s.sq {
					n := (s.batch*c.HeadsQ+h)*tokens + s.q0 + i
					seesK, seesV := sees(ks, s, h, c.HeadsK, i), sees(vs, s, h, c.HeadsV, i)
					row := r.out[n*dv : (n+1)*dv]
					switch {
					case !seesK && (!sameBits(r.lse[n:n+1], lse[n:n+1]) || !seesV && !sameBits(row, out[n*dv:(n+1)*dv])):
						t.Fatalf("%s: poison %v reaches row %d of sequence %d, head %d, which does not see it", name, poison, i, s.index, h)
					case (seesK || seesV) && poison != poison && row[0] == row[0]:
						t.Fatalf("%s: a NaN does not reach row %d of sequence %d, head %d, which sees it", name, i, s.index, h)
					}
				}
			}
		}
	}
}

func sameBits(x, y []float32) bool {
	return slices.EqualFunc(x, y, func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) })
}

// TestNaNSurvives puts a NaN value where its weight is 0, in the first of many tiles and parts.
func TestNaNSurvives(t *testing.T) { onKernels(t, testNaNSurvives) }

func testNaNSurvives(t *testing.T, start func(Config) *Backend) {
	n := 2*partKeys + 100
	k, v := make([]float32, n), make([]float32, n)
	k[0], v[0] = -1000, float32(math.NaN())
	k[n-1] = 1000
	r := tiny([]float32{1, 1}, k, v, vkattn.Attention{})
	for _, workers := range []int{1, 8} {
		b := start(Config{Workers: workers})
		r.do(t, b)
		b.Close()
		if r.out[0] == r.out[0] || r.lse[0] != 1000 {
			t.Errorf("%d workers: O = %v, LSE = %v, want NaN and 1000", workers, r.out[0], r.lse[0])
		}
	}
}

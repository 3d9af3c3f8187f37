package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/vkattn/vkattn"
)

// linearRun is one call of Linear with its outputs in reach.
type linearRun struct {
	op   vkattn.Linear
	args vkattn.Args
}

// newLinearRun fills in the data that op asks for, in random layouts, for batch sequences of sq and sk tokens at
// full capacity: keys of norm 1, beta from 0 to 1, log decays down to -strength.
func newLinearRun(rng *rand.Rand, op vkattn.Linear, strength float64) *linearRun {
	c := op.Canonical()
	r := &linearRun{op: op}
	a := &r.args
	tb, tq, tk := c.Batch, c.SeqQ, c.SeqK
	if c.Packed {
		tb, tq, tk = 1, c.TotalQ, c.TotalK
		a.CuSeqQ = prefixSums(rng, c.Batch, c.SeqQ, c.TotalQ)
		if !c.Causal {
			a.CuSeqK = prefixSums(rng, c.Batch, c.SeqK, c.TotalK)
		}
	}
	a.Q, a.K, a.V = strided(rng, tb, c.HeadsQ, tq, c.HeadDim), strided(rng, tb, c.HeadsK, tk, c.HeadDim), strided(rng, tb, c.HeadsV, tk, c.ValueDim)
	if c.Map == vkattn.MapFavor || c.Map == vkattn.MapExp { // larger inputs are all weight on one key
		for _, t := range []vkattn.Tensor{a.Q, a.K} {
			x := floats32(t)
			each(t, func(at int) { x[at] *= 0.5 })
		}
	}
	if c.Rule == vkattn.RuleDelta {
		normalizeRows(a.K)
	}
	a.Out = strided(rng, tb, c.Heads(), tq, c.ValueDim)
	if c.Features > 0 {
		a.Projection = strided(rng, 1, 1, c.Features, c.HeadDim)
	}
	gate := func(t vkattn.Tensor, f func() float64) vkattn.Tensor {
		x := floats32(t)
		each(t, func(at int) { x[at] = float32(f()) })
		return t
	}
	decay := func() float64 { return -strength * rng.Float64() }
	switch c.Decay {
	case vkattn.DecayHead:
		a.Decay = gate(strided(rng, 1, c.States(), 1, 1), decay)
	case vkattn.DecayToken:
		a.Decay = gate(strided(rng, tb, c.States(), tk, 1), decay)
	case vkattn.DecayChannel:
		a.Decay = gate(strided(rng, tb, c.States(), tk, c.FeatureDim()), decay)
	}
	if c.Rule == vkattn.RuleDelta {
		a.Beta = gate(strided(rng, tb, c.States(), tk, 1), rng.Float64)
	}
	s := c.StateShape(c.Batch)
	if c.StateIn {
		a.StateIn = strided(rng, s[0], s[1], s[2], s[3])
		if c.Map == vkattn.MapFavor || c.Norm == vkattn.NormSum || c.Norm == vkattn.NormLiteral {
			x := floats32(a.StateIn)
			each(a.StateIn, func(at int) { x[at] = float32(math.Abs(float64(x[at]))) })
		}
	}
	if c.StateOut {
		a.StateOut = strided(rng, s[0], s[1], s[2], s[3])
	}
	return r
}

func normalizeRows(t vkattn.Tensor) {
	x := floats32(t)
	for b := range t.Shape[0] {
		for h := range t.Shape[1] {
			for s := range t.Shape[2] {
				sum := 0.0
				for d := range t.Shape[3] {
					sum += math.Pow(float64(x[t.Index(b, h, s, d)]), 2)
				}
				for d := range t.Shape[3] {
					x[t.Index(b, h, s, d)] /= float32(math.Sqrt(sum))
				}
			}
		}
	}
}

func (r *linearRun) do(t *testing.T, b *Backend) vkattn.Report {
	t.Helper()
	return runOp(t, b, r.op, r.args)
}

// distance is RMS(got - want) / RMS(want) over the elements of t; packed tokens in no sequence are left out.
func distance(t vkattn.Tensor, want []float64, skip func(s int) bool) float64 {
	got, n := floats32(t), 0
	var off, norm float64
	for b := range t.Shape[0] {
		for h := range t.Shape[1] {
			for s := range t.Shape[2] {
				for d := range t.Shape[3] {
					w := want[n]
					n++
					if skip != nil && skip(s) {
						continue
					}
					g := float64(got[t.Index(b, h, s, d)])
					if g == w || math.IsNaN(g) && math.IsNaN(w) {
						g, w = 0, 0
					}
					off += (g - w) * (g - w)
					norm += want[n-1] * want[n-1]
				}
			}
		}
	}
	if off == 0 {
		return 0
	}
	return math.Sqrt(off / norm)
}

// compare holds the results of r against the oracle's.
func (r *linearRun) compare(t *testing.T, name string, tolerance float64) {
	t.Helper()
	want, err := OracleLinear(r.op, &r.args)
	if err != nil {
		t.Fatal(err)
	}
	var skip func(int) bool
	if r.op.Packed {
		end := int(r.args.CuSeqQ[len(r.args.CuSeqQ)-1])
		skip = func(s int) bool { return s >= end }
	}
	if d := distance(r.args.Out, want.Out, skip); !(d <= tolerance) {
		t.Errorf("%s: %s: Out is %.3g off", name, r.op, d)
	}
	if r.args.StateOut.Given() {
		if d := distance(r.args.StateOut, want.State, nil); !(d <= tolerance) {
			t.Errorf("%s: %s: StateOut is %.3g off", name, r.op, d)
		}
	}
}

// TestLinear compares random ops with the oracle: every map, rule, decay and norm, heads, sizes and layouts.
func TestLinear(t *testing.T) { onKernels(t, testLinear) }

func testLinear(t *testing.T, start func(Config) *Backend) {
	b := start(Config{Workers: 3})
	defer b.Close()
	lengths := []int{1, 2, 15, 16, 17, 63, 64, 65, 100, 130}
	dims := []int{1, 3, 8, 16, 31, 40, 64, 100}
	heads := [][3]int{{1, 1, 1}, {4, 4, 4}, {4, 2, 2}, {4, 1, 1}, {2, 2, 4}, {4, 4, 1}, {6, 2, 6}, {1, 1, 3}}
	runs := 400
	if testing.Short() {
		runs = 100
	}
	for n := range runs {
		rng := newRand(uint64(n))
		pick := func(x []int) int { return x[rng.IntN(len(x))] }
		h := heads[rng.IntN(len(heads))]
		op := vkattn.Linear{Batch: 1 + rng.IntN(2), HeadsQ: h[0], HeadsK: h[1], HeadsV: h[2], HeadMap: vkattn.HeadMap(rng.IntN(2)),
			SeqQ: pick(lengths), HeadDim: pick(dims), ValueDim: pick(dims), Causal: rng.IntN(4) > 0,
			Map: vkattn.FeatureMap(n % 8), Norm: vkattn.Norm(rng.IntN(4)), StateIn: rng.IntN(2) == 0, StateOut: rng.IntN(2) == 0}
		if op.Causal {
			op.Rule, op.Decay = vkattn.UpdateRule(rng.IntN(2)), vkattn.Decay(rng.IntN(4))
		} else {
			op.SeqK = pick(lengths)
		}
		if op.Map == vkattn.MapFavor || rng.IntN(4) == 0 {
			op.Features = pick(dims)
		}
		if op.Map == vkattn.MapFavor {
			op.Rule = vkattn.RuleAdd
			if op.Decay == vkattn.DecayChannel {
				op.Decay = vkattn.DecayToken
			}
		}
		// A sum of signed weights can vanish, and dividing by it has no right answer in float32.
		signed := op.Map == vkattn.MapIdentity || op.Map == vkattn.MapSiLU
		if (op.Norm == vkattn.NormSum || op.Norm == vkattn.NormLiteral) && (signed || op.Rule == vkattn.RuleDelta) {
			op.Norm = vkattn.NormSRMS
		}
		if op.Norm == vkattn.NormLiteral && (op.FeatureDim() == 1 || op.SeqQ < 15) {
			op.Norm = vkattn.NormNone // the layer norm of one number is 0, and so is the output of a first token
		}
		if op.Rule == vkattn.RuleDelta && (op.Map != vkattn.MapIdentity || op.Features > 0) {
			op.Map, op.Features = vkattn.MapSoftmax, 0 // norms of at most 1 stay so
		}
		if rng.IntN(4) == 0 {
			op.MapEps = vkattn.Num(1e-3)
		}
		if rng.IntN(4) == 0 {
			op.Packed, op.TotalQ = true, 2*op.SeqQ
			if !op.Causal {
				op.TotalK = 2 * op.SeqK
			}
		}
		r := newLinearRun(rng, op, []float64{0.1, 1, 10}[rng.IntN(3)])
		r.do(t, b)
		r.compare(t, fmt.Sprint(n), 2e-5)
	}
}

// TestLinearChunks checks that the answer does not depend on the chunk.
func TestLinearChunks(t *testing.T) { onKernels(t, testLinearChunks) }

func testLinearChunks(t *testing.T, start func(Config) *Backend) {
	b := start(Config{})
	defer b.Close()
	for _, chunk := range []int{16, 32, 48, 64, 128} {
		for _, decay := range []vkattn.Decay{vkattn.DecayNone, vkattn.DecayToken, vkattn.DecayChannel} {
			for _, rule := range []vkattn.UpdateRule{vkattn.RuleAdd, vkattn.RuleDelta} {
				op := vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 137, HeadDim: 33, ValueDim: 20, Causal: true, Rule: rule, Decay: decay, StateIn: true, StateOut: true}
				r := newLinearRun(newRand(5), op, 0.5)
				p, err := b.Plan(t.Context(), op)
				if err != nil {
					t.Fatal(err)
				}
				p.(*plan).op.(*linear).chunk = chunk
				if _, err := p.Run(t.Context(), r.args); err != nil {
					t.Fatal(err)
				}
				r.compare(t, fmt.Sprintf("chunks of %d", chunk), 1e-5)
			}
		}
	}
}

// TestLinearKeysAlike is the trap for inverses by powers: keys that are equal or nearly so, written with full strength
// and beyond.
func TestLinearKeysAlike(t *testing.T) { onKernels(t, testLinearKeysAlike) }

func testLinearKeysAlike(t *testing.T, start func(Config) *Backend) {
	b := start(Config{})
	defer b.Close()
	for _, noise := range []float64{0, 0.05, 0.5} {
		for _, beta := range []float64{0, 0.5, 1, 1.9} {
			for _, decay := range []vkattn.Decay{vkattn.DecayNone, vkattn.DecayToken, vkattn.DecayChannel} {
				op := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 200, HeadDim: 64, Causal: true, Rule: vkattn.RuleDelta, Decay: decay, StateOut: true}
				rng := newRand(9)
				r := newLinearRun(rng, op, 0.01)
				k, same := floats32(r.args.K), normal(rng, 64)
				each(r.args.K, func(at int) {
					d := (at - r.args.K.Offset) % r.args.K.Stride[2]
					k[at] = same[d] + float32(noise*rng.NormFloat64())
				})
				normalizeRows(r.args.K)
				x := floats32(r.args.Beta)
				each(r.args.Beta, func(at int) { x[at] = float32(beta) })
				r.do(t, b)
				r.compare(t, fmt.Sprintf("keys %g apart, beta %g", noise, beta), 1e-4)
			}
		}
	}
}

package cpu

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/half"
)

// plainLinear is an op of one sequence with one head.
func plainLinear(tokens, dim int) vkattn.Linear {
	return vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: tokens, HeadDim: dim, Causal: true, StateOut: true}
}

// TestLinearDecays tries decays that are none, that forget everything, and that grow, among ordinary ones.
func TestLinearDecays(t *testing.T) { onKernels(t, testLinearDecays) }

func testLinearDecays(t *testing.T, start func(Config) *Backend) {
	b := start(Config{})
	defer b.Close()
	for name, special := range map[string]float64{"zero": 0, "strong": -5, "far": -1e4, "farther": -1e30,
		"everything": math.Inf(-1), "growing": 0.5} {
		for _, decay := range []vkattn.Decay{vkattn.DecayHead, vkattn.DecayToken, vkattn.DecayChannel} {
			for _, rule := range []vkattn.UpdateRule{vkattn.RuleAdd, vkattn.RuleDelta} {
				op := plainLinear(100, 24)
				op.Decay, op.Rule, op.StateIn = decay, rule, true
				r := newLinearRun(newRand(7), op, 0.2)
				x, n := floats32(r.args.Decay), 0
				each(r.args.Decay, func(at int) {
					if n++; n%3 == 1 {
						x[at] = float32(special)
					}
				})
				r.do(t, b)
				r.compare(t, name, 1e-5)
			}
		}
	}
}

// TestLinearCausal checks that numbers that are not finite reach the tokens behind them and no other, bit by bit
// in the chunks before, and by the definition in their own.
func TestLinearCausal(t *testing.T) { onKernels(t, testLinearCausal) }

func testLinearCausal(t *testing.T, start func(Config) *Backend) {
	b := start(Config{})
	defer b.Close()
	const at = 70
	for name, spoil := range map[string]func(a *vkattn.Args) vkattn.Tensor{
		"key":   func(a *vkattn.Args) vkattn.Tensor { return a.K },
		"value": func(a *vkattn.Args) vkattn.Tensor { return a.V },
		"query": func(a *vkattn.Args) vkattn.Tensor { return a.Q },
		"beta":  func(a *vkattn.Args) vkattn.Tensor { return a.Beta },
		"decay": func(a *vkattn.Args) vkattn.Tensor { return a.Decay },
	} {
		for _, bad := range []float64{math.NaN(), math.Inf(1)} {
			op := plainLinear(140, 20)
			op.Rule, op.Decay = vkattn.RuleDelta, vkattn.DecayToken
			r := newLinearRun(newRand(3), op, 0.2)
			tensor := spoil(&r.args)
			floats32(tensor)[tensor.Index(0, 0, at, 0)] = float32(bad)
			r.do(t, b)
			want, err := OracleLinear(op, &r.args)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 140 {
				for c := range 20 {
					got, w := float64(floats32(r.args.Out)[r.args.Out.Index(0, 0, i, c)]), want.Out[i*20+c]
					if i < at && !(math.Abs(got-w) < 1e-4) || i == at && (got-got == 0) != (w-w == 0) || name == "query" && i > at && !(math.Abs(got-w) < 1e-4) {
						t.Fatalf("%v %s of token %d: Out of token %d, column %d is %v, want %v", bad, name, at, i, c, got, w)
					}
				}
			}
		}
	}
}

// TestLinearOverflow writes keys so large that the state overflows: no token before them may notice.
func TestLinearOverflow(t *testing.T) { onKernels(t, testLinearOverflow) }

func testLinearOverflow(t *testing.T, start func(Config) *Backend) {
	b := start(Config{})
	defer b.Close()
	const at = 50
	for _, decay := range []vkattn.Decay{vkattn.DecayToken, vkattn.DecayChannel} {
		for _, rule := range []vkattn.UpdateRule{vkattn.RuleAdd, vkattn.RuleDelta} {
			op := plainLinear(100, 20)
			op.Rule, op.Decay = rule, decay
			r := newLinearRun(newRand(3), op, 0.2)
			for i := at; i < 100; i++ {
				floats32(r.args.K)[r.args.K.Index(0, 0, i, i%20)] = 1e25
			}
			r.do(t, b)
			want, err := OracleLinear(op, &r.args)
			if err != nil {
				t.Fatal(err)
			}
			for i := range at * 20 {
				got := float64(floats32(r.args.Out)[r.args.Out.Index(0, 0, i/20, i%20)])
				if !(math.Abs(got-want.Out[i]) < 1e-4) {
					t.Fatalf("%v: Out of token %d, column %d is %v, want %v", op, i/20, i%20, got, want.Out[i])
				}
			}
		}
	}
}

// TestLinearBits checks that bits depend neither on the number of workers, which share columns, nor on whether the state is
// written where it was read.
func TestLinearBits(t *testing.T) { onKernels(t, testLinearBits) }

func testLinearBits(t *testing.T, start func(Config) *Backend) {
	op := vkattn.Linear{Batch: 1, HeadsQ: 2, HeadsK: 1, SeqQ: 150, HeadDim: 24, ValueDim: 100, Causal: true, Map: vkattn.MapFavor,
		Features: 20, Decay: vkattn.DecayToken, Norm: vkattn.NormSum, StateIn: true, StateOut: true}
	var first []float32
	for n, workers := range []int{1, 2, 5, 5} {
		b := start(Config{Workers: workers})
		r := newLinearRun(newRand(11), op, 0.3)
		if n == 3 {
			r.args.StateOut = r.args.StateIn
		}
		r.do(t, b)
		b.Close()
		var bits []float32
		for _, out := range []vkattn.Tensor{r.args.Out, r.args.StateOut} {
			each(out, func(at int) { bits = append(bits, floats32(out)[at]) })
		}
		if n == 0 {
			first = bits
		} else if !slices.Equal(first, bits) {
			t.Errorf("%d workers, call %d: other bits than one worker", workers, n)
		}
	}
}

// TestLinearEmpty passes states through calls without tokens.
func TestLinearEmpty(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	for _, causal := range []bool{true, false} {
		for _, m := range []vkattn.FeatureMap{vkattn.MapELU, vkattn.MapFavor} {
			for _, in := range []bool{true, false} {
				op := vkattn.Linear{Batch: 2, HeadsQ: 2, SeqQ: 4, HeadDim: 8, ValueDim: 20, Causal: causal, Map: m, Features: 6, Norm: vkattn.NormSum, StateIn: in, StateOut: true}
				r := newLinearRun(newRand(1), op, 1)
				for _, x := range []*vkattn.Tensor{&r.args.Q, &r.args.K, &r.args.V, &r.args.Out} {
					*x = x.Slice(2, 0, 0)
				}
				r.do(t, b)
				r.compare(t, "no tokens", 0)
			}
		}
	}
	op := plainLinear(4, 8)
	r := newLinearRun(newRand(1), op, 1)
	for _, x := range []*vkattn.Tensor{&r.args.Q, &r.args.K, &r.args.V, &r.args.Out, &r.args.StateOut} {
		*x = x.Slice(0, 0, 0)
	}
	r.do(t, b)
}

// TestLinearLong checks that nothing drifts over many chunks.
func TestLinearLong(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	for _, causal := range []bool{true, false} {
		op := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 8000, HeadDim: 16, Causal: causal, Map: vkattn.MapELU, Norm: vkattn.NormSum, StateOut: true}
		r := newLinearRun(newRand(1), op, 1)
		r.do(t, b)
		r.compare(t, "long", 1e-5)
	}
}

// TestLinearCancel ends a call early.
func TestLinearCancel(t *testing.T) {
	b := New(Config{Workers: 1})
	defer b.Close()
	r := newLinearRun(newRand(1), plainLinear(1000, 64), 1)
	plan, err := b.Plan(t.Context(), r.op)
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Close()
	ctx := &endsLate{Context: t.Context(), left: 4} // one worker asks before each chunk
	if _, err := plan.Run(ctx, r.args); !errors.Is(err, context.Canceled) {
		t.Errorf("a call went on after its context had ended: %v", err)
	}
}

// endsLate is a context that ends after it has been asked a few times.
type endsLate struct {
	context.Context
	left int
}

func (e *endsLate) Err() error {
	if e.left--; e.left < 0 {
		return context.Canceled
	}
	return nil
}

// TestLinearGarbage feeds bit patterns of every kind: whatever comes out, nothing panics.
func TestLinearGarbage(t *testing.T) { onKernels(t, testLinearGarbage) }

func testLinearGarbage(t *testing.T, start func(Config) *Backend) {
	b := start(Config{})
	defer b.Close()
	for n := range 64 {
		rng := newRand(uint64(n))
		op := vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 70, HeadDim: 9, Causal: n%4 != 0, Map: vkattn.FeatureMap(n % 8), Features: 5,
			Norm: vkattn.Norm(rng.IntN(4)), StateIn: true, StateOut: true}
		if op.Causal {
			op.Decay = vkattn.Decay(rng.IntN(3))
			if op.Map != vkattn.MapFavor {
				op.Rule, op.Decay = vkattn.UpdateRule(rng.IntN(2)), vkattn.Decay(rng.IntN(4))
			}
		}
		r := newLinearRun(rng, op, 1)
		for _, in := range []vkattn.Tensor{r.args.Q, r.args.K, r.args.V, r.args.Projection, r.args.Decay, r.args.Beta, r.args.StateIn} {
			if in.Given() {
				x := floats32(in)
				each(in, func(at int) {
					if n < 32 || rng.IntN(50) == 0 {
						x[at] = math.Float32frombits(rng.Uint32())
					}
				})
			}
		}
		r.do(t, b)
	}
}

// TestOracleLinearTypes holds tensors of other types against the same numbers in float32.
func TestOracleLinearTypes(t *testing.T) {
	op := plainLinear(9, 8)
	r := newLinearRun(newRand(1), op, 1)
	narrow := op
	narrow.TypeK, narrow.TypeV = vkattn.Float16, vkattn.BFloat16
	args := r.args
	convert := func(x *vkattn.Tensor, typ vkattn.Type, to func(float32) uint16, from func(uint16) float32) {
		floats := floats32(*x)
		bytes := make([]byte, 2*len(floats))
		for i, v := range floats {
			binary.NativeEndian.PutUint16(bytes[2*i:], to(v))
			floats[i] = from(to(v))
		}
		x.Type, x.Mem = typ, vkattn.Bytes(bytes)
	}
	convert(&args.K, vkattn.Float16, half.ToFloat16, half.FromFloat16)
	convert(&args.V, vkattn.BFloat16, half.ToBFloat16, half.FromBFloat16)
	want, err := OracleLinear(op, &r.args)
	if err != nil {
		t.Fatal(err)
	}
	got, err := OracleLinear(narrow, &args)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Out, want.Out) || !slices.Equal(got.State, want.State) {
		t.Error("narrow types give other results than the same numbers in float32")
	}
	b := New(Config{})
	defer b.Close()
	in32, err := b.Plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := in32.Run(t.Context(), r.args); err != nil {
		t.Fatal(err)
	}
	same := slices.Clone(floats32(r.args.Out))
	p, err := b.Plan(t.Context(), narrow)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Run(t.Context(), args); err != nil {
		t.Fatal(err)
	}
	bits := func(a, b float32) bool { return math.Float32bits(a) == math.Float32bits(b) }
	if !slices.EqualFunc(floats32(args.Out), same, bits) {
		t.Error("the backend gives narrow types other results than the same numbers in float32")
	}
}

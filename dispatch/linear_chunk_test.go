package dispatch_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// TestLinearChunk: chunks give what the definition gives, whatever the decays and however alike the keys, in segments of
// the tokens, too, and slices do not change a bit.
func TestLinearChunk(t *testing.T) {
	cfg := lowered(nil)
	cfg.Kernel = "linear_chunk"
	b := open(t, cfg)
	skipUnsupported(t, b, vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 8, HeadDim: 32, Causal: true})
	cfg.Budget = time.Nanosecond
	hurry := open(t, cfg)
	cfg.Budget, cfg.Splits = 0, 3
	parts := open(t, cfg)
	for i, c := range []linearCase{
		{op: vkattn.Linear{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 65, HeadDim: 40, ValueDim: 59, Causal: true, StateIn: true, StateOut: true}},
		{op: vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 100, HeadDim: 40, ValueDim: 100, Causal: true, Map: vkattn.MapELU, Norm: vkattn.NormSum, Decay: vkattn.DecayHead, StateIn: true, StateOut: true}},
		{op: vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 257, HeadDim: 64, Causal: true, Decay: vkattn.DecayToken, StateOut: true}, strength: 5, tolerance: 1e-4},
		{op: vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 100, HeadDim: 64, Causal: true, Rule: vkattn.RuleDelta, StateIn: true, StateOut: true}, correlated: true, tolerance: 1e-3},
		{op: vkattn.Linear{Batch: 1, HeadsQ: 1, HeadsV: 2, SeqQ: 63, HeadDim: 64, Causal: true, Rule: vkattn.RuleDelta, Decay: vkattn.DecayToken}, strength: 5, correlated: true, tolerance: 1e-3},
		{op: vkattn.Linear{Batch: 1, HeadsQ: 2, HeadsK: 1, SeqQ: 130, HeadDim: 40, ValueDim: 20, Causal: true, Decay: vkattn.DecayChannel, StateIn: true, StateOut: true}, strength: 5, tolerance: 1e-4},
		{op: vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 150, HeadDim: 64, Causal: true, Rule: vkattn.RuleDelta, Decay: vkattn.DecayChannel, StateOut: true}, strength: 5, correlated: true, tolerance: 1e-3},
		{op: vkattn.Linear{Batch: 3, HeadsQ: 2, Packed: true, TotalQ: 120, SeqQ: 100, HeadDim: 64, Causal: true, Map: vkattn.MapSiLU, Norm: vkattn.NormSRMS, Decay: vkattn.DecayHead}, lens: []int{100, 0, 20}},
		{op: vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 100, HeadDim: 32, Causal: true, Map: vkattn.MapFavor, Features: 48, Norm: vkattn.NormSum, StateOut: true}, tolerance: 3e-5},
	} {
		args := c.run(t, b, uint64(i))
		want := linearResults(&args)
		if c.op.Decay == vkattn.DecayHead && c.op.Norm == vkattn.NormSum || c.op.Decay == vkattn.DecayChannel && c.op.Rule == vkattn.RuleAdd {
			oracle := linearOracle(t, c.op, &args)
			blankLinear(&args)
			if r := run(t, parts, c.op, args); r.Splits < 2 {
				t.Errorf("%v: %d segments", c.op, r.Splits)
			}
			checkLinear(t, c.op, &args, oracle, max(c.tolerance, 1e-5))
		}
		if c.op.Decay != vkattn.DecayChannel && c.op.Rule != vkattn.RuleDelta {
			continue // pipelines are dear
		}
		blankLinear(&args)
		r := run(t, hurry, c.op, args)
		if err := sameBits(linearResults(&args), want); err != nil {
			t.Errorf("%v in %d slices: %v", c.op, r.Slices, err)
		}
		if r.Kernel != "linear_chunk" || r.Slices < 2 {
			t.Errorf("%v: %d slices by %s", c.op, r.Slices, r.Kernel)
		}
	}
	for _, op := range []vkattn.Linear{
		{Batch: 1, HeadsQ: 1, SeqQ: 8, HeadDim: 64},
		{Batch: 1, HeadsQ: 1, SeqQ: 8, HeadDim: 64, Causal: true, Norm: vkattn.NormLiteral},
	} {
		if err := b.Supports(op); !errors.Is(err, vkattn.ErrUnsupported) {
			t.Errorf("%v: %v", op, err)
		}
	}
}

// TestLinearForgets: a decay of minus infinity, or nearly, forgets what was before and nothing else.
func TestLinearForgets(t *testing.T) {
	for _, kernel := range []string{"linear_recurrent", "linear_chunk"} {
		t.Run(kernel, func(t *testing.T) {
			cfg := lowered(nil)
			cfg.Kernel = kernel
			b := open(t, cfg)
			op := vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 40, HeadDim: 40, Causal: true, Decay: vkattn.DecayToken, StateOut: true}
			skipUnsupported(t, b, op)
			args := linearArgs(op, nil, 1, 0.1, false)
			rng := rand.New(rand.NewPCG(1, 1))
			g := args.Decay.Mem.(*vkattn.Host).Float32s()
			for i := range g {
				if rng.IntN(5) == 0 {
					g[i] = -1e4
				}
			}
			want := linearOracle(t, op, &args)
			run(t, b, op, args)
			checkLinear(t, op, &args, want, 1e-4)
		})
	}
}

// skipUnsupported skips a test of a kernel that SwiftShader is not given.
func skipUnsupported(t *testing.T, b *dispatch.Backend, op vkattn.Op) {
	t.Helper()
	if err := b.Supports(op); errors.Is(err, vkattn.ErrUnsupported) && strings.Contains(b.Caps().Name, "SwiftShader") {
		t.Skip(err)
	}
}

package dispatch_test

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/vk"
)

// slicedLinear are calls that small limits and budgets cut in every way.
var slicedLinear = []linearCase{
	{op: vkattn.Linear{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 600, HeadDim: 64, Causal: true, Decay: vkattn.DecayToken, StateOut: true}},
	{op: vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 1600, HeadDim: 64, Causal: true, Map: vkattn.MapELU, Norm: vkattn.NormSum, StateIn: true, StateOut: true}},
	{op: vkattn.Linear{Batch: 3, HeadsQ: 8, SeqQ: 100, HeadDim: 64, Causal: true, Rule: vkattn.RuleDelta, Decay: vkattn.DecayChannel, StateIn: true}, tolerance: 1e-4},
	{op: vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 700, HeadDim: 64, Causal: true, Map: vkattn.MapFavor, Features: 64, Norm: vkattn.NormSum, StateIn: true, StateOut: true}, tolerance: 3e-5},
	{op: vkattn.Linear{Batch: 2, HeadsQ: 2, SeqQ: 450, SeqK: 1000, HeadDim: 64, Map: vkattn.MapELU, Norm: vkattn.NormSum, StateIn: true, StateOut: true}},
	{op: vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 300, SeqK: 700, HeadDim: 64, Map: vkattn.MapFavor, Features: 64, Norm: vkattn.NormSum, StateIn: true, StateOut: true}, tolerance: 3e-5},
	{op: vkattn.Linear{Batch: 4, HeadsQ: 8, Packed: true, TotalQ: 400, SeqQ: 200, HeadDim: 64, Causal: true, Norm: vkattn.NormSRMS, Map: vkattn.MapSiLU, Decay: vkattn.DecayHead}, lens: []int{200, 0, 9, 191}},
}

// linearResults is a copy of what a linear call has written.
func linearResults(a *vkattn.Args) [2][]float32 {
	b := *a
	b.LSE = a.StateOut
	return results(&b)
}

// TestLinearSlices: neither a budget of nothing nor a device that binds little changes a bit.
func TestLinearSlices(t *testing.T) {
	if testing.Short() {
		t.Skip("many problems: runs without -short")
	}
	whole := open(t, lowered(nil))
	hurry := lowered(nil)
	hurry.Budget = time.Nanosecond
	for _, b := range []struct {
		name string
		*dispatch.Backend
	}{{"budget", open(t, hurry)}, {"windows", open(t, lowered(func(c *vk.Caps) { c.Limits.MaxStorageBufferRange = 128 << 10 }))}} {
		for i := range slicedLinear {
			c := &slicedLinear[i]
			t.Run(fmt.Sprintf("%s/%v", b.name, c.op), func(t *testing.T) {
				args := c.run(t, whole, uint64(i))
				want := linearResults(&args)
				blankLinear(&args)
				r := run(t, b.Backend, c.op, args)
				if c.op.Norm == vkattn.NormSRMS && b.name == "windows" {
					// Heads that cannot be bound together are summed up in another order.
					checkLinear(t, c.op, &args, linearOracle(t, c.op, &args), 1e-5)
				} else if err := sameBits(linearResults(&args), want); err != nil {
					t.Error(err)
				}
				if r.Slices < 3 {
					t.Errorf("%d slices: the call proves nothing", r.Slices)
				}
				t.Logf("%d slices in %d submits", r.Slices, r.Submits)
			})
		}
	}
}

// TestLinearSplit: a sequence in two calls that hand the state on is the whole, wherever it is cut.
func TestLinearSplit(t *testing.T) {
	b := open(t, lowered(nil))
	for _, c := range []linearCase{
		{op: vkattn.Linear{Batch: 1, HeadsQ: 2, HeadsK: 1, SeqQ: 67, HeadDim: 40, Causal: true, Norm: vkattn.NormSum, Map: vkattn.MapELU, Decay: vkattn.DecayToken, StateIn: true, StateOut: true}},
		{op: vkattn.Linear{Batch: 2, HeadsQ: 2, SeqQ: 67, HeadDim: 40, Causal: true, Rule: vkattn.RuleDelta, Decay: vkattn.DecayHead, StateIn: true, StateOut: true}},
		{op: vkattn.Linear{Batch: 1, HeadsQ: 1, HeadsV: 2, SeqQ: 67, HeadDim: 40, Causal: true, Map: vkattn.MapFavor, Features: 48, Norm: vkattn.NormSum, StateIn: true, StateOut: true}},
	} {
		args := linearArgs(c.op, nil, 5, 0.1, false)
		run(t, b, c.op, args)
		want := linearResults(&args)
		for _, at := range []int{0, 1, 16, 33, 66} {
			blankLinear(&args)
			first, second := args, args
			for _, x := range []struct{ whole, a, b *vkattn.Tensor }{{&args.Q, &first.Q, &second.Q}, {&args.K, &first.K, &second.K}, {&args.V, &first.V, &second.V},
				{&args.Out, &first.Out, &second.Out}, {&args.Decay, &first.Decay, &second.Decay}, {&args.Beta, &first.Beta, &second.Beta}} {
				if x.whole.Given() && x.whole.Shape[2] > 1 {
					*x.a, *x.b = x.whole.Slice(2, 0, at), x.whole.Slice(2, at, x.whole.Shape[2])
				}
			}
			second.StateIn = args.StateOut // and in place
			run(t, b, c.op, first)
			run(t, b, c.op, second)
			if err := sameBits(linearResults(&args), want); err != nil {
				t.Errorf("%v cut at %d: %v", c.op, at, err)
			}
		}
	}
}

// TestLinearPoison: what lies behind, between and beside the tensors on the device reaches no output, and no output reaches
// it. Rows start at any element.
func TestLinearPoison(t *testing.T) {
	for _, cfg := range []dispatch.Config{{}, {Disable: []string{"subgroup"}}, {Kernel: "linear_chunk"}} {
		if cfg.Kernel != "" && !full {
			continue
		}
		cfg.CacheDir, cfg.SkipSelfTest = "off", true
		b := open(t, cfg)
		for _, typ := range []vkattn.Type{vkattn.Float32, vkattn.Float16, vkattn.BFloat16} {
			if typ == vkattn.Float32 || typ == vkattn.Float16 && cfg.Disable == nil || full { // a pipeline for each type
				poisonLinear(t, b, typ)
			}
		}
	}
}

// rounded are tensors in a type, and what they then hold in float32.
func rounded(t *testing.T, typ vkattn.Type, x vkattn.Tensor) (in, back vkattn.Tensor) {
	t.Helper()
	in, err := x.To(typ)
	if err == nil {
		back, err = in.To(vkattn.Float32)
	}
	if err != nil {
		t.Fatal(err)
	}
	return in, back
}

func poisonLinear(t *testing.T, b *dispatch.Backend, typ vkattn.Type) {
	for i, c := range []linearCase{
		{op: vkattn.Linear{Batch: 2, HeadsQ: 2, SeqQ: 33, HeadDim: 59, ValueDim: 37, Causal: true, Map: vkattn.MapELU, Norm: vkattn.NormSum, StateIn: true, StateOut: true}},
		{op: vkattn.Linear{Batch: 2, HeadsQ: 2, HeadsK: 1, SeqQ: 33, HeadDim: 60, ValueDim: 36, Causal: true, Rule: vkattn.RuleDelta, Decay: vkattn.DecayChannel, StateIn: true, StateOut: true}, tolerance: 1e-4},
		{op: vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 33, SeqK: 70, HeadDim: 60, Map: vkattn.MapFavor, Features: 37, StateOut: true, Norm: vkattn.NormSRMS}, tolerance: 3e-5},
	} {
		op := c.op
		op.TypeQ, op.TypeK, op.TypeV, op.TypeOut = typ, typ, typ, typ
		if errors.Is(b.Supports(op), vkattn.ErrUnsupported) {
			continue // chunks of what is not causal
		}
		args := linearArgs(c.op, nil, uint64(i), 0.2, false)
		device := args
		for _, x := range []struct{ in, host *vkattn.Tensor }{{&device.Q, &args.Q}, {&device.K, &args.K}, {&device.V, &args.V}, {&device.Out, &args.Out}} {
			*x.in, *x.host = rounded(t, typ, *x.host)
		}
		want := linearOracle(t, c.op, &args)
		type back struct{ host, device, big vkattn.Tensor }
		var backs []back
		for _, x := range []*vkattn.Tensor{&device.Q, &device.K, &device.V, &device.Out, &device.Decay, &device.Beta, &device.Projection, &device.StateIn, &device.StateOut} {
			if !x.Given() {
				continue
			}
			// Rows of 8 elements more, and rows and heads around, all NaN.
			s := x.Shape
			big, err := b.NewTensor(x.Type, [4]int{s[0], s[1] + 1, s[2] + 2, (s[3]+3)/4*4 + 8})
			if err != nil {
				t.Fatal(err)
			}
			defer big.Mem.Close()
			poison := make([]float32, big.Len())
			for i := range poison {
				poison[i] = float32(math.NaN())
			}
			bad, _ := rounded(t, x.Type, vkattn.BHSD(vkattn.Float32s(poison), big.Shape[0], big.Shape[1], big.Shape[2], big.Shape[3]))
			if err := b.Copy(t.Context(), big, bad); err != nil {
				t.Fatal(err)
			}
			at := 4 - s[3]%2
			part := big.Slice(1, 0, s[1]).Slice(2, 1, s[2]+1).Slice(3, at, s[3]+at)
			if err := b.Copy(t.Context(), part, *x); err != nil {
				t.Fatal(err)
			}
			if x == &device.Out || x == &device.StateOut {
				backs = append(backs, back{*x, part, big})
			}
			*x = part
		}
		run(t, b, op, device)
		for i, x := range backs {
			if err := b.Copy(t.Context(), x.host, x.device); err != nil {
				t.Fatal(err)
			}
			all := vkattn.BHSD(nil, x.big.Shape[0], x.big.Shape[1], x.big.Shape[2], x.big.Shape[3]).As(x.big.Type)
			all.Mem = vkattn.Float32s(make([]float32, all.Len()))
			if err := b.Copy(t.Context(), all, x.big); err != nil {
				t.Fatal(err)
			}
			_, all = rounded(t, vkattn.Float32, all)
			clean := 0
			for _, x := range all.Mem.(*vkattn.Host).Float32s()[:all.Len()] {
				if x != x {
					clean++
				}
			}
			if n := x.big.Len() - x.host.Len(); clean != n {
				t.Errorf("%v: %d elements around output %d are untouched, want %d", op, clean, i, n)
			}
		}
		if _, args.Out = rounded(t, vkattn.Float32, backs[0].host); typ == vkattn.Float32 {
			checkLinear(t, c.op, &args, want, max(c.tolerance, 1e-5))
			continue
		}
		states := args
		states.Out, args.StateOut = vkattn.Tensor{}, vkattn.Tensor{}
		checkLinear(t, c.op, &states, want, max(c.tolerance, 1e-5))
		checkLinear(t, c.op, &args, want, map[vkattn.Type]float64{vkattn.Float16: 3e-4, vkattn.BFloat16: 2.4e-3}[typ]) // half the distance of codes, on average
	}
}

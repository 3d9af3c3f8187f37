package dispatch_test

import (
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// TestLinearParts: keys in parts that are computed side by side give the same as one after the other.
func TestLinearParts(t *testing.T) {
	if testing.Short() {
		t.Skip("many problems: runs without -short")
	}
	numbers := []int{7}
	if full {
		numbers = []int{2, 7, 16}
	}
	for _, splits := range numbers {
		cfg := lowered(nil)
		cfg.Splits = splits
		b := open(t, cfg)
		cfg.Budget = 5 * time.Microsecond
		hurry := open(t, cfg)
		for i, c := range []linearCase{
			{op: vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 301, HeadDim: 40, Causal: true, Decay: vkattn.DecayToken, StateIn: true, StateOut: true}},
			{op: vkattn.Linear{Batch: 2, HeadsQ: 2, HeadsK: 1, SeqQ: 301, HeadDim: 40, Causal: true, Decay: vkattn.DecayChannel, StateIn: true}, strength: 2},
			{op: vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 301, HeadDim: 40, Causal: true, Map: vkattn.MapELU, Norm: vkattn.NormSum, StateIn: true, StateOut: true, Decay: vkattn.DecayHead}},
			{op: vkattn.Linear{Batch: 3, HeadsQ: 2, Packed: true, TotalQ: 410, SeqQ: 301, HeadDim: 40, Causal: true, Map: vkattn.MapSoftmax, Norm: vkattn.NormSum, StateOut: true}, lens: []int{301, 0, 109}},
			{op: vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 33, SeqK: 301, HeadDim: 40, Map: vkattn.MapELU, Norm: vkattn.NormSum, StateIn: true, StateOut: true}},
			{op: vkattn.Linear{Batch: 2, HeadsQ: 4, HeadsK: 2, Packed: true, TotalQ: 410, SeqQ: 301, HeadDim: 40, Map: vkattn.MapSquaredReLU, Norm: vkattn.NormSRMS, StateOut: true}, lens: []int{301, 109}},
		} {
			args := c.run(t, b, uint64(i))
			want := linearResults(&args)
			blankLinear(&args)
			r := run(t, hurry, c.op, args)
			if err := sameBits(linearResults(&args), want); err != nil {
				t.Errorf("%v in slices: %v", c.op, err)
			}
			if r.Splits < 2 || r.Splits > splits {
				t.Errorf("%v: %d parts, want %d", c.op, r.Splits, splits)
			}
		}
	}
}

// TestLinearDiscrete: the plan of a graphics card, few heads in many parts, computes the same.
func TestLinearDiscrete(t *testing.T) {
	discrete := lowered(func(c *vk.Caps) { c.DeviceType = "discrete" })
	b := open(t, discrete)
	c := linearCase{op: vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 1500, HeadDim: 64, Causal: true, Map: vkattn.MapELU, Norm: vkattn.NormSum, StateOut: true}}
	args := linearArgs(c.op, nil, 1, 0, false)
	want := linearOracle(t, c.op, &args)
	r := run(t, b, c.op, args)
	checkLinear(t, c.op, &args, want, 1e-5)
	if r.Splits < 4 {
		t.Errorf("%d parts", r.Splits)
	}
	discrete.SplitKeys = 128
	if r := run(t, open(t, discrete), c.op, args); r.Splits > 1 {
		t.Errorf("%d parts, whose number would depend on the batch", r.Splits)
	}
	checkLinear(t, c.op, &args, want, 1e-5)
}

// TestLinearPartsNarrow: a graphics card that binds little has as many parts as it can bind the states and denominators of.
func TestLinearPartsNarrow(t *testing.T) {
	for i, c := range []struct {
		op   vkattn.Linear
		most int
	}{
		{vkattn.Linear{Batch: 1, HeadsQ: 32, SeqQ: 1500, HeadDim: 32, ValueDim: 4, Causal: true, Map: vkattn.MapELU, Norm: vkattn.NormSum}, 3}, // denominators of 4096 bytes
		{vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 1500, HeadDim: 32, Causal: true, StateOut: true}, 3},                                         // states of 4224 bytes
		{vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 50, SeqK: 900, HeadDim: 32}, 3},
	} {
		b := open(t, lowered(func(c *vk.Caps) { asGraphicsCard(c); c.Limits.MaxStorageBufferRange = 16 << 10 }))
		args := linearArgs(c.op, nil, uint64(i), 0, false)
		r := run(t, b, c.op, args)
		checkLinear(t, c.op, &args, linearOracle(t, c.op, &args), 1e-5)
		if r.Splits > c.most || r.Splits < 2 && !c.op.Causal {
			t.Errorf("%v: %d parts, at most %d can be bound", c.op, r.Splits, c.most)
		}
	}
}

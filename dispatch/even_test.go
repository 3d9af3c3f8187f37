package dispatch_test

import (
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/vk"
)

// evenCalls have row tiles of very different lengths, so that on a GPU the long ones are cut to parts.
var evenCalls = []namedCall{
	{name: "causal", op: vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 900, SeqK: 900, HeadDim: 64, Causal: true, With: vkattn.WithLSE}},
	{name: "groups of 7", op: vkattn.Attention{Batch: 2, HeadsQ: 7, HeadsK: 1, SeqQ: 65, SeqK: 1501, HeadDim: 59, With: vkattn.WithLSE | vkattn.WithSinkLogits}, layout: "bshd"},
	{name: "window, global, sinks", op: vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1300, SeqK: 1300, HeadDim: 64, Causal: true,
		Window: vkattn.Window{Left: vkattn.Tokens(100)}, SinkTokens: 5, With: vkattn.WithGlobal}},
	{name: "key lengths, ALiBi", op: vkattn.Attention{Batch: 3, HeadsQ: 2, SeqQ: 257, SeqK: 1000, HeadDim: 64, ValueDim: 59, With: vkattn.WithKeyLengths | vkattn.WithALiBi | vkattn.WithLSE}},
	{name: "packed", op: vkattn.Attention{HeadsQ: 4, HeadsK: 2, SeqQ: 700, SeqK: 900, HeadDim: 64, Packed: true, Batch: 4, TotalQ: 1000, TotalK: 1700, Causal: true, With: vkattn.WithLSE},
		lens: [][2]int{{700, 900}, {0, 100}, {17, 0}, {283, 700}}},
	{name: "blocks", op: vkattn.Attention{Batch: 1, HeadsQ: 3, SeqQ: 500, SeqK: 1900, HeadDim: 64, With: vkattn.WithBlocks | vkattn.WithLSE}},
	{name: "blocks, causal, mask", op: vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 300, SeqK: 1500, HeadDim: 64, Causal: true, With: vkattn.WithBlocks | vkattn.WithMask}},
	{name: "few long rows", op: vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 40, SeqK: 3000, HeadDim: 64, Chunk: 1111}},
}

// TestEven runs on a software driver what a GPU does with row tiles of different lengths.
func TestEven(t *testing.T) {
	cfg := lowered(asGraphicsCard)
	b := open(t, cfg)
	small := cfg
	small.Budget = 1 // nanosecond: every item is a submit of its own
	one := open(t, small)
	parts := 0
	for i := range evenCalls {
		c := &evenCalls[i]
		t.Run(c.name, func(t *testing.T) {
			args := c.args(3)
			if c.op.With.Has(vkattn.WithGlobal) {
				args.Global = []int32{0, 3, 777}
			}
			r := run(t, b, c.op, args)
			if r.Splits > 1 {
				parts++
			}
			checkRows(t, c.op, &args, 9)
			want := results(&args)
			if i < 2 {
				blank(&args)
				run(t, one, c.op, args)
				if err := sameBits(results(&args), want); err != nil {
					t.Errorf("in more submits: %v", err)
				}
			}
			// The same plan again, with other data: nothing of the first call is left.
			run(t, b, c.op, c.args(4))
			blank(&args)
			run(t, b, c.op, args)
			if err := sameBits(results(&args), want); err != nil {
				t.Errorf("again: %v", err)
			}
		})
	}
	if parts < len(evenCalls)-1 {
		t.Errorf("%d of %d problems were cut to parts", parts, len(evenCalls))
	}
}

// TestValidationEven: the layers see nothing that whole row tiles and the parts of others, which run side by side, have in
// common and write.
func TestValidationEven(t *testing.T) {
	l := &listener{}
	b := validated(t, dispatch.Config{Validation: vk.ValidationCore | vk.ValidationSync, SkipSelfTest: true, VK: vk.DeviceConfig{Override: asGraphicsCard}}, l)
	for i := range evenCalls {
		c := &evenCalls[i]
		args := c.args(3)
		if c.op.With.Has(vkattn.WithGlobal) {
			args.Global = []int32{0, 3, 777}
		}
		run(t, b, c.op, args)
	}
	for _, m := range l.heard {
		t.Errorf("%s: %s", m.ID, m.Text)
	}
}

// TestEvenNarrow: where a device binds little more than the tensors, fewer parts wait at once to be merged.
func TestEvenNarrow(t *testing.T) {
	b := open(t, lowered(func(c *vk.Caps) { asGraphicsCard(c); c.Limits.MaxStorageBufferRange = 160 << 10 }))
	for _, c := range []namedCall{
		{name: "causal", op: vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 600, SeqK: 600, HeadDim: 64, Causal: true, With: vkattn.WithLSE}},
		{name: "groups of 2", op: vkattn.Attention{Batch: 1, HeadsQ: 4, HeadsK: 2, SeqQ: 190, SeqK: 400, HeadDim: 40, With: vkattn.WithLSE}},
		{name: "one value", op: vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 900, SeqK: 900, HeadDim: 16, ValueDim: 1, Causal: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := c.args(3)
			r := run(t, b, c.op, args)
			checkRows(t, c.op, &args, 9)
			if r.Splits < 2 || r.Slices > 8 {
				t.Errorf("%d parts, %d slices: the call proves nothing", r.Splits, r.Slices)
			}
		})
	}
}

package dispatch_test

import (
	"fmt"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// lowered is a Config of a device with changed limits.
func lowered(change func(*vk.Caps)) dispatch.Config {
	return dispatch.Config{CacheDir: "off", SkipSelfTest: true, VK: vk.DeviceConfig{Override: change}}
}

func oneMiB(c *vk.Caps) { c.Limits.MaxStorageBufferRange = 1 << 20 }

// wide are calls with tensors beyond 1 MiB, each in its own way.
var wide = []namedCall{
	{name: "long keys", op: vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 12, SeqK: 9000, HeadDim: 64, Causal: true, With: vkattn.WithLSE}},
	{name: "long keys, odd head size", op: vkattn.Attention{Batch: 1, HeadsQ: 2, HeadsK: 1, SeqQ: 5, SeqK: 6001, HeadDim: 59, With: vkattn.WithLSE | vkattn.WithSinkLogits}},
	{name: "many heads", op: vkattn.Attention{Batch: 3, HeadsQ: 16, HeadsK: 4, SeqQ: 100, SeqK: 40, HeadDim: 64, With: vkattn.WithLSE}},
	{name: "many heads, bshd", op: vkattn.Attention{Batch: 3, HeadsQ: 16, HeadsK: 4, SeqQ: 100, SeqK: 40, HeadDim: 64, Causal: true, With: vkattn.WithLSE}, layout: "bshd"},
	{name: "cyclic heads, long keys, bshd", op: vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 4, HeadsV: 2, HeadMap: vkattn.HeadCyclic, SeqQ: 6, SeqK: 2500, HeadDim: 64}, layout: "bshd", splits: 1},
	{name: "cyclic heads, each more than a window", op: vkattn.Attention{Batch: 1, HeadsQ: 4, HeadsK: 2, HeadMap: vkattn.HeadCyclic, SeqQ: 5, SeqK: 5000, HeadDim: 64, With: vkattn.WithLSE}},
	{name: "packed", op: vkattn.Attention{Batch: 4, HeadsQ: 16, HeadsK: 8, SeqQ: 200, SeqK: 400, Packed: true, TotalQ: 329, TotalK: 700, HeadDim: 64, Causal: true, With: vkattn.WithLSE},
		lens: [][2]int{{200, 250}, {0, 10}, {9, 400}, {120, 40}}},
	{name: "bias", op: vkattn.Attention{Batch: 1, HeadsQ: 3, SeqQ: 70, SeqK: 1500, HeadDim: 64, With: vkattn.WithBias | vkattn.WithLSE}},
	{name: "mask and tree", op: vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 60, SeqK: 2300, HeadDim: 64, With: vkattn.WithMask | vkattn.WithTree | vkattn.WithLSE}},
	{name: "blocks", op: vkattn.Attention{Batch: 2, HeadsQ: 2, SeqQ: 60, SeqK: 5000, HeadDim: 64, With: vkattn.WithBlocks | vkattn.WithLSE}},
	{name: "window, sink tokens, global", op: vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 700, SeqK: 9000, HeadDim: 64, Window: vkattn.Window{Left: vkattn.Tokens(100)}, SinkTokens: 40, Causal: true, With: vkattn.WithLSE}},
	{name: "chunk, alibi, softcap", op: vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 40, SeqK: 9000, HeadDim: 64, Chunk: 5000, Softcap: 5, With: vkattn.WithALiBi | vkattn.WithKeyLengths | vkattn.WithLSE}},
	{name: "a row tile of a bias", op: vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 16, SeqK: 1 << 18, HeadDim: 16, Causal: true, With: vkattn.WithBias | vkattn.WithLSE}, long: true},
	{name: "lists of a block mask", op: vkattn.Attention{Batch: 1, HeadsQ: 64, HeadsK: 1, SeqQ: 1024, SeqK: 4096, HeadDim: 4, With: vkattn.WithBlocks | vkattn.WithSinkLogits | vkattn.WithALiBi}, long: true},
	{name: "3 parts", op: vkattn.Attention{Batch: 2, HeadsQ: 2, HeadsK: 1, SeqQ: 9, SeqK: 9000, HeadDim: 64, Causal: true, With: vkattn.WithLSE | vkattn.WithSinkLogits}, splits: 3},
	{name: "70 parts", op: vkattn.Attention{Batch: 1, HeadsQ: 4, SeqQ: 20, SeqK: 5000, HeadDim: 64, With: vkattn.WithLSE}, splits: 70},
}

// TestWindows: a device that binds 1 MiB at once gives the same bits as one that binds everything.
func TestWindows(t *testing.T) {
	for _, splits := range []int{0, 1, 3, 70} {
		var whole, narrow *dispatch.Backend
		for i := range wide {
			c := &wide[i]
			if c.splits != splits {
				continue
			}
			if whole == nil {
				cfg := lowered(nil)
				cfg.Splits = splits
				whole = open(t, cfg)
				cfg.VK.Override = oneMiB
				narrow = open(t, cfg)
			}
			t.Run(c.name, func(t *testing.T) {
				if testing.Short() && c.long {
					t.Skip("minutes on a software driver that is slow: runs without -short")
				}
				args := c.args(1)
				w := run(t, whole, c.op, args)
				want := results(&args)
				checkRows(t, c.op, &args, 4)
				blank(&args)
				r := run(t, narrow, c.op, args)
				if r.Splits != w.Splits && whole.Caps().DeviceType != "cpu" {
					// The partial results of the many parts that fill a GPU exceed 1 MiB.
					t.Logf("%d splits instead of %d: other bits, but right", r.Splits, w.Splits)
					checkRows(t, c.op, &args, 4)
					return
				}
				if err := sameBits(results(&args), want); err != nil {
					t.Error(err)
				}
				if r.Splits != w.Splits {
					t.Errorf("%d splits instead of %d", r.Splits, w.Splits)
				}
				if r.Slices <= w.Slices && r.Slices < 2 {
					t.Errorf("%d slices: no window was needed, the call proves nothing", r.Slices)
				}
				t.Logf("%d splits, %d slices instead of %d, %v instead of %v", r.Splits, r.Slices, w.Slices, r.DeviceTime, w.DeviceTime)
			})
		}
	}
}

// TestWindowsOfStridedDeviceTensors: rows far apart in device memory, offsets that no window starts at.
func TestWindowsOfStridedDeviceTensors(t *testing.T) {
	op := vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 21, SeqK: 70, HeadDim: 64, Causal: true, With: vkattn.WithLSE}
	c := namedCall{op: op}
	args := c.args(2)
	var want [2][]float32
	for n, override := range []func(*vk.Caps){nil, oneMiB, func(c *vk.Caps) {
		oneMiB(c)
		c.Limits.MinStorageBufferOffsetAlignment = 256
	}} {
		b := open(t, lowered(override))
		on := args
		for i, x := range []struct{ t, from *vkattn.Tensor }{{&on.Q, &args.Q}, {&on.K, &args.K}, {&on.V, &args.V}, {&on.Out, &args.Out}, {&on.LSE, &args.LSE}} {
			s := x.from.Shape
			// Gaps of 237 rows behind each row, and a few elements before the first; the last two tensors out of line with vec4.
			wide, err := b.NewTensor(vkattn.Float32, [4]int{s[0], s[2], s[1] * 238, s[3]})
			if err != nil {
				t.Fatal(err)
			}
			defer wide.Mem.Close()
			x.t.Mem, x.t.Offset = wide.Mem, 8
			x.t.Stride = [4]int{wide.Stride[0], 238 * s[3], wide.Stride[1], 1}
			if i < 3 {
				if err := b.Copy(t.Context(), *x.t, *x.from); err != nil {
					t.Fatal(err)
				}
			}
		}
		r := run(t, b, op, on)
		blank(&args)
		for _, x := range [][2]vkattn.Tensor{{args.Out, on.Out}, {args.LSE, on.LSE}} {
			if err := b.Copy(t.Context(), x[0], x[1]); err != nil {
				t.Fatal(err)
			}
		}
		if r.CopyBytes != 0 {
			t.Errorf("%d bytes were copied", r.CopyBytes)
		}
		if n == 0 {
			want = results(&args)
			checkRows(t, op, &args, 5)
			continue
		}
		if err := sameBits(results(&args), want); err != nil {
			t.Error(err)
		}
		if r.Slices < 2 {
			t.Errorf("%d slices: no window was needed, the call proves nothing", r.Slices)
		}
	}
}

// TestSmallLimits: the least shared memory and invocations that Vulkan promises, and coarse offsets.
func TestSmallLimits(t *testing.T) {
	for _, disable := range [][]string{nil, {"subgroup"}} {
		t.Run(fmt.Sprint(disable), func(t *testing.T) {
			cfg := lowered(func(c *vk.Caps) {
				c.Limits.MaxComputeSharedMemorySize = 16 << 10
				c.Limits.MaxComputeWorkGroupInvocations = 128
				c.Limits.MaxComputeWorkGroupSize = [3]uint32{128, 128, 64}
				c.Limits.MinStorageBufferOffsetAlignment = 256
			})
			cfg.Disable = disable
			o := attntest.Options{Sample: true, RequireAll: true}
			if testing.Short() || disable != nil && !full { // wide heads compile for half a minute there
				o.Filter = smallHeads
			}
			attntest.Run(t, open(t, cfg), o)
		})
	}
}

// TestPacksApart: heads of which one tile would take rows, and that lie too far apart for it, go one by one.
func TestPacksApart(t *testing.T) {
	b := open(t, lowered(func(c *vk.Caps) { asGraphicsCard(c); c.Limits.MaxStorageBufferRange = 64 << 10 }))
	for _, c := range []namedCall{
		{name: "bias", op: vkattn.Attention{Batch: 2, HeadsQ: 8, HeadsK: 2, SeqQ: 20, SeqK: 700, HeadDim: 32, Causal: true, With: vkattn.WithBias | vkattn.WithLSE}},
		{name: "mask, cyclic heads", op: vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 2, HeadMap: vkattn.HeadCyclic, SeqQ: 30, SeqK: 900, HeadDim: 32, With: vkattn.WithMask}},
		{name: "out", op: vkattn.Attention{Batch: 1, HeadsQ: 7, HeadsK: 1, SeqQ: 50, SeqK: 90, HeadDim: 64, With: vkattn.WithLSE}},
		{name: "near enough", op: vkattn.Attention{Batch: 1, HeadsQ: 7, HeadsK: 1, SeqQ: 50, SeqK: 90, HeadDim: 64, With: vkattn.WithLSE}, layout: "bshd"},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := c.args(2)
			run(t, b, c.op, args)
			checkRows(t, c.op, &args, 3)
		})
	}
}

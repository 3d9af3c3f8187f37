package dispatch_test

import (
	"errors"
	"math/rand/v2"
	"regexp"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// A device with memory of its own, as a graphics card has: the host sees none of it.
func ownMemory(c *vk.Caps) { c.UnifiedMemory = false }

// TestStaging: all that goes to such a device and back goes through staging buffers.
func TestStaging(t *testing.T) {
	b := open(t, lowered(ownMemory))
	attntest.Run(t, b, attntest.Options{Filter: regexp.MustCompile(`d64$|d59|d40|d3$`), Sample: true, RequireAll: true})
	rng := rand.New(rand.NewPCG(5, 0))
	for i := range deviceCalls {
		c := &deviceCalls[i]
		host := c.args(1)
		device := onDevice(t, rng, b, host)
		run(t, b, c.op, device)
		if err := errors.Join(b.Copy(t.Context(), host.Out, device.Out), b.Copy(t.Context(), host.LSE, device.LSE)); err != nil {
			t.Fatal(err)
		}
		checkRows(t, c.op, &host, 6)
	}
}

// TestStagingInRounds: tensors larger than a staging buffer go in several rounds, with gaps and without.
func TestStagingInRounds(t *testing.T) {
	if testing.Short() {
		t.Skip("moves 200 MB")
	}
	b := open(t, lowered(ownMemory))
	op := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 3, SeqK: 290_000, HeadDim: 64, With: vkattn.WithLSE}
	args := (&namedCall{op: op}).args(1)
	gaps := args
	gaps.V = vkattn.BHSD(vkattn.Float32s(make([]float32, op.SeqK*67)), 1, 1, op.SeqK, 67).Slice(3, 0, 64)
	for j := range op.SeqK {
		copy(gaps.V.Mem.(*vkattn.Host).Float32s()[j*67:], args.V.Mem.(*vkattn.Host).Float32s()[j*64:(j+1)*64])
	}
	run(t, b, op, args)
	want := results(&args)
	checkRows(t, op, &args, 3)
	blank(&args)
	run(t, b, op, gaps)
	if err := sameBits(results(&args), want); err != nil {
		t.Error(err)
	}
	// And back: an output of 80 MB.
	wide := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 310_000, SeqK: 1, HeadDim: 64}
	args = (&namedCall{op: wide}).args(2)
	run(t, b, wide, args)
	v := args.V.Mem.(*vkattn.Host).Float32s()
	for row := range slices.Chunk(args.Out.Mem.(*vkattn.Host).Float32s(), 64) {
		if !slices.Equal(row, v) {
			t.Fatal("a row over a single key is not its value")
		}
	}
	// A single row of a bias that is larger than a staging buffer.
	long := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: stagingBytes/4 + 100, HeadDim: 1, With: vkattn.WithBias | vkattn.WithLSE}
	args = (&namedCall{op: long}).args(3)
	run(t, b, long, args)
	want = results(&args)
	blank(&args)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	run(t, open(t, lowered(nil)), long, args)
	if err := sameBits(results(&args), want); err != nil {
		t.Error(err)
	}
}

// stagingBytes is the size of a staging buffer.
const stagingBytes = 64 << 20

// TestGraphicsCardTiles: the tiles of a graphics card, 64 rows by 64 invocations, on whatever runs here.
func TestGraphicsCardTiles(t *testing.T) {
	few := regexp.MustCompile(`d64$|d59`)
	switch {
	case testing.Short():
		few = regexp.MustCompile(`d64$`)
	case full:
		few = regexp.MustCompile(`d64$|d59|d40|d3$`)
	}
	for _, disable := range [][]string{nil, {"subgroup"}} {
		cfg := lowered(func(c *vk.Caps) {
			ownMemory(c)
			c.DeviceType = "discrete"
			c.Limits.MaxComputeSharedMemorySize = 16 << 10
			c.Limits.MaxComputeWorkGroupInvocations = 128
			c.Limits.MaxComputeWorkGroupSize = [3]uint32{128, 128, 64}
			c.Limits.MinStorageBufferOffsetAlignment = 256
		})
		cfg.Disable = disable
		b := open(t, cfg)
		attntest.Run(t, b, attntest.Options{Filter: few, Sample: true, RequireAll: true})
	}
}

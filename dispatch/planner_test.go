package dispatch

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/caps"
	"github.com/vkattn/vkattn/vk"
)

func testPlanner(t *testing.T) *planner {
	t.Helper()
	p, err := newPlanner()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// recorded are the devices on record.
func recorded(t *testing.T) []caps.Record {
	t.Helper()
	records, err := caps.All()
	if err != nil {
		t.Fatal(err)
	}
	for i := range records {
		if n := &records[i].Caps.Limits.MaxPerStageStorageBuffers; *n == 0 {
			*n = numStorage // not on record
		}
	}
	return records
}

// refusedWithReason fails unless err says why a plan was refused.
func refusedWithReason(t *testing.T, err error) {
	t.Helper()
	var u *vkattn.UnsupportedError
	if !errors.As(err, &u) || len(u.Reasons) == 0 || u.Reasons[0].Reason == "" {
		t.Fatalf("refused without a reason: %v", err)
	}
}

// wentEachWay fails unless as many plans as that went each way.
func wentEachWay(t *testing.T, paths map[string]int, least int) {
	t.Helper()
	t.Logf("%v", paths)
	for _, path := range []string{"subgroup", "plain", "refused"} {
		if paths[path] < least {
			t.Errorf("only %d plans went %s", paths[path], path)
		}
	}
}

func pick[T any](rng *rand.Rand, from ...T) T { return from[rng.IntN(len(from))] }

// randomCaps is a device that may exist: limits from the smallest that Vulkan allows, or less, to large.
func randomCaps(rng *rand.Rand) vk.Caps {
	c := vk.Caps{Name: "test", DeviceType: pick(rng, "cpu", "integrated", "discrete", "virtual", "other")}
	l := &c.Limits
	l.MaxStorageBufferRange = pick(rng, uint64(1<<20), 128<<20, 1<<30, 1<<32-1)
	l.MaxComputeSharedMemorySize = pick(rng, uint32(16<<10), 32<<10, 48<<10, 64<<10)
	l.MaxComputeWorkGroupInvocations = pick(rng, uint32(128), 256, 512, 1024)
	l.MaxComputeWorkGroupSize = [3]uint32{pick(rng, uint32(128), l.MaxComputeWorkGroupInvocations), 64, 64}
	l.MaxComputeWorkGroupCount = [3]uint32{65535, 65535, 65535}
	l.MaxPerStageStorageBuffers = pick(rng, uint32(4), 8, 8, 16, 1<<20)
	l.MaxPushConstantsSize = pick(rng, uint32(128), 256)
	l.MinStorageBufferOffsetAlignment = pick(rng, uint64(4), 16, 64, 256)
	l.MaxTexelBufferElements, l.MinTexelBufferOffsetAlignment = pick(rng, uint32(65536), 1<<27), pick(rng, uint64(16), 256)
	if rng.IntN(2) == 0 {
		c.TexelFormats = pick(rng, []string{"r32f", "rgba32f"}, []string{"rgba16f", "rgba32f"}, []string{"r32u", "rg32u", "rgba32f", "rgba32u"},
			[]string{"r32u", "rg32u", "rgba16f", "rgba32f", "rgba32u"})
	}
	sg := &c.Subgroup
	sg.Size = pick(rng, uint32(1), 4, 8, 16, 32, 64, 128)
	sg.Min, sg.Max = sg.Size, sg.Size
	if rng.IntN(2) == 0 {
		sg.Min, sg.Max = max(1, sg.Size>>rng.IntN(3)), sg.Size<<rng.IntN(2)
	}
	if rng.IntN(8) == 0 {
		sg.Min, sg.Max = 0, 0 // a driver without size control says nothing
	}
	sg.Compute = rng.IntN(8) != 0
	sg.Ops = []string{"arithmetic", "ballot", "basic", "shuffle", "vote"}
	if rng.IntN(4) == 0 {
		sg.Ops = pick(rng, nil, []string{"basic"}, []string{"basic", "vote"}, []string{"shuffle"})
	}
	sg.SizeControl, sg.FullSubgroups = rng.IntN(2) == 0, rng.IntN(2) == 0
	sg.RequiredSizeInCompute = sg.SizeControl && sg.Min > 0 && rng.IntN(4) != 0
	sg.MaxWorkgroupSubgroups = pick(rng, uint32(0), 4, 16, 32)
	c.Features.IntegerDotProduct, c.Features.DotAcceleratedSigned = rng.IntN(4) != 0, rng.IntN(4) != 0
	return c
}

func randomOp(rng *rand.Rand) vkattn.Attention {
	heads := 1 << rng.IntN(6)
	op := vkattn.Attention{Batch: rng.IntN(4), HeadsQ: heads, HeadsK: heads >> rng.IntN(bits.Len(uint(heads))), SeqQ: rng.IntN(5000), SeqK: rng.IntN(200_000),
		HeadDim: 1 + rng.IntN(maxHeadDim), Causal: rng.IntN(2) == 0, With: vkattn.With(rng.IntN(int(vkattn.WithBlocks << 1)))}
	if rng.IntN(2) == 0 {
		op.ValueDim = 1 + rng.IntN(maxHeadDim)
	}
	if rng.IntN(3) == 0 {
		op.HeadDim = pick(rng, 1, 32, 64, 80, 96, 128, 192, 256, 512, 576)
	}
	if rng.IntN(2) == 0 {
		floats := []vkattn.Type{vkattn.Float32, vkattn.Float16, vkattn.BFloat16, vkattn.F8E4M3, vkattn.F8E5M2}
		op.TypeQ, op.TypeOut = pick(rng, floats...), pick(rng, floats...)
		all := append(floats, vkattn.Q8_0, vkattn.Q4_0)
		op.TypeK, op.TypeV = pick(rng, all...), pick(rng, all...)
		if op.TypeK.Size() == 0 || op.TypeV.Size() == 0 {
			op.HeadDim, op.ValueDim = ceilDiv(op.HeadDim, 32)*32, ceilDiv(op.ValueDim, 32)*32
		}
		for i, w := range []vkattn.With{vkattn.WithDescaleQ, vkattn.WithDescaleK, vkattn.WithDescaleV} {
			if typesOf(op).all()[i].Size() == 1 && rng.IntN(2) == 0 {
				op.With |= w
				op.DescaleBlock = pick(rng, 0, 24)
			}
		}
	}
	return op
}

// fits says what is wrong with a choice on a device: everything that a driver would refuse, or compute
// wrongly without a word.
func fits(p *planner, c *vk.Caps, ch *choice) error {
	k, sg := ch.key, c.Subgroup
	shared, err := p.modules[k.Variant].Info.SharedBytes(specMap(k.spec()))
	if err != nil {
		return err
	}
	pow2 := func(n uint32) bool { return n != 0 && n&(n-1) == 0 }
	switch l := c.Limits; {
	case k.Invocations > l.MaxComputeWorkGroupInvocations, k.Invocations > l.MaxComputeWorkGroupSize[0]:
		return fmt.Errorf("%d invocations", k.Invocations)
	case shared != ch.shared, uint32(shared) > l.MaxComputeSharedMemorySize:
		return fmt.Errorf("%d bytes of shared memory, reported as %d", shared, ch.shared)
	case !pow2(k.Lanes) || k.Lanes > 32:
		return fmt.Errorf("%d lanes", k.Lanes)
	case !pow2(k.Rows) || k.Rows > 16 || k.Rows > 2*k.Lanes:
		return fmt.Errorf("%d rows for %d lanes", k.Rows, k.Lanes)
	case k.Invocations == 0 || k.Invocations%k.Lanes != 0:
		return fmt.Errorf("%d invocations for %d lanes", k.Invocations, k.Lanes)
	case int(4*k.Lanes*k.Dim4) < ch.op.HeadDim, int(4*k.Lanes*k.Value4) < ch.op.ValueDim:
		return fmt.Errorf("tile of %d and %d for head sizes %d and %d", 4*k.Lanes*k.Dim4, 4*k.Lanes*k.Value4, ch.op.HeadDim, ch.op.ValueDim)
	case k.Extras < 3 && (k.Extras >= 2) != (ch.op.Softcap > 0 || ch.op.With&^(vkattn.WithDescaleQ|vkattn.WithDescaleK|vkattn.WithDescaleV|vkattn.WithLSE|vkattn.WithSinkLogits|vkattn.WithKeyLengths|vkattn.WithPrefix|vkattn.WithGlobal|vkattn.WithBlocks) != 0):
		return errors.New("extras compiled in or out by mistake")
	case k.Descale != 0 != (ch.op.With&(vkattn.WithDescaleQ|vkattn.WithDescaleK|vkattn.WithDescaleV) != 0), k.Descale == 2 != (ch.op.DescaleBlock > 0):
		return fmt.Errorf("factors %d for %v", k.Descale, ch.op)
	case k.Types.Q != ch.op.TypeQ || k.Types.Out != ch.op.TypeOut:
		return fmt.Errorf("types %v for %v", k.Types, ch.op)
	case k.Variant != texelVariant && (k.Types.K != ch.op.TypeK || k.Types.V != ch.op.TypeV):
		return fmt.Errorf("types %v for %v", k.Types, ch.op)
	}
	switch keys := ch.op.TypeK; {
	case k.Variant != dotVariant && k.Limbs != 0, k.Variant == dotVariant && k.Limbs != 2 && k.Limbs != 3:
		return fmt.Errorf("%d bytes of an element of queries", k.Limbs)
	case k.Variant == dotVariant && (!c.Features.IntegerDotProduct || k.Lanes < dotKeys || keys != vkattn.Q8_0 && keys != vkattn.Q4_0):
		return fmt.Errorf("integer dot products of %s in %d lanes", keys, k.Lanes)
	}
	if few := k.Variant == fewVariant; few != (k.Keys != 0) || few && (c.DeviceType == "cpu" || k.Keys != 4 || k.Team == 0 || k.Keys*k.Team > keyTile || k.Lanes*k.Team > max(c.Subgroup.Size, k.Lanes) || k.Rows > 8 || k.Lanes < 2) {
		return fmt.Errorf("%s on a %s device, %d rows, %v", k.Variant, c.DeviceType, k.Rows, k.team)
	}
	if k.texels() {
		for _, t := range []vkattn.Type{ch.op.TypeK, ch.op.TypeV} {
			if f := texelFormat(k.Variant, t); !slices.Contains(c.TexelFormats, f.String()) {
				return fmt.Errorf("%s reads %s as %s, the device does not", k.Variant, t, f)
			}
		}
	}
	if ch.path != "subgroup" {
		if k.SubgroupSize != 0 || k.FullSubgroups {
			return errors.New("a subgroup size where none is needed")
		}
		return nil
	}
	size := sg.Size // as the kernel may meet it
	switch {
	case !sg.Compute || !slices.Contains(sg.Ops, "basic") || !slices.Contains(sg.Ops, "shuffle"):
		return fmt.Errorf("subgroup operations %v, in compute: %v", sg.Ops, sg.Compute)
	case k.SubgroupSize != 0 && (!sg.RequiredSizeInCompute || k.SubgroupSize < sg.Min || k.SubgroupSize > sg.Max):
		return fmt.Errorf("subgroup size %d required of %d to %d", k.SubgroupSize, sg.Min, sg.Max)
	case k.SubgroupSize != 0 && sg.MaxWorkgroupSubgroups > 0 && k.Invocations/k.SubgroupSize > sg.MaxWorkgroupSubgroups:
		return fmt.Errorf("%d subgroups of at most %d", k.Invocations/k.SubgroupSize, sg.MaxWorkgroupSubgroups)
	case k.FullSubgroups && !sg.FullSubgroups:
		return errors.New("full subgroups that the device does not have")
	case k.SubgroupSize != 0:
		size = k.SubgroupSize
	case sg.Min > 0:
		size = min(size, sg.Min)
	}
	if k.Lanes > size || k.Invocations%max(size, k.SubgroupSize) != 0 || k.Invocations%sg.Size != 0 {
		return fmt.Errorf("%d lanes and %d invocations in subgroups of %d (by default %d)", k.Lanes, k.Invocations, size, sg.Size)
	}
	return nil
}

// TestPlansFit: whatever the device and the problem, a plan fits the device, and every float32 problem
// with head sizes up to 576 has one where Vulkan's minimum and 8 storage buffers are there.
func TestPlansFit(t *testing.T) {
	p := testPlanner(t)
	rng := rand.New(rand.NewPCG(7, 0))
	paths := map[string]int{}
	problems := 25_000
	if os.Getenv("VKATTN_FULL") == "1" {
		problems = 100_000
	}
	for n := range problems {
		c, op := randomCaps(rng), randomOp(rng)
		disabled := map[string]string{}
		if rng.IntN(8) == 0 {
			disabled["subgroup"] = "for the test"
		}
		if err := op.Validate(); err != nil {
			t.Fatal(err)
		}
		d, err := p.forOp(&c, op, pick(rng, "", "flash", dotVariant), disabled)
		if err != nil {
			refusedWithReason(t, err)
			if c.Limits.MaxPerStageStorageBuffers >= 8 {
				t.Fatalf("%d: %v\non %+v", n, err, c)
			}
			paths["refused"]++
			continue
		}
		ch := d.(*choice)
		paths[ch.path]++
		if ch.key.Variant == dotVariant {
			paths[dotVariant]++
		}
		if ch.key.Variant == fewVariant {
			paths[fewVariant]++
		}
		if err := fits(p, &c, ch); err != nil {
			t.Fatalf("%d: %v\nby %+v\non %+v", n, err, ch.key, c)
		}
		if ch.path != rungs[0].path && len(ch.refused) == 0 {
			t.Fatalf("%d: took %s and says nothing of %s", n, ch.path, rungs[0].path)
		}
		for _, splits := range []int{0, 1, 7, 100_000} {
			e := ch.explain(&c, &Config{Splits: splits})
			if e.Splits < 1 || e.Splits > max(1, ceilDiv(op.SeqK, keyTile)) || e.ScratchBytes < 0 || e.Kernel == "" || e.Tile == "" {
				t.Fatalf("%d: %+v", n, e)
			}
		}
	}
	wentEachWay(t, paths, 1000)
}

// TestPlansForRecordedDevices: every head size runs on every device whose capabilities are on record,
// with subgroup operations where it has them.
func TestPlansForRecordedDevices(t *testing.T) {
	p := testPlanner(t)
	for _, r := range recorded(t) {
		for d := 1; d <= maxHeadDim; d += 5 {
			for _, dv := range []int{d, maxHeadDim + 1 - d} {
				for _, with := range []vkattn.With{0, vkattn.WithBias} {
					op := vkattn.Attention{Batch: 1, HeadsQ: 8, SeqQ: 4096, SeqK: 4096, HeadDim: d, ValueDim: dv, With: with}
					d, err := p.forOp(&r.Caps, op, "", nil)
					if err != nil {
						t.Fatalf("%s: %v", r.Name, err)
					}
					ch := d.(*choice)
					if err := fits(p, &r.Caps, ch); err != nil {
						t.Fatalf("%s: %v: %v", r.Name, op, err)
					}
					if sg := r.Caps.Subgroup; ch.path == "plain" && sg.Size >= 2 && missingOps(sg, "basic", "shuffle") == "" {
						t.Fatalf("%s: %v: %v", r.Name, op, ch.refused)
					}
				}
			}
		}
	}
}

// TestRefusals: what cannot run is refused with the reason in words.
func TestRefusals(t *testing.T) {
	p := testPlanner(t)
	good := vk.Caps{Name: "test", DeviceType: "discrete", Limits: vk.Limits{MaxStorageBufferRange: 128 << 20, MaxComputeSharedMemorySize: 16 << 10,
		MaxComputeWorkGroupInvocations: 128, MaxComputeWorkGroupSize: [3]uint32{128, 64, 64}, MaxPerStageStorageBuffers: 8, MaxPushConstantsSize: 128}}
	op := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 1, HeadDim: 64}
	if _, err := p.forOp(&good, op, "", nil); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*vk.Caps, *vkattn.Attention){
		"4 storage buffers": func(c *vk.Caps, _ *vkattn.Attention) { c.Limits.MaxPerStageStorageBuffers = 4 },
		"no push constants": func(c *vk.Caps, _ *vkattn.Attention) { c.Limits.MaxPushConstantsSize = 32 },
		"no shared memory":  func(c *vk.Caps, _ *vkattn.Attention) { c.Limits.MaxComputeSharedMemorySize = 16 },
		"few invocations":   func(c *vk.Caps, _ *vkattn.Attention) { c.Limits.MaxComputeWorkGroupInvocations = 1 },
		"head size":         func(_ *vk.Caps, op *vkattn.Attention) { op.HeadDim = maxHeadDim + 1 },
		"value size":        func(_ *vk.Caps, op *vkattn.Attention) { op.ValueDim = maxHeadDim + 1 },
		"blocks out":        func(_ *vk.Caps, op *vkattn.Attention) { op.TypeOut = vkattn.Q8_0 },
	} {
		c, op := good.Clone(), op
		change(&c, &op)
		_, err := p.forOp(&c, op, "", nil)
		var u *vkattn.UnsupportedError
		if !errors.As(err, &u) || len(u.Reasons) == 0 || u.Reasons[0].Reason == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := p.forOp(&good, vkattn.AttentionGrad{Forward: op}, "", nil); !errors.Is(err, vkattn.ErrUnsupported) {
		t.Errorf("gradient: %v", err)
	}
	for _, op := range []vkattn.Rope{{Heads: 1, HeadDim: 64, TypeQ: vkattn.F8E4M3}, {Heads: 1, HeadDim: 64, TypeOut: vkattn.F8E5M2}} {
		if _, err := p.forOp(&good, op, "", nil); !errors.Is(err, vkattn.ErrUnsupported) {
			t.Errorf("%v: %v", op, err)
		}
	}
	for name, op := range map[string]vkattn.Op{"no op": nil, "no heads": vkattn.Attention{Batch: 1, HeadDim: 64}} {
		if _, err := p.forOp(&good, op, "", nil); !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

package dispatch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// fitsLinear says what is wrong with a choice on a device.
func fitsLinear(p *planner, c *vk.Caps, ch *linearChoice) error {
	spec, invocations := ch.key.pipelineSpec(), ch.key.Invocations
	if ch.chunk.Chunk > 0 {
		spec, invocations = ch.chunk.pipelineSpec(), ch.chunk.Invocations
	}
	shared, err := p.modules[spec.Name].Info.SharedBytes(specMap(spec.Spec))
	if err != nil {
		return err
	}
	pow2 := func(n uint32) bool { return n != 0 && n&(n-1) == 0 }
	k, sg := ch.key, c.Subgroup
	switch {
	case shared != ch.shared || uint32(shared) > c.Limits.MaxComputeSharedMemorySize:
		return fmt.Errorf("%d bytes of shared memory, reported as %d", shared, ch.shared)
	case invocations > c.Limits.MaxComputeWorkGroupInvocations || invocations > c.Limits.MaxComputeWorkGroupSize[0]:
		return fmt.Errorf("%d invocations", invocations)
	case spec.PushBytes > int(c.Limits.MaxPushConstantsSize):
		return fmt.Errorf("%d bytes of push constants", spec.PushBytes)
	case ch.chunk.Chunk > 0:
		if int(ch.chunk.Padded) < ch.op.FeatureDim() || ch.chunk.Channel != (ch.op.Decay == vkattn.DecayChannel) || !ch.op.Causal {
			return errors.New("a chunked kernel that cannot compute this")
		}
		return nil
	case int(4*k.Lanes*k.Dim4) < ch.op.FeatureDim():
		return fmt.Errorf("%d lanes of %d vec4 for %d features", k.Lanes, k.Dim4, ch.op.FeatureDim())
	case !pow2(k.Lanes) || k.Lanes > 32 || k.Columns != 4 && k.Columns != 8 || k.Columns > k.Lanes || k.Invocations%k.Lanes != 0:
		return fmt.Errorf("%d columns in %d lanes of %d", k.Columns, k.Lanes, k.Invocations)
	case ch.reads > 1 && ch.reads < int(k.Reads) || !pow2(k.Reads) || k.Reads > 4:
		return fmt.Errorf("%d reads of %d", k.Reads, ch.reads)
	case k.Types != ch.types() && !k.texels():
		return fmt.Errorf("specialised on %v", k.Types)
	case k.Delta != (ch.op.Rule == vkattn.RuleDelta) || k.Channel != (ch.op.Decay == vkattn.DecayChannel):
		return errors.New("another rule or decay")
	}
	if ch.path != "subgroup" {
		return nil
	}
	size := sg.Size
	if k.SubgroupSize == 0 && sg.Min > 0 {
		size = min(size, sg.Min)
	}
	if missingOps(sg, "basic", "shuffle") != "" || k.Lanes > size {
		return fmt.Errorf("%d lanes in subgroups of %d", k.Lanes, size)
	}
	return nil
}

// TestLinearPlansFit walks ops and devices that may exist: each is planned within the limits, or refused with a reason.
func TestLinearPlansFit(t *testing.T) {
	p := testPlanner(t)
	rng := rand.New(rand.NewPCG(11, 0))
	paths := map[string]int{}
	for n := range 20_000 {
		c := randomCaps(rng)
		op := vkattn.Linear{Batch: rng.IntN(4), HeadsQ: 1 << rng.IntN(6), HeadsK: 1 << rng.IntN(3), HeadsV: 1 << rng.IntN(5), SeqQ: rng.IntN(200_000),
			HeadDim: 1 + rng.IntN(maxFeatures), ValueDim: rng.IntN(maxFeatures), Map: vkattn.FeatureMap(rng.IntN(8)), Causal: rng.IntN(3) > 0,
			Rule: vkattn.UpdateRule(rng.IntN(2)), Decay: vkattn.Decay(rng.IntN(4)), Norm: vkattn.Norm(rng.IntN(4)), StateIn: rng.IntN(2) == 0, StateOut: rng.IntN(2) == 0}
		if rng.IntN(2) == 0 {
			op.HeadDim, op.Features = pick(rng, 32, 64, 128, 256), rng.IntN(300)
		}
		for _, t := range []*vkattn.Type{&op.TypeQ, &op.TypeK, &op.TypeV, &op.TypeOut} {
			*t = pick(rng, vkattn.Float32, vkattn.Float16, vkattn.BFloat16)
		}
		if op.Validate() != nil {
			continue
		}
		kernel := pick(rng, "", linearRecurrent, linearChunk)
		d, err := p.forOp(&c, op, kernel, nil)
		if err != nil {
			refusedWithReason(t, err)
			if c.Limits.MaxPerStageStorageBuffers >= 8 && kernel != linearChunk && c.Limits.MaxComputeSharedMemorySize >= 32<<10 {
				t.Fatalf("%d: %v\non %+v", n, err, c)
			}
			paths["refused"]++
			continue
		}
		ch := d.(*linearChoice)
		paths[ch.path]++
		if err := fitsLinear(p, &c, ch); err != nil {
			t.Fatalf("%d: %v: %v\nby %+v\non %+v", n, op, err, ch.key, c)
		}
		e := ch.explain(&c, &Config{Splits: rng.IntN(3)})
		if e.Splits < 1 || e.ScratchBytes < 0 || e.Kernel == "" || e.Tile == "" {
			t.Fatalf("%d: %+v", n, e)
		}
	}
	wentEachWay(t, paths, 500)
}

// TestLinearPlansForRecordedDevices: every head size runs on every device whose capabilities are on record.
func TestLinearPlansForRecordedDevices(t *testing.T) {
	p := testPlanner(t)
	for _, r := range recorded(t) {
		for d := 1; d <= maxFeatures; d += 31 {
			for _, rule := range []vkattn.UpdateRule{vkattn.RuleAdd, vkattn.RuleDelta} {
				op := vkattn.Linear{Batch: 1, HeadsQ: 8, HeadsK: 2, SeqQ: 4096, HeadDim: d, Causal: true, Rule: rule, Norm: vkattn.NormSum}
				c, err := p.forOp(&r.Caps, op, "", nil)
				if err != nil {
					t.Fatalf("%s: %v", r.Name, err)
				}
				if err := fitsLinear(p, &r.Caps, c.(*linearChoice)); err != nil {
					t.Fatalf("%s: %v: %v", r.Name, op, err)
				}
			}
		}
	}
}

// TestLinearTypesRefused: what is not there has a reason.
func TestLinearTypesRefused(t *testing.T) {
	c := h100(t)
	op := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 8, HeadDim: 64, TypeV: vkattn.F8E4M3}
	_, err := testPlanner(t).forOp(&c, op, "", nil)
	var u *vkattn.UnsupportedError
	if !errors.As(err, &u) || len(u.Reasons) != 1 || u.Reasons[0].Reason != "v is f8_e4m3, the kernels read and write f32, f16 and bf16" {
		t.Error(err)
	}
}

// TestLinearFewPipelines: lengths, strides, heads and flags are data.
func TestLinearFewPipelines(t *testing.T) {
	p := testPlanner(t)
	c := vk.Caps{Name: "test", DeviceType: "discrete", Limits: vk.Limits{MaxStorageBufferRange: 128 << 20, MaxComputeSharedMemorySize: 32 << 10,
		MaxComputeWorkGroupInvocations: 1024, MaxComputeWorkGroupSize: [3]uint32{1024, 64, 64}, MaxPerStageStorageBuffers: 8, MaxPushConstantsSize: 128},
		Subgroup: vk.Subgroup{Size: 32, Min: 32, Max: 32, Compute: true, Ops: []string{"basic", "shuffle"}}}
	keys := map[pipelineKey]bool{}
	for _, seq := range []int{1, 100, 1 << 20} {
		for _, heads := range []int{1, 8, 64} {
			for _, d := range []int{40, 59, 64} {
				for _, m := range []vkattn.FeatureMap{vkattn.MapIdentity, vkattn.MapReLU, vkattn.MapSquaredReLU, vkattn.MapELU, vkattn.MapExp, vkattn.MapSiLU} {
					for _, decay := range []vkattn.Decay{vkattn.DecayNone, vkattn.DecayHead, vkattn.DecayToken} {
						for _, state := range []bool{false, true} {
							op := vkattn.Linear{Batch: 1, HeadsQ: heads, SeqQ: seq, HeadDim: d, Map: m, Causal: true, Decay: decay, StateIn: state, StateOut: state}
							x, err := p.forOp(&c, op, "", nil)
							if err != nil {
								t.Fatal(err)
							}
							for _, k := range x.pipelineKeys() {
								keys[k] = true
							}
						}
					}
				}
			}
		}
	}
	if len(keys) > 3 {
		t.Errorf("%d pipelines, want one for maps with exp, one for those without, and one for no map", len(keys))
	}
}

// TestLinearMatrixPlans: on every device on record that has matrices of a shape it knows, chunks of sixteen bits run on matrix units and
// fit, or have a reason not to.
func TestLinearMatrixPlans(t *testing.T) {
	p := testPlanner(t)
	half := func(d int) vkattn.Linear {
		h := vkattn.Float16
		return vkattn.Linear{Batch: 1, HeadsQ: 8, SeqQ: 4096, HeadDim: d, Causal: true, TypeQ: h, TypeK: h, TypeV: h, TypeOut: h}
	}
	served := map[string]bool{}
	all := recorded(t)
	for _, r := range all {
		// Few records have the shapes: those of NVIDIA's are the same everywhere, Intel's have 8 rows.
		for name, shape := range map[string][3]uint32{"rtx-4090-linux": {16, 16, 16}, "arc-b580-anv": {8, 16, 16}} {
			if r.Name == name {
				r.Caps = r.Caps.Clone()
				r.Caps.CooperativeMatrix = []vk.MatrixShape{{M: shape[0], N: shape[1], K: shape[2], A: "f16", B: "f16", C: "f32", Result: "f32", Scope: "subgroup"}}
				r.Name += " with shapes"
				all = append(all, r)
			}
		}
	}
	for _, r := range all {
		for _, d := range []int{16, 64, 100, 128, 256, 512} {
			for _, rule := range []vkattn.UpdateRule{vkattn.RuleAdd, vkattn.RuleDelta} {
				op := half(d)
				op.Rule = rule
				c, err := p.forOp(&r.Caps, op, linearChunk, nil)
				if err != nil {
					refusedWithReason(t, err)
					continue
				}
				ch := c.(*linearChoice)
				if err := fitsLinear(p, &r.Caps, ch); err != nil {
					t.Errorf("%s: %v: %v", r.Name, op, err)
				}
				if k := ch.chunk; k.matrix() {
					served[r.Name] = true
					t.Logf("%s, %d features, %v: %s, %d bytes of shared memory", r.Name, d, rule, ch.tile(), ch.shared)
					if r.Caps.DeviceType == "cpu" {
						t.Errorf("%s multiplies in software", r.Name)
					}
					if k.Chunk%k.M != 0 || k.Chunk%k.N != 0 || k.Span%k.N != 0 || k.Slice%k.N != 0 || k.Padded%k.Slice != 0 || k.Padded%k.M != 0 || k.Invocations%k.SubgroupSize != 0 {
						t.Errorf("%s: %+v", r.Name, k)
					}
				} else if len(ch.notFor) == 0 && r.Caps.DeviceType != "cpu" {
					t.Errorf("%s: no reason not to take matrix units", r.Name)
				}
			}
		}
	}
	for _, name := range []string{"h100-linux", "rtx-4090-linux with shapes", "rx-7900-xtx-radv", "arc-b580-anv with shapes"} {
		if !served[name] {
			t.Errorf("%s runs no chunks on matrix units", name)
		}
	}
	caps := h100(t)
	for name, c := range map[string]struct {
		op  func(*vkattn.Linear)
		why string
	}{
		"float32":  {func(l *vkattn.Linear) { l.TypeQ = 0 }, "q is f32"},
		"mixed":    {func(l *vkattn.Linear) { l.TypeV = vkattn.BFloat16 }, "v is bf16 and q is f16"},
		"channel":  {func(l *vkattn.Linear) { l.Decay = vkattn.DecayChannel }, "a decay of each feature"},
		"range":    {func(l *vkattn.Linear) { l.Map = vkattn.MapExp }, "may leave the range"},
		"features": {func(l *vkattn.Linear) { l.Map, l.Features = vkattn.MapFavor, 64 }, "features of a kernel"},
	} {
		op := half(64)
		c.op(&op)
		d, err := p.forOp(&caps, op, linearChunk, nil)
		if err != nil {
			t.Fatal(err)
		}
		ch := d.(*linearChoice)
		if ch.chunk.matrix() || len(ch.notFor) != 1 || !strings.Contains(ch.notFor[0].Reason, c.why) || len(ch.refused) > 0 {
			t.Errorf("%s: %s, not for it %v", name, ch.key.Variant, ch.notFor)
		}
	}
	for _, name := range []string{rungMatrix, linearChunkMatrix} {
		d, err := p.forOp(&caps, half(64), linearChunk, map[string]string{name: "for the test"})
		if err != nil {
			t.Fatal(err)
		}
		if ch := d.(*linearChoice); ch.chunk.matrix() || len(ch.refused) != 1 {
			t.Errorf("without %s: %s", name, ch.key.Variant)
		}
	}
}

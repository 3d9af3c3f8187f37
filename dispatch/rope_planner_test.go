package dispatch

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestRopePlansFit: every float32 rope has a plan where Vulkan's minimum and 8 storage buffers are there, in two pipelines
// of at most four.
func TestRopePlansFit(t *testing.T) {
	p := testPlanner(t)
	rng := rand.New(rand.NewPCG(12, 0))
	keys := map[pipelineKey]bool{}
	refused := 0
	for n := range 5000 {
		c := randomCaps(rng)
		op := vkattn.Rope{Batch: rng.IntN(4), Heads: 1 + rng.IntN(64), Seq: rng.IntN(200_000), HeadDim: 2 + rng.IntN(500),
			Layout: vkattn.RopeLayout(rng.IntN(2)), Inverse: rng.IntN(2) == 0, Positions: rng.IntN(2) == 0}
		op.RotaryDim = 2 + 2*rng.IntN(op.HeadDim/2)
		d, err := p.forOp(&c, op, pick(rng, "", "flash", linearChunk), map[string]string{"subgroup": "for the test"})
		if err != nil {
			refusedWithReason(t, err)
			if c.Limits.MaxPerStageStorageBuffers >= 8 {
				t.Fatalf("%d: %v: %v\non %+v", n, op, err, c)
			}
			refused++
			continue
		}
		own := d.pipelineKeys()
		for _, k := range own {
			spec := k.pipelineSpec()
			if shared, err := p.modules[spec.Name].Info.SharedBytes(specMap(spec.Spec)); err != nil || shared != 0 {
				t.Fatalf("%d bytes of shared memory, %v", shared, err)
			}
			keys[k] = true
		}
		e := d.explain(&c, &Config{})
		if len(own) != 2 || e.Kernel != "rope" || e.Op != op.String() || e.Splits != 1 || e.ScratchBytes != 0 || e.Tile == "" {
			t.Fatalf("%d: %d pipelines, %+v", n, len(own), e)
		}
	}
	if len(keys) != 4 || refused == 0 {
		t.Errorf("%d pipelines for all ropes, want 4; %d refused", len(keys), refused)
	}
}

// TestRopePlansForRecordedDevices: rope runs on every device whose capabilities are on record.
func TestRopePlansForRecordedDevices(t *testing.T) {
	op := vkattn.Rope{Batch: 4, Heads: 32, Seq: 8192, HeadDim: 128, RotaryDim: 96, Positions: true}
	for _, r := range recorded(t) {
		e, err := PlanFor(r.Caps, op, Config{})
		if err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		for _, want := range []string{op.String(), r.Caps.Name, "rope", "4 pairs of columns per invocation, 64 invocations"} {
			if !strings.Contains(e.String(), want) {
				t.Errorf("%s: the plan says nothing of %q:\n%s", r.Name, want, e)
			}
		}
		if windows := strings.Contains(e.String(), "windows"); windows != (r.Caps.Limits.MaxStorageBufferRange < 512<<20) {
			t.Errorf("%s binds %d bytes:\n%s", r.Name, r.Caps.Limits.MaxStorageBufferRange, e)
		}
	}
}

package dispatch

import (
	"errors"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/caps"
	"github.com/vkattn/vkattn/vk"
)

// TestSparsePlansForRecordedDevices: MoBA and NSA run on every device whose capabilities are on record, and what they lack
// elsewhere is said.
func TestSparsePlansForRecordedDevices(t *testing.T) {
	records, err := caps.All()
	if err != nil {
		t.Fatal(err)
	}
	a := vkattn.Attention{Batch: 1, HeadsQ: 32, HeadsK: 2, SeqQ: 65536, SeqK: 65536, HeadDim: 128, Causal: true}
	ops := []vkattn.Op{vkattn.MoBA{Attention: a, Block: 512, TopK: 8},
		vkattn.NSA{Attention: a, Compress: 32, Stride: 16, Select: 64, TopN: 16, Window: 512}}
	for _, r := range records {
		if n := &r.Caps.Limits.MaxPerStageStorageBuffers; *n == 0 {
			*n = numStorage // not on record
		}
		for _, op := range ops {
			e, err := PlanFor(r.Caps, op, Config{})
			if err != nil {
				t.Fatalf("%s: %v", r.Name, err)
			}
			if e.Op != op.String() || e.ScratchBytes <= 0 || !strings.Contains(e.String(), "skipped") {
				t.Errorf("%s: %v", r.Name, e)
			}
			for why, change := range map[string]func(*vk.Caps){
				"push constants": func(c *vk.Caps) { c.Limits.MaxPushConstantsSize = 96 },
				"invocations":    func(c *vk.Caps) { c.Limits.MaxComputeWorkGroupInvocations = 32 },
			} {
				c := r.Caps.Clone()
				change(&c)
				if _, err := PlanFor(c, op, Config{}); !errors.Is(err, vkattn.ErrUnsupported) || !strings.Contains(err.Error(), why) {
					t.Errorf("%s without %s: %v", r.Name, why, err)
				}
			}
		}
	}
	all := vkattn.MoBA{Attention: a, Block: 512, TopK: 128}
	if e, err := PlanFor(records[0].Caps, all, Config{}); err == nil && !strings.Contains(e.String(), "causal attention") {
		t.Errorf("all blocks: %v", e)
	}
	blocks := all
	blocks.Attention.TypeK = vkattn.Q8_0
	if _, err := PlanFor(records[0].Caps, blocks, Config{}); !errors.Is(err, vkattn.ErrUnsupported) || !strings.Contains(err.Error(), "k is q8_0") {
		t.Errorf("blocks of keys: %v", err)
	}
}

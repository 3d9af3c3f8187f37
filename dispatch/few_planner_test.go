package dispatch

import (
	"cmp"
	"os"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// TestFewPlanned: graphics cards take the build for few rows, in teams of what is left of a subgroup.
func TestFewPlanned(t *testing.T) {
	card := h100(t)
	software := card
	software.DeviceType = "cpu"
	decode := vkattn.Attention{Batch: 1, HeadsQ: 32, HeadsK: 8, SeqQ: 1, SeqK: 4096, HeadDim: 128, TypeQ: vkattn.Float16, TypeK: vkattn.Float16, TypeV: vkattn.Float16} // out is f32, which flash_decode does not write
	with := func(change func(*vkattn.Attention)) vkattn.Attention {
		op := decode
		change(&op)
		return op
	}
	for _, c := range []struct {
		name string
		caps vk.Caps
		op   vkattn.Attention
		off  bool
		team uint32 // 0: another build serves
	}{
		{"f16", card, decode, false, 4},
		{"f32", card, with(func(op *vkattn.Attention) { op.TypeQ, op.TypeK, op.TypeV = 0, 0, 0 }), false, 4},
		{"wide", card, with(func(op *vkattn.Attention) { op.HeadDim = 576 }), false, 1},
		{"many rows", card, with(func(op *vkattn.Attention) { op.SeqQ = 100 }), false, 0},
		{"few keys", card, with(func(op *vkattn.Attention) { op.SeqK = 100 }), false, 0},
		{"off", card, decode, true, 0},
		{"software", software, decode, false, 0},
	} {
		off := map[string]string{}
		if c.off {
			off[fewRung] = "said so"
		}
		ch, err := testPlanner(t).choose(&c.caps, c.op, "flash", off)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if ch.key.Team != c.team || (ch.key.Variant == fewVariant) != (c.team > 0) {
			t.Errorf("%s: %s, %s", c.name, ch.key.Variant, ch.tile())
		}
		if refused := len(ch.refused) > 0; refused != c.off {
			t.Errorf("%s: refused are %v", c.name, ch.refused)
		}
	}
}

// TestFewAdmission: Open tests the build for few rows on graphics cards, and does without it if it fails.
func TestFewAdmission(t *testing.T) {
	opened, err := Open(t.Context(), Config{Device: cmp.Or(os.Getenv("VKATTN_TEST_DEVICE"), "llvmpipe"), CacheDir: "off",
		VK: vk.DeviceConfig{Override: func(c *vk.Caps) { c.DeviceType = "discrete" }}})
	if err != nil {
		if os.Getenv("VKATTN_REQUIRE_DEVICE") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no device to test on: %v", err)
	}
	defer opened.Close()
	be := opened.(*Backend)
	if _, off := be.disabled[rungSubgroup]; off {
		t.Skip("no subgroups")
	}
	if !be.late.passed[fewVariant] {
		t.Errorf("passed are %v, disabled %v", be.late.passed, be.disabled)
	}
	be.disabled[fewRung] = selfTestFailed + "known answer missed by 1"
	d, err := be.decide(t.Context(), fewProblem)
	if err != nil {
		t.Fatal(err)
	}
	ch := d.(*choice)
	if failed := failedTest(ch.refused); ch.kernel() == fewVariant || failed != "flash_few failed its self-test on this device: known answer missed by 1" {
		t.Errorf("%s serves, reports say %q", ch.kernel(), failed)
	}
}

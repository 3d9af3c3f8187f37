package dispatch

import (
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// TestDotPlanned: integer dot products serve few rows over keys in blocks where they are accelerated, and what is not taken says why.
func TestDotPlanned(t *testing.T) {
	accelerated := h100(t)
	none, slow, software := accelerated, accelerated, accelerated
	none.Features.IntegerDotProduct, slow.Features.DotAcceleratedSigned, software.DeviceType = false, false, "cpu"
	few := vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 1, SeqQ: 1, SeqK: 4096, HeadDim: 128, TypeQ: vkattn.Float16, TypeK: vkattn.Q8_0, TypeV: vkattn.Q8_0, TypeOut: vkattn.Float16}
	with := func(change func(*vkattn.Attention)) vkattn.Attention {
		op := few
		change(&op)
		return op
	}
	for _, c := range []struct {
		name   string
		caps   vk.Caps
		op     vkattn.Attention
		kernel string
		off    string
		want   string // the reason; "": it is taken; "-": nothing is said of it
	}{
		{"", accelerated, few, "", "", ""},
		{"q4_0", accelerated, with(func(op *vkattn.Attention) { op.TypeK = vkattn.Q4_0 }), "", "", ""},
		{"f16 values", accelerated, with(func(op *vkattn.Attention) { op.TypeV = vkattn.Float16 }), "", "", ""},
		{"extras", accelerated, with(func(op *vkattn.Attention) { op.Softcap, op.With = 5, vkattn.WithALiBi|vkattn.WithMask }), "", "", ""},
		{"f16 keys", accelerated, with(func(op *vkattn.Attention) { op.TypeK = vkattn.Float16 }), "", "", "-"},
		{"many rows", accelerated, with(func(op *vkattn.Attention) { op.SeqQ, op.HeadsQ = 2, 5 }), "", "", "for at most 8 rows"},
		{"few keys", accelerated, with(func(op *vkattn.Attention) { op.SeqK = 500 }), "", "", "512 keys or more"},
		{"wide heads", accelerated, with(func(op *vkattn.Attention) { op.HeadDim, op.TypeQ = 256, vkattn.Float32 }), "", "", "registers for the queries of 4 rows, not 8"},
		{"wide heads alone", accelerated, with(func(op *vkattn.Attention) { op.HeadDim, op.TypeQ, op.HeadsQ = 256, vkattn.Float32, 1 }), "", "", ""},
		{"none", none, few, "", "", "no integer dot products"},
		{"none, forced", none, few, dotVariant, "", "no integer dot products"},
		{"slow", slow, few, "", "", "does not accelerate"},
		{"slow, forced", slow, few, dotVariant, "", ""},
		{"software", software, few, "", "", "does not accelerate"},
		{"software, many rows, forced", software, with(func(op *vkattn.Attention) { op.SeqQ = 100 }), dotVariant, "", ""},
		{"off", accelerated, few, "", integerDot, "said so"},
		{"off, forced", accelerated, few, dotVariant, integerDot, "said so"},
		{"flash", accelerated, few, "flash", "", "flash was asked for"},
		{"no subgroups", accelerated, few, dotVariant, rungSubgroup, "said so"},
	} {
		p, off := testPlanner(t), map[string]string{}
		if c.off != "" {
			off[c.off] = "said so"
		}
		ch, err := p.choose(&c.caps, c.op, c.kernel, off)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		why := "-"
		if ch.key.Variant == dotVariant {
			why = ""
			if err := fits(p, &c.caps, ch); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if want := limbs(c.op); ch.key.Limbs != want {
				t.Errorf("%s: %d limbs", c.name, ch.key.Limbs)
			}
		}
		for _, r := range ch.explain(&c.caps, &Config{}).NotTaken {
			if r.Kernel == dotVariant {
				why = r.Reason
			}
		}
		if why != c.want && (c.want == "" || c.want == "-" || !strings.Contains(why, c.want)) {
			t.Errorf("%s: %q, want %q", c.name, why, c.want)
		}
		if refused := len(ch.refused) > 0; refused != (c.off != "") {
			t.Errorf("%s: a fallback: %v", c.name, ch.refused)
		}
	}
	for op, want := range map[vkattn.Attention]uint32{few: 2, with(func(op *vkattn.Attention) { op.With = vkattn.WithLSE }): 3,
		with(func(op *vkattn.Attention) { op.TypeQ = vkattn.Float32 }): 3, with(func(op *vkattn.Attention) { op.TypeOut = vkattn.Float32 }): 3, with(func(op *vkattn.Attention) { op.TypeQ = vkattn.F8E4M3 }): 3,
		with(func(op *vkattn.Attention) { op.TypeQ = vkattn.BFloat16 }): 2} {
		if n := limbs(op); n != want {
			t.Errorf("%v: %d bytes an element, want %d", op, n, want)
		}
	}
}

// TestDotAdmission: the build is tested when the first plan, or a cache, wants it, and does not serve if it fails.
func TestDotAdmission(t *testing.T) {
	be := openTested(t)
	if !be.caps.Features.IntegerDotProduct {
		t.Skip("no integer dot products")
	}
	be.config.Kernel = dotVariant
	op := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 40, HeadDim: 32, TypeK: vkattn.Q8_0, TypeV: vkattn.Q8_0}
	cache := vkattn.CacheSpec{Op: op, Layers: 1}
	decided := func() (*choice, *KVCache) {
		d, err := be.decide(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		c, err := be.NewCache(t.Context(), cache)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return d.(*choice), c.(*KVCache)
	}
	ch, c := decided()
	if ch.kernel() != dotVariant || !be.late.passed[dotVariant] || c.noDot != "" || c.plans[planKey{rows: 1}].kernel() != dotVariant {
		t.Errorf("%s serves, passed are %v, the cache says %q", ch.kernel(), be.late.passed, c.noDot)
	}
	be.late.passed = map[string]bool{}
	be.late.failed[integerDot] = selfTestFailed + "known answer missed by 1"
	ch, c = decided()
	if failed := failedTest(ch.refused); failed != "flash_dot failed its self-test on this device: known answer missed by 1" {
		t.Errorf("reports say %q", failed)
	}
	if ch.kernel() == dotVariant || c.noDot == "" || c.plans[planKey{rows: 1}].kernel() == dotVariant {
		t.Errorf("%s serves, the cache says %q", ch.kernel(), c.noDot)
	}
}

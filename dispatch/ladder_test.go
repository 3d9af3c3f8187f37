package dispatch

import (
	"slices"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/caps"
	"github.com/vkattn/vkattn/vk"
)

func record(t *testing.T, name string) vk.Caps {
	t.Helper()
	r, err := caps.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return r.Caps
}

// TestWalk: a ladder has every rung of its kind of work once, best first, with what is refused where it would stand.
func TestWalk(t *testing.T) {
	p := testPlanner(t)
	c := record(t, "rx-7900-xtx-radv")
	c.Limits.MaxPerStageStorageBuffers = 64
	kernels := func(op vkattn.Op, off map[string]string) string {
		t.Helper()
		decisions, refused, err := p.walk(&c, op, "", off)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for i := range refused {
			for _, s := range refused[i] {
				all = append(all, s.Kernel+" no: "+s.Reason)
			}
			if i < len(decisions) {
				all = append(all, decisions[i].summary().kernel)
			}
		}
		return strings.Join(all, ", ")
	}
	attention := ladderAttention(vkattn.Float32, vkattn.Float32)
	const others = ", flash_matrix2 no: q is f32, matrix units multiply f16 and bf16, flash_matrix no: q is f32, matrix units multiply f16 and bf16"
	if got := kernels(attention, nil); got != "flash_subgroup, flash_plain"+others {
		t.Error(got)
	}
	if got := kernels(attention, map[string]string{rungSubgroup: "said so"}); got != "flash_subgroup no: said so, flash_plain"+others {
		t.Error(got)
	}
	off := map[string]string{}
	for _, name := range Rungs() {
		off[name] = "said so"
	}
	if got := kernels(attention, off); got != "flash_subgroup no: said so, flash_plain no: said so"+others {
		t.Error(got)
	}
	if got := kernels(vkattn.Rope{Batch: 1, Heads: 8, Seq: 512, HeadDim: 64}, nil); got != "rope" {
		t.Error(got)
	}
	for _, w := range ladderOps {
		if err := w.op.Validate(); err != nil {
			t.Errorf("%s: %v", w.name, err)
		}
		kernels(w.op, nil)
	}
}

// TestDistrust: what the table of quirks turns off, for the planner on any machine.
func TestDistrust(t *testing.T) {
	for _, c := range []struct{ record, rung, want string }{
		{"adreno-740", rungMatrix, "Tencent/ncnn/pull/6972"},
		{"rx-6800-windows", rungMatrix2, "llama.cpp/pull/11074"},
		{"rx-7900-xtx-windows", rungMatrix, ""},
		{"rtx-2070-linux", rungMatrix, "llama.cpp/pull/19290"},
		{"rtx-2070-linux", rungMatrix2, ""},
		{"rtx-4090-linux", rungMatrix, ""},
		{"h100-linux", rungMatrix, ""},
		{"arc-a770-anv", rungMatrix, "llama.cpp/pull/10597"},
		{"arc-b580-anv", rungMatrix, ""},
	} {
		caps := record(t, c.record)
		off := map[string]string{}
		distrust(off, &caps)
		if why := off[c.rung]; c.want == "" && why != "" || !strings.HasSuffix(why, c.want) {
			t.Errorf("%s: %s is off for %q, want %q", c.record, c.rung, why, c.want)
		}
		if off[rungSubgroup] != "" || off["plain"] != "" {
			t.Errorf("%s: %v", c.record, off)
		}
	}
	// A Radeon behind MoltenVK.
	c := record(t, "rx-6800-radv")
	c.DriverID, c.Subgroup.Size, c.Limits.MaxPerStageStorageBuffers = 14, 64, 64
	e, err := PlanFor(c, ladderAttention(vkattn.Float32, vkattn.Float32), Config{})
	distrusted := func(r vkattn.Refusal) bool { return strings.Contains(r.Reason, "MoltenVK/issues/2750") }
	if err != nil || e.Path != "plain" || !slices.ContainsFunc(e.NotTaken, distrusted) {
		t.Errorf("%+v, %v", e, err)
	}
	unasked := vk.Caps{Unasked: vk.RiskyQueries()}
	off := map[string]string{rungMatrix: "by hand"}
	if distrust(off, &unasked); off[rungMatrix] != "by hand" || !strings.Contains(off[rungMatrix2], "vkattn doctor") {
		t.Error(off)
	}
}

// TestKeepQuery: the table decides about a risky call until a process of its own has made it.
func TestKeepQuery(t *testing.T) {
	call, other := vk.RiskyQueries()[0], vk.RiskyQueries()[1]
	cfg := Config{CacheDir: t.TempDir()}
	warned := vk.Caps{Name: "Radeon 860M", DriverID: 1, DeviceType: "integrated"}
	fine := vk.Caps{Name: "another", DriverID: 3, DeviceType: "integrated"}
	asks := func(caps vk.Caps, call string, want bool) {
		t.Helper()
		if got := cfg.instance().Ask(&caps, call); got != want {
			t.Errorf("%s asked for %s: %v", caps.Name, call, got)
		}
	}
	asks(warned, call, false)
	asks(fine, call, true)
	for caps, failure := range map[string]string{"warned": "", "fine": "crashed"} {
		device := warned
		if caps == "fine" {
			device = fine
		}
		if _, err := KeepQuery(cfg, device, call, failure); err != nil {
			t.Fatal(err)
		}
	}
	asks(warned, call, true)
	asks(warned, other, false)
	asks(fine, call, false)
	asks(fine, other, true)
	newer := warned
	newer.DriverVersion++
	asks(newer, call, false)
	if file, err := KeepQuery(Config{CacheDir: "off"}, fine, call, ""); file != "" || err != nil {
		t.Error(file, err)
	}
	cfg.Ask = func(*vk.Caps, string) bool { return true }
	asks(newer, call, true)
}

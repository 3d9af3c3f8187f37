package dispatch

import (
	"cmp"
	"errors"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

func openTested(t *testing.T) *Backend {
	t.Helper()
	opened, err := Open(t.Context(), Config{Device: cmp.Or(os.Getenv("VKATTN_TEST_DEVICE"), "llvmpipe"), CacheDir: "off"})
	if errors.Is(err, ErrNoDevice) && os.Getenv("VKATTN_REQUIRE_DEVICE") != "1" {
		t.Skipf("no device to test on: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened.(*Backend)
}

// TestRopeAdmission: the rope kernel is tested when a plan first wants it, does not serve if it fails, and a wrong answer
// is a failure.
func TestRopeAdmission(t *testing.T) {
	be := openTested(t)
	op := vkattn.Rope{Batch: 1, Heads: 1, Seq: 4, HeadDim: 8}
	d, err := be.decide(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	if !be.late.passed[ropeVariant] {
		t.Fatalf("passed are %v", be.late.passed)
	}
	one := func() vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(numbers(32, func() float64 { return 1 })), 1, 1, 4, 8)
	}
	table := vkattn.BHSD(vkattn.Float32s(make([]float32, 16)), 1, 1, 4, 4)
	args := vkattn.Args{Q: one(), Out: one(), Cos: table, Sin: table}
	out := args.Out.Mem.(*vkattn.Host).Float32s()
	for _, c := range []struct {
		answer float64
		reason string
	}{{0, ""}, {0.5, "known answer missed by 0.5"}} {
		want := make([]float64, 32)
		want[31] = c.answer
		if reason, err := be.missed(t.Context(), d, args, 0, known{got: out, want: want}); err != nil || reason != c.reason {
			t.Errorf("%q, want %q: %v", reason, c.reason, err)
		}
	}

	be.late.passed = map[string]bool{}
	be.late.failed[ropeVariant] = "self-test: known answer missed by 1"
	for _, err := range []error{be.Supports(op), func() error { _, err := be.Plan(t.Context(), op); return err }()} {
		var u *vkattn.UnsupportedError
		if !errors.As(err, &u) || len(u.Reasons) != 1 || u.Reasons[0].Reason != be.late.failed[ropeVariant] {
			t.Errorf("after a failed self-test: %v", err)
		}
	}
}

// TestLinearLadder: rungs of the linear kernels are tested when a plan first wants them, and one that failed does not
// serve.
func TestLinearLadder(t *testing.T) {
	be := openTested(t)
	op := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 4, HeadDim: 8, Causal: true}
	d, err := be.decide(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	good := d.(*linearChoice)
	if good.path != "subgroup" || !be.late.passed[good.key.Variant] {
		t.Fatalf("%s serves, passed are %v", good.key.Variant, be.late.passed)
	}

	// As if the test had failed before.
	be.late.passed = map[string]bool{}
	be.late.failed["subgroup"] = "self-test: known answer missed by 1"
	d, err = be.decide(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	if failed := failedTest(d.summary().refused); failed != "linear_recurrent_subgroup failed its self-test on this device: known answer missed by 1" {
		t.Errorf("reports say %q", failed)
	}
	if ch := d.(*linearChoice); ch.path != "plain" || !slices.ContainsFunc(ch.refused, func(r vkattn.Refusal) bool { return r.Reason == be.late.failed["subgroup"] }) {
		t.Errorf("%s serves, refused were %v", ch.key.Variant, ch.refused)
	}
	be.late.failed["plain"] = "self-test: known answer missed by 2"
	if _, err = be.decide(t.Context(), op); !errors.Is(err, vkattn.ErrUnsupported) {
		t.Errorf("without a rung: %v", err)
	}
	if err := be.Supports(op); !errors.Is(err, vkattn.ErrUnsupported) {
		t.Errorf("Supports without a rung: %v", err)
	}

	if be.disabled[linearChunk] != "" {
		return
	}
	be.config.Kernel = linearChunk
	if _, err = be.decide(t.Context(), op); err != nil || !be.late.passed[linearChunk] {
		t.Errorf("chunks: %v, passed are %v", err, be.late.passed)
	}
	be.late.passed = map[string]bool{}
	be.late.failed[linearChunk] = "self-test: known answer missed by 3"
	if _, err = be.decide(t.Context(), op); !errors.Is(err, vkattn.ErrUnsupported) {
		t.Errorf("without chunks: %v", err)
	}
}

// TestDistance: a number that is missing is as far off as can be.
func TestDistance(t *testing.T) {
	nan := float32(math.NaN())
	if a, b := distance([]float32{1, 2}, []float64{1, 2.5}), distance([]float32{1, nan}, []float64{1, 2}); a != 0.5 || !math.IsInf(b, 1) {
		t.Error(a, b)
	}
}

// TestNames: kernels and rungs that there are not are refused, with those that there are.
func TestNames(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{Kernel: "fash"}, `"fash", want one of flash, flash_dot, standard, linear_recurrent, linear_chunk`},
		{Config{Disable: []string{"plain", "", " subgruop"}}, `"subgruop", want some of matrix2, matrix, subgroup, plain, range, decode, registers, texels, integer-dot, few-rows, linear_chunk, rope`},
	} {
		_, opening := Open(t.Context(), c.cfg)
		_, planning := PlanFor(vk.Caps{}, vkattn.Rope{}, c.cfg)
		for _, err := range []error{opening, planning} {
			if !errors.Is(err, vkattn.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%+v: %v", c.cfg, err)
			}
		}
	}
	t.Setenv("VKATTN_DISABLE", "rope,texel")
	for _, device := range []string{"", "auto", "cpu"} {
		_, err := Open(t.Context(), Config{Device: device})
		if !errors.Is(err, vkattn.ErrInvalid) || !strings.Contains(err.Error(), `VKATTN_DISABLE: names "texel", want some of matrix2, matrix, subgroup, plain`) {
			t.Error(device, err)
		}
	}
	for _, name := range Rungs() {
		if off, err := disabledBy([]string{name}, " plain,"+name); err != nil || off[name] != "disabled by the caller" {
			t.Error(off, err)
		}
	}
}

package dispatch

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestLinearLadder: rungs of the linear kernels are tested when a plan first wants them, and one that failed does not
// serve.
func TestLinearLadder(t *testing.T) {
	opened, err := Open(t.Context(), Config{Device: "llvmpipe", CacheDir: "off"})
	if errors.Is(err, ErrNoDevice) {
		t.Skipf("no lavapipe here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	be := opened.(*Backend)
	defer be.Close()
	op := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 4, HeadDim: 8, Causal: true}
	d, err := be.decide(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	good := d.(*linearChoice)
	if good.path != "subgroup" || !be.linear.passed[good.key.Variant] {
		t.Fatalf("%s serves, passed are %v", good.key.Variant, be.linear.passed)
	}

	// As if the test had failed before.
	be.linear.passed = map[string]bool{}
	be.linear.failed["subgroup"] = "self-test: known answer missed by 1"
	d, err = be.decide(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	if ch := d.(*linearChoice); ch.path != "plain" || !slices.ContainsFunc(ch.refused, func(r vkattn.Refusal) bool { return r.Reason == be.linear.failed["subgroup"] }) {
		t.Errorf("%s serves, refused were %v", ch.key.Variant, ch.refused)
	}
	be.linear.failed["plain"] = "self-test: known answer missed by 2"
	if _, err = be.decide(t.Context(), op); !errors.Is(err, vkattn.ErrUnsupported) {
		t.Errorf("without a rung: %v", err)
	}
	if err := be.Supports(op); !errors.Is(err, vkattn.ErrUnsupported) {
		t.Errorf("Supports without a rung: %v", err)
	}
}

// TestDistance: a number that is missing is as far off as can be.
func TestDistance(t *testing.T) {
	nan := float32(math.NaN())
	if a, b := distance([]float32{1, 2}, []float64{1, 2.5}), distance([]float32{1, nan}, []float64{1, 2}); a != 0.5 || !math.IsInf(b, 1) {
		t.Error(a, b)
	}
}

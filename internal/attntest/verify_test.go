package attntest

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
)

// picky refuses what it is told to.
type picky struct {
	naive
	err error
}

func (p picky) Supports(vkattn.Op) error { return p.err }

func TestVerify(t *testing.T) {
	o := Options{Filter: regexp.MustCompile(`^(plain/square1|causal-tl/edge/h4_q1_k1_|empty/)`)}
	good := naive{m: none}
	calls := 0
	s := Verify(t.Context(), good, o, func(done, total int, r Result) {
		if calls++; done != calls || total < done || r.Name == "" {
			t.Errorf("progress %d of %d: %v", done, total, r)
		}
	})
	if s.Total != calls || s.Passed != calls || calls < 10 {
		t.Errorf("%d calls: %+v", calls, s)
	}

	s = Verify(t.Context(), naive{m: "empty-row-nan"}, o, nil)
	if s.Failed == 0 || s.Passed == 0 || s.Passed+s.Failed != s.Total {
		t.Errorf("%d passed, %d failed of %d", s.Passed, s.Failed, s.Total)
	}
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err) // a worst row of NaN or infinity
	}
	for _, field := range []string{`"passed":`, `"failed":`, `"unsupported":`, `"total":`, `"cases":[{"name":`, `"op":"attention `, `"status":"failed"`, `"worst":`, `"allowed":0.00001`, `"reason":`} {
		if !strings.Contains(string(text), field) {
			t.Errorf("no %s in %s", field, text[:500])
		}
	}
	o.FailFast = true
	if s := Verify(t.Context(), naive{m: "empty-row-nan"}, o, nil); s.Failed != 1 {
		t.Errorf("%d failed before the first failure ended it", s.Failed)
	}

	refusal := &vkattn.UnsupportedError{Op: "attention", Backend: "picky", Reasons: []vkattn.Refusal{{Kernel: "flash", Reason: "not today"}}}
	o.FailFast = false
	s = Verify(t.Context(), picky{good, refusal}, o, nil)
	if s.Unsupported != s.Total || !strings.Contains(s.Cases[0].Reason, "not today") {
		t.Errorf("refused by Supports: %+v", s)
	}
	o.RequireAll = true
	if s := Verify(t.Context(), picky{good, refusal}, o, nil); s.Failed != s.Total {
		t.Errorf("refused by Supports, but all required: %+v", s)
	}
	o.RequireAll = false
	if s := Verify(t.Context(), picky{good, &vkattn.ArgError{Arg: "Q", Reason: "no"}}, o, nil); s.Failed != s.Total {
		t.Errorf("refused as invalid: %+v", s)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if s := Verify(ended, good, o, nil); s.Skipped != s.Total {
		t.Errorf("after the context ended: %+v", s)
	}
}

// TestBuildIsDeterministic: a name and a seed say all about the data.
func TestBuildIsDeterministic(t *testing.T) {
	for _, c := range (Options{Sample: true}).cases() {
		a, b, other := c.Build(3), c.Build(3), c.Build(4)
		if a.inputHash() != b.inputHash() {
			t.Errorf("%s: the same seed makes other data", c.Name)
		}
		if c.FLOPs > 1e5 && a.inputHash() == other.inputHash() {
			t.Errorf("%s: another seed makes the same data", c.Name)
		}
	}
	if a, b := RandomCase(7), RandomCase(7); a.Name != b.Name || a.Op != b.Op {
		t.Error("RandomCase")
	}
}

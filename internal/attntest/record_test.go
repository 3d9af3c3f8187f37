package attntest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// TestRecord: every case that runs as a subtest is a line of the file of results.
func TestRecord(t *testing.T) {
	name := filepath.Join(t.TempDir(), "results")
	t.Setenv(ResultsVariable, name)
	b := cpu.New(cpu.Config{})
	defer b.Close()
	cases := Cases()[:3]
	t.Run("some", func(t *testing.T) {
		subtests(t, b, Options{}, cases, func(c Case) (string, vkattn.Op) { return c.Name, c.Op }, VerifyCase)
	})
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if len(lines) != len(cases) {
		t.Fatalf("%d lines of %d cases", len(lines), len(cases))
	}
	for i, line := range lines {
		var r Record
		if err := json.Unmarshal([]byte(line), &r); err != nil || r.Status != Passed || r.Kernel == "" || !strings.HasPrefix(r.Family, "attention ") || !strings.HasPrefix(r.Test, t.Name()+"/some/") {
			t.Errorf("%s: %+v, %v", cases[i].Name, r, err)
		}
	}
}

// TestFamilies: the tables have cases of every family, and types are told apart.
func TestFamilies(t *testing.T) {
	n := map[string]int{}
	for _, c := range Cases() {
		n[Family(c.Op)]++
	}
	for _, f := range []string{"attention dense", "attention causal", "attention window", "attention lengths", "attention masked", "attention scores", "attention block-sparse"} {
		if n[f] < 3 {
			t.Errorf("%s: %d cases", f, n[f])
		}
	}
	for _, c := range []struct {
		op           vkattn.Op
		family, name string
	}{
		{vkattn.MoBA{Attention: vkattn.Attention{TypeK: vkattn.Float16}}, "moba", "f32-f16-f32-f32"},
		{vkattn.Linear{TypeQ: vkattn.BFloat16, TypeK: vkattn.BFloat16, TypeV: vkattn.BFloat16, TypeOut: vkattn.BFloat16}, "linear", "bf16"},
		{vkattn.Rope{}, "rope", "f32"},
	} {
		if f, name := Family(c.op), TypeName(c.op); f != c.family || name != c.name {
			t.Errorf("%T: %s %s", c.op, f, name)
		}
	}
	t.Log(n)
}

package preset_test

import (
	"math"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/preset"
)

func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range preset.All() {
		if seen[p.Name] {
			t.Errorf("%s twice", p.Name)
		}
		seen[p.Name] = true
		op := p.Shape()
		op.Batch, op.SeqQ, op.SeqK = 1, p.Context, p.Context
		var whole vkattn.Op = op
		if p.Linear != nil {
			l := *p.Linear
			l.Batch, l.SeqQ = 1, p.Context
			whole = l
		}
		if err := whole.Validate(); err != nil {
			t.Errorf("%s: %v", p.Name, err)
		}
		if op.HeadsQ == 0 || op.HeadsK == 0 || op.HeadsV == 0 || p.Context == 0 || p.Text == "" || p.Layers == "" {
			t.Errorf("%s is incomplete: %+v", p.Name, p)
		}
		if op.With.Has(vkattn.WithGlobal) != (p.Global != nil) {
			t.Errorf("%s: Global and With disagree", p.Name)
		}
		if op.With.Has(vkattn.WithBlocks) != (p.Blocks != "") {
			t.Errorf("%s: Blocks and With disagree", p.Name)
		}
		got, err := preset.Find(strings.ToUpper(p.Name))
		if err != nil || got.Name != p.Name {
			t.Errorf("Find(%s) = %v, %v", p.Name, got.Name, err)
		}
	}
}

func TestFacts(t *testing.T) {
	find := func(name string) vkattn.Attention {
		p, err := preset.Find(name)
		if err != nil {
			t.Fatal(err)
		}
		return p.Op
	}
	if s := find("deepseek-v3-mla").Scale.Value; math.Abs(s-0.13523378) > 1e-8 {
		t.Errorf("DeepSeek-V3 scale is %.9f, want 0.13523378", s)
	}
	if s := find("gemma2-9b").Canonical().Scale.Value; s != 1.0/16 {
		t.Errorf("Gemma 2 scale is %v, want 256^-0.5", s)
	}
	if s := find("phi3-small").Scale.Value; s != 1.0/128 {
		t.Errorf("Phi-3-small scale is %v, want 1/128: its configuration scales by the head size itself", s)
	}
	if w := find("mistral-7b").Window; w != (vkattn.Window{Left: vkattn.Tokens(4095), Right: vkattn.Tokens(0)}) {
		t.Errorf("Mistral window is %v, want 4095 to the left", w)
	}
	if w := find("gpt-oss-20b").Window; w.Left != vkattn.Tokens(127) {
		t.Errorf("gpt-oss window is %v, want 127 to the left", w)
	}
}

func TestFindSuggests(t *testing.T) {
	_, err := preset.Find("llama3.1-9b")
	if err == nil || !strings.Contains(err.Error(), "llama3.1-8b") || strings.Contains(err.Error(), "gpt2") {
		t.Errorf("error is %v, want the llama presets in it", err)
	}
	if _, err := preset.Find("nonsense"); err == nil || !strings.Contains(err.Error(), "gpt2") {
		t.Errorf("error is %v, want all presets in it", err)
	}
}

package dispatch_test

import (
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// TestPipelines: those that are named are those that a plan builds, once for all ops that share them.
func TestPipelines(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	op := vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 40, SeqK: 90, HeadDim: 32}
	longer, wider, linear := op, op, vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 40, SeqK: 40, HeadDim: 32, Causal: true}
	longer.SeqQ, longer.SeqK, longer.Causal, wider.HeadDim = 50, 50, true, 128
	names, before := b.Pipelines(op), b.PipelinesCreated()
	if len(names) == 0 || !slices.Equal(names, b.Pipelines(longer)) || slices.Equal(names, b.Pipelines(wider)) || slices.Equal(names, b.Pipelines(linear)) {
		t.Error(names, b.Pipelines(longer), b.Pipelines(wider), b.Pipelines(linear))
	}
	if b.PipelinesCreated() != before {
		t.Error("naming pipelines built some")
	}
	for _, op := range []vkattn.Op{op, longer} {
		p, err := b.Plan(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		p.Close()
		if built := b.PipelinesCreated() - before; built != len(names) {
			t.Errorf("%v: %d pipelines built, %q named", op, built, names)
		}
	}
	if names := b.Pipelines(vkattn.Attention{}); names != nil {
		t.Error(names)
	}
}

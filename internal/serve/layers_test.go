package serve

import (
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// TestLayers: rows that are computed again are right, with pages and without, with a window that gives pages back, with
// sequences that are preempted, in every type of cache; and a wrong one is noticed.
func TestLayers(t *testing.T) {
	backend := cpu.New(cpu.Config{})
	defer backend.Close()
	op := vkattn.Attention{Batch: 6, HeadsQ: 4, HeadsK: 2, SeqQ: 32, SeqK: 128, TotalQ: 32, HeadDim: 32}
	window := op
	window.Window, window.SinkTokens = vkattn.Window{Left: vkattn.Tokens(20)}, 2
	half, eight, blocks := op, op, op
	half.TypeK, half.TypeV, half.TypeOut = vkattn.Float16, vkattn.Float16, vkattn.Float16
	eight.TypeK, eight.TypeV = vkattn.F8E4M3, vkattn.F8E4M3
	blocks.TypeK, blocks.TypeV = vkattn.Q8_0, vkattn.Q8_0
	odd := op
	odd.HeadDim, odd.ValueDim, odd.Softcap, odd.Scale = 33, 17, 20, vkattn.Num(0.1)
	for name, spec := range map[string]vkattn.CacheSpec{
		"pages":     {Op: op, Layers: 2, Page: 16},
		"few pages": {Op: op, Layers: 1, Page: 8, Pages: 24},
		"no pages":  {Op: op, Layers: 1},
		"window":    {Op: window, Layers: 1, Page: 4, Pages: 60},
		"f16":       {Op: half, Layers: 1, Page: 16},
		"f8":        {Op: eight, Layers: 1, Page: 16},
		"q8_0":      {Op: blocks, Layers: 1, Page: 16},
		"odd":       {Op: odd, Layers: 1, Page: 16},
	} {
		l, err := NewLayers(t.Context(), backend, spec, 1, 2)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := l.Warm(t.Context()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if st := l.Cache().Stats(); st.Used != 0 {
			t.Errorf("%s: a warm cache is not empty: %+v", name, st)
		}
		o := small
		o.Steps = 150
		r, err := Run(t.Context(), l, o)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		c := l.Check()
		if !c.OK || c.Rows != 75 || c.Worst <= 0 {
			t.Errorf("%s: %+v", name, c)
		}
		if name == "few pages" && r.Preempted == 0 || name == "window" && r.Cache.Evicted == 0 {
			t.Errorf("%s: %+v", name, r)
		}
		t.Logf("%s: %d steps, %d output tokens, %d rows within %g of %g", name, r.Steps, r.Output, c.Rows, c.Worst, c.Allowed)
		l.inv = nil // the rows that are computed again know no positions
		o.Steps = 30
		if _, err := Run(t.Context(), l, o); err != nil {
			t.Fatal(err)
		}
		if c := l.Check(); c.OK || !strings.Contains(c.Where, "off by") {
			t.Errorf("%s: without positions: %+v", name, c)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

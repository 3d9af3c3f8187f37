package dispatch_test

import (
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	load "github.com/vkattn/vkattn/internal/serve"
)

// TestServe: sequences come, grow together, are preempted and go; rows are right, no page and no byte is left behind.
func TestServe(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off"})
	l, err := load.NewLayers(t.Context(), b, vkattn.CacheSpec{
		Op:     vkattn.Attention{Batch: 6, HeadsQ: 4, HeadsK: 2, SeqQ: 32, SeqK: 128, TotalQ: 32, HeadDim: 32},
		Layers: 2, Page: 8, Pages: 30,
	}, 1, 4)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	steps := int64(400)
	if testing.Short() {
		steps = 100
	}
	memory := func() int64 { b.Trim(); return b.Memory().Total.Bytes }
	before := memory()
	r, err := load.Run(t.Context(), l, load.Options{
		Load:      load.Load{Seed: 1, Prompt: load.Lengths{Median: 30, Spread: 0.7, Min: 1, Max: 100}, Output: load.Lengths{Median: 10, Spread: 0.7, Min: 1, Max: 50}},
		Time:      time.Minute,
		Steps:     steps,
		Sequences: 6, Tokens: 32, Context: 128,
		Device: memory,
	})
	if err != nil {
		t.Fatal(err)
	}
	c := l.Check()
	t.Logf("%d steps, %d finished, %d preempted, %d rows within %g", r.Steps, r.Finished, r.Preempted, c.Rows, c.Worst)
	if !c.OK || c.Rows == 0 {
		t.Errorf("%+v", c)
	}
	if after := memory(); before == 0 || after != before {
		t.Errorf("device memory went from %d to %d bytes", before, after)
	}
}

package dispatch_test

import (
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// heavy are calls that take a software driver well over 5 ms: many row tiles, or few with many keys.
var heavy = []namedCall{
	{name: "rows", op: vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 200, SeqK: 700, HeadDim: 64, Causal: true, With: vkattn.WithLSE}},
	{name: "keys", op: vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 32, SeqK: 20_000, HeadDim: 64, With: vkattn.WithLSE | vkattn.WithSinkLogits}},
	{name: "keys, masks", op: vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 32, SeqK: 40_001, HeadDim: 64, Softcap: 3,
		With: vkattn.WithLSE | vkattn.WithBias | vkattn.WithMask | vkattn.WithBlocks}},
	{name: "packed", op: vkattn.Attention{Batch: 3, HeadsQ: 2, SeqQ: 300, SeqK: 9000, Packed: true, TotalQ: 340, TotalK: 10_000, HeadDim: 64, Causal: true, With: vkattn.WithLSE},
		lens: [][2]int{{30, 400}, {300, 600}, {10, 9000}}},
}

// light are calls of the same kinds for the unfused baseline, which a software driver runs far slower.
var light = []namedCall{
	{name: "rows", op: vkattn.Attention{Batch: 2, HeadsQ: 2, HeadsK: 1, SeqQ: 80, SeqK: 250, HeadDim: 64, Causal: true, With: vkattn.WithLSE}},
	{name: "keys", op: vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 3, SeqK: 20_000, HeadDim: 64, With: vkattn.WithLSE | vkattn.WithSinkLogits}},
	{name: "keys, masks", op: vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 5, SeqK: 9001, HeadDim: 64, With: vkattn.WithLSE | vkattn.WithBias | vkattn.WithMask | vkattn.WithBlocks}},
	{name: "packed", op: vkattn.Attention{Batch: 3, HeadsQ: 2, SeqQ: 30, SeqK: 5000, Packed: true, TotalQ: 34, TotalK: 6000, HeadDim: 64, Causal: true, With: vkattn.WithLSE},
		lens: [][2]int{{3, 400}, {30, 60}, {1, 5000}}},
}

// TestBudget: a budget of 2 ms or less cuts a call to many submits, rows first and then keys, and gives the same
// bits as one of 500 ms.
func TestBudget(t *testing.T) {
	for _, x := range []struct {
		name string
		cfg  dispatch.Config
	}{
		{"flash", dispatch.Config{}},
		{"flash, 5 parts", dispatch.Config{Splits: 5}},
		{"plain", dispatch.Config{Disable: []string{"subgroup"}}},
		{"standard", dispatch.Config{Kernel: "standard"}},
	} {
		x.cfg.CacheDir, x.cfg.SkipSelfTest = "off", true
		x.cfg.Budget = 500 * time.Millisecond
		long := open(t, x.cfg)
		onlySlow(t, long)
		x.cfg.Budget = 2 * time.Millisecond
		if x.cfg.Kernel == "standard" { // its light calls take 10 ms on the fastest software driver
			x.cfg.Budget = time.Millisecond
		}
		short := open(t, x.cfg)
		for i := range heavy {
			c := &heavy[i]
			if x.cfg.Kernel == "standard" {
				c = &light[i]
			}
			t.Run(x.name+"/"+c.name, func(t *testing.T) {
				args := c.args(3)
				l := run(t, long, c.op, args)
				want := results(&args)
				checkRows(t, c.op, &args, 4)
				for range 2 { // the budget is one of predicted time, and the prediction learns
					blank(&args)
					s := run(t, short, c.op, args)
					if err := sameBits(results(&args), want); err != nil {
						t.Error(err)
					}
					t.Logf("%d submits of %d slices in %v, with the long budget %d of %d in %v", s.Submits, s.Slices, s.DeviceTime, l.Submits, l.Slices, l.DeviceTime)
					if s.Submits <= l.Submits || s.Slices <= l.Slices {
						t.Errorf("%d submits of %d slices, %d of %d with the long budget", s.Submits, s.Slices, l.Submits, l.Slices)
					}
				}
			})
		}
	}
}

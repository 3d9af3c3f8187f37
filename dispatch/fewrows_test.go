package dispatch_test

import (
	"fmt"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// TestFewRows: one or a few query rows over many keys, alone or packed with the heads that share their keys, run
// in tiles of their own, whatever masks and extras they have.
func TestFewRows(t *testing.T) {
	window := vkattn.Window{Left: vkattn.Tokens(100)}
	calls := []namedCall{
		{op: vkattn.Attention{HeadsQ: 2, SeqQ: 1, SeqK: 700}},
		{op: vkattn.Attention{HeadsQ: 8, HeadsK: 2, SeqQ: 1, SeqK: 513, Causal: true, With: vkattn.WithLSE}},
		{op: vkattn.Attention{HeadsQ: 7, HeadsK: 1, SeqQ: 1, SeqK: 600, With: vkattn.WithSinkLogits | vkattn.WithLSE}},
		{op: vkattn.Attention{HeadsQ: 4, HeadsK: 4, HeadsV: 2, SeqQ: 4, SeqK: 560, Causal: true}},
		{op: vkattn.Attention{HeadsQ: 8, HeadsK: 4, HeadsV: 2, HeadMap: vkattn.HeadCyclic, SeqQ: 2, SeqK: 530, Causal: true, With: vkattn.WithLSE}},
		{op: vkattn.Attention{HeadsQ: 6, HeadsK: 3, SeqQ: 4, SeqK: 900, Causal: true, Window: window, SinkTokens: 3}},
		{op: vkattn.Attention{HeadsQ: 12, HeadsK: 3, SeqQ: 2, SeqK: 520, Causal: true, Softcap: 5, With: vkattn.WithALiBi | vkattn.WithBias | vkattn.WithMask}},
		{op: vkattn.Attention{Batch: 3, HeadsQ: 4, HeadsK: 1, SeqQ: 2, SeqK: 800, Packed: true, TotalQ: 5, TotalK: 1500, Causal: true, With: vkattn.WithLSE}, lens: [][2]int{{2, 800}, {1, 0}, {2, 700}}},
		{op: vkattn.Attention{HeadsQ: 4, HeadsK: 2, SeqQ: 1, SeqK: 640, With: vkattn.WithBlocks | vkattn.WithLSE}},
	}
	for _, cfg := range []dispatch.Config{{}, {Disable: []string{"subgroup"}}, {Splits: 3}, {SplitKeys: 128}} {
		cfg.CacheDir, cfg.SkipSelfTest = "off", true
		b := open(t, cfg)
		for i := range calls {
			c := calls[i]
			c.op.Batch, c.op.HeadDim = max(1, c.op.Batch), 64
			t.Run(fmt.Sprintf("%v %d %d/%v", cfg.Disable, cfg.Splits, cfg.SplitKeys, c.op), func(t *testing.T) {
				args := c.args(1)
				r := run(t, b, c.op, args)
				checkRows(t, c.op, &args, 4)
				t.Logf("%s, %d splits", r.Tile, r.Splits)
			})
		}
	}
}

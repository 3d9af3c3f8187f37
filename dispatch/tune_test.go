package dispatch_test

import (
	"context"
	"errors"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// TestTiles: whatever shape is asked for, the result is right, and shapes that no kernel has are refused.
func TestTiles(t *testing.T) {
	op := vkattn.Attention{Batch: 1, HeadsQ: 4, HeadsK: 2, SeqQ: 19, SeqK: 70, HeadDim: 64, Causal: true, With: vkattn.WithLSE}
	for _, tile := range []dispatch.Tile{{Lanes: 2, Rows: 2, Invocations: 2}, {Lanes: 4, Rows: 4, Invocations: 64}, {Lanes: 32, Rows: 8, Invocations: 32}, {Lanes: 8, Rows: 16, Invocations: 16}} {
		for _, disable := range [][]string{nil, {"subgroup"}} {
			b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true, Disable: disable, Tiles: map[string]dispatch.Tile{"subgroup d64": tile, "plain d64": tile}})
			c := namedCall{op: op}
			args := c.args(1)
			r := run(t, b, op, args)
			checkRows(t, op, &args, 5)
			t.Logf("%v: %s, %s", tile, r.Tile, r.Path)
		}
	}
	for _, tile := range []dispatch.Tile{{}, {Lanes: 8, Rows: 8}, {Lanes: 3, Rows: 1, Invocations: 32}, {Lanes: 4, Rows: 16, Invocations: 32}, {Lanes: 8, Rows: 8, Invocations: 4}, {Lanes: 64, Rows: 8, Invocations: 64}} {
		b, err := dispatch.Open(t.Context(), dispatch.Config{Device: "llvmpipe", Tiles: map[string]dispatch.Tile{"subgroup d64": tile}})
		if !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("%+v: %v", tile, err)
		}
		if err == nil {
			b.Close()
		}
	}
}

// TestTuneCanceled: a canceled Tune keeps nothing and leaves the backend usable.
func TestTuneCanceled(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: t.TempDir(), SkipSelfTest: true})
	ctx, cancel := context.WithCancel(t.Context())
	_, err := b.Tune(ctx, func(done, all int, class string) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	args := small.args(1)
	run(t, b, small.op, args)
	checkRows(t, small.op, &args, 3)
}

package dispatch_test

import (
	"context"
	"errors"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

var _ vkattn.RoofMeasurer = (*dispatch.Backend)(nil)

// TestRoofs: roofs are positive, and measuring them leaves nothing behind.
func TestRoofs(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	roofs, err := b.Roofs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if roofs.ReadGBps <= 0 || roofs.CopyGBps <= 0 || roofs.FMATFLOPs <= 0 || roofs.CopyBy != "command" && roofs.CopyBy != "kernel" {
		t.Errorf("%+v", roofs)
	}
	if len(b.Caps().CooperativeMatrix) > 0 && roofs.Matrix["f16"] <= 0 {
		t.Errorf("no rate of matrix units: %+v", roofs)
	}
	t.Logf("%+v", roofs)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.Roofs(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
	args := small.args(1)
	run(t, b, small.op, args)
	checkRows(t, small.op, &args, 3)
}

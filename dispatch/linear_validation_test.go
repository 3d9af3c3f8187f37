package dispatch_test

import (
	"testing"
	"time"

	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/vk"
)

// TestLinearValidation: the layers have nothing to say about linear calls, whole, sliced, in windows, in parts and in chunks.
func TestLinearValidation(t *testing.T) {
	if testing.Short() {
		t.Skip("a minute under validation: runs without -short")
	}
	l := &listener{}
	cfg := dispatch.Config{Validation: vk.ValidationCore | vk.ValidationSync, SkipSelfTest: true}
	narrow, parts, chunks := cfg, cfg, cfg
	narrow.Budget = time.Millisecond
	narrow.VK.Override = func(c *vk.Caps) { c.Limits.MaxStorageBufferRange = 128 << 10; ownMemory(c) }
	card := narrow
	card.VK.Override = func(c *vk.Caps) { narrow.VK.Override(c); asGraphicsCard(c) }
	parts.Splits = 3
	chunks.Kernel = "linear_chunk"
	for _, cfg := range []dispatch.Config{cfg, narrow, card, parts, chunks} {
		b := validated(t, cfg, l)
		for i, c := range append(linearCases(), slicedLinear...) {
			if b.Supports(c.op) != nil {
				continue
			}
			args := linearArgs(c.op, c.lens, uint64(i), 0.1, false)
			run(t, b, c.op, args)
		}
	}
	for _, m := range l.heard {
		t.Errorf("%s: %s", m.ID, m.Text)
	}
}

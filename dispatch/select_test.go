package dispatch_test

import (
	"testing"

	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// TestSparse runs the conformance suite of MoBA and NSA, on devices with memory of their own that bind little, too.
func TestSparse(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*vk.Caps)
	}{{"as it is", nil}, {"small", func(c *vk.Caps) {
		ownMemory(c)
		c.Limits.MaxStorageBufferRange = 64 << 10
		c.Limits.MinStorageBufferOffsetAlignment = 256
		c.Limits.MaxComputeWorkGroupCount = [3]uint32{60, 20, 3}
	}}} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, lowered(c.change))
			attntest.RunSparse(t, b, attntest.Options{RequireAll: true})
			t.Logf("%d pipelines", b.PipelinesCreated())
		})
	}
}

var _ = dispatch.Config{}

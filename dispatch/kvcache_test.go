package dispatch_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
)

// TestKVCacheAgainstModel: random operations on caches of all kinds, against a plain model: 10,000 with VKATTN_FULL=1.
func TestKVCacheAgainstModel(t *testing.T) {
	n := 60
	if os.Getenv("VKATTN_FULL") == "1" {
		n = 1500
	}
	b := open(t, dispatch.Config{})
	for i, spec := range attntest.CacheSpecs() {
		t.Run(fmt.Sprintf("%d page %d", i, spec.Page), func(t *testing.T) {
			c, err := b.NewCache(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			r := attntest.NewCacheRun(c, uint64(i))
			r.Trees, r.Cascades = !spec.Op.Window.Given(), true
			if err := r.Do(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			t.Log(r.Counts, c.Stats())
		})
	}
	t.Log(b.PipelinesCreated(), "pipelines")
}

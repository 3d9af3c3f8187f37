package attntest

import (
	"fmt"
	"testing"

	"github.com/vkattn/vkattn/cpu"
)

// TestCachesOnCPU: random operations on the CPU's cache, against a plain model of it.
func TestCachesOnCPU(t *testing.T) {
	b := cpu.New(cpu.Config{Workers: 2})
	defer b.Close()
	for i, spec := range append(CacheSpecs(), TypedCacheSpecs()...) {
		t.Run(fmt.Sprintf("%d page %d", i, spec.Page), func(t *testing.T) {
			c, err := b.NewCache(t.Context(), spec)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			r := NewCacheRun(c, uint64(i))
			r.Trees, r.Cascades = !spec.Op.Window.Given(), true
			if err := r.Do(t.Context(), 400); err != nil {
				t.Fatal(err)
			}
			t.Log(r.Counts, c.Stats())
		})
	}
}

package dispatch_test

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/vkattn/vkattn"
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

// TestKVCacheTypes: keys and values of other types, converted as they enter. Types that the kernels of this device do not read are refused
// with the reason.
func TestKVCacheTypes(t *testing.T) {
	b := open(t, dispatch.Config{})
	full := os.Getenv("VKATTN_FULL") == "1"
	specs := attntest.TypedCacheSpecs()
	if !full { // each pair is pipelines of its own, which take seconds on a software driver
		specs = specs[4:5]
		t.Log("q8_0 and q4_0 alone; VKATTN_FULL=1 runs all pairs")
	}
	for i, spec := range specs {
		op := spec.Canonical().Op
		t.Run(fmt.Sprintf("%s and %s", op.TypeK, op.TypeV), func(t *testing.T) {
			supported := b.Supports(op)
			c, err := b.NewCache(t.Context(), spec)
			if supported != nil {
				if !errors.Is(err, vkattn.ErrUnsupported) {
					t.Errorf("the kernels say %v, the cache %v", supported, err)
				}
				t.Log(supported)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			r := attntest.NewCacheRun(c, uint64(i))
			r.Trees, r.Cascades = full, full
			if err := r.Do(t.Context(), 60); err != nil {
				t.Fatal(err)
			}
		})
	}
}

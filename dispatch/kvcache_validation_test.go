package dispatch_test

import (
	"os"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// cacheSample runs random operations, a cascade and a decoder.
func cacheSample(t *testing.T, b *dispatch.Backend, specs []vkattn.CacheSpec, prompts []int) {
	for i, spec := range specs {
		r := attntest.NewCacheRun(newCache(t, b, spec), uint64(i))
		r.Trees, r.Cascades = !spec.Op.Window.Given(), true
		if err := r.Do(t.Context(), 40); err != nil {
			t.Fatal(err)
		}
	}
	spec := bitsSpec(16)
	spec.Op.Batch, spec.Op.SeqK, spec.Op.With, spec.Op.TypeOut = 33, 400, vkattn.WithSinkLogits|vkattn.WithLSE|vkattn.WithALiBi, vkattn.Float16
	spec.Op.Window = vkattn.Window{Left: vkattn.Tokens(100)}
	sharedPrefix(t, newCache(t, b, spec), true, true)
	d := newDecoding(t, b, specs[0], prompts)
	decoder, err := d.c.(*dispatch.KVCache).NewDecoder(d.args)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := decoder.Run(t.Context(), d.step(t)); err != nil {
			t.Fatal(err)
		}
	}
	if err := decoder.Close(); err != nil {
		t.Error(err)
	}
}

// bankedSpecs are caches in banks: one whose sequences see everything, and one whose pages are evicted.
func bankedSpecs() []vkattn.CacheSpec {
	windowed := banked(4)
	windowed.Op.Window, windowed.Op.SinkTokens = vkattn.Window{Left: vkattn.Tokens(120)}, 5
	return []vkattn.CacheSpec{banked(4), windowed}
}

// TestValidationCaches: the layers have nothing to say about caches. With VKATTN_VALIDATE_GPU=1 every access of the kernels is checked, too.
func TestValidationCaches(t *testing.T) {
	l := &listener{}
	cfg := dispatch.Config{Validation: vk.ValidationCore | vk.ValidationSync}
	change := func(*vk.Caps) {}
	if os.Getenv("VKATTN_VALIDATE_GPU") == "1" {
		cfg = dispatch.Config{Validation: vk.ValidationCore | vk.ValidationGPU, SkipSelfTest: true, Tiles: smallTiles(), VK: vk.DeviceConfig{Robust: true}}
		change = func(c *vk.Caps) { c.TexelFormats = nil } // the layer looks at storage buffers
	}
	cfg.VK.Override = change
	b := validated(t, cfg, l)
	specs := attntest.CacheSpecs()
	cacheSample(t, b, []vkattn.CacheSpec{specs[1], specs[3]}, []int{30, 80, 1})
	cfg.VK.Override = func(c *vk.Caps) { change(c); narrow(c) }
	banked := validated(t, cfg, l)
	cacheSample(t, banked, bankedSpecs(), []int{100, 230, 5})
	for _, b := range []*dispatch.Backend{b, banked} {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, m := range l.heard {
		t.Error(m)
	}
}

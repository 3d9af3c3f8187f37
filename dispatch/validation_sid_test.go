package dispatch_test

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// TestValidationRaces: what the newest layer sees. It instruments kernels to find races in shared memory and undefined
// arithmetic, and looks for missing barriers between dispatches; no kernel has any. TestValidationRace of
// package vk proves that it would tell. Kernels are those that a graphics card gets, with storage buffers. Accesses outside of buffers
// are left to TestValidationGPU: with its checks of descriptors on, this layer (1.4.363) makes llvmpipe of Mesa 26.2 crash at the first
// call of the kernels that read their parameters from a uniform buffer, all but rope's, which are checked for that, too.
func TestValidationRaces(t *testing.T) {
	if os.Getenv("VKATTN_VALIDATE_SID") != "1" {
		t.Skip("needs the newest validation layer: make validate-sid runs it")
	}
	few := attntest.Options{Sample: true, RequireAll: true, Filter: regexp.MustCompile(`_d(32|40|64)$`)}
	sparse := attntest.Options{RequireAll: true, Filter: regexp.MustCompile(`/(decode|spread|square|ties)`)}
	for _, c := range []struct {
		name string
		cfg  dispatch.Config
		run  func(t *testing.T, b *dispatch.Backend)
	}{
		{"flash/subgroup", dispatch.Config{}, func(t *testing.T, b *dispatch.Backend) { attntest.Run(t, b, few) }},
		{"flash/plain", dispatch.Config{Disable: []string{"subgroup"}}, func(t *testing.T, b *dispatch.Backend) { attntest.Run(t, b, few) }},
		{"flash/parts", dispatch.Config{Splits: 3, Budget: time.Millisecond}, func(t *testing.T, b *dispatch.Backend) { attntest.Run(t, b, few) }},
		{"flash/dot", dispatch.Config{Kernel: "flash_dot"}, func(t *testing.T, b *dispatch.Backend) { attntest.RunDecode(t, b, few) }},
		{"flash/few", dispatch.Config{Splits: 3}, func(t *testing.T, b *dispatch.Backend) {
			b.TakeTeams(4, 2, 4)
			attntest.Run(t, b, few)
		}},
		{"flash/range", dispatch.Config{Disable: []string{"subgroup", "plain", "matrix2"}}, func(t *testing.T, b *dispatch.Backend) {
			attntest.RunTypes(t, b, attntest.Options{Filter: rangeCases})
		}},
		{"flash/range parts", dispatch.Config{Splits: 3, Disable: []string{"subgroup", "plain", "matrix2"}}, func(t *testing.T, b *dispatch.Backend) {
			attntest.RunTypes(t, b, attntest.Options{Filter: rangeCases})
		}},
		{"flash/range slices", dispatch.Config{Budget: 1, Disable: []string{"subgroup", "plain", "matrix2"}}, func(t *testing.T, b *dispatch.Backend) {
			b.TakeRange(2, 32, 2)
			attntest.RunTypes(t, b, attntest.Options{Filter: rangeCases})
		}},
		{"flash/decode", dispatch.Config{Disable: []string{"subgroup", "plain", "matrix2"}}, func(t *testing.T, b *dispatch.Backend) {
			b.TakeDecode()
			attntest.RunTypes(t, b, attntest.Options{Filter: decodeCases})
		}},
		{"flash/decode parts", dispatch.Config{Splits: 3, Disable: []string{"subgroup", "plain", "matrix2"}}, func(t *testing.T, b *dispatch.Backend) {
			b.TakeDecode()
			attntest.RunTypes(t, b, attntest.Options{Filter: decodeCases})
		}},
		{"flash/matrix", dispatch.Config{Disable: []string{"subgroup", "plain", "matrix2", "range"}}, func(t *testing.T, b *dispatch.Backend) {
			attntest.RunTypes(t, b, attntest.Options{Filter: matrixFew})
		}},
		{"standard", dispatch.Config{Kernel: "standard"}, func(t *testing.T, b *dispatch.Backend) { attntest.Run(t, b, few) }},
		{"select", dispatch.Config{}, func(t *testing.T, b *dispatch.Backend) { attntest.RunSparse(t, b, sparse) }},
		{"linear/subgroup", dispatch.Config{}, linearSample},
		{"linear/plain", dispatch.Config{Disable: []string{"subgroup"}}, linearSample},
		{"linear/chunk", dispatch.Config{Kernel: "linear_chunk"}, linearSample},
		{"caches", dispatch.Config{}, func(t *testing.T, b *dispatch.Backend) {
			specs := attntest.CacheSpecs()
			cacheSample(t, b, []vkattn.CacheSpec{specs[1], specs[3]}, []int{30, 80, 1})
		}},
		{"linear/types", dispatch.Config{}, func(t *testing.T, b *dispatch.Backend) {
			attntest.RunLinear(t, b, attntest.Options{Filter: linearFewTypes})
		}},
		{"linear/matrix", dispatch.Config{Kernel: "linear_chunk", Disable: []string{"linear_chunk"}}, func(t *testing.T, b *dispatch.Backend) {
			attntest.RunLinear(t, b, attntest.Options{Filter: linearFewTypes})
		}},
		{"rope", dispatch.Config{}, func(t *testing.T, b *dispatch.Backend) { attntest.RunRope(t, b, attntest.Options{RequireAll: true}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &listener{}
			c.cfg.Validation, c.cfg.SkipSelfTest = vk.ValidationCore|vk.ValidationSync|vk.ValidationRaces, true
			if c.name == "rope" {
				c.cfg.Validation |= vk.ValidationGPU
			}
			c.cfg.VK.Override = func(caps *vk.Caps) { caps.TexelFormats = nil } // the layer looks at storage buffers
			b := validated(t, c.cfg, l)
			began := time.Now()
			c.run(t, b)
			if err := b.Close(); err != nil {
				t.Error(err)
			}
			for _, m := range l.heard {
				t.Errorf("%s: %s", m.ID, m.Text)
			}
			t.Logf("%d pipelines, %v, %d messages", b.PipelinesCreated(), time.Since(began).Round(time.Second/10), len(l.heard))
		})
	}
}

// linearSample runs every kind of linear call once, with small data.
func linearSample(t *testing.T, b *dispatch.Backend) {
	for i, c := range linearCases() {
		if b.Supports(c.op) == nil {
			run(t, b, c.op, linearArgs(c.op, c.lens, uint64(i), 0.1, false))
		}
	}
}

package dispatch_test

import (
	"regexp"
	"testing"

	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
)

var (
	linearTypes    = regexp.MustCompile(`^linear/types/`)
	linearFewTypes = regexp.MustCompile(`^linear/types/f16/(delta-token|odd|elu-sum|silu-srms)$`)
)

// TestLinearTypes: builds of the linear kernels that TestConformanceLinear does not run on a software driver; all cases with
// VKATTN_FULL=1.
func TestLinearTypes(t *testing.T) {
	for name, cfg := range map[string]dispatch.Config{"storage": {Disable: []string{"texels"}}, "plain": {Disable: []string{"subgroup"}}, "chunk": {Kernel: "linear_chunk"}} {
		t.Run(name, func(t *testing.T) {
			cfg.CacheDir = "off"
			o := attntest.Options{Filter: linearFewTypes}
			if full {
				o.Filter = linearTypes
			}
			attntest.RunLinear(t, open(t, cfg), o)
		})
	}
}

package dispatch_test

import (
	"regexp"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
)

// matrixOnly opens a backend on which nothing but one rung on matrix units serves, or skips.
func matrixOnly(t *testing.T, path string, cfg dispatch.Config) *dispatch.Backend {
	t.Helper()
	cfg.CacheDir = "off"
	for _, name := range []string{"matrix2", "matrix", "subgroup", "plain"} {
		if name != path {
			cfg.Disable = append(cfg.Disable, name)
		}
	}
	b := open(t, cfg)
	op := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 64, SeqK: 64, HeadDim: 32, TypeQ: vkattn.Float16, TypeK: vkattn.Float16, TypeV: vkattn.Float16}
	if err := b.Supports(op); err != nil {
		t.Skipf("%s: %v", path, err)
	}
	return b
}

// matrixCases are the cases of types that a rung on matrix units computes, a few head sizes of them: a current llvmpipe
// compiles such a kernel for 5 to 40 s.
var matrixCases = regexp.MustCompile(`^types/f16/.*_d[1-3]?[0-9](-[0-9]+)?$`)

// TestMatrix: weights in registers where the probe knows the layout of matrices, and all through shared memory.
func TestMatrix(t *testing.T) {
	for name, disable := range map[string][]string{"registers": nil, "shared": {"registers"}} {
		t.Run(name, func(t *testing.T) {
			b := matrixOnly(t, "matrix", dispatch.Config{Disable: disable})
			cases := matrixCases
			if full {
				cases = allMatrixCases
			}
			attntest.RunTypes(t, b, attntest.Options{Filter: cases})
			t.Logf("%d pipelines", b.PipelinesCreated())
		})
	}
}

// allMatrixCases are all that they compute.
var allMatrixCases = regexp.MustCompile(`^types/(f16|bf16)(-f16-f16-f32)?/`)

func TestMatrix2(t *testing.T) {
	b := matrixOnly(t, "matrix2", dispatch.Config{})
	attntest.RunTypes(t, b, attntest.Options{Filter: matrixCases})
	t.Logf("%d pipelines", b.PipelinesCreated())
}

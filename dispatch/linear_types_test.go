package dispatch_test

import (
	"regexp"
	"testing"

	"github.com/vkattn/vkattn"
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
			if name == "chunk" && testing.Short() {
				t.Skip("SwiftShader compiles chunks of the delta rule for minutes: runs without -short")
			}
			cfg.CacheDir = "off"
			o := attntest.Options{Filter: linearFewTypes}
			if full {
				o.Filter = linearTypes
			}
			attntest.RunLinear(t, open(t, cfg), o)
		})
	}
}

// chunksOnly opens a backend on which linear attention runs in chunks on matrix units, or skips.
func chunksOnly(t *testing.T, cfg dispatch.Config) *dispatch.Backend {
	t.Helper()
	cfg.CacheDir, cfg.Kernel, cfg.Disable = "off", "linear_chunk", []string{"linear_chunk"}
	b := open(t, cfg)
	h := vkattn.Float16
	if err := b.Supports(vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 64, HeadDim: 32, Causal: true, TypeQ: h, TypeK: h, TypeV: h}); err != nil {
		t.Skip(err)
	}
	return b
}

// TestLinearMatrix: chunks on matrix units.
func TestLinearMatrix(t *testing.T) {
	o := attntest.Options{Filter: linearFewTypes}
	if full {
		o.Filter = linearTypes
	}
	attntest.RunLinear(t, chunksOnly(t, dispatch.Config{}), o)
}

// TestLinearMatrixSlices: slices of the tokens change no bit, and segments nearly none.
func TestLinearMatrixSlices(t *testing.T) {
	if testing.Short() {
		t.Skip("three builds of the kernel: runs without -short")
	}
	h := vkattn.Float16
	op := vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 300, HeadDim: 40, ValueDim: 21, Causal: true, Map: vkattn.MapELU, Norm: vkattn.NormSum, Decay: vkattn.DecayToken,
		StateOut: true, TypeQ: h, TypeK: h, TypeV: h}
	args := linearArgs(op, nil, 1, 0.05, false)
	var back vkattn.Args
	for _, x := range []struct{ in, back *vkattn.Tensor }{{&args.Q, &back.Q}, {&args.K, &back.K}, {&args.V, &back.V}} {
		*x.in, *x.back = rounded(t, h, *x.in)
	}
	wide, in := op, args
	wide.TypeQ, wide.TypeK, wide.TypeV = 0, 0, 0
	in.Q, in.K, in.V = back.Q, back.K, back.V
	want := linearOracle(t, wide, &in)
	var whole [2][]float32
	for _, c := range []struct {
		name string
		cfg  dispatch.Config
	}{{"whole", dispatch.Config{SkipSelfTest: true}}, {"slices", dispatch.Config{SkipSelfTest: true, Budget: 1}}, {"parts", dispatch.Config{Splits: 3}}} {
		blankLinear(&args)
		r := run(t, chunksOnly(t, c.cfg), op, args)
		checkLinear(t, wide, &args, want, 3e-4)
		switch c.name {
		case "whole":
			whole = linearResults(&args)
		case "slices":
			if err := sameBits(linearResults(&args), whole); err != nil || r.Slices < 3 {
				t.Errorf("%d slices: %v", r.Slices, err)
			}
		case "parts":
			if r.Splits < 3 {
				t.Errorf("%d parts", r.Splits)
			}
		}
		if r.Kernel != "linear_chunk_matrix" {
			t.Errorf("%s: %s", c.name, r.Kernel)
		}
	}
}

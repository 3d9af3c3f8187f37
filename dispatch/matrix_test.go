package dispatch_test

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
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

// The cases of types that a rung on matrix units computes: all of them with VKATTN_FULL=1, else small heads and one type, for a
// current llvmpipe compiles such a kernel for 5 to 40 s.
var (
	matrixCases = regexp.MustCompile(`^types/(f16|bf16|f16-f16-f16-f32)/`)
	matrixFew   = regexp.MustCompile(`^types/f16/.*_d[1-3]?[0-9](-[0-9]+)?$`)
)

// TestMatrix: weights in registers where the probe knows the layout of matrices, and all through shared memory.
func TestMatrix(t *testing.T) {
	for name, disable := range map[string][]string{"registers": nil, "shared": {"registers"}} {
		t.Run(name, func(t *testing.T) {
			b := matrixOnly(t, "matrix", dispatch.Config{Disable: disable})
			cases := matrixFew
			if full {
				cases = matrixCases
			}
			attntest.RunTypes(t, b, attntest.Options{Filter: cases})
			t.Logf("%d pipelines", b.PipelinesCreated())
		})
	}
}

// rangeCases are those of small heads in one type that flash_range computes.
var rangeCases = regexp.MustCompile(`^types/f16/(prefill|varlen|window-sinks|empty-rows|strided)/.*_d24-16$`)

// isRange skips where the layout of matrices is not of the kind that flash_range knows, and fails where it is and another kernel ran.
func isRange(t *testing.T, r vkattn.Report) {
	t.Helper()
	switch {
	case r.Kernel == "flash_range":
	case strings.Contains(r.Tile, "weights in registers"):
		t.Fatalf("%s ran, %s", r.Kernel, r.Tile)
	default:
		t.Skipf("the layout of matrices is not of the kind that it knows: %s ran", r.Kernel)
	}
}

// TestRange: rows that see one range of keys, in two matrices of rows and in parts, and the same bits in slices.
func TestRange(t *testing.T) {
	h := vkattn.Float16
	op := vkattn.Attention{Batch: 1, HeadsQ: 4, HeadsK: 2, SeqQ: 75, SeqK: 300, HeadDim: 16, ValueDim: 16, Causal: true, With: vkattn.WithLSE, TypeQ: h, TypeK: h, TypeV: h, TypeOut: h}
	type taken struct { // how scores are taken in: with two buffers by as many as registers hold
		keys, buffers uint32
		scale         float64
	}
	want := map[taken][]byte{}
	for _, c := range []struct {
		name   string
		mats   uint32
		keys   uint32
		bufs   uint32
		cfg    dispatch.Config
		slices bool
	}{
		{"whole", 1, 16, 1, dispatch.Config{}, false}, {"two matrices", 2, 16, 1, dispatch.Config{}, false}, {"parts", 2, 16, 1, dispatch.Config{Splits: 3}, false},
		{"slices of two matrices", 2, 16, 1, dispatch.Config{Budget: 1}, true},
		{"slices", 1, 16, 1, dispatch.Config{Budget: 1}, true}, {"long tiles", 1, 32, 1, dispatch.Config{}, false}, {"two buffers", 2, 32, 2, dispatch.Config{}, false}, {"short tiles", 1, 16, 2, dispatch.Config{}, false},
		{"slices of short tiles", 1, 16, 2, dispatch.Config{Budget: 1}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := matrixOnly(t, "matrix", c.cfg)
			b.TakeRange(c.mats, c.keys, c.bufs)
			for _, scale := range []float64{0.25, mixedScale} {
				op := op
				op.Scale = vkattn.Num(scale)
				args := problem(op, 3)
				halve(t, &args.Q, &args.K, &args.V, &args.Out)
				r := run(t, b, op, args)
				isRange(t, r)
				if c.slices != (r.Slices > 1) || c.cfg.Splits > r.Splits {
					t.Errorf("%d slices, %d parts", r.Slices, r.Splits)
				}
				got, how := args.Out.Mem.(*vkattn.Host).Bytes(), taken{c.keys, c.bufs, scale}
				if c.bufs == 2 {
					how.keys = 0
				}
				switch {
				case want[how] == nil:
					want[how] = slices.Clone(got)
				case c.cfg.Splits == 0 && !slices.Equal(want[how], got):
					t.Errorf("scale %g: other bits than in one piece", scale)
				}
			}
			if !c.slices {
				attntest.RunTypes(t, b, attntest.Options{Filter: rangeCases, RequireAll: true})
				extremes(t, b, op, "flash_range")
			}
		})
	}
}

// TestRangeWindows: what is bound of keys and values starts behind the first ones, and the bits stay the same.
func TestRangeWindows(t *testing.T) {
	h := vkattn.Float16
	op := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 18000, SeqK: 18000, HeadDim: 32, ValueDim: 32, Causal: true, Window: vkattn.Window{Left: vkattn.Tokens(150)},
		With: vkattn.WithLSE, TypeQ: h, TypeK: h, TypeV: h, TypeOut: h}
	var want []byte
	for _, override := range []func(*vk.Caps){nil, oneMiB} {
		b := matrixOnly(t, "matrix", lowered(override))
		args := problem(op, 3)
		halve(t, &args.Q, &args.K, &args.V, &args.Out)
		r := run(t, b, op, args)
		isRange(t, r)
		t.Logf("%d slices, %d pipelines", r.Slices, b.PipelinesCreated())
		got := args.Out.Mem.(*vkattn.Host).Bytes()
		if want == nil {
			want = slices.Clone(got)
		} else if !slices.Equal(want, got) {
			t.Error("other bits than with everything bound")
		}
	}
}

// TestRangeCutRows: rows so far apart that a device which binds 1 MiB sees some of a row tile and a slice of the keys at a time, in one part and in several.
func TestRangeCutRows(t *testing.T) {
	h := vkattn.Float16
	op := vkattn.Attention{Batch: 1, HeadsQ: 2, HeadsK: 1, SeqQ: 45, SeqK: 300, HeadDim: 32, ValueDim: 24, Causal: true, With: vkattn.WithLSE, TypeQ: h, TypeK: h, TypeV: h, TypeOut: h}
	args := problem(op, 3)
	halve(t, &args.Q, &args.K, &args.V, &args.Out)
	out, lse := args.Out.Mem.(*vkattn.Host).Bytes(), args.LSE.Mem.(*vkattn.Host).Float32s()
	for _, splits := range []int{1, 3} {
		var want []byte
		var wantLSE []float32
		for _, override := range []func(*vk.Caps){nil, oneMiB} {
			cfg := lowered(override)
			cfg.Splits = splits
			b := matrixOnly(t, "matrix", cfg)
			b.TakeRange(2, 32, 2)
			on := args
			for _, x := range []struct {
				t   *vkattn.Tensor
				gap int
			}{{&on.Q, 300}, {&on.K, 150}, {&on.V, 150}, {&on.Out, 300}} {
				s, from := x.t.Shape, *x.t
				wide, err := b.NewTensor(h, [4]int{1, s[2], x.gap * s[1], s[3]})
				if err != nil {
					t.Fatal(err)
				}
				defer wide.Mem.Close()
				x.t.Mem, x.t.Stride = wide.Mem, [4]int{wide.Stride[0], s[3], wide.Stride[1], 1}
				if err := b.Copy(t.Context(), *x.t, from); err != nil {
					t.Fatal(err)
				}
			}
			r := run(t, b, op, on)
			isRange(t, r)
			if r.Splits != splits || override != nil && r.Slices < 8 {
				t.Errorf("%d parts, %d slices", r.Splits, r.Slices)
			}
			clear(out)
			if err := b.Copy(t.Context(), args.Out, on.Out); err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want, wantLSE = slices.Clone(out), slices.Clone(lse)
			} else if !slices.Equal(want, out) || !slices.Equal(wantLSE, lse) {
				t.Errorf("%d parts: other bits than with everything bound", splits)
			}
			t.Logf("%d parts, %d slices, %d pipelines", r.Splits, r.Slices, b.PipelinesCreated())
		}
	}
}

// TestMatrixSlices: keys cut to slices change no bit, keys cut to parts little.
func TestMatrixSlices(t *testing.T) {
	half := vkattn.Float16
	op := vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 45, SeqK: 300, HeadDim: 24, ValueDim: 16, Causal: true, With: vkattn.WithLSE, TypeQ: half, TypeK: half, TypeV: half}
	args := problem(op, 3)
	halve(t, &args.Q, &args.K, &args.V)
	want, err := cpu.Oracle(op, &args)
	if err != nil {
		t.Fatal(err)
	}
	out := args.Out.Mem.(*vkattn.Host).Float32s()
	var whole []float32
	for _, c := range []struct {
		name string
		cfg  dispatch.Config
	}{{"whole", dispatch.Config{}}, {"slices", dispatch.Config{Budget: 1}}, {"shared slices", dispatch.Config{Budget: 1, Disable: []string{"registers"}}}, {"parts", dispatch.Config{Splits: 3}}} {
		b := matrixOnly(t, "matrix", c.cfg)
		plan, err := b.Plan(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		clear(out)
		report, err := plan.Run(t.Context(), args)
		if err != nil {
			t.Fatal(err)
		}
		if sliced := c.cfg.Budget > 0; sliced && report.Slices < 4 || c.cfg.Splits > report.Splits {
			t.Errorf("%s: %d slices, %d parts", c.name, report.Slices, report.Splits)
		}
		for i, x := range want.Out {
			if !(math.Abs(float64(out[i])-x) < 4e-3) {
				t.Fatalf("%s: element %d is %v, want %v", c.name, i, out[i], x)
			}
		}
		switch c.name {
		case "whole":
			whole = slices.Clone(out)
		case "slices":
			if !slices.Equal(whole, out) {
				t.Error("slices of the keys change the bits")
			}
		}
	}
}

func TestMatrix2(t *testing.T) {
	b := matrixOnly(t, "matrix2", dispatch.Config{})
	o := attntest.Options{Filter: matrixFew}
	if full {
		o.Filter = matrixCases
	}
	attntest.RunTypes(t, b, o)
	t.Logf("%d pipelines", b.PipelinesCreated())
}

// TestMatrix2Masks: all masks and extras, at once, in slices that carry the running state, and in parts that are merged.
func TestMatrix2Masks(t *testing.T) {
	for name, cfg := range map[string]dispatch.Config{"whole": {}, "slices": {Budget: 1}, "parts": {Splits: 3}} {
		t.Run(name, func(t *testing.T) {
			o := attntest.Options{}
			if !full {
				o.Filter = regexp.MustCompile(`^masks/f16/`)
			}
			b := matrixOnly(t, "matrix2", cfg)
			attntest.RunMasks(t, b, o)
			t.Logf("%d pipelines", b.PipelinesCreated())
		})
	}
}

// TestMatrix2Budget: how keys are cut into slices changes no bit.
func TestMatrix2Budget(t *testing.T) {
	h := vkattn.Float16
	op := vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 90, SeqK: 400, HeadDim: 24, ValueDim: 16, Causal: true, With: vkattn.WithLSE, TypeQ: h, TypeK: h, TypeV: h}
	var want []float32
	for _, budget := range []time.Duration{0, 1} {
		args := problem(op, 3)
		halve(t, &args.Q, &args.K, &args.V)
		r := run(t, matrixOnly(t, "matrix2", dispatch.Config{Budget: budget}), op, args)
		got := args.Out.Mem.(*vkattn.Host).Float32s()
		if budget == 0 {
			want = got
			continue
		}
		if r.Slices < 3 {
			t.Errorf("only %d slices", r.Slices)
		}
		if !slices.Equal(got, want) {
			t.Error("slices change the result")
		}
	}
}

// TestMatrixParts: kernels on matrix units are probed and tested for MoBA, too, which may be the first to want them. (The branches of NSA are not all for matrices.)
func TestMatrixParts(t *testing.T) {
	b := matrixOnly(t, "matrix", dispatch.Config{})
	o := attntest.Options{Filter: regexp.MustCompile(`^types/f16/moba/tokens/17(-few)?_`), RequireAll: true}
	if full {
		o.Filter = regexp.MustCompile(`^types/f16/moba/`)
	}
	attntest.RunSparseTypes(t, b, o)
}

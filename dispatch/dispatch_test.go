package dispatch_test

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
)

// onlySlow skips a test whose problems keep a software driver busy, and are over on a GPU before anything can happen.
func onlySlow(t *testing.T, b *dispatch.Backend) {
	t.Helper()
	if kind := b.Caps().DeviceType; kind != "cpu" {
		t.Skipf("the problems are sized for software drivers; this is a %s device", kind)
	}
}

// open returns a backend on the device that VKATTN_TEST_DEVICE names (any part of its name; a software
// driver by default). VKATTN_REQUIRE_DEVICE=1 makes a missing device a failure.
func open(t testing.TB, cfg dispatch.Config) *dispatch.Backend {
	t.Helper()
	if cfg.Device == "" {
		cfg.Device = os.Getenv("VKATTN_TEST_DEVICE")
	}
	if cfg.Device == "" {
		cfg.Device = "llvmpipe"
	}
	b, err := dispatch.Open(context.Background(), cfg)
	if err != nil {
		if os.Getenv("VKATTN_REQUIRE_DEVICE") == "1" {
			t.Fatal(err)
		}
		t.Skipf("no device to test on: %v", err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return b.(*dispatch.Backend)
}

func normal(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// problem makes dense BHSD args with random data.
func problem(op vkattn.Attention, seed uint64) vkattn.Args {
	op = op.Canonical()
	rng := rand.New(rand.NewPCG(seed, 0))
	mk := func(h, s, d int) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(normal(rng, op.Batch*h*s*d)), op.Batch, h, s, d)
	}
	a := vkattn.Args{Q: mk(op.HeadsQ, op.SeqQ, op.HeadDim), K: mk(op.HeadsK, op.SeqK, op.HeadDim), V: mk(op.HeadsV, op.SeqK, op.ValueDim), Out: mk(op.HeadsQ, op.SeqQ, op.ValueDim)}
	if op.With.Has(vkattn.WithLSE) {
		a.LSE = mk(op.HeadsQ, op.SeqQ, 1)
	}
	return a
}

func check(t *testing.T, op vkattn.Attention, args *vkattn.Args) {
	t.Helper()
	want, err := cpu.Oracle(op, args)
	if err != nil {
		t.Fatal(err)
	}
	got := args.Out.Mem.(*vkattn.Host).Float32s()
	var worst float64
	for i, w := range want.Out {
		if d := math.Abs(float64(got[i]) - w); d > worst || math.IsNaN(d) {
			worst = d
			if math.IsNaN(d) {
				t.Fatalf("out[%d] is NaN", i)
			}
		}
	}
	if worst > 1e-5 {
		t.Errorf("out is off by %g", worst)
	}
	if args.LSE.Given() {
		lse := args.LSE.Mem.(*vkattn.Host).Float32s()
		for i, w := range want.LSE {
			if d := math.Abs(float64(lse[i]) - w); d > 1e-5*max(1, math.Abs(w)) || math.IsNaN(d) {
				t.Fatalf("lse[%d] is %g, want %g", i, lse[i], w)
			}
		}
	}
}

func TestDense(t *testing.T) {
	for _, kernel := range []string{"flash", "standard"} {
		for _, disable := range []string{"", "subgroup"} {
			if kernel == "standard" && disable != "" {
				continue
			}
			b := open(t, dispatch.Config{Kernel: kernel, Disable: []string{disable}, CacheDir: "off"})
			for _, op := range []vkattn.Attention{
				{Batch: 1, HeadsQ: 4, HeadsK: 2, SeqQ: 65, SeqK: 65, HeadDim: 64, Causal: true, With: vkattn.WithLSE},
				{Batch: 2, HeadsQ: 7, HeadsK: 1, SeqQ: 17, SeqK: 257, HeadDim: 59, ValueDim: 40, With: vkattn.WithLSE},
				{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 1024, HeadDim: 64},
				{Batch: 1, HeadsQ: 2, SeqQ: 100, SeqK: 300, HeadDim: 64, Window: vkattn.Window{Left: vkattn.Tokens(20), Right: vkattn.Tokens(3)}},
			} {
				p, err := b.Plan(context.Background(), op)
				if err != nil {
					t.Fatal(err)
				}
				args := problem(op, 1)
				rep, err := p.Run(context.Background(), args)
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("%s %s: %s", kernel, disable, p.Explain())
				t.Logf("%+v", rep)
				check(t, op, &args)
			}
		}
	}
}

package dispatch_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// listener keeps the warnings and errors of the validation layers.
type listener struct {
	mu    sync.Mutex
	heard []vk.Message
}

func (l *listener) hear(m vk.Message) {
	// Newer layers warn of their own settings, and of how slow what they add makes a kernel.
	if m.Severity < vk.SeverityWarning || m.ID == "Loader Message" || m.ID == "VALIDATION-SETTINGS" || m.ID == "WARNING-Setting-Limit-Adjusted" ||
		m.ID == "GPUAV-Compile-time-general-buffer" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.heard = append(l.heard, m)
}

// validated opens a backend under the layers; without them the test is skipped.
func validated(t *testing.T, cfg dispatch.Config, l *listener) *dispatch.Backend {
	t.Helper()
	cfg.OnMessage, cfg.CacheDir = l.hear, "off"
	cfg.Device = os.Getenv("VKATTN_TEST_DEVICE")
	if cfg.Device == "" {
		cfg.Device = "llvmpipe"
	}
	b, err := dispatch.Open(context.Background(), cfg)
	if errors.Is(err, vk.ErrUnsupported) {
		t.Skipf("no validation layer: %v", err)
	}
	if err == nil {
		err = b.Close()
	}
	if err != nil && os.Getenv("VKATTN_REQUIRE_DEVICE") == "1" {
		t.Fatal(err)
	}
	return open(t, cfg)
}

// TestValidation: the layers have nothing to say about anything that a backend does.
func TestValidation(t *testing.T) {
	l := &listener{}
	cfg := dispatch.Config{Validation: vk.ValidationCore | vk.ValidationSync}
	b := validated(t, cfg, l)
	sizes := `d64$|d59|d40|d3$|d32$|d16$`
	if testing.Short() {
		sizes = `d3$|d32$|d16$` // one bucket: the layer looks at modules and calls, which are the same for all
	}
	attntest.Run(t, b, attntest.Options{Filter: regexp.MustCompile(sizes), Sample: true, RequireAll: true})
	attntest.RunTypes(t, b, attntest.Options{Filter: fewTypes, Sample: true, RequireAll: true})
	device(t, b)
	cfg.Budget = 2 * time.Millisecond
	sliced := validated(t, cfg, l)
	for i := range heavy {
		args := heavy[i].args(1)
		run(t, sliced, heavy[i].op, args)
		checkRows(t, heavy[i].op, &args, 2)
	}
	cfg.Budget, cfg.Splits = 0, 3
	cfg.VK.Override = func(c *vk.Caps) { oneMiB(c); ownMemory(c) }
	narrow := validated(t, cfg, l)
	for i := range wide {
		args := wide[i].args(1)
		run(t, narrow, wide[i].op, args)
		checkRows(t, wide[i].op, &args, 2)
	}
	device(t, narrow)
	cfg = dispatch.Config{Validation: cfg.Validation, Kernel: "standard"}
	standard := validated(t, cfg, l)
	for i := range light {
		args := light[i].args(1)
		run(t, standard, light[i].op, args)
		checkRows(t, light[i].op, &args, 2)
	}
	cfg.Kernel = "flash_dot"
	dot := validated(t, cfg, l)
	attntest.RunDecode(t, dot, attntest.Options{Filter: regexp.MustCompile(`d32$`), RequireAll: dot.Caps().Features.IntegerDotProduct})
	for _, b := range []*dispatch.Backend{b, sliced, narrow, standard, dot} {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, m := range l.heard {
		t.Error(m)
	}
}

// TestValidationGPU: no kernel reads outside of what is bound, even where the masks leave a row tile nothing
// and so no keys are bound at all. An instrumented kernel takes minutes to compile. One of a single row for each
// group of lanes has the same accesses and takes less: it runs the whole suite.
func TestValidationGPU(t *testing.T) {
	if os.Getenv("VKATTN_VALIDATE_GPU") != "1" {
		t.Skip("compiles instrumented kernels for an hour; make validate-gpu runs it")
	}
	l := &listener{}
	silent := func(what string) {
		t.Helper()
		for _, m := range l.heard {
			t.Errorf("%s: %v", what, m)
		}
		l.heard = nil
	}
	level := vk.ValidationCore | vk.ValidationGPU
	storage := func(c *vk.Caps) { c.TexelFormats = nil } // the layer looks at storage buffers
	tiles := smallTiles()
	for _, disable := range [][]string{nil, {"subgroup"}} {
		o := attntest.Options{RequireAll: true}
		if disable != nil {
			o.Sample = true
		}
		attntest.Run(t, validated(t, dispatch.Config{Validation: level, SkipSelfTest: true, Disable: disable, Tiles: tiles,
			VK: vk.DeviceConfig{Robust: true, Override: storage}}, l), o)
		silent("suite")
	}
	b := validated(t, dispatch.Config{Validation: level, SkipSelfTest: true, Splits: 1, VK: vk.DeviceConfig{Robust: true, Override: func(c *vk.Caps) {
		oneMiB(c)
		storage(c)
	}}}, l)
	for name, x := range map[string]struct {
		change func(op *vkattn.Attention)
		base   int
	}{
		"long keys":             {func(op *vkattn.Attention) { op.SeqQ, op.SeqK = 9, 20_000 }, 0},
		"behind the last chunk": {func(op *vkattn.Attention) { op.Chunk, op.Align = 7, vkattn.AlignTopLeft }, 44},
		"no window": {func(op *vkattn.Attention) {
			op.Window, op.Align = vkattn.Window{Left: vkattn.Tokens(-5), Right: vkattn.Tokens(-20)}, vkattn.AlignTopLeft
		}, 10},
		"no keys": {func(op *vkattn.Attention) { op.SeqK = 0 }, 0},
	} {
		op := vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 8, SeqK: 36, HeadDim: 32, With: vkattn.WithLSE}
		x.change(&op)
		args := (&namedCall{op: op}).args(1)
		args.QBase = x.base
		run(t, b, op, args)
		checkRows(t, op, &args, 5)
		silent(name)
	}
}

// smallTiles are those of a single row for each group of lanes, for all problems.
func smallTiles() map[string]dispatch.Tile {
	tiles := map[string]dispatch.Tile{}
	for _, path := range []string{"subgroup", "plain"} {
		for _, d := range []string{"d32", "d64", "d96", "d128", "d192", "d192-128", "d256", "d384", "d576"} {
			for _, rows := range []string{"", " rows1", " rows4", " rows8"} {
				tiles[path+" "+d+rows] = dispatch.Tile{Lanes: 8, Rows: 1, Invocations: 8}
			}
		}
	}
	return tiles
}

// device runs calls on device tensors, chained and by copies.
func device(t *testing.T, b *dispatch.Backend) {
	t.Helper()
	rng := rand.New(rand.NewPCG(6, 0))
	for i := range deviceCalls {
		c := &deviceCalls[i]
		host := c.args(1)
		args := onDevice(t, rng, b, host)
		batch := b.NewBatch()
		p, err := b.Plan(t.Context(), c.op)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := p.Record(batch, args); err != nil {
				t.Fatal(err)
			}
		}
		pending, err := batch.Submit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pending.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(b.Copy(t.Context(), host.Out, args.Out), b.Copy(t.Context(), host.LSE, args.LSE)); err != nil {
			t.Fatal(err)
		}
		checkRows(t, c.op, &host, 3)
	}
}

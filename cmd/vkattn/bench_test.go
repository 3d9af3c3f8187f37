package main

import (
	"bytes"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
	"github.com/vkattn/vkattn/internal/preset"
)

// benchCommand is a command line of bench, parsed and not run.
func benchCommand(t *testing.T, a *app, args ...string) (*cobra.Command, func(context.Context) error) {
	t.Helper()
	root := newRoot(a)
	cmd, rest, err := root.Find(append([]string{"bench"}, args...))
	if err == nil {
		err = cmd.ParseFlags(rest)
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, func(ctx context.Context) error {
		cmd.SetContext(ctx)
		return cmd.RunE(cmd, nil)
	}
}

// TestShardsOfSuite: the lists of all shards together are the list of the suite, each line once.
func TestShardsOfSuite(t *testing.T) {
	list := func(args ...string) []string {
		var out, err bytes.Buffer
		if code := Main(append([]string{"bench", "--suite", "fa,presets", "--list"}, args...), &out, &err); code != exitDone {
			t.Fatalf("exit code %d: %s", code, err.String())
		}
		var names []string
		for line := range strings.Lines(out.String()) {
			if name := strings.Fields(line)[0]; name != "NAME" {
				names = append(names, strings.Split(line, "  ")[0])
			}
		}
		return names
	}
	want := list()
	var got []string
	for _, shard := range []string{"0/3", "1/3", "2/3"} {
		got = append(got, list("--shard", shard)...)
	}
	slices.Sort(want)
	slices.Sort(got)
	if len(want) < 70 || !slices.Equal(got, want) {
		t.Errorf("%d problems in shards, %d in all", len(got), len(want))
	}
}

// TestInterrupted: what was measured until the end of the context is written, and marked.
func TestInterrupted(t *testing.T) {
	var out, stderr bytes.Buffer
	a := &app{out: &out, err: &stderr}
	_, run := benchCommand(t, a, "--device", "cpu", "--no-roofs", "--no-verify", "--heads", "4", "--seqlen", "1k,2k", "--headdim", "64",
		"--warm-time", "0", "--rep", "1000", "--time", "1h", "--max-time", "1h", "-o", "json")
	ctx, cancel := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer cancel()
	if err := run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error is %v", err)
	}
	records, err := bench.Read(&out, "out")
	if err != nil || len(records) != 1 {
		t.Fatalf("%d records, %v", len(records), err)
	}
	if r := records[0]; r.Stopped != bench.StopInterrupted || len(r.Samples) == 0 || r.Verified {
		t.Errorf("ended by %q with %d samples", r.Stopped, len(r.Samples))
	}
}

// TestFlopsOf: the prediction counts what the report counts.
func TestFlopsOf(t *testing.T) {
	for _, args := range [][]string{
		{}, {"--causal"}, {"--causal", "--seqlen-k", "50"}, {"--causal", "--seqlen-q", "90"}, {"--causal", "--window", "15,0"},
		{"--window", "7,8"}, {"--batch", "3", "--headdim", "16-8"}, {"--seqlen-q", "1", "--causal"},
		{"--block-mask", "chunk:chunk=16", "--block-size", "16"}, {"--block-mask", "bigbird:pattern-block=8", "--block-size", "8"},
		{"--linear", "--causal", "--map", "elu", "--norm", "sum"}, {"--linear", "--map", "favor", "--features", "8", "--batch", "3", "--seqlen-k", "90"},
		{"--linear", "--causal", "--rule", "delta", "--decay", "channel", "--heads-v", "4"},
	} {
		b := newFlags(t, append([]string{"--heads", "2", "--seqlen", "64", "--headdim", "16"}, args...)...)
		specs, err := b.specs(true)
		if err != nil {
			t.Fatal(err)
		}
		pr, err := b.generate(specs[0])
		if err == nil {
			err = pr.finish()
		}
		if err != nil {
			t.Fatal(err)
		}
		// Windows are cut off at the ends, which the prediction leaves out.
		if got, want := flopsOf(&specs[0]), pr.work.FLOPs; math.Abs(got-want) > 0.15*want || !specs[0].op.Window.Given() && got != want {
			t.Errorf("%v: %v, want %v", args, got, want)
		}
	}
}

func newFlags(t *testing.T, args ...string) *problemFlags {
	t.Helper()
	p := &problemFlags{}
	cmd := &cobra.Command{}
	p.register(cmd, false, true)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTooLong: a problem is cut by the rate that was seen in its class, and only above the limit.
func TestTooLong(t *testing.T) {
	op := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1024, SeqK: 1024, HeadDim: 64}
	j := &job{spec: spec{op: op}}
	c := &contestant{rates: map[class]rate{classOf(&j.spec): {flops: flopsOf(&j.spec), seconds: 2}}}
	b := &benchFlags{rep: 10, warmup: 1, maxTime: 5 * time.Second, maxCase: time.Minute}
	if why := b.tooLong(t.Context(), j, c); why != "" { // 3 samples, a warm-up and the check: 10 s
		t.Error(why)
	}
	j.spec.op.SeqQ *= 4
	j.spec.op.SeqK *= 4
	if why := b.tooLong(t.Context(), j, c); !strings.HasPrefix(why, "predicted to take 160 s, 32.0 s a run at the measured ") || !strings.HasSuffix(why, "--max-case is 1m") {
		t.Error(why)
	}
	b.maxCase = 0
	if why := b.tooLong(t.Context(), j, c); why != "" {
		t.Error(why)
	}
	blocks := vkattn.Attention{With: vkattn.WithBlocks}
	for _, s := range []spec{{op: vkattn.Attention{With: vkattn.WithBias}}, {prefix: []int32{1}}, {op: blocks, blockMask: "blocks.npy"}, {op: blocks, blockMask: "documents:documents=5"}} {
		if shrinks(&s) {
			t.Errorf("%+v: a problem with an array as long as its tokens does not shrink", s)
		}
	}
	if !shrinks(&spec{op: blocks, blockMask: "bigbird:random=2"}) {
		t.Error("a pattern shrinks with its tokens")
	}
}

// TestClasses: what does not run at the same rate is not predicted from the same measurement, and what does is.
func TestClasses(t *testing.T) {
	seen := map[class]int{}
	for i, args := range [][]string{
		{}, {"--headdim", "32"}, {"--heads", "8", "--heads-kv", "1"}, {"--seqlen-q", "1"}, {"--block-mask", "bigbird"}, {"--block-mask", "strided"},
		{"--block-mask", "bigbird", "--block-size", "128"}, {"--linear"}, {"--linear", "--causal"}, {"--linear", "--causal", "--decay", "head"},
	} {
		for _, more := range [][]string{nil, {"--seqlen", "2k"}, {"--batch", "2"}} {
			specs, err := newFlags(t, append(args, more...)...).specs(true)
			if err != nil {
				t.Fatal(err)
			}
			kind := classOf(&specs[0])
			if n, ok := seen[kind]; ok && n != i {
				t.Errorf("%v is of the same class as number %d", args, n)
			}
			if seen[kind] = i; more != nil && len(seen) != i+1 {
				t.Errorf("%v and %v are of different classes", args, more)
			}
		}
	}
}

// TestHalved: problems get smaller until there is no half.
func TestHalved(t *testing.T) {
	for _, args := range [][]string{{"--batch", "5"}, {"--seqlen-q", "1", "--seqlen-k", "1m"}, {"--linear", "--map", "favor", "--features", "512"}, {"--linear", "--causal"}} {
		specs, err := newFlags(t, args...).specs(true)
		if err != nil {
			t.Fatal(err)
		}
		s, n := specs[0], 0
		for smaller, ok := s.halved(); ok; smaller, ok = s.halved() {
			if flopsOf(&smaller) >= flopsOf(&s) || smaller.problemOp().Validate() != nil || n > 60 {
				t.Fatalf("%s is no half of %s", smaller.text(), s.text())
			}
			s, n = smaller, n+1
		}
		if n < 4 {
			t.Errorf("%v: %d halves", args, n)
		}
	}
}

// TestPresetMasks: the block mask of every preset is a pattern that can be built for it.
func TestPresetMasks(t *testing.T) {
	for _, p := range preset.All() {
		if p.Blocks == "" {
			continue
		}
		s := spec{op: p.Op, blockMask: p.Blocks, blockQ: 64, blockK: 64}
		m, err := s.patternMask(p.Op.HeadsQ, p.Context, p.Context)
		if err != nil {
			t.Errorf("%s: %v", p.Name, err)
			continue
		}
		n := p.Context / 64
		want := map[string]int{
			// Everything in the first and last row block, 4+3 blocks beside them, 5+3 elsewhere; heads draw their own.
			"bigbird-base": 12 * (2*n + 2*7 + (n-4)*8),
		}[p.Name]
		if p.Name == "phi3-small" { // by the definition, block by block
			for h := range 32 {
				for q := range n {
					for k := range q + 1 {
						if q-k < 16 || (k+h+1)%8 == 0 {
							want++
						}
					}
				}
			}
		}
		if len(m.Keys) != want {
			t.Errorf("%s has %d blocks, want %d", p.Name, len(m.Keys), want)
		}
	}
}

func TestSPIRVHashes(t *testing.T) {
	names := func(r vkattn.Report) (all []string) {
		for name, hash := range spirvOf(&r) {
			if len(hash) != 64 {
				t.Errorf("%s: %q is no SHA-256", name, hash)
			}
			all = append(all, name)
		}
		slices.Sort(all)
		return all
	}
	for _, c := range []struct {
		report vkattn.Report
		want   []string
	}{
		{vkattn.Report{Info: vkattn.Info{Backend: "cpu"}, Kernel: "flash-cpu"}, nil},
		{vkattn.Report{Info: vkattn.Info{Backend: "vulkan"}, Kernel: "flash_plain", Splits: 1}, []string{"flash_plain"}},
		{vkattn.Report{Info: vkattn.Info{Backend: "vulkan"}, Kernel: "flash_plain", Splits: 4}, []string{"flash_plain", "merge"}},
		{vkattn.Report{Info: vkattn.Info{Backend: "vulkan"}, Kernel: "standard", Splits: 1}, []string{"standard_scores", "standard_softmax", "standard_values"}},
	} {
		if got := names(c.report); !slices.Equal(got, c.want) {
			t.Errorf("%s with %d splits: %v, want %v", c.report.Kernel, c.report.Splits, got, c.want)
		}
	}
}

func TestMeter(t *testing.T) {
	if got := meter(5, 10); got != "[==========          ] 6/10" {
		t.Error(got)
	}
}

// measurer is a device with roofs.
type measurer struct {
	vkattn.Backend
	name  string
	calls int
	err   error
}

func (m *measurer) Info() vkattn.Info { return vkattn.Info{Device: m.name} }
func (m *measurer) Roofs(context.Context) (vkattn.Roofs, error) {
	m.calls++
	return vkattn.Roofs{ReadGBps: 7}, m.err
}

// plainBackend has none.
type plainBackend struct{ vkattn.Backend }

func (plainBackend) Info() vkattn.Info { return vkattn.Info{Device: "plain"} }

// TestRoofsOnce: a device measures its roofs once, for all its kernels; one without them or whose measurement fails goes on.
func TestRoofsOnce(t *testing.T) {
	var stderr bytes.Buffer
	a := &app{out: &bytes.Buffer{}, err: &stderr}
	m, failing := &measurer{name: "a"}, &measurer{name: "b", err: errors.New("lost")}
	field := []*contestant{{name: "a", backend: m}, {name: "a/standard", backend: m}, {name: "plain", backend: plainBackend{}}, {name: "absent"}, {name: "b", backend: failing}}
	if err := a.measureRoofs(t.Context(), field, a.progress()); err != nil {
		t.Fatal(err)
	}
	if m.calls != 1 || field[0].roofs == nil || field[1].roofs != field[0].roofs || field[0].roofs.ReadGBps != 7 || field[2].roofs != nil || field[4].roofs != nil {
		t.Errorf("%d calls, %+v", m.calls, field)
	}
	if !strings.Contains(stderr.String(), "the roofs of b: lost") {
		t.Errorf("stderr: %s", stderr.String())
	}
}

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn/internal/bench"
)

// benchFlags is the command line of bench.
type benchFlags struct {
	problemFlags
	deviceFlags
	serveFlags
	suite, filter, shard string
	quick, list          bool
	maxCase              time.Duration

	noVerify, noRoofs bool
	host              bool
	warmup            int
	warmTime          time.Duration
	rep               int
	time              time.Duration
	maxTime           time.Duration
	stop              string
	noise             float64

	format, save, label string
	resume              bool

	share bench.Shard
}

func newBench(a *app) *cobra.Command {
	var b benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure attention, verified first, over suites, sweeps, devices and kernels",
		Long:  benchText(),
		Example: `  vkattn bench --suite fa --quick
  vkattn bench --suite llama --device gpu -o json > here.json
  vkattn bench --preset llama3.1-8b --seqlen 512-4k*2
  vkattn bench --headdim 64,128,192-128 --causal=both -o csv > prefill.csv
  vkattn bench --device gpu --kernel flash,standard --seqlen 1k,2k,4k -o benchstat
  vkattn bench --seqlen-q 1 --seqlen-k 4k-128k*2 --heads 32 --heads-kv 8 --headdim 128
  vkattn bench --suite serve --time 5m --device gpu
  vkattn bench --suite fa --shard 0/8 --label node0 --save node0.jsonl --resume`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.preset == "list" {
				return listPresets(a)
			}
			return a.bench(cmd.Context(), &b)
		},
	}
	group(cmd, "Suites", func(f *pflag.FlagSet) {
		f.StringVar(&b.suite, "suite", "", "`NAME` of a list of problems, several with commas: fa, llama, window, presets, seed; or serve, a load")
		f.BoolVar(&b.quick, "quick", false, "what fits a laptop: shorter problems and fewer samples; lists what it cuts")
		f.StringVar(&b.filter, "filter", "", "only problems whose name matches `REGEXP`")
		f.StringVar(&b.shard, "shard", "", "`I/N`: the share I of N of the problems, I from 0; every machine of a fleet takes one")
		f.DurationVar(&b.maxCase, "max-case", 0, "cut, and list as cut, what is predicted to take longer than `TIME` (default 2m with --suite, 10s with --quick, else no limit)")
		f.BoolVar(&b.list, "list", false, "list the problems and measure nothing")
	})
	b.problemFlags.register(cmd, false, true)
	b.deviceFlags.register(cmd, "auto", true)
	b.serveFlags.register(cmd)
	group(cmd, "Measurement", func(f *pflag.FlagSet) {
		f.IntVar(&b.warmup, "warmup", 1, "`N` untimed runs before the first sample")
		f.DurationVar(&b.warmTime, "warm-time", 500*time.Millisecond, "and at least for `TIME` before each turn of a device; idle GPUs clock down")
		f.IntVar(&b.rep, "rep", 10, "`N` samples at least")
		f.DurationVar(&b.time, "time", 500*time.Millisecond, "`TIME` of the samples at least; of --suite serve, the whole time (default 1m)")
		f.StringVar(&b.stop, "stop", "stdrel", "then stop by `RULE`: stdrel (the relative standard deviation is below --noise, or settled) or entropy")
		f.Float64Var(&b.noise, "noise", 0.5, "`PERCENT` of relative standard deviation to reach")
		f.DurationVar(&b.maxTime, "max-time", 5*time.Second, "`TIME` of the samples at most, once there are 3")
		f.BoolVar(&b.host, "host", false, "tensors in host memory: wall time has the copies in it")
		f.BoolVar(&b.noVerify, "no-verify", false, "time without checking first; the records say unverified")
		f.BoolVar(&b.noRoofs, "no-roofs", false, "do not measure the device's bandwidth and arithmetic first")
	})
	group(cmd, "Output", func(f *pflag.FlagSet) {
		f.StringVarP(&b.format, "output", "o", "md", "`FORMAT`: md, csv, json (every sample), jsonl (the same, a line each, as they come) or benchstat")
		f.StringVar(&b.save, "save", "", "also append each record to `FILE` as a line of JSON, as it comes")
		f.BoolVar(&b.resume, "resume", false, "leave out what the file of --save has, and report it with the rest")
		f.StringVar(&b.label, "label", "", "`NAME` of this machine in the records")
	})
	return cmd
}

func benchText() string {
	var b strings.Builder
	b.WriteString(`bench measures one problem, a sweep or a suite of them on one or several devices and kernels. Before anything is timed
its result is compared with the float64 oracle on sampled rows. Contestants take turns, so that a drift of the
machine hits all of them. Tensors stay on the device between runs unless --host is given. Times are medians of the
device's own clock where it has one; TFLOP/s count the visible pairs exactly: 2*pairs*(D+Dv). Where a device can measure
its roofs, each result says which share of the roof that binds it reached. What is stopped by Ctrl-C still writes what it has.

Suites:
`)
	for _, s := range bench.Suites {
		fmt.Fprintf(&b, "  %-8s %s\n", s.Name, s.Text)
	}
	b.WriteString(`
--suite serve is a load: for --time, sequences of random lengths arrive at a key-value cache with pages and grow by a token in each step,
those that wait for their first token beside them (continuous batching). It reports tokens per second, latencies, how much of the cache is in
use and lost to fragmentation, and memory. One row of each 16th step is compared with float64. A wrong row, and memory that
grows, are exit code 4. Without --preset, --heads or --headdim the layer is one of Llama 3.1 8B, for 16 sequences of up to 2k tokens.
`)
	fmt.Fprintf(&b, `
--quick leaves out problems of more than %s query tokens or %s keys, makes the grid of fa one of %s tokens, takes at least
3 samples in 0.1 s, at most 1 s of them, and cuts problems that are predicted to take more than 10 s.

Exit codes: 0 done (what was cut is listed), 1 failed, 2 wrong command line, 3 nothing could be measured, 4 a result was
wrong, 130 stopped by Ctrl-C. A shard without problems is done.`, bench.Size(bench.QuickTokens), bench.Size(bench.QuickKeys), bench.Size(bench.QuickTokens))
	return b.String()
}

// settle checks the flags and fills in the defaults that depend on others.
func (b *benchFlags) settle() (err error) {
	switch {
	case !slices.Contains(bench.Formats, b.format):
		return usagef("-o %s: want one of %s", b.format, strings.Join(bench.Formats, ", "))
	case !slices.Contains(bench.Criteria, b.stop):
		return usagef("--stop %s: want one of %s", b.stop, strings.Join(bench.Criteria, ", "))
	case b.rep < 1:
		return usagef("--rep %d: want 1 or more", b.rep)
	case b.warmup < 0:
		return usagef("--warmup %d: want 0 or more", b.warmup)
	case min(b.warmTime, b.time, b.maxTime) < 0:
		return usagef("--warm-time, --time and --max-time cannot be negative")
	case !(b.noise >= 0):
		return usagef("--noise %g: want 0 or more", b.noise)
	case b.maxCase < 0:
		return usagef("--max-case %s: want 0 or more", b.maxCase)
	}
	if b.shard != "" {
		if b.share, err = bench.ParseShard(b.shard); err != nil {
			return usagef("--shard: %w", err)
		}
	}
	byDefault := func(name string, set func()) {
		if !b.given(name) {
			set()
		}
	}
	if b.suite != "" {
		byDefault("max-case", func() { b.maxCase = 2 * time.Minute })
	}
	if b.quick {
		byDefault("max-case", func() { b.maxCase = 10 * time.Second })
		byDefault("rep", func() { b.rep = 3 })
		byDefault("time", func() { b.time = 100 * time.Millisecond })
		byDefault("max-time", func() { b.maxTime = time.Second })
		byDefault("warm-time", func() { b.warmTime = 100 * time.Millisecond })
	}
	return nil
}

// kernels are those that each device runs. The suite seed compares with the unfused baseline.
func (b *benchFlags) kernels() []string {
	if !b.given("kernel") && slices.Contains(strings.Split(b.suite, ","), "seed") {
		return []string{"", "standard"}
	}
	return strings.Split(b.kernel, ",")
}

// kernelsFit refuses a kernel of --kernel that fits none of the problems.
func (b *benchFlags) kernelsFit(jobs []job) error {
	if !b.given("kernel") {
		return nil
	}
	for _, kernel := range b.kernels() {
		var err error
		for i := range jobs {
			if err = (deviceFlags{kernel: kernel}).fits(jobs[i].spec.linear != nil); err == nil {
				break
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *benchFlags) rule() bench.Rule {
	r := bench.Rule{WarmRuns: b.warmup, WarmTime: b.warmTime, MinSamples: b.rep, MinTime: b.time, MaxTime: b.maxTime, Criterion: b.stop, Spread: b.noise / 100}
	if r.WarmRuns == 0 {
		r.WarmRuns = -1
	}
	if r.WarmTime == 0 {
		r.WarmTime = -1
	}
	if r.Spread == 0 {
		r.Spread = -1
	}
	return r
}

func (a *app) bench(ctx context.Context, b *benchFlags) error {
	if err := b.settle(); err != nil {
		return err
	}
	if serving, err := b.serving(); err != nil {
		return err
	} else if serving {
		return a.serve(ctx, b)
	}
	jobs, err := b.jobs()
	if err != nil {
		return err
	}
	if b.list {
		return a.listJobs(jobs)
	}
	if err := b.kernelsFit(jobs); err != nil {
		return err
	}
	before, have, err := b.resumed()
	if err != nil {
		return err
	}
	out, err := newSink(a.out, b, before)
	if err != nil {
		return err
	}
	defer out.close()
	if len(jobs) == 0 {
		a.note("shard %s has no problems", b.share)
		return out.finish()
	}
	field, err := a.contestants(ctx, b)
	for _, c := range field {
		if c.backend != nil {
			defer c.backend.Close()
		}
	}
	if err != nil {
		return err
	}
	bar := a.progress()
	if !b.noRoofs {
		err = a.measureRoofs(ctx, field, bar)
	}
	for i := range jobs {
		if err != nil {
			break
		}
		var records []bench.Record
		records, err = a.benchOne(ctx, b, &jobs[i], field, have, bar, meter(i, len(jobs))+" "+jobs[i].title())
		if fail := out.add(records); err == nil {
			err = fail
		}
	}
	bar.clear()
	if fail := out.finish(); err == nil {
		err = fail
	}
	if err != nil {
		return err
	}
	return judgeRecords(out.records)
}

// meter is a bar for i of n.
func meter(i, n int) string {
	const wide = 20
	full := i * wide / n
	return fmt.Sprintf("[%s%s] %d/%d", strings.Repeat("=", full), strings.Repeat(" ", wide-full), i+1, n)
}

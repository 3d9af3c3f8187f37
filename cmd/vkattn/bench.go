package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
)

// benchFlags is the command line of bench.
type benchFlags struct {
	problemFlags
	deviceFlags
	noVerify bool
	host     bool
	format   string
	warmup   int
	warmTime time.Duration
	rep      int
	time     time.Duration
	maxTime  time.Duration
}

func newBench(a *app) *cobra.Command {
	var b benchFlags
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure attention, verified first, over sweeps, devices and kernels",
		Long: `bench measures one problem or a sweep of them on one or several devices and kernels. Before anything is timed its
result is compared with the float64 oracle on sampled rows. Contestants take turns, so that a drift of the
machine hits all of them. Tensors stay on the device between runs unless --host is given. Times are medians of the
device's own clock where it has one; TFLOP/s count the visible pairs exactly: 2*pairs*(D+Dv).

Exit codes: 0 done, 1 failed, 2 wrong command line, 3 nothing could be measured, 4 a result was wrong.`,
		Example: `  vkattn bench --preset llama3.1-8b --seqlen 512-4k*2
  vkattn bench --headdim 64,128,192-128 --causal=both -o csv > prefill.csv
  vkattn bench --device llvmpipe,cpu --seqlen 1k
  vkattn bench --device gpu --kernel flash,standard --seqlen 1k,2k,4k -o json
  vkattn bench --seqlen-q 1 --seqlen-k 4k-128k*2 --heads 32 --heads-kv 8 --headdim 128`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if b.preset == "list" {
				return listPresets(a)
			}
			return a.bench(cmd.Context(), &b)
		},
	}
	b.problemFlags.register(cmd, false, true)
	b.deviceFlags.register(cmd, "auto", true)
	group(cmd, "Measurement", func(f *pflag.FlagSet) {
		f.StringVarP(&b.format, "output", "o", "md", "`FORMAT`: md, csv or json (every sample)")
		f.IntVar(&b.warmup, "warmup", 1, "`N` untimed runs before the first sample")
		f.DurationVar(&b.warmTime, "warm-time", 500*time.Millisecond, "and at least for `TIME` before each turn of a device; idle GPUs clock down")
		f.IntVar(&b.rep, "rep", 10, "`N` samples at least")
		f.DurationVar(&b.time, "time", 500*time.Millisecond, "`TIME` of the samples at least")
		f.DurationVar(&b.maxTime, "max-time", 5*time.Second, "`TIME` of the samples at most, once there are 3")
		f.BoolVar(&b.host, "host", false, "tensors in host memory: wall time has the copies in it")
		f.BoolVar(&b.noVerify, "no-verify", false, "time without checking first; the records say unverified")
	})
	return cmd
}

// contestant is one device with one kernel.
type contestant struct {
	name    string
	backend vkattn.Backend

	plan   vkattn.Plan
	args   vkattn.Args
	owned  []vkattn.Tensor // of the device
	check  *bench.Check
	report vkattn.Report
	err    error
}

func (a *app) bench(ctx context.Context, b *benchFlags) error {
	if !slices.Contains(bench.Formats, b.format) {
		return usagef("-o %s: want one of %s", b.format, strings.Join(bench.Formats, ", "))
	}
	if b.rep < 1 {
		return usagef("--rep %d: want 1 or more", b.rep)
	}
	specs, err := b.specs(true)
	if err != nil {
		return err
	}
	for _, s := range specs {
		if err := s.op.Validate(); err != nil {
			return err
		}
	}
	field, err := a.contestants(ctx, b)
	for _, c := range field {
		defer c.backend.Close()
	}
	if err != nil {
		return err
	}
	bar := a.progress()
	var records []bench.Record
	for i, s := range specs {
		var more []bench.Record
		more, err = a.benchOne(ctx, b, s, field, bar, fmt.Sprintf("%d of %d", i+1, len(specs)))
		records = append(records, more...)
		if err != nil {
			break
		}
	}
	bar.clear()
	if err := bench.Write(a.out, b.format, records); err != nil {
		return err
	}
	if err != nil {
		return err
	}
	return judgeRecords(records)
}

// contestants opens every device with every kernel. The CPU has one kernel.
func (a *app) contestants(ctx context.Context, b *benchFlags) (field []*contestant, err error) {
	names, err := a.targets(ctx, b.device)
	if err != nil {
		return nil, err
	}
	kernels := strings.Split(b.kernel, ",")
	for _, name := range names {
		for i, kernel := range kernels {
			if strings.EqualFold(name, "cpu") && i > 0 {
				continue
			}
			d := b.deviceFlags
			d.kernel = kernel
			backend, err := d.open(ctx, name)
			if err != nil {
				return field, err
			}
			label := name
			if kernel != "" && backend.Info().Backend != "cpu" {
				label += "/" + kernel
			}
			field = append(field, &contestant{name: label, backend: backend})
		}
	}
	return field, nil
}

// benchOne measures one problem on the whole field.
func (a *app) benchOne(ctx context.Context, b *benchFlags, s spec, field []*contestant, bar *progress, at string) ([]bench.Record, error) {
	bar.show("%s: generating", at)
	pr, err := b.generate(s)
	if err != nil {
		return nil, err
	}
	if err := pr.finish(); err != nil {
		return nil, err
	}
	var ref *reference
	if !b.noVerify {
		bar.show("%s: computing what is right", at)
		if ref, err = newReference(ctx, pr, 0, nil); err != nil {
			return nil, err
		}
	}
	var ready []*contestant
	var runs []bench.Run
	for _, c := range field {
		bar.show("%s: preparing %s", at, c.name)
		c.prepare(ctx, pr, ref, b.host)
		defer c.release()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if c.err == nil {
			ready = append(ready, c)
			runs = append(runs, c.run)
		}
	}
	rule := bench.Rule{WarmRuns: b.warmup, WarmTime: b.warmTime, MinSamples: b.rep, MinTime: b.time, MaxTime: b.maxTime}
	if rule.WarmRuns == 0 {
		rule.WarmRuns = -1
	}
	if rule.WarmTime == 0 {
		rule.WarmTime = -1
	}
	series, err := bench.Measure(ctx, rule, runs, func(i, n int) { bar.show("%s: %s, %d samples", at, ready[i].name, n) })
	var records []bench.Record
	for _, c := range field {
		s := &bench.Series{Err: c.err, Stopped: "failed"}
		if i := slices.Index(ready, c); i >= 0 {
			s = &series[i]
		}
		c.report.Info, c.report.Work = c.backend.Info(), pr.work
		r := bench.NewRecord(pr.op.String(), pr.op.Canonical(), c.name, c.report, s)
		r.Build, r.Check = build(), c.check
		r.Verified = c.check != nil && c.check.OK
		r.Error = strings.TrimPrefix(r.Error, "vkattn: ")
		records = append(records, r)
	}
	bench.SetRatios(records)
	return records, err
}

// prepare plans, moves the tensors to the device and runs once, to be checked. c.err says what failed.
func (c *contestant) prepare(ctx context.Context, pr *problem, ref *reference, host bool) {
	c.plan, c.owned, c.check, c.report, c.err = nil, nil, nil, vkattn.Report{}, nil
	if c.plan, c.err = c.backend.Plan(ctx, pr.op); c.err != nil {
		return
	}
	_, _, args := pr.outputs()
	c.args = args
	if !host {
		if c.err = c.upload(ctx, &c.args); c.err != nil {
			return
		}
	}
	if c.report, c.err = c.plan.Run(ctx, c.args); c.err != nil || ref == nil {
		return
	}
	if !host {
		if c.err = c.backend.Copy(ctx, args.Out, c.args.Out); c.err != nil {
			return
		}
		if args.LSE.Given() {
			if c.err = c.backend.Copy(ctx, args.LSE, c.args.LSE); c.err != nil {
				return
			}
		}
	}
	if c.check = ref.compare(&args); !c.check.OK {
		c.err = &mismatchError{fmt.Errorf("wrong results, worst row %s (allowed %s) at %s", bench.Figure(c.check.Worst), bench.Figure(c.check.Allowed), c.check.Where)}
	}
}

// upload moves every tensor of args into the device's memory. Broadcast axes stay broadcast, and values that
// are part of the keys stay part of them.
func (c *contestant) upload(ctx context.Context, args *vkattn.Args) error {
	keys := args.K
	for _, t := range []*vkattn.Tensor{&args.Q, &args.K, &args.V, &args.Out, &args.LSE, &args.Bias, &args.Mask, &args.Tree, &args.Slopes, &args.SinkLogits} {
		if !t.Given() {
			continue
		}
		if t == &args.V && t.Mem == keys.Mem {
			args.V = args.K.Slice(3, 0, t.Shape[3])
			continue
		}
		base := *t
		for axis := range 3 {
			if base.Stride[axis] == 0 && base.Shape[axis] > 1 {
				base.Shape[axis] = 1
			}
		}
		there, err := c.backend.NewTensor(t.Type, base.Shape)
		if err != nil {
			return err
		}
		c.owned = append(c.owned, there)
		if err := c.backend.Copy(ctx, there, base); err != nil {
			return err
		}
		*t = there.Broadcast(t.Shape[0], t.Shape[1], t.Shape[2], t.Shape[3])
	}
	return nil
}

func (c *contestant) run(ctx context.Context) (bench.Sample, error) {
	report, err := c.plan.Run(ctx, c.args)
	if err != nil {
		return bench.Sample{}, err
	}
	c.report = report
	return bench.Sample{Device: report.DeviceTime, Wall: report.WallTime}, nil
}

// release gives back what prepare took.
func (c *contestant) release() {
	for _, t := range c.owned {
		t.Mem.Close()
	}
	if c.plan != nil {
		c.plan.Close()
	}
	c.plan, c.owned = nil, nil
}

// judgeRecords is the error of the whole command.
func judgeRecords(records []bench.Record) error {
	measured := false
	var first string
	for i := range records {
		r := &records[i]
		if r.Check != nil && !r.Check.OK {
			return &mismatchError{fmt.Errorf("%s on %s: %s", r.Asked, r.Problem, r.Error)}
		}
		measured = measured || len(r.Samples) > 0
		if first == "" {
			first = r.Error
		}
	}
	if !measured {
		return &nothingError{errors.New("nothing was measured: " + first)}
	}
	return nil
}

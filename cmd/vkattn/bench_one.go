package main

import (
	"context"
	"slices"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
)

// benchOne measures one problem on the whole field.
func (a *app) benchOne(ctx context.Context, b *benchFlags, j *job, field []*contestant, have done, bar *progress, at string) ([]bench.Record, error) {
	if j.quick != "" {
		return []bench.Record{b.record(j, "all", nil, &bench.Series{}, j.quick)}, nil
	}
	var here []*contestant // those that have something to do or to say
	running := 0
	for _, c := range field {
		if have[[5]string{j.Suite, j.Table, j.Name, j.spec.text(), c.name}] || c.skips(j) {
			continue
		}
		bar.show("%s: asking %s", at, c.name)
		c.cut = c.absent
		if c.cut == "" {
			c.cut = a.tooLarge(ctx, j, c)
		}
		if c.cut == "" {
			c.cut = b.tooLong(ctx, j, c)
		}
		c.reset()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if c.cut == "" {
			running++
		}
		here = append(here, c)
	}
	var pr *problem
	var series []bench.Series
	var ready []*contestant
	var err error
	if running > 0 {
		if pr, ready, series, err = a.measure(ctx, b, j, here, bar, at); pr == nil {
			return nil, err
		}
	}
	var records []bench.Record
	for _, c := range here {
		s := &bench.Series{Err: c.err, Stopped: bench.StopFailed}
		if i := slices.Index(ready, c); i >= 0 {
			s = &series[i]
		} else if c.cut != "" {
			s = &bench.Series{}
		} else if c.err == nil {
			continue // stopped before its turn
		}
		if c.backend != nil {
			c.report.Info = c.backend.Info()
		}
		if pr != nil {
			c.report.Work = pr.work
		}
		r := b.record(j, c.name, c, s, c.cut)
		c.learn(&j.spec, &r)
		records = append(records, r)
	}
	return records, err
}

// skips says whether c has no part in the job: a kernel of softmax attention in linear attention, or the other way round.
func (c *contestant) skips(j *job) bool {
	if c.backend != nil && c.backend.Info().Backend == "cpu" {
		return false // it has one kernel for each
	}
	other := deviceFlags{kernel: c.kernel}.fits(j.spec.linear != nil) != nil
	return other || j.Tiled && c.kernel == "standard" || c.absent != "" && !j.Whole
}

// measure prepares the contestants that nothing cut and lets them take turns. The problem is nil when there was nothing
// to measure.
func (a *app) measure(ctx context.Context, b *benchFlags, j *job, here []*contestant, bar *progress, at string) (pr *problem, ready []*contestant, series []bench.Series, err error) {
	bar.show("%s: generating", at)
	if pr, err = b.generate(j.spec); err != nil {
		return nil, nil, nil, err
	}
	if err := pr.finish(); err != nil {
		return nil, nil, nil, err
	}
	var ref *reference
	if !b.noVerify {
		bar.show("%s: computing what is right", at)
		if ref, err = newReference(ctx, pr, 0, nil); err != nil {
			return nil, nil, nil, err
		}
	}
	var runs []bench.Run
	for _, c := range here {
		if c.cut != "" {
			continue
		}
		bar.show("%s: preparing %s", at, c.name)
		c.prepare(ctx, pr, ref, b.host)
		defer c.release()
		if err := ctx.Err(); err != nil {
			return nil, nil, nil, err
		}
		if c.err == nil {
			ready = append(ready, c)
			runs = append(runs, c.run)
		}
	}
	series, err = bench.Measure(ctx, b.rule(), runs, func(i, n int) { bar.show("%s: %s, %d samples", at, ready[i].name, n) })
	return pr, ready, series, err
}

// record is one line of the result. c is nil for a cut that is nobody's in particular.
func (b *benchFlags) record(j *job, asked string, c *contestant, s *bench.Series, cut string) bench.Record {
	var report vkattn.Report
	var roofs *vkattn.Roofs
	if c != nil {
		report, roofs = c.report, c.roofs
	}
	r := bench.NewRecord(j.spec.problemOp(), asked, report, roofs, s)
	r.Build, r.Label, r.Shard, r.Host, r.Cut = build(), b.label, b.share.String(), b.host, cut
	r.Problem = j.spec.text()
	r.Suite, r.Table, r.Case, r.Against = j.Suite, j.Table, j.Name, j.Against
	r.SPIRV = spirvOf(&report)
	if c != nil {
		r.Check = c.check
		r.Verified = c.check != nil && c.check.OK
	}
	r.Error = strings.TrimPrefix(r.Error, "vkattn: ")
	return r
}

package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
)

// job is one problem to measure: of a suite, or of the flags.
type job struct {
	bench.Case
	spec  spec
	quick string // why --quick leaves it out
}

// title is what progress and lists call the job.
func (j *job) title() string {
	if j.Suite == "" {
		return j.spec.text()
	}
	return j.Path()
}

// jobs lists what this call measures: suites or the sweep of the flags, filtered, and of that one shard.
func (b *benchFlags) jobs() ([]job, error) {
	all, err := b.allJobs()
	if err != nil {
		return nil, err
	}
	filter, err := regexp.Compile(b.filter)
	if err != nil {
		return nil, usagef("--filter: %w", err)
	}
	var kept []job
	for _, j := range all {
		if err := j.spec.problemOp().Validate(); err != nil {
			return nil, err
		}
		if filter.MatchString(j.title()) {
			kept = append(kept, j)
		}
	}
	if len(kept) == 0 {
		return nil, usagef("--filter %s fits none of %d problems; --list lists them", b.filter, len(all))
	}
	var share []job
	for i, j := range kept {
		if b.share.Has(i) {
			share = append(share, j)
		}
	}
	return share, nil
}

func (b *benchFlags) allJobs() (all []job, err error) {
	if b.suite == "" {
		specs, err := b.specs(true)
		for _, s := range specs {
			j := job{spec: s}
			j.Op = s.op
			if b.quick {
				j.quick = bench.QuickCut(&j.Case)
			}
			all = append(all, j)
		}
		return all, err
	}
	if f := b.shapeFlag(); f != "" {
		return nil, usagef("--suite has its own problems and does not go with --%s; --filter picks some of them", f)
	}
	base, _, err := b.base()
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(b.suite, ",") {
		cases, err := bench.Suite(name, b.quick)
		if err != nil {
			return nil, usagef("--suite: %w", err)
		}
		for _, c := range cases {
			if c.Linear == nil {
				c.Op.TypeQ, c.Op.TypeK, c.Op.TypeV, c.Op.TypeOut = base.op.TypeQ, base.op.TypeK, base.op.TypeV, base.op.TypeOut
				c.Op.DescaleBlock, c.Op.With = base.op.DescaleBlock, c.Op.With|base.op.With&(vkattn.WithDescaleQ|vkattn.WithDescaleK|vkattn.WithDescaleV)
			}
			j := job{Case: c, spec: base}
			j.spec.op, j.spec.linear, j.spec.decays, j.spec.blockMask = c.Op, c.Linear, c.Decays, c.BlockMask
			if p := c.Preset; p != nil {
				j.spec.global, j.spec.valueInKey = p.Global, p.ValueInKey
				j.spec.sinksFromPreset = p.Op.With.Has(vkattn.WithSinkLogits)
			}
			if b.quick {
				j.quick = bench.QuickCut(&j.Case)
			}
			all = append(all, j)
		}
	}
	return all, nil
}

// shapeFlag is a flag that was given and describes a problem, or "".
func (b *benchFlags) shapeFlag() (name string) {
	b.flags.Visit(func(f *pflag.Flag) {
		if g := f.Annotations[groupKey]; len(g) > 0 && (strings.HasPrefix(g[0], "Shape") || g[0] == "Masks" || g[0] == "Scores" || g[0] == linearGroup) {
			name = f.Name
		}
	})
	return name
}

// listJobs prints the problems instead of measuring them.
func (a *app) listJobs(jobs []job) error {
	rows := [][]string{{"NAME", "PROBLEM", ""}}
	for i := range jobs {
		name, note := jobs[i].title(), jobs[i].quick
		if jobs[i].Suite == "" {
			name = "-"
		}
		if note != "" {
			note = "cut: " + note
		}
		rows = append(rows, []string{name, jobs[i].spec.text(), note})
	}
	return writeTable(a.out, rows)
}

// done says which contestants of a job an earlier, interrupted call measured.
type done map[[5]string]bool

func doneKey(r *bench.Record) [5]string {
	return [5]string{r.Suite, r.Table, r.Case, r.Problem, r.Asked}
}

// resume reads what --save has from an earlier call.
func (b *benchFlags) resumed() ([]bench.Record, done, error) {
	if !b.resume {
		return nil, nil, nil
	}
	if b.save == "" {
		return nil, nil, usagef("--resume goes on with the file of --save, give both")
	}
	if info, err := os.Stat(b.save); os.IsNotExist(err) || err == nil && info.Size() == 0 {
		return nil, nil, nil
	}
	records, err := bench.ReadFile(b.save)
	if err != nil {
		return nil, nil, fmt.Errorf("--resume: %w", err)
	}
	have := done{}
	var kept []bench.Record
	for i := range records {
		if r := &records[i]; r.Measured() && r.Stopped != bench.StopInterrupted {
			have[doneKey(r)] = true
			kept = append(kept, *r)
		}
	}
	return kept, have, nil
}

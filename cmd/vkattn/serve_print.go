package main

import (
	"encoding/json"
	"fmt"

	"github.com/vkattn/vkattn/internal/bench"
	"github.com/vkattn/vkattn/internal/serve"
)

// printServed prints what was served, device by device.
func (a *app) printServed(format string, all []served) error {
	if len(all) == 0 {
		return nil
	}
	if format == "json" {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		return e.Encode(all)
	}
	for i := range all {
		if i > 0 {
			fmt.Fprintln(a.out)
		}
		all[i].print(a)
	}
	return nil
}

// print is the load as text and a table, in Markdown.
func (s *served) print(a *app) {
	r, seconds := s.Result, s.Time.Seconds()
	arrive := "the next one as soon as there is room"
	if r.Load.Rate > 0 {
		arrive = fmt.Sprintf("%g in a second (Poisson)", r.Load.Rate)
	}
	line := func(name, format string, args ...any) {
		fmt.Fprintf(a.out, "- %s: %s\n", name, fmt.Sprintf(format, args...))
	}
	percent := func(x float64) string { return fmt.Sprintf("%.0f%%", 100*x) }
	share := func(x serve.Share) string { return percent(x.Mean) + " on average, " + percent(x.Max) + " at most" }
	fmt.Fprintf(a.out, "%s, %d layers, on %s by %s, %s\n\n", s.Problem, s.Layers, describe(s.Report.Info), s.Report.Kernel, bench.Duration(s.Time))
	line("arrivals", "%s, seed %d; prompts %s; outputs %s", arrive, r.Load.Seed, r.Load.Prompt, r.Load.Output)
	line("tokens", "%s output tokens/s, %s prompt tokens/s", bench.Figure(float64(r.Output)/seconds), bench.Figure(float64(r.Prompt)/seconds))
	line("sequences", "%d arrived, %d finished, %d preempted (%s tokens computed again), %d run, %d wait, %d refused",
		r.Arrived, r.Finished, r.Preempted, bench.Count(r.Again), r.Running, r.Waiting, r.Refused)
	line("steps", "%s, of %s sequences on average", bench.Count(r.Steps), bench.Figure(r.Batch))
	page := "no pages"
	if s.Page > 0 {
		page = fmt.Sprintf("%d pages of %d tokens", r.Cache.Pages, s.Page)
	}
	line("cache", "%s, %s; in use: %s", page, bench.Bytes(r.Cache.Bytes), share(r.Used))
	line("fragmentation", "of what is in use, no token fills %s", share(r.Fragment))
	if n := len(r.Memory); n > 1 {
		first, last := r.Memory[0], r.Memory[n-1]
		text := fmt.Sprintf("heap %s, then %s; process %s, then %s", bench.Bytes(first.Heap), bench.Bytes(last.Heap), bench.Bytes(first.Resident), bench.Bytes(last.Resident))
		if last.Device > 0 {
			text += fmt.Sprintf("; device %s, then %s", bench.Bytes(first.Device), bench.Bytes(last.Device))
		}
		line("memory", "%s, %s later", text, bench.Duration(last.At-first.At))
	}
	line("checked", "%d rows against float64, the largest error %s of %s allowed", s.Check.Rows, bench.Figure(s.Check.Worst), bench.Figure(s.Check.Allowed))
	fmt.Fprintf(a.out, "\n| latency | mean | p50 | p90 | p99 | max | n |\n|---|---|---|---|---|---|---|\n")
	for _, l := range []struct {
		name string
		serve.Latency
	}{{"first token", r.FirstToken}, {"next token", r.NextToken}, {"whole sequence", r.Whole}, {"step", r.Step}} {
		fmt.Fprintf(a.out, "| %s | %s | %s | %s | %s | %s | %s |\n", l.name, bench.Duration(l.Mean), bench.Duration(l.P50), bench.Duration(l.P90),
			bench.Duration(l.P99), bench.Duration(l.Max), bench.Count(l.Count))
	}
}

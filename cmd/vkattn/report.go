package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
)

// writeTable aligns columns at the left, two blanks apart.
func writeTable(w io.Writer, rows [][]string) error {
	var width []int
	for _, row := range rows {
		for c, cell := range row {
			if c == len(width) {
				width = append(width, 0)
			}
			width[c] = max(width[c], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		for c, cell := range row {
			b.WriteString(cell)
			if c < len(row)-1 {
				b.WriteString(strings.Repeat(" ", width[c]-utf8.RuneCountInString(cell)+2))
			}
		}
		b.WriteByte('\n')
	}
	text := b.String()
	for strings.Contains(text, " \n") {
		text = strings.ReplaceAll(text, " \n", "\n")
	}
	_, err := io.WriteString(w, text)
	return err
}

// printResults writes the problem, then one column for each device, then the reasons.
func (a *app) printResults(pr *problem, results []*result) error {
	st := a.style()
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", st.bold(pr.text()))
	for _, res := range results {
		if w := res.Report.Work; res.out != nil {
			exact := ""
			if !w.Exact {
				exact = " at most"
			}
			fmt.Fprintf(&b, "%s visible pairs%s, %s GFLOP, %s in and out\n", bench.Count(w.Pairs), exact, bench.Figure(w.FLOPs/1e9), bench.Bytes(w.Bytes))
			break
		}
	}
	b.WriteByte('\n')
	if _, err := io.WriteString(a.out, b.String()); err != nil {
		return err
	}
	rows := [][]string{}
	line := func(label string, cell func(*result) string) {
		row := []string{label}
		for _, res := range results {
			row = append(row, cell(res))
		}
		if slices.ContainsFunc(row[1:], func(s string) bool { return s != "" }) {
			rows = append(rows, row)
		}
	}
	ran := func(f func(*result) string) func(*result) string {
		return func(res *result) string {
			if res.out == nil {
				return ""
			}
			return f(res)
		}
	}
	line("device", func(r *result) string {
		if r.Report.Device == "" {
			return r.Asked
		}
		return r.Report.Device
	})
	line("driver", func(r *result) string { return strings.TrimSpace(r.Report.Backend + "  " + r.Report.Driver) })
	line("result", func(r *result) string {
		if r.out == nil {
			return "none, see below"
		}
		return ""
	})
	line("kernel", ran(func(r *result) string { return r.Report.Kernel + " (" + r.Report.Path + ")" }))
	line("tile", ran(func(r *result) string { return r.Report.Tile }))
	line("parts", ran(parts))
	line("time", ran(duration))
	line("  with copies", ran(withCopies))
	line("setup", ran(func(r *result) string { return bench.Duration(r.SetupNS) }))
	line("speed", ran(func(r *result) string { return bench.Figure(r.GFLOPS) + " GFLOP/s" }))
	line("traffic", ran(func(r *result) string { return bench.Figure(r.GBS) + " GB/s of inputs and outputs" }))
	line("memory", ran(memory))
	line("checked", func(r *result) string { return checkText(r.Check, "float64") })
	line("  worst row", func(r *result) string { return worstText(r.Check) })
	line("expected", func(r *result) string { return checkText(r.Expect, "the file") })
	line("  worst row", func(r *result) string { return worstText(r.Expect) })
	if err := writeTable(a.out, rows); err != nil {
		return err
	}
	return a.printReasons(st, results)
}

// printReasons says why each device did what it did, and what went wrong.
func (a *app) printReasons(st style, results []*result) error {
	var b strings.Builder
	for _, res := range results {
		name := res.Report.Device
		if name == "" {
			name = res.Asked
		}
		var lines []string
		if res.Report.Fallback != "" {
			lines = append(lines, "fell back: "+plainText(res.Report.Fallback))
		}
		if res.Plan != nil {
			lines = append(lines, res.Plan.Notes...)
		}
		lines = append(lines, res.Report.Notes...)
		refused := res.Report.NotTaken
		if len(refused) == 0 && res.Plan != nil {
			refused = res.Plan.NotTaken
		}
		for _, n := range refused {
			if n.Reason != res.Report.Fallback {
				lines = append(lines, fmt.Sprintf("not %s: %s", n.Kernel, plainText(n.Reason)))
			}
		}
		for _, c := range []*bench.Check{res.Check, res.Expect} {
			if c != nil && !c.OK {
				lines = append(lines, st.bad("WRONG RESULTS")+": the worst row is "+c.Where)
			}
		}
		if res.err != nil {
			lines = append(lines, st.bad("failed")+": "+plainMessage(res.err))
		}
		if len(lines) > 0 {
			fmt.Fprintf(&b, "\n%s\n  %s\n", name, strings.Join(lines, "\n  "))
		}
	}
	_, err := io.WriteString(a.out, b.String())
	return err
}

func parts(r *result) string {
	var p []string
	count := func(n int, one string) {
		if n == 1 {
			p = append(p, "1 "+one)
		} else if n > 1 {
			p = append(p, fmt.Sprintf("%d %ss", n, one))
		}
	}
	count(r.Report.Slices, "dispatch")
	count(r.Report.Submits, "submit")
	if r.Report.Splits > 1 {
		p = append(p, fmt.Sprintf("keys split %d ways", r.Report.Splits))
	}
	return strings.ReplaceAll(strings.Join(p, ", "), "dispatchs", "dispatches")
}

func duration(r *result) string {
	text, of := bench.Duration(r.Median.Best()), ""
	if len(r.Runs) > 1 {
		of = fmt.Sprintf(", median of %d", len(r.Runs))
	}
	if r.Median.Device > 0 && r.Report.Backend != "cpu" {
		return text + " on the device" + of
	}
	return text + of
}

func withCopies(r *result) string {
	if r.Report.Backend == "cpu" || r.Median.Device == 0 {
		return ""
	}
	return fmt.Sprintf("%s, %s moved", bench.Duration(r.Median.Wall), bench.Bytes(r.Report.CopyBytes))
}

func memory(r *result) string {
	if r.Report.DeviceMem <= r.Report.Scratch {
		return bench.Bytes(r.Report.Scratch) + " of scratch"
	}
	return fmt.Sprintf("%s, %s of it scratch", bench.Bytes(r.Report.DeviceMem), bench.Bytes(r.Report.Scratch))
}

func checkText(c *bench.Check, with string) string {
	if c == nil {
		return ""
	}
	state, rows := "right", fmt.Sprintf("all %s rows", bench.Count(int64(c.Of)))
	if !c.OK {
		state = "WRONG"
	}
	if c.Rows < c.Of {
		rows = fmt.Sprintf("%s of %s rows", bench.Count(int64(c.Rows)), bench.Count(int64(c.Of)))
	}
	return fmt.Sprintf("%s: %s against %s", state, rows, with)
}

func worstText(c *bench.Check) string {
	if c == nil {
		return ""
	}
	text := fmt.Sprintf("%s (allowed %s)", bench.Figure(c.Worst), bench.Figure(c.Allowed))
	if c.LSE != nil {
		text += ", LSE " + bench.Figure(*c.LSE)
	}
	return text
}

// explain prints a plan for people.
func (a *app) explain(e vkattn.Explanation, device, source string) error {
	st := a.style()
	rows := [][]string{{"device", device}}
	if source != "" {
		rows = append(rows, []string{"recorded", source})
	}
	rows = append(rows, [][]string{
		{"kernel", e.Kernel + " (" + e.Path + ")"}, {"tile", e.Tile},
		{"splits", fmt.Sprint(max(e.Splits, 1))}, {"shared memory", bench.Bytes(int64(e.SharedBytes)) + " a workgroup"}, {"scratch", bench.Bytes(e.ScratchBytes)},
	}...)
	fmt.Fprintf(a.out, "%s\n\n", st.bold(e.Op))
	if err := writeTable(a.out, rows); err != nil {
		return err
	}
	for _, n := range e.Notes {
		fmt.Fprintf(a.out, "  %s\n", n)
	}
	for _, r := range e.NotTaken {
		fmt.Fprintf(a.out, "  not %s: %s\n", r.Kernel, plainText(r.Reason))
	}
	return nil
}

package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/vkattn/vkattn/internal/attntest"
)

// row is what a line of the table is about.
type row struct{ family, typ string }

// cell counts what happened on one driver.
type cell struct {
	passed, failed, skipped int
	reasons                 map[string]int // of what was skipped
}

// rowOf places a case. Attention in other types than float32 is one row for each set of types, as are kernels on matrix
// units: each kind of mask would be too many.
func rowOf(c *attntest.Record) row {
	kind, isAttention := strings.CutPrefix(c.Family, "attention ")
	switch {
	case strings.Contains(c.Kernel, "matrix"):
		return row{c.Kernel, c.Type}
	case isAttention && c.Type != "f32":
		return row{"attention, types", c.Type}
	case isAttention:
		return row{"attention, " + kind, c.Type}
	}
	return row{c.Family, c.Type}
}

// table prints the results, one column for each driver, and reports whether all of them are good.
func table(w io.Writer, all []results) bool {
	ok := true
	cells := map[row][]cell{}
	kernels := map[row]map[string]bool{}
	at := func(r row, driver int) *cell {
		if cells[r] == nil {
			cells[r], kernels[r] = make([]cell, len(all)), map[string]bool{}
		}
		return &cells[r][driver]
	}
	devices := make([]string, len(all))
	for i, r := range all {
		cases := map[string]bool{}
		for _, c := range r.Cases {
			if c.Backend != "vulkan" { // of the CPU: tests of their package
				continue
			}
			cases[c.Test] = true
			place := rowOf(&c)
			at(place, i).note(string(c.Status), c.Reason)
			if c.Kernel != "" {
				kernels[place][c.Kernel] = true
			}
			devices[i] = cmp.Or(devices[i], c.Device+", "+c.Driver)
		}
		for _, t := range r.Tests {
			if !cases[t.Test] {
				at(row{"tests of " + shortPackage(t.Package), ""}, i).note(t.Status, t.Reason)
			}
		}
		ok = ok && len(r.Errors) == 0 && r.failed() == 0
	}
	rows := slices.SortedFunc(maps.Keys(cells), func(a, b row) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.family, b.family), cmp.Compare(a.typ, b.typ))
	})
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprint(t, "family\ttype")
	for _, r := range all {
		fmt.Fprint(t, "\t", r.Driver)
	}
	fmt.Fprintln(t, "\tkernels")
	var notes []string
	totals := make([]cell, len(all))
	for _, r := range rows {
		fmt.Fprint(t, r.family, "\t", r.typ)
		for i, c := range cells[r] {
			fmt.Fprint(t, "\t", c.text(&notes))
			totals[i].passed += c.passed
			totals[i].failed += c.failed
			totals[i].skipped += c.skipped
		}
		fmt.Fprintln(t, "\t"+strings.Join(slices.Sorted(maps.Keys(kernels[r])), " "))
	}
	fmt.Fprint(t, "all\t")
	for _, c := range totals {
		fmt.Fprint(t, "\t", c.text(nil))
	}
	fmt.Fprintln(t)
	t.Flush()
	for i, n := range notes {
		fmt.Fprintf(w, "[%d] %s\n", i+1, n)
	}
	for i, r := range all {
		if devices[i] != "" {
			fmt.Fprintf(w, "%s is %s\n", r.Driver, devices[i])
		}
		for _, e := range r.Errors {
			fmt.Fprintf(w, "%s: %s\n", r.Driver, e)
		}
	}
	return ok
}

func (c *cell) note(status, reason string) {
	switch status {
	case "pass", string(attntest.Passed):
		c.passed++
	case "fail", string(attntest.Failed):
		c.failed++
	default:
		c.skipped++
		if c.reasons == nil {
			c.reasons = map[string]int{}
		}
		c.reasons[plain(reason)]++
	}
}

// text is a cell: what passed; what failed; what was skipped, with the numbers of the notes that say why.
func (c *cell) text(notes *[]string) string {
	var parts []string
	if c.passed > 0 || c.failed+c.skipped == 0 {
		parts = append(parts, fmt.Sprint(c.passed))
	}
	if c.passed+c.failed+c.skipped == 0 {
		return "-"
	}
	if c.failed > 0 {
		parts = append(parts, fmt.Sprintf("%d FAILED", c.failed))
	}
	if c.skipped > 0 {
		why := ""
		for _, r := range slices.Sorted(maps.Keys(c.reasons)) {
			if notes == nil {
				break
			}
			n := slices.Index(*notes, r)
			if n < 0 {
				n = len(*notes)
				*notes = append(*notes, r)
			}
			why += fmt.Sprintf(" [%d]", n+1)
		}
		parts = append(parts, fmt.Sprintf("%d skipped%s", c.skipped, why))
	}
	return strings.Join(parts, ", ")
}

var (
	refusedOp = regexp.MustCompile(`^.* cannot run [^:]*: `)
	numbers   = regexp.MustCompile(`\b[0-9]+(\.[0-9]+)?\b`)
)

// plain is a reason without what differs from case to case.
func plain(reason string) string {
	return numbers.ReplaceAllString(refusedOp.ReplaceAllString(cmp.Or(reason, "no reason given"), ""), "N")
}

// rank puts attention first, in float32, then its types and kernels, other ops, and tests that are no cases.
func rank(r row) int {
	switch {
	case strings.HasPrefix(r.family, "tests of "):
		return 4
	case r.family == "attention, types":
		return 1
	case strings.HasPrefix(r.family, "attention"):
		return 0
	case strings.Contains(r.family, "matrix"):
		return 2
	}
	return 3
}

// shortPackage is a package below the module.
func shortPackage(path string) string {
	if _, short, ok := strings.Cut(path, "github.com/vkattn/vkattn/"); ok {
		return short
	}
	return strings.TrimPrefix(path, "github.com/")
}

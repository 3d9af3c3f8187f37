package bench

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// column is a column of a Markdown table; text columns stand at the left.
type column struct {
	name string
	text bool
	cell func(*Record) string
}

// columns of every table. A column that is empty in all rows is left out.
var columns = []column{
	{"case", true, func(r *Record) string { return r.Case }},
	{"problem", true, func(r *Record) string {
		if r.Case != "" {
			return ""
		}
		return r.Problem
	}},
	{"device", true, func(r *Record) string { return r.Name() }},
	{"kernel", true, func(r *Record) string { return r.Report.Kernel }},
	{"median", false, timeCell(func(r *Record) string { return Duration(r.Median()) })},
	{"p5", false, timeCell(func(r *Record) string { return Duration(r.Summary().P5) })},
	{"p95", false, timeCell(func(r *Record) string { return Duration(r.Summary().P95) })},
	{"n", false, timeCell(func(r *Record) string { return strconv.Itoa(r.Summary().N) })},
	{"ended by", true, timeCell(func(r *Record) string { return r.Stopped })},
	{"clock", true, timeCell(func(r *Record) string { return r.Clock })},
	{"wall median", false, timeCell(func(r *Record) string { return Duration(r.Wall.Median) })},
	{"TFLOP/s", false, timeCell(func(r *Record) string { return Figure(r.TFLOPS) })},
	{"GB/s", false, timeCell(func(r *Record) string { return Figure(r.GBS) })},
	{"of roof", false, timeCell(RoofText)},
	{"in and out", false, timeCell(func(r *Record) string { return Bytes(r.Report.Work.Bytes) })},
	{"scratch", false, timeCell(func(r *Record) string { return Bytes(r.Report.Scratch) })},
	{"ratio", false, timeCell(func(r *Record) string { return ifPositive(r.Ratio) })},
	{"density", false, timeCell(func(r *Record) string { return ifPositive(r.Density) })},
	{"ratio/density", false, timeCell(func(r *Record) string { return ifPositive(r.PerPair()) })},
	{"verified", true, func(r *Record) string { return r.Verdict() }},
}

// timeCell is empty without samples.
func timeCell(f func(*Record) string) func(*Record) string {
	return func(r *Record) string {
		if len(r.Samples) == 0 {
			return ""
		}
		return f(r)
	}
}

// ifPositive is empty for 0, which is unknown.
func ifPositive(x float64) string {
	if x <= 0 {
		return ""
	}
	return Figure(x)
}

// RoofText is "62% compute", or empty.
func RoofText(r *Record) string {
	return ifRoof(r, func(f *Roof) string { return Figure(f.Percent) + "% " + f.Binds })
}

// Verdict says in a word or a sentence how far the result can be trusted, or why there is none.
func (r *Record) Verdict() string {
	switch {
	case r.Cut != "":
		return "cut: " + r.Cut
	case r.Check != nil && !r.Check.OK:
		return "FAILED: " + r.Error
	case r.Error != "":
		return r.Error
	case r.Check == nil:
		return "no"
	case r.Check.Rows == r.Check.Of:
		return "yes"
	}
	return fmt.Sprintf("%d rows", r.Check.Rows)
}

// cache is a column of tables whose rows differ in the number of key heads.
var cache = column{"cache", false, func(r *Record) string { return Bytes(r.Cache()) }}

// shownColumns are those with something in them.
func shownColumns(part []*Record) (shown []column) {
	heads := map[int]bool{}
	for _, r := range part {
		if o := r.Op.Shape(); o != nil && r.Table != "" {
			heads[o.HeadsK] = true
		}
	}
	for _, c := range columns {
		if c.name == "in and out" && len(heads) > 1 {
			shown = append(shown, cache)
		}
		if slices.ContainsFunc(part, func(r *Record) bool { return c.cell(r) != "" }) {
			shown = append(shown, c)
		}
	}
	return shown
}

// Missing says why there is nothing in the table for a record, or is empty.
func (r *Record) Missing() string {
	if len(r.Samples) > 0 {
		return ""
	}
	name := r.Case
	if name == "" {
		name = r.Problem
	}
	if r.Asked != "all" {
		name += ", " + r.Name()
		if k := kernelAsked(r.Asked); k != "" && r.Report.Device != "" {
			name += "/" + k
		}
	}
	return name + ": " + r.Verdict()
}

// writeMarkdown writes one table for each table of a suite, in the order of their first records, below it what is not
// in it and why, and then the roofs of the devices.
func writeMarkdown(w io.Writer, records []Record) error {
	var b strings.Builder
	for i, part := range Tables(records) {
		if i > 0 {
			b.WriteByte('\n')
		}
		if title := part[0].Title(); title != "" {
			fmt.Fprintf(&b, "### %s\n\n", markdownCell(title))
		}
		var measured []*Record
		var missing strings.Builder
		for _, r := range part {
			if why := r.Missing(); why != "" {
				fmt.Fprintf(&missing, "- %s\n", markdownCell(why))
			} else {
				measured = append(measured, r)
			}
		}
		if len(measured) > 0 {
			writeRows(&b, measured)
		}
		if missing.Len() > 0 {
			if len(measured) > 0 {
				b.WriteByte('\n')
			}
			b.WriteString("Not measured:\n\n" + missing.String())
		}
	}
	b.WriteString(roofLines(records))
	_, err := io.WriteString(w, b.String())
	return err
}

func writeRows(b *strings.Builder, part []*Record) {
	shown := shownColumns(part)
	rows := [][]string{{}}
	for _, c := range shown {
		rows[0] = append(rows[0], c.name)
	}
	for _, r := range part {
		var row []string
		for _, c := range shown {
			row = append(row, c.cell(r))
		}
		rows = append(rows, row)
	}
	WriteTable(b, rows, func(c int) bool { return shown[c].text })
}

// Title names the table that the record belongs to.
func (r *Record) Title() string {
	if r.Suite == "" || r.Table == "" {
		return r.Suite
	}
	return r.Suite + ": " + r.Table
}

// Tables groups records by suite and table, in the order of the first of each.
func Tables(records []Record) [][]*Record {
	at := map[string]int{}
	var all [][]*Record
	for i := range records {
		title := records[i].Title()
		n, ok := at[title]
		if !ok {
			n = len(all)
			at[title] = n
			all = append(all, nil)
		}
		all[n] = append(all[n], &records[i])
	}
	return all
}

// roofLines is a line for each device whose roofs were measured.
func roofLines(records []Record) string {
	var b strings.Builder
	seen := map[string]bool{}
	for i := range records {
		r := &records[i]
		if r.Roofs == nil || seen[r.Name()] {
			continue
		}
		if seen[r.Name()] = true; len(seen) == 1 {
			b.WriteByte('\n')
		}
		fmt.Fprintf(&b, "Measured roofs of %s: %s.\n", markdownCell(r.Name()), RoofsText(r))
	}
	return b.String()
}

// RoofsText lists the measured roofs of the record's device.
func RoofsText(r *Record) string {
	var parts []string
	if x := r.Roofs.ReadGBps; x > 0 {
		parts = append(parts, Figure(x)+" GB/s read")
	}
	if x := r.Roofs.CopyGBps; x > 0 {
		by := ""
		if r.Roofs.CopyBy != "" {
			by = " by a " + r.Roofs.CopyBy
		}
		parts = append(parts, Figure(x)+" GB/s copied"+by)
	}
	if x := r.Roofs.FMATFLOPs; x > 0 {
		parts = append(parts, Figure(x)+" TFLOP/s of float32 multiply-adds")
	}
	for _, t := range sortedKeys(r.Roofs.Matrix) {
		parts = append(parts, fmt.Sprintf("%s TFLOP/s of %s matrix units", Figure(r.Roofs.Matrix[t]), t))
	}
	return strings.Join(parts, ", ")
}

// WriteTable writes an aligned Markdown table, the first row of which is its head. text says which columns stand
// at the left.
func WriteTable(b *strings.Builder, rows [][]string, text func(column int) bool) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for c, cell := range row {
			row[c] = markdownCell(cell)
			width[c] = max(width[c], utf8.RuneCountInString(row[c]))
		}
	}
	for i, row := range rows {
		for c, cell := range row {
			pad := strings.Repeat(" ", width[c]-utf8.RuneCountInString(cell))
			if text(c) {
				fmt.Fprintf(b, "| %s%s ", cell, pad)
			} else {
				fmt.Fprintf(b, "| %s%s ", pad, cell)
			}
		}
		b.WriteString("|\n")
		if i > 0 {
			continue
		}
		for c := range row {
			if text(c) {
				fmt.Fprintf(b, "|%s", strings.Repeat("-", width[c]+2))
			} else {
				fmt.Fprintf(b, "|%s:", strings.Repeat("-", width[c]+1))
			}
		}
		b.WriteString("|\n")
	}
}

// markdownCell keeps a name or message inside its cell.
func markdownCell(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", "\\|")
}

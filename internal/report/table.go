package report

import (
	"html/template"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/vkattn/vkattn/internal/bench"
)

type headCell struct {
	Text string
	Left bool
}

type tableRow struct {
	First bool // of its problem
	Cells []tableCell
}

type tableCell struct {
	Text  string
	Left  bool
	Mark  template.HTML // before the text
	Share float64       // of a bar behind the text, in percent; 0 has none
	Bad   bool
}

// tableColumn is a column of a section's table.
type tableColumn struct {
	name string
	cell func(entry) tableCell
}

func text(f func(entry) string) func(entry) tableCell {
	return func(e entry) tableCell { return tableCell{Text: f(e), Left: true} }
}

func figureCell(f func(entry) string) func(entry) tableCell {
	return func(e entry) tableCell { return tableCell{Text: f(e)} }
}

var tableColumns = []tableColumn{
	{"case", text(func(e entry) string {
		if e.Case != "" {
			return e.Case
		}
		return strings.TrimPrefix(e.Problem, "attention ")
	})},
	{"device", func(e entry) tableCell {
		if e.who == nil {
			return tableCell{Text: e.Name(), Left: true}
		}
		return tableCell{Text: e.who.name, Mark: markSVG(e.who.index), Left: true}
	}},
	{"kernel", text(func(e entry) string { return e.Report.Kernel })},
	{"median", figureCell(func(e entry) string { return bench.Duration(e.Median()) })},
	{"5% to 95%", figureCell(func(e entry) string {
		return bench.Duration(e.Summary().P5) + " – " + bench.Duration(e.Summary().P95)
	})},
	{"samples", figureCell(func(e entry) string { return strconv.Itoa(e.Summary().N) })},
	{"ended by", text(func(e entry) string { return e.Stopped })},
	{"speed", figureCell(func(e entry) string { return rateText(roundTo3(e.TFLOPS)) })},
	{"traffic", figureCell(func(e entry) string { return bench.Figure(e.GBS) + " GB/s" })},
	{"of roof", func(e entry) tableCell {
		if e.Roof == nil {
			return tableCell{Left: true}
		}
		return tableCell{Text: bench.RoofText(e.Record), Left: true, Share: math.Min(e.Roof.Percent, 100)}
	}},
	{"cache", figureCell(func(e entry) string { return bench.Bytes(e.Cache()) })},
	{"in and out", figureCell(func(e entry) string { return bench.Bytes(e.Report.Work.Bytes) })},
	{"scratch", figureCell(func(e entry) string { return bench.Bytes(e.Report.Scratch) })},
	{"ratio", figureCell(func(e entry) string { return positive(e.ratio) })},
	{"density", figureCell(func(e entry) string { return positive(e.Density) })},
	{"ratio/density", figureCell(func(e entry) string {
		if e.Density == 0 {
			return ""
		}
		return positive(e.ratio / e.Density)
	})},
	{"verified", func(e entry) tableCell {
		return tableCell{Text: e.Verdict(), Left: true, Bad: !e.Verified}
	}},
}

// positive is empty for 0, which is unknown.
func positive(x float64) string {
	if x == 0 {
		return ""
	}
	return bench.Figure(x)
}

func roundTo3(x float64) float64 {
	y, err := strconv.ParseFloat(strconv.FormatFloat(x, 'e', 2, 64), 64)
	if err != nil {
		return x
	}
	return y
}

// table has a row for each measured record. Columns that are empty in all rows are left out.
func (s *section) table() (head []headCell, rows []tableRow) {
	heads := map[int]bool{}
	var shown []entry
	for _, e := range s.entries {
		if e.Missing() == "" {
			shown = append(shown, e)
			if o := e.Op.Shape(); o != nil {
				heads[o.HeadsK] = true
			}
		}
	}
	var use []tableColumn
	for _, c := range tableColumns {
		if c.name == "cache" && len(heads) < 2 {
			continue
		}
		if slices.ContainsFunc(shown, func(e entry) bool { return c.cell(e).Text != "" }) {
			use = append(use, c)
			head = append(head, headCell{c.name, c.cell(shown[0]).Left})
		}
	}
	last := ""
	for _, e := range shown {
		row := tableRow{First: e.Case+e.Problem != last}
		last = e.Case + e.Problem
		for i, c := range use {
			cell := c.cell(e)
			if i == 0 && !row.First {
				cell.Text = ""
			}
			row.Cells = append(row.Cells, cell)
		}
		rows = append(rows, row)
	}
	return head, rows
}

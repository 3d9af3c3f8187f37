package bench

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// CompareFormats are the names that WriteComparison takes.
var CompareFormats = []string{"md", "csv", "json"}

// WriteComparison writes a comparison in a format of CompareFormats.
func WriteComparison(w io.Writer, format string, c *Comparison) error {
	switch format {
	case "md":
		return writeCompareMarkdown(w, c)
	case "csv":
		return writeCompareCSV(w, c)
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(c)
	}
	return fmt.Errorf("no output format %q, want one of %s", format, strings.Join(CompareFormats, ", "))
}

// letter names a column in the head of the table.
func letter(i int) string {
	if i < 26 {
		return string(rune('A' + i))
	}
	return "C" + strconv.Itoa(i+1)
}

func writeCompareMarkdown(w io.Writer, c *Comparison) error {
	var b strings.Builder
	for i, name := range c.Names() {
		fmt.Fprintf(&b, "%s: %s", letter(i), markdownCell(name))
		if base := c.Columns[i].Base; base != i {
			fmt.Fprintf(&b, ", compared with %s", letter(base))
		}
		b.WriteString("\n")
	}
	b.WriteString("\nThe time of each, and beside it in brackets that over the time compared with (above 1 is slower) and the\nrange of 95% of its resamples. * is unverified.\n\n")
	rows := [][]string{{"problem"}}
	for i := range c.Columns {
		rows[0] = append(rows[0], letter(i))
	}
	for _, r := range c.Rows {
		row := []string{r.Problem}
		if r.Host {
			row[0] += ", tensors of the host"
		}
		for _, cell := range r.Cells {
			row = append(row, cell.text())
		}
		rows = append(rows, row)
	}
	mean := []string{"geometric mean of the ratios"}
	for _, col := range c.Columns {
		text := ""
		if col.N > 0 {
			text = fmt.Sprintf("%s over %d", Figure(col.Mean), col.N)
		}
		mean = append(mean, text)
	}
	WriteTable(&b, append(rows, mean), func(c int) bool { return c == 0 })
	if c.Alone > 0 {
		fmt.Fprintf(&b, "\nLeft out: %d problems that one contestant alone measured.\n", c.Alone)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (c *Cell) text() string {
	if c.Samples == 0 {
		return ""
	}
	text := Duration(c.Median)
	if !c.Verified {
		text += "*"
	}
	if c.Ratio > 0 {
		text += fmt.Sprintf(" (%s, %s to %s)", Figure(c.Ratio), Figure(c.Low), Figure(c.High))
	}
	return text
}

func writeCompareCSV(w io.Writer, c *Comparison) error {
	out := csv.NewWriter(w)
	rows := [][]string{{"problem", "case", "file", "label", "device", "driver", "asked", "base", "samples", "median_ns", "clock", "verified", "roof_percent", "ratio", "low", "high"}}
	names := c.Names()
	for _, r := range c.Rows {
		for j, cell := range r.Cells {
			if cell.Samples == 0 {
				continue
			}
			col := &c.Columns[j]
			row := []string{r.Problem, r.Case, col.File, col.Label, col.Device, col.Driver, col.Asked, "", strconv.Itoa(cell.Samples),
				nanoseconds(cell.Median), cell.Clock, strconv.FormatBool(cell.Verified), number(cell.Percent), "", "", ""}
			if cell.Ratio > 0 {
				row[7], row[13], row[14], row[15] = names[col.Base], number(cell.Ratio), number(cell.Low), number(cell.High)
			}
			rows = append(rows, row)
		}
	}
	if err := out.WriteAll(rows); err != nil {
		return err
	}
	return out.Error()
}

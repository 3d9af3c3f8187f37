package bench

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Formats are the names that Write takes.
var Formats = []string{"md", "csv", "json"}

// Write writes records in a format of Formats. JSON has everything, Markdown what fits a line.
func Write(w io.Writer, format string, records []Record) error {
	switch format {
	case "md":
		return writeMarkdown(w, records)
	case "csv":
		return writeCSV(w, records)
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if records == nil {
			records = []Record{}
		}
		return e.Encode(records)
	}
	return fmt.Errorf("no output format %q, want one of %s", format, strings.Join(Formats, ", "))
}

func writeMarkdown(w io.Writer, records []Record) error {
	rows := [][]string{{"problem", "device", "kernel", "median", "p5", "p95", "n", "clock", "wall median", "TFLOP/s", "GB/s", "ratio", "verified"}}
	for i := range records {
		r := &records[i]
		if r.Error != "" && len(r.Samples) == 0 {
			rows = append(rows, []string{r.Problem, name(r), r.Report.Kernel, "", "", "", "0", "", "", "", "", "", r.Error})
			continue
		}
		s := r.Device
		if r.Clock == "wall" {
			s = r.Wall
		}
		rows = append(rows, []string{r.Problem, name(r), r.Report.Kernel, Duration(s.Median), Duration(s.P5), Duration(s.P95),
			strconv.Itoa(s.N), r.Clock, Duration(r.Wall.Median), Figure(r.TFLOPS), Figure(r.GBS), Figure(r.Ratio), r.verdict()})
	}
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for c, cell := range row {
			row[c] = strings.ReplaceAll(cell, "|", "\\|")
			width[c] = max(width[c], utf8.RuneCountInString(row[c]))
		}
	}
	var b strings.Builder
	for i, row := range rows {
		for c, cell := range row {
			left := c < 3 || c == 7 || c == 12
			pad := strings.Repeat(" ", width[c]-utf8.RuneCountInString(cell))
			if left {
				fmt.Fprintf(&b, "| %s%s ", cell, pad)
			} else {
				fmt.Fprintf(&b, "| %s%s ", pad, cell)
			}
		}
		b.WriteString("|\n")
		if i == 0 {
			for c := range row {
				left := c < 3 || c == 7 || c == 12
				if left {
					fmt.Fprintf(&b, "|%s", strings.Repeat("-", width[c]+2))
				} else {
					fmt.Fprintf(&b, "|%s:", strings.Repeat("-", width[c]+1))
				}
			}
			b.WriteString("|\n")
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func name(r *Record) string {
	if r.Report.Device == "" {
		return r.Asked
	}
	return r.Report.Device
}

func (r *Record) verdict() string {
	switch {
	case r.Check == nil:
		return "no"
	case !r.Check.OK:
		return "FAILED"
	case r.Check.Rows == r.Check.Of:
		return "yes"
	}
	return fmt.Sprintf("%d rows", r.Check.Rows)
}

var csvColumns = []string{"time", "version", "problem", "asked", "backend", "device", "driver", "kernel", "path", "tile", "splits",
	"n", "warm", "stopped", "clock", "device_median_ns", "device_p5_ns", "device_p95_ns", "wall_median_ns", "wall_p5_ns", "wall_p95_ns",
	"spread", "pairs", "tflops", "tflops_fa", "gb_s", "ratio", "device_mem", "verified", "worst_row", "error"}

func writeCSV(w io.Writer, records []Record) error {
	c := csv.NewWriter(w)
	if err := c.Write(csvColumns); err != nil {
		return err
	}
	num := func(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }
	ns := func(d time.Duration) string { return strconv.FormatInt(int64(d), 10) }
	for i := range records {
		r := &records[i]
		spread, worst := r.Device.Spread, ""
		if r.Clock == "wall" {
			spread = r.Wall.Spread
		}
		if r.Check != nil {
			worst = num(r.Check.Worst)
		}
		err := c.Write([]string{r.Time.Format(time.RFC3339), r.Build.Version, r.Problem, r.Asked, r.Report.Backend, r.Report.Device,
			r.Report.Driver, r.Report.Kernel, r.Report.Path, r.Report.Tile, strconv.Itoa(r.Report.Splits), strconv.Itoa(r.Wall.N),
			strconv.Itoa(r.Warm), r.Stopped, r.Clock, ns(r.Device.Median), ns(r.Device.P5), ns(r.Device.P95), ns(r.Wall.Median),
			ns(r.Wall.P5), ns(r.Wall.P95), num(spread), strconv.FormatInt(r.Report.Work.Pairs, 10), num(r.TFLOPS), num(r.TFLOPSFA),
			num(r.GBS), num(r.Ratio), strconv.FormatInt(r.Report.DeviceMem, 10), strconv.FormatBool(r.Verified), worst, r.Error})
		if err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

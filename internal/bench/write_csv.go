package bench

import (
	"encoding/csv"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// csvColumns are the columns and what is in them.
var csvColumns = []struct {
	name string
	cell func(*Record) string
}{
	{"schema", func(r *Record) string { return strconv.Itoa(r.Schema) }},
	{"time", func(r *Record) string { return r.Time.Format(time.RFC3339) }},
	{"version", func(r *Record) string { return r.Build.Version }},
	{"label", func(r *Record) string { return r.Label }},
	{"suite", func(r *Record) string { return r.Suite }},
	{"table", func(r *Record) string { return r.Table }},
	{"case", func(r *Record) string { return r.Case }},
	{"problem", func(r *Record) string { return r.Problem }},
	{"asked", func(r *Record) string { return r.Asked }},
	{"backend", func(r *Record) string { return r.Report.Backend }},
	{"device", func(r *Record) string { return r.Report.Device }},
	{"driver", func(r *Record) string { return r.Report.Driver }},
	{"kernel", func(r *Record) string { return r.Report.Kernel }},
	{"path", func(r *Record) string { return r.Report.Path }},
	{"tile", func(r *Record) string { return r.Report.Tile }},
	{"splits", func(r *Record) string { return strconv.Itoa(r.Report.Splits) }},
	{"slices", func(r *Record) string { return strconv.Itoa(r.Report.Slices) }},
	{"spirv_sha256", spirvText},
	{"n", func(r *Record) string { return strconv.Itoa(r.Wall.N) }},
	{"warm", func(r *Record) string { return strconv.Itoa(r.Warm) }},
	{"stopped", func(r *Record) string { return r.Stopped }},
	{"clock", func(r *Record) string { return r.Clock }},
	{"device_median_ns", func(r *Record) string { return nanoseconds(r.Device.Median) }},
	{"device_p5_ns", func(r *Record) string { return nanoseconds(r.Device.P5) }},
	{"device_p95_ns", func(r *Record) string { return nanoseconds(r.Device.P95) }},
	{"wall_median_ns", func(r *Record) string { return nanoseconds(r.Wall.Median) }},
	{"wall_p5_ns", func(r *Record) string { return nanoseconds(r.Wall.P5) }},
	{"wall_p95_ns", func(r *Record) string { return nanoseconds(r.Wall.P95) }},
	{"spread", func(r *Record) string { return number(r.Summary().Spread) }},
	{"pairs", func(r *Record) string { return strconv.FormatInt(r.Report.Work.Pairs, 10) }},
	{"bytes", func(r *Record) string { return strconv.FormatInt(r.Report.Work.Bytes, 10) }},
	{"tflops", func(r *Record) string { return number(r.TFLOPS) }},
	{"tflops_fa", func(r *Record) string { return number(r.TFLOPSFA) }},
	{"gb_s", func(r *Record) string { return number(r.GBS) }},
	{"roof", func(r *Record) string { return ifRoof(r, func(f *Roof) string { return f.Binds }) }},
	{"roof_percent", func(r *Record) string { return ifRoof(r, func(f *Roof) string { return number(f.Percent) }) }},
	{"ratio", func(r *Record) string { return number(r.Ratio) }},
	{"density", func(r *Record) string { return number(r.Density) }},
	{"device_mem", func(r *Record) string { return strconv.FormatInt(r.Report.DeviceMem, 10) }},
	{"scratch_mem", func(r *Record) string { return strconv.FormatInt(r.Report.Scratch, 10) }},
	{"verified", func(r *Record) string { return strconv.FormatBool(r.Verified) }},
	{"worst_row", func(r *Record) string {
		if r.Check == nil {
			return ""
		}
		return number(r.Check.Worst)
	}},
	{"cut", func(r *Record) string { return r.Cut }},
	{"error", func(r *Record) string { return r.Error }},
}

func number(x float64) string { return strconv.FormatFloat(x, 'g', 6, 64) }

func nanoseconds(d time.Duration) string { return strconv.FormatInt(int64(d), 10) }

func ifRoof(r *Record, f func(*Roof) string) string {
	if r.Roof == nil {
		return ""
	}
	return f(r.Roof)
}

// spirvText is "name=hash name=hash", sorted.
func spirvText(r *Record) string {
	var all []string
	for name, hash := range r.SPIRV {
		all = append(all, name+"="+hash)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func writeCSV(w io.Writer, records []Record) error {
	c := csv.NewWriter(w)
	row := make([]string, len(csvColumns))
	for n, column := range csvColumns {
		row[n] = column.name
	}
	if err := c.Write(row); err != nil {
		return err
	}
	for i := range records {
		for n, column := range csvColumns {
			row[n] = column.cell(&records[i])
		}
		if err := c.Write(row); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}

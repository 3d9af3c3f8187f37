package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/vkattn/vkattn/internal/bench"
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

var page = template.Must(template.New("page").Parse(pageHTML))

// pageData is what page.html shows.
type pageData struct {
	Style    template.CSS
	When     string
	Summary  string
	Devices  []deviceRow
	HasRoofs bool
	Keys     []keyEntry
	Roofline template.HTML
	Versus   template.HTML
	Base     string
	Sections []sectionData
	Builds   []string
}

type deviceRow struct {
	Name, Backend, Driver, Kernels, Read, Copy, FMA, Matrix string
}

// keyEntry is a line of the legend. Mark is the SVG of the contestant's mark.
type keyEntry struct {
	Name string
	Mark template.HTML
}

type sectionData struct {
	ID, Heading  string
	Time, Memory []template.HTML
	Head         []headCell
	Rows         []tableRow
	Missing      []string
}

// WriteHTML writes the page.
func (r *Report) WriteHTML(w io.Writer) error {
	d := pageData{Style: template.CSS(pageCSS), When: r.when(), Summary: r.summary(), Base: r.contestants[0].name, Builds: r.builds()}
	for _, c := range r.contestants {
		d.Keys = append(d.Keys, keyEntry{c.name, markSVG(c.index)})
	}
	d.Devices = r.deviceRows()
	d.HasRoofs = slices.ContainsFunc(d.Devices, func(x deviceRow) bool { return x.Read+x.Copy+x.FMA+x.Matrix != "" })
	var err error
	draw := func(f *figure) template.HTML {
		if f == nil || err != nil {
			return ""
		}
		var svg template.HTML
		svg, err = f.svg()
		return svg
	}
	d.Roofline, d.Versus = draw(r.roofline), draw(r.versus)
	for i := range r.sections {
		s := &r.sections[i]
		x := sectionData{ID: fmt.Sprintf("section-%d", i), Heading: s.heading()}
		for j := range s.time {
			x.Time = append(x.Time, draw(&s.time[j]))
		}
		for j := range s.memory {
			x.Memory = append(x.Memory, draw(&s.memory[j]))
		}
		x.Head, x.Rows = s.table()
		for _, e := range s.entries {
			if why := e.Missing(); why != "" {
				x.Missing = append(x.Missing, why)
			}
		}
		d.Sections = append(d.Sections, x)
	}
	if err != nil {
		return err
	}
	return page.Execute(w, &d)
}

// when is the day of the records, or the first and last of them.
func (r *Report) when() string {
	first, last := "", ""
	for _, e := range r.entries {
		day := e.Time.UTC().Format("2006-01-02")
		if first == "" || day < first {
			first = day
		}
		last = max(last, day)
	}
	if first == last {
		return first
	}
	return first + " to " + last
}

func (r *Report) summary() string {
	verified, cut, failed := 0, 0, 0
	for _, e := range r.entries {
		switch {
		case e.Measured() && e.Verified:
			verified++
		case e.Cut != "":
			cut++
		case !e.Measured():
			failed++
		}
	}
	text := fmt.Sprintf("%s, %d of them checked against float64 before they were timed", counted(r.measuredRows, "measurement"), verified)
	if cut > 0 {
		text += fmt.Sprintf("; %d not run, by a rule that is given with each", cut)
	}
	if failed > 0 {
		text += fmt.Sprintf("; %d failed or unsupported", failed)
	}
	return text + "."
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return bench.Count(int64(n)) + " " + what + "s"
}

func (r *Report) builds() (all []string) {
	for _, e := range r.entries {
		b := e.Build
		if b.Version == "" {
			continue
		}
		text := strings.Join(strings.Fields("vkattn "+b.Version+" "+b.Commit+" "+b.Go+" "+b.OS+"/"+b.Arch), " ")
		if !slices.Contains(all, text) {
			all = append(all, text)
		}
	}
	return all
}

func (r *Report) deviceRows() (rows []deviceRow) {
	at := map[identity]int{}
	for _, e := range r.entries {
		if e.who == nil || e.who.name == "" || !e.Measured() {
			continue
		}
		id := e.who.identity
		id.kernel = ""
		n, ok := at[id]
		if !ok {
			n = len(rows)
			at[id] = n
			name := e.Report.Device
			if id.label != "" {
				name = id.label + ": " + name
			}
			if id.file != "" {
				name += " (" + id.file + ")"
			}
			rows = append(rows, deviceRow{Name: name, Backend: e.Report.Backend, Driver: e.Report.Driver})
		}
		row := &rows[n]
		if !slices.Contains(strings.Split(row.Kernels, ", "), e.Report.Kernel) {
			row.Kernels = strings.TrimPrefix(row.Kernels+", "+e.Report.Kernel, ", ")
		}
		if f := e.Roofs; f != nil {
			figure := func(x float64, unit string) string {
				if x <= 0 {
					return ""
				}
				return bench.Figure(x) + unit
			}
			row.Read, row.Copy = figure(f.ReadGBps, " GB/s"), figure(f.CopyGBps, " GB/s")
			if f.FMATFLOPs > 0 {
				row.FMA = rateText(f.FMATFLOPs)
			}
			var matrix []string
			for t, x := range f.Matrix {
				matrix = append(matrix, t+" "+rateText(x))
			}
			slices.Sort(matrix)
			row.Matrix = strings.Join(matrix, ", ")
		}
	}
	return rows
}

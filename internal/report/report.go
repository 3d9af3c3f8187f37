package report

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vkattn/vkattn/internal/bench"
)

// Report is what a page or a folder of plots shows.
type Report struct {
	entries      []entry
	contestants  []*contestant
	sections     []section
	roofline     *figure
	versus       *figure
	measuredRows int
}

// section is one table of a suite, with its plots.
type section struct {
	title   string
	time    []figure
	memory  []figure
	entries []entry
}

// New lays out the records of some files. It fails when nothing in them was measured.
func New(files []bench.File) (*Report, error) {
	r := &Report{}
	r.entries, r.contestants = assign(files)
	for _, e := range r.entries {
		if e.Measured() {
			r.measuredRows++
		}
	}
	if len(r.contestants) == 0 {
		return nil, fmt.Errorf("none of %d records was measured", len(r.entries))
	}
	at := map[string]int{}
	for _, e := range r.entries {
		title := e.Title()
		n, ok := at[title]
		if !ok {
			n = len(r.sections)
			at[title] = n
			r.sections = append(r.sections, section{title: title})
		}
		r.sections[n].entries = append(r.sections[n].entries, e)
	}
	for i := range r.sections {
		s := &r.sections[i]
		s.order()
		s.setRatios()
		for _, p := range panels(s.entries) {
			s.time = append(s.time, p.timeFigure(s.title))
			if p.wantsMemory() {
				s.memory = append(s.memory, p.memoryFigure(s.title))
			}
		}
		if ps := panels(s.entries); len(s.memory) == 0 && len(ps) > 0 {
			s.memory = append(s.memory, ps[0].memoryFigure(s.title))
		}
	}
	if f, ok := rooflineFigure(r.entries, r.contestants); ok {
		r.roofline = &f
	}
	if f, ok := versusFigure(r.entries, r.contestants); ok {
		r.versus = &f
	}
	return r, nil
}

// order puts the records of one problem, from several files, beside each other, where the first of them is.
func (s *section) order() {
	type key struct{ name, problem string }
	first := map[key]int{}
	for i, e := range s.entries {
		if _, ok := first[key{e.Case, e.Problem}]; !ok {
			first[key{e.Case, e.Problem}] = i
		}
	}
	slices.SortStableFunc(s.entries, func(a, b entry) int {
		return cmp.Compare(first[key{a.Case, a.Problem}], first[key{b.Case, b.Problem}])
	})
}

// setRatios compares each record with the case that it is against, of the same contestant, or with the first
// contestant that measured the same.
func (s *section) setRatios() {
	find := func(e entry) *bench.Record {
		for _, x := range s.entries {
			switch {
			case !x.Measured() || x.Median() <= 0:
			case e.Against != "" && x.Case == e.Against && x.who == e.who,
				e.Against == "" && x.Case == e.Case && x.Problem == e.Problem:
				return x.Record
			}
		}
		return nil
	}
	for i, e := range s.entries {
		if base := find(e); base != nil && e.Measured() {
			s.entries[i].ratio = float64(e.Median()) / float64(base.Median())
		}
	}
}

// figures lists all plots.
func (r *Report) figures() (all []*figure) {
	for _, f := range []*figure{r.roofline, r.versus} {
		if f != nil {
			all = append(all, f)
		}
	}
	for i := range r.sections {
		s := &r.sections[i]
		for j := range s.time {
			all = append(all, &s.time[j])
		}
		for j := range s.memory {
			all = append(all, &s.memory[j])
		}
	}
	return all
}

// WritePNGs writes each plot to a file of its own in dir, which it makes if need be, and returns their names.
func (r *Report) WritePNGs(dir string) ([]string, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, err
	}
	var names []string
	taken := map[string]int{}
	for _, f := range r.figures() {
		name := f.name
		if taken[name]++; taken[name] > 1 {
			name = fmt.Sprintf("%s-%d", name, taken[name])
		}
		picture, err := f.png()
		if err != nil {
			return names, err
		}
		path := filepath.Join(dir, name+".png")
		if err := os.WriteFile(path, picture, 0o666); err != nil {
			return names, err
		}
		names = append(names, path)
	}
	return names, nil
}

// heading is the title of a section for people.
func (s *section) heading() string {
	suite, table, _ := strings.Cut(s.title, ": ")
	name := map[string]string{"": "Sweep", "fa": "FlashAttention's grid", "llama": "Llama 3.1", "window": "Windows", "presets": "Models",
		"seed": "Comparisons"}[suite]
	if name == "" {
		name = suite
	}
	if table != "" {
		name += ": " + table
	}
	return name
}

package bench

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A File is the records of one file.
type File struct {
	Name    string
	Records []Record
}

// Comparison has a column for each contestant and a row for each problem that at least two of them measured.
type Comparison struct {
	Columns []Column `json:"columns"`
	Rows    []Row    `json:"rows"`
	Alone   int      `json:"alone"` // problems that one contestant alone measured
}

// Column is one contestant: a device with a kernel on a machine, in one file.
type Column struct {
	File   string `json:"file"`
	Label  string `json:"label,omitempty"`
	Device string `json:"device"`
	Driver string `json:"driver"`
	Asked  string `json:"asked"`
	// Base is the column that this one is compared with; its own index for a base.
	Base int `json:"base"`
	// Mean is the geometric mean of the ratios, over N problems; 0 where there are none.
	Mean float64 `json:"mean"`
	N    int     `json:"n"`
}

// Row is one problem.
type Row struct {
	Problem string `json:"problem"`
	Case    string `json:"case,omitempty"`
	Host    bool   `json:"host"`
	Cells   []Cell `json:"cells"`
}

// Cell is one contestant on one problem. Samples is 0 when it did not measure it.
type Cell struct {
	Samples  int           `json:"samples"`
	Median   time.Duration `json:"median_ns"`
	Clock    string        `json:"clock,omitempty"`
	Verified bool          `json:"verified"`
	Percent  float64       `json:"roof_percent,omitempty"`
	// Ratio is the median over that of the base: above 1 is slower. Low and High enclose 95% of the ratios of medians
	// when both sets of samples are drawn again with replacement.
	Ratio float64 `json:"ratio,omitempty"`
	Low   float64 `json:"low,omitempty"`
	High  float64 `json:"high,omitempty"`

	times []time.Duration
}

// problemKey says which records measured the same thing: masks that are data show in the number of pairs.
type problemKey struct {
	problem string
	pairs   int64
	host    bool
}

// Compare joins files by problem. With several files, a contestant of a later one is compared with the same device
// (or else the only one) and kernel of the first file, if that has it, else with the first contestant of
// the first file. With one file, all are compared with the first contestant. Samples of the same contestant and problem are pooled,
// so that the parts of a fleet's run and repeated runs join.
func Compare(files []File) Comparison {
	var c Comparison
	at := map[Column]int{}
	rows := map[problemKey]int{}
	var order []problemKey
	type place struct{ row, column int }
	cells := map[place]*Cell{}
	for _, f := range files {
		for i := range f.Records {
			r := &f.Records[i]
			if !r.Measured() || r.Median() <= 0 {
				continue
			}
			id := Column{File: f.Name, Label: r.Label, Device: r.Report.Device, Driver: r.Report.Driver, Asked: r.Asked}
			col, ok := at[id]
			if !ok {
				col = len(c.Columns)
				at[id] = col
				c.Columns = append(c.Columns, id)
			}
			key := problemKey{r.Problem, r.Report.Work.Pairs, r.Host}
			row, ok := rows[key]
			if !ok {
				row = len(order)
				rows[key] = row
				order = append(order, key)
				c.Rows = append(c.Rows, Row{Problem: r.Problem, Case: r.Case, Host: r.Host})
			}
			cell := cells[place{row, col}]
			if cell == nil {
				cell = &Cell{Clock: r.Clock, Verified: true}
				cells[place{row, col}] = cell
			}
			if cell.Clock != r.Clock {
				continue // times of two clocks do not pool
			}
			cell.times = append(cell.times, r.Times()...)
			cell.Verified = cell.Verified && r.Verified
			if r.Roof != nil {
				cell.Percent = r.Roof.Percent
			}
		}
	}
	c.setBases()
	for i := range c.Rows {
		c.Rows[i].Cells = make([]Cell, len(c.Columns))
		for j := range c.Columns {
			if cell := cells[place{i, j}]; cell != nil {
				cell.Samples, cell.Median = len(cell.times), Summarize(cell.times).Median
				c.Rows[i].Cells[j] = *cell
			}
		}
	}
	before := len(c.Rows)
	c.Rows = slices.DeleteFunc(c.Rows, func(r Row) bool {
		n := 0
		for _, cell := range r.Cells {
			n += min(cell.Samples, 1)
		}
		return n < 2
	})
	c.Alone = before - len(c.Rows)
	c.setRatios()
	return c
}

// setBases chooses what each column is compared with.
func (c *Comparison) setBases() {
	for i := range c.Columns {
		col := &c.Columns[i]
		col.Base = 0
		if col.File == c.Columns[0].File {
			if c.severalFiles() {
				col.Base = i
			}
			continue
		}
		for j := range c.Columns {
			if b := &c.Columns[j]; b.File == c.Columns[0].File && b.Device == col.Device && kernelAsked(b.Asked) == kernelAsked(col.Asked) {
				col.Base = j
				break
			}
		}
	}
}

func (c *Comparison) severalFiles() bool {
	return slices.ContainsFunc(c.Columns, func(x Column) bool { return x.File != c.Columns[0].File })
}

// kernelAsked is the kernel in what a contestant was asked for: "0/standard" is standard.
func kernelAsked(asked string) string {
	_, kernel, _ := strings.Cut(asked, "/")
	return kernel
}

func (c *Comparison) setRatios() {
	logs := make([]float64, len(c.Columns))
	for i := range c.Rows {
		for j := range c.Rows[i].Cells {
			cell, base := &c.Rows[i].Cells[j], &c.Rows[i].Cells[c.Columns[j].Base]
			if cell.Samples == 0 || base.Samples == 0 || c.Columns[j].Base == j {
				continue
			}
			cell.Ratio = float64(cell.Median) / float64(base.Median)
			cell.Low, cell.High = resample(cell.times, base.times)
			logs[j] += math.Log(cell.Ratio)
			c.Columns[j].N++
		}
	}
	for j := range c.Columns {
		if n := c.Columns[j].N; n > 0 {
			c.Columns[j].Mean = math.Exp(logs[j] / float64(n))
		}
	}
}

// draws is the number of times that resample draws.
const draws = 1000

// resample gives the 2.5% and 97.5% quantiles of the ratio of medians of samples drawn with replacement (a
// percentile bootstrap). The same samples give the same answer.
func resample(times, base []time.Duration) (low, high float64) {
	r := rand.New(rand.NewPCG(1, uint64(len(times))<<32|uint64(len(base))))
	draw := func(from []time.Duration) float64 {
		n := min(len(from), 1000)
		out := make([]time.Duration, n)
		for i := range out {
			out[i] = from[r.IntN(len(from))]
		}
		slices.Sort(out)
		return float64(quantile(out, 0.5))
	}
	ratios := make([]float64, 0, draws)
	for range draws {
		if b := draw(base); b > 0 {
			ratios = append(ratios, draw(times)/b)
		}
	}
	if len(ratios) == 0 {
		return 0, 0
	}
	slices.Sort(ratios)
	return ratios[len(ratios)*25/1000], ratios[min(len(ratios)*975/1000, len(ratios)-1)]
}

// A Regression is a cell that is slower than allowed.
type Regression struct{ Row, Column int }

// Over lists the cells whose ratio is above threshold, and surely above 1: the interval of the ratio does not hold it.
func (c *Comparison) Over(threshold float64) (all []Regression) {
	for i := range c.Rows {
		for j, cell := range c.Rows[i].Cells {
			if cell.Ratio > threshold && cell.Low > 1 {
				all = append(all, Regression{i, j})
			}
		}
	}
	return all
}

// ParseThreshold reads a ratio such as 1.05, or a percentage above 1 such as 5%.
func ParseThreshold(text string) (float64, error) {
	digits, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	x, err := strconv.ParseFloat(digits, 64)
	if percent {
		x = 1 + x/100
	}
	if err != nil || !(x > 0) || math.IsInf(x, 0) {
		return 0, fmt.Errorf("%q is no threshold, want a ratio such as 1.05 or a percentage such as 5%%", text)
	}
	return x, nil
}

// Names calls each column by what tells it from the others: the device where that is enough, else the label, the
// kernel and the file with it.
func (c *Comparison) Names() []string {
	parts := func(col *Column, level int) string {
		name := col.Device
		if name == "" {
			name = col.Asked
		} else if k := kernelAsked(col.Asked); k != "" {
			name += "/" + k
		}
		if col.Label != "" {
			name = col.Label + ": " + name
		}
		if level > 0 {
			name = col.File + ": " + name
		}
		if level > 1 {
			name += " (" + col.Asked + ", " + col.Driver + ")"
		}
		return name
	}
	names := make([]string, len(c.Columns))
	for level := range 3 {
		seen := map[string]bool{}
		for i := range c.Columns {
			names[i] = parts(&c.Columns[i], level)
			seen[names[i]] = true
		}
		if len(seen) == len(names) {
			break
		}
	}
	return names
}

package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/vkattn/vkattn/internal/bench"
)

// panel is the records of one kind of problem at several lengths, or with several windows.
type panel struct {
	title string
	axis  string
	items []entry
	x     func(*bench.Record) int
}

// panels groups the measured records of a table. A group of one length has nothing to draw.
func panels(part []entry) []panel {
	at := map[string]int{}
	var all []panel
	add := func(key string, fresh panel, e entry) {
		n, ok := at[key]
		if !ok {
			n = len(all)
			at[key] = n
			all = append(all, fresh)
		}
		all[n].items = append(all[n].items, e)
	}
	for _, e := range part {
		if !e.Measured() || e.Op == nil || e.who == nil || e.Median() <= 0 || e.Op.SeqK <= 0 || e.Memory() <= 0 {
			continue
		}
		if e.Against == "all keys" || e.Case == "all keys" {
			add("window", panel{title: "Window over " + bench.Size(e.Op.SeqK) + " keys", axis: "keys that a row sees at most", x: windowOf}, e)
			continue
		}
		title := kind(e.Record)
		add(title, panel{title: title, axis: "keys", x: func(r *bench.Record) int { return r.Op.SeqK }}, e)
	}
	return slices.DeleteFunc(all, func(p panel) bool {
		for _, e := range p.items {
			if p.x(e.Record) != p.x(p.items[0].Record) {
				return false
			}
		}
		return true
	})
}

// windowOf is the number of keys that a row of a causal problem sees at most.
func windowOf(r *bench.Record) int {
	if w := r.Op.Window; w.Left.Set {
		return min(w.Left.N+1, r.Op.SeqK)
	}
	return r.Op.SeqK
}

// kind is the problem without its lengths, in words.
func kind(r *bench.Record) string {
	o := r.Op
	heads := fmt.Sprintf("%d heads", o.HeadsQ)
	if o.HeadsQ == 1 {
		heads = "one head"
	}
	if o.HeadsK != o.HeadsQ {
		heads = fmt.Sprintf("%d heads over %d", o.HeadsQ, o.HeadsK)
	}
	parts := []string{heads, fmt.Sprintf("head size %d", o.HeadDim)}
	if o.ValueDim != o.HeadDim {
		parts[1] += fmt.Sprintf("/%d", o.ValueDim)
	}
	if o.SeqQ != o.SeqK {
		rows := fmt.Sprintf("%s rows", bench.Size(o.SeqQ))
		if o.SeqQ == 1 {
			rows = "one row"
		}
		parts = append([]string{rows}, parts...)
	}
	// What follows the type in the problem's name are its masks and extras.
	if _, rest, ok := strings.Cut(r.Problem, " "+o.TypeQ.String()); ok && strings.TrimSpace(rest) != "" {
		parts = append(parts, strings.Fields(rest)...)
	}
	return strings.Join(parts, ", ")
}

// series are the points of one contestant, by x, each x once.
func (p *panel) series() (order []*contestant, of map[*contestant][]*bench.Record) {
	of = map[*contestant][]*bench.Record{}
	for _, e := range p.items {
		if of[e.who] == nil {
			order = append(order, e.who)
		}
		of[e.who] = append(of[e.who], e.Record)
	}
	for c, list := range of {
		slices.SortStableFunc(list, func(a, b *bench.Record) int { return cmp.Compare(p.x(a), p.x(b)) })
		of[c] = slices.CompactFunc(list, func(a, b *bench.Record) bool { return p.x(a) == p.x(b) })
	}
	slices.SortFunc(order, func(a, b *contestant) int { return cmp.Compare(a.index, b.index) })
	return order, of
}

func (p *panel) lengths() []float64 {
	var x []float64
	for _, e := range p.items {
		x = append(x, float64(p.x(e.Record)))
	}
	return x
}

// timeFigure is time against length, with bars from p5 to p95.
func (p panel) timeFigure(section string) figure {
	order, of := p.series()
	return figure{
		name: slug("time " + section + " " + p.title),
		alt:  "Time against length: " + p.title + ". The table below has the numbers.",
		make: func() *plot.Plot {
			pl := newPlot(sentence(p.title), p.axis, "median time")
			pl.Add(grid())
			var y span
			for _, c := range order {
				pts := &timed{}
				for _, r := range of[c] {
					pts.add(float64(p.x(r)), r.Summary())
					y.add(pts.low(pts.Len() - 1))
					y.add(pts.high(pts.Len() - 1))
				}
				pl.Add(drawn(pts, c.index)...)
				if bars, err := plotter.NewYErrorBars(pts); err == nil {
					bars.LineStyle = line(c.index)
					bars.LineStyle.Width, bars.CapWidth = vg.Points(0.8), vg.Points(4)
					pl.Add(bars)
				}
			}
			y.axis(&pl.Y, secondsText)
			lengthAxis(&pl.X, p.lengths())
			return pl
		},
		legend: legend(order, nil),
	}
}

// timed has times in seconds.
type timed struct {
	xys      plotter.XYs
	from, to []float64
}

func (t *timed) add(x float64, s bench.Summary) {
	y := s.Median.Seconds()
	t.xys = append(t.xys, plotter.XY{X: x, Y: y})
	t.from, t.to = append(t.from, max(s.P5.Seconds(), y/1e3)), append(t.to, s.P95.Seconds())
}

func (t *timed) Len() int                    { return len(t.xys) }
func (t *timed) XY(i int) (float64, float64) { return t.xys[i].X, t.xys[i].Y }
func (t *timed) low(i int) float64           { return t.from[i] }
func (t *timed) high(i int) float64          { return t.to[i] }

// YError is the distance down and up.
func (t *timed) YError(i int) (float64, float64) {
	return t.xys[i].Y - t.from[i], t.to[i] - t.xys[i].Y
}

// memoryFigure is inputs, outputs and scratch against length, and the first two alone, dashed.
func (p panel) memoryFigure(section string) figure {
	order, of := p.series()
	return figure{
		name: slug("memory " + section + " " + p.title),
		alt:  "Memory against length: " + p.title + ". The table below has the numbers.",
		make: func() *plot.Plot {
			pl := newPlot(sentence(p.title), p.axis, "inputs, outputs and scratch")
			pl.Add(grid())
			var y span
			least := map[float64]float64{}
			for _, c := range order {
				var pts plotter.XYs
				for _, r := range of[c] {
					x := float64(p.x(r))
					pts = append(pts, plotter.XY{X: x, Y: float64(max(r.Memory(), 1))})
					least[x] = float64(max(r.Report.Work.Bytes, 1))
					y.add(float64(r.Memory()))
					y.add(least[x])
				}
				pl.Add(drawn(pts, c.index)...)
			}
			pl.Add(dashed(least))
			bytesAxis(&pl.Y, y)
			lengthAxis(&pl.X, p.lengths())
			return pl
		},
		legend: legend(order, dashed(map[float64]float64{1: 1, 2: 2})),
	}
}

// wantsMemory says whether the panel has the unfused baseline, or scratch that shows.
func (p *panel) wantsMemory() bool {
	return slices.ContainsFunc(p.items, func(e entry) bool { return e.Report.Scratch > e.Report.Work.Bytes/4 })
}

// dashed is a line through y by x.
func dashed(y map[float64]float64) *plotter.Line {
	var pts plotter.XYs
	for x, v := range y {
		pts = append(pts, plotter.XY{X: x, Y: v})
	}
	slices.SortFunc(pts, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
	l, err := plotter.NewLine(pts)
	if err != nil {
		return &plotter.Line{}
	}
	l.LineStyle = draw.LineStyle{Color: softColour, Width: vg.Points(1), Dashes: []vg.Length{vg.Points(4), vg.Points(3)}}
	return l
}

// drawn is a line with marks; one point is a mark.
func drawn(pts plotter.XYer, index int) []plot.Plotter {
	l, s, err := plotter.NewLinePoints(pts)
	if err != nil {
		return nil
	}
	l.LineStyle, s.GlyphStyle = line(index), glyph(index)
	return []plot.Plotter{l, s}
}

func grid() *plotter.Grid {
	g := plotter.NewGrid()
	for _, s := range []*draw.LineStyle{&g.Horizontal, &g.Vertical} {
		*s = draw.LineStyle{Color: gridColour, Width: vg.Points(0.5)}
	}
	return g
}

// legend adds names to a picture that stands alone.
func legend(order []*contestant, inOut *plotter.Line) func(*plot.Plot) {
	return func(p *plot.Plot) {
		for _, c := range order {
			l := &plotter.Line{LineStyle: line(c.index)}
			s := &plotter.Scatter{GlyphStyle: glyph(c.index)}
			p.Legend.Add(c.name, l, s)
		}
		if inOut != nil {
			p.Legend.Add("inputs and outputs alone", inOut)
		}
	}
}

// sentence begins with a capital letter.
func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

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
	// variants has more than one name where linear attention is drawn beside softmax attention, in the order of their lines.
	variants []string
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
	beside := map[string]bool{} // shapes that linear attention has too
	for _, e := range part {
		if drawn := e.drawable(); drawn && e.Op.Linear != nil {
			beside[shape(e.Record)] = true
		}
	}
	for _, e := range part {
		if !e.drawable() {
			continue
		}
		keys := func(r *bench.Record) int { return r.Op.Shape().SeqK }
		if e.Against == "all keys" || e.Case == "all keys" {
			add("window", panel{title: "Window over " + bench.Size(keys(e.Record)) + " keys", axis: "keys that a row sees at most", x: windowOf}, e)
			continue
		}
		title := shape(e.Record)
		if !beside[title] {
			title = strings.Join(append([]string{title}, extras(e.Record)...), ", ")
		}
		add(title, panel{title: title, axis: "keys", x: keys}, e)
	}
	for i := range all {
		all[i].name(beside[all[i].title])
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

// drawable says whether there is a point to draw.
func (e entry) drawable() bool {
	o := e.Op.Shape()
	return e.Measured() && o != nil && e.who != nil && e.Median() > 0 && o.SeqK > 0 && e.Memory() > 0
}

// name lists the variants of a panel that has some; one alone is a part of the title.
func (p *panel) name(some bool) {
	if !some {
		return
	}
	for _, e := range p.items {
		if v := variant(e.Record); !slices.Contains(p.variants, v) {
			p.variants = append(p.variants, v)
		}
	}
	if len(p.variants) == 1 {
		p.title, p.variants = p.title+", "+p.variants[0], nil
	}
}

// windowOf is the number of keys that a row of a causal problem sees at most.
func windowOf(r *bench.Record) int {
	o := r.Op.Shape()
	if w := o.Window; w.Left.Set {
		return min(w.Left.N+1, o.SeqK)
	}
	return o.SeqK
}

// shape is heads and sizes of a problem without its lengths, in words.
func shape(r *bench.Record) string {
	o := r.Op.Shape()
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
	return strings.Join(parts, ", ")
}

// extras are the masks and the like of a problem: what follows the type in its name.
func extras(r *bench.Record) []string {
	_, rest := r.Extras()
	return strings.Fields(rest)
}

// variant is what a problem does, in words.
func variant(r *bench.Record) string {
	kind := "softmax"
	if r.Op.Linear != nil {
		kind = "linear"
	}
	return strings.Join(append([]string{kind}, extras(r)...), " ")
}

// series is one line of a panel: a contestant, and one of the panel's variants.
type series struct {
	who     *contestant
	variant int
}

// series are the points of each line, by x, each x once.
func (p *panel) series() (order []series, of map[series][]*bench.Record) {
	of = map[series][]*bench.Record{}
	for _, e := range p.items {
		s := series{e.who, max(slices.Index(p.variants, variant(e.Record)), 0)}
		if of[s] == nil {
			order = append(order, s)
		}
		of[s] = append(of[s], e.Record)
	}
	for s, list := range of {
		slices.SortStableFunc(list, func(a, b *bench.Record) int { return cmp.Compare(p.x(a), p.x(b)) })
		of[s] = slices.CompactFunc(list, func(a, b *bench.Record) bool { return p.x(a) == p.x(b) })
	}
	slices.SortFunc(order, func(a, b series) int {
		return cmp.Or(cmp.Compare(a.who.index, b.who.index), cmp.Compare(a.variant, b.variant))
	})
	return order, of
}

// contestants are those of some lines, each once.
func contestants(order []series) (all []*contestant) {
	for _, s := range order {
		if !slices.Contains(all, s.who) {
			all = append(all, s.who)
		}
	}
	return all
}

// dashes tells the lines of variants apart, as colours do contestants; the first is a whole line.
var dashes = [][]vg.Length{nil, {vg.Points(6), vg.Points(3)}, {vg.Points(2), vg.Points(2)}, {vg.Points(8), vg.Points(2), vg.Points(2), vg.Points(2)}}

// nameVariants says on the plot itself which line is which variant.
func (p *panel) nameVariants(pl *plot.Plot) {
	for i, name := range p.variants {
		pl.Legend.Add(name, &plotter.Line{LineStyle: draw.LineStyle{Color: softColour, Width: vg.Points(1.2), Dashes: dashes[i%len(dashes)]}})
	}
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
			p.nameVariants(pl)
			for _, c := range order {
				pts := &timed{}
				for _, r := range of[c] {
					pts.add(float64(p.x(r)), r.Summary())
					y.add(pts.low(pts.Len() - 1))
					y.add(pts.high(pts.Len() - 1))
				}
				pl.Add(drawn(pts, c)...)
				if bars, err := plotter.NewYErrorBars(pts); err == nil {
					bars.LineStyle = line(c.who.index)
					bars.LineStyle.Width, bars.CapWidth = vg.Points(0.8), vg.Points(4)
					pl.Add(bars)
				}
			}
			y.axis(&pl.Y, secondsText)
			lengthAxis(&pl.X, p.lengths())
			return pl
		},
		legend: legend(contestants(order), nil),
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
			p.nameVariants(pl)
			for _, c := range order {
				var pts plotter.XYs
				for _, r := range of[c] {
					x := float64(p.x(r))
					pts = append(pts, plotter.XY{X: x, Y: float64(max(r.Memory(), 1))})
					least[x] = float64(max(r.Report.Work.Bytes, 1))
					y.add(float64(r.Memory()))
					y.add(least[x])
				}
				pl.Add(drawn(pts, c)...)
			}
			pl.Add(dashed(least))
			bytesAxis(&pl.Y, y)
			lengthAxis(&pl.X, p.lengths())
			return pl
		},
		legend: legend(contestants(order), dashed(map[float64]float64{1: 1, 2: 2})),
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
func drawn(pts plotter.XYer, of series) []plot.Plotter {
	l, s, err := plotter.NewLinePoints(pts)
	if err != nil {
		return nil
	}
	l.LineStyle, s.GlyphStyle = line(of.who.index), glyph(of.who.index)
	l.LineStyle.Dashes = dashes[of.variant%len(dashes)]
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

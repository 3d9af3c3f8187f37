package report

import (
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"

	"github.com/vkattn/vkattn/internal/bench"
)

// versusFigure sets the times of every contestant against those of the first, problem by problem.
func versusFigure(entries []entry, all []*contestant) (figure, bool) {
	if len(all) < 2 {
		return figure{}, false
	}
	type key struct {
		problem string
		pairs   int64
		host    bool
	}
	of := func(r *bench.Record) key { return key{r.Problem, r.Report.Work.Pairs, r.Host} }
	base := map[key]float64{}
	for _, e := range entries {
		if e.who == all[0] && e.Measured() && e.Median() > 0 {
			base[of(e.Record)] = e.Median().Seconds()
		}
	}
	points := map[*contestant]plotter.XYs{}
	n := 0
	for _, e := range entries {
		if x := base[of(e.Record)]; e.who != nil && e.who != all[0] && e.Measured() && x > 0 && e.Median() > 0 {
			points[e.who] = append(points[e.who], plotter.XY{X: x, Y: e.Median().Seconds()})
			n++
		}
	}
	if n == 0 {
		return figure{}, false
	}
	return figure{
		name: "versus", wide: true,
		alt: "Time of each problem against its time on " + all[0].name + ". The tables below have the numbers.",
		make: func() *plot.Plot {
			pl := newPlot("", "median time of "+all[0].name, "median time of the others")
			pl.Add(grid())
			var x, y span
			for _, pts := range points {
				for _, p := range pts {
					x.add(p.X)
					y.add(p.Y)
				}
			}
			x.axis(&pl.X, secondsText)
			y.axis(&pl.Y, secondsText)
			if lo, hi := max(pl.X.Min, pl.Y.Min), min(pl.X.Max, pl.Y.Max); lo < hi {
				pl.Add(dashed(map[float64]float64{lo: lo, hi: hi}))
			}
			for _, c := range all {
				if s, err := plotter.NewScatter(points[c]); err == nil && len(points[c]) > 0 {
					s.GlyphStyle = glyph(c.index)
					pl.Add(s)
				}
			}
			return pl
		},
		legend: legend(all[1:], nil),
	}, true
}

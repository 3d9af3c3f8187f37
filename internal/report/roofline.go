package report

import (
	"cmp"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
)

// rooflineFigure has a point for each measured record, and the roofs of the devices that measured theirs.
func rooflineFigure(entries []entry, all []*contestant) (figure, bool) {
	points := map[*contestant]plotter.XYs{}
	roofs := map[*contestant]*vkattn.Roofs{}
	n := 0
	for _, e := range entries {
		w := e.Report.Work
		x := w.FLOPs / float64(w.Bytes)
		if e.who == nil || !e.Measured() || !drawable(x, e.TFLOPS) {
			continue
		}
		points[e.who] = append(points[e.who], plotter.XY{X: x, Y: e.TFLOPS})
		n++
		if e.Roofs != nil {
			roofs[e.who] = e.Roofs
		}
	}
	if n < 2 {
		return figure{}, false
	}
	var order []*contestant
	for c := range points {
		order = append(order, c)
	}
	slices.SortFunc(order, func(a, b *contestant) int { return cmp.Compare(a.index, b.index) })
	return figure{
		name: "roofline", wide: true,
		alt: "Roofline: operations per second against operations per byte. The tables below have the numbers.",
		make: func() *plot.Plot {
			pl := newPlot("", "operations per byte of inputs and outputs", "exact operations per second")
			pl.Add(grid())
			var x, y span
			for _, c := range order {
				for _, p := range points[c] {
					x.add(p.X)
					y.add(p.Y)
				}
			}
			x.axis(&pl.X, plain)
			drawnRoofs := map[vkattn.Info]bool{}
			for _, c := range order {
				device := vkattn.Info{Device: c.label + c.device, Driver: c.driver}
				if roofs[c] != nil && !drawnRoofs[device] {
					drawnRoofs[device] = true
					for _, p := range addRoof(pl, roofs[c], c.index) {
						y.add(p.Y)
					}
				}
			}
			for _, c := range order {
				if s, err := plotter.NewScatter(points[c]); err == nil {
					s.GlyphStyle = glyph(c.index)
					pl.Add(s)
				}
			}
			y.axis(&pl.Y, rateText)
			return pl
		},
		legend: legend(all, nil),
	}, true
}

// addRoof draws the roof of a device over the width of the plot, and those of its matrix units, dashed.
func addRoof(pl *plot.Plot, roofs *vkattn.Roofs, index int) (all plotter.XYs) {
	const steps = 200
	kinds := []string{""}
	for kind := range roofs.Matrix {
		kinds = append(kinds, kind)
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		var pts plotter.XYs
		for i := range steps + 1 {
			x := pl.X.Min * math.Pow(pl.X.Max/pl.X.Min, float64(i)/steps)
			if y, _ := bench.Ceiling(roofs, kind, x); drawable(y) {
				pts = append(pts, plotter.XY{X: x, Y: y})
			}
		}
		l, err := plotter.NewLine(pts)
		if err != nil || len(pts) < 2 {
			continue
		}
		l.LineStyle = line(index)
		if kind != "" {
			l.LineStyle.Dashes = []vg.Length{vg.Points(5), vg.Points(3)}
		}
		pl.Add(l)
		all = append(all, pts...)
	}
	return all
}

package main

import (
	"encoding/json"
	"fmt"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// drawPoints draws the time of every mask over its share of the pairs, one colour for each device, and the lines of 1 and 1.3
// times the share.
func drawPoints(name string, files []file) error {
	p := plot.New()
	p.Title.Text = "Sparse masks: time against pairs, all pairs = 1"
	p.X.Label.Text, p.Y.Label.Text = "share of the pairs", "time over that of all pairs"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: -1}, plot.LogTicks{Prec: -1}
	for _, factor := range []float64{1, 1.3} {
		line, err := plotter.NewLine(plotter.XYs{{X: 0.007, Y: 0.007 * factor}, {X: 0.7, Y: 0.7 * factor}})
		if err != nil {
			return err
		}
		line.Color = color.Gray{160}
		if factor > 1 {
			line.Dashes = []vg.Length{vg.Points(3), vg.Points(3)}
		}
		p.Add(line)
		p.Legend.Add(fmt.Sprintf("%g x share", factor), line)
	}
	colours := []color.RGBA{{0x2a, 0x78, 0xd6, 255}, {0xeb, 0x68, 0x34, 255}, {0x1b, 0xaf, 0x7a, 255}, {0x4a, 0x3a, 0xa7, 255}}
	shapes := []draw.GlyphDrawer{draw.CircleGlyph{}, draw.TriangleGlyph{}, draw.SquareGlyph{}, draw.CrossGlyph{}}
	for i, f := range files {
		var at plotter.XYs
		for _, x := range f.Points {
			at = append(at, plotter.XY{X: x.Density, Y: x.Ratio * x.Density})
		}
		s, err := plotter.NewScatter(at)
		if err != nil {
			return err
		}
		s.GlyphStyle = draw.GlyphStyle{Color: colours[i%len(colours)], Radius: vg.Points(2.5), Shape: shapes[i%len(shapes)]}
		p.Add(s)
		p.Legend.Add(fmt.Sprintf("%s, %d heads", f.Device, f.Heads), s)
	}
	p.Legend.Left, p.Legend.Top = true, true
	p.Add(plotter.NewGrid())
	return p.Save(vg.Points(460), vg.Points(320), name)
}

// drawFiles draws what -save has written.
func drawFiles(name string, paths []string) error {
	var files []file
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var f file
		if err := json.Unmarshal(text, &f); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		files = append(files, f)
	}
	return drawPoints(name, files)
}

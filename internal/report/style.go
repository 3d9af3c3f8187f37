package report

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Colours of the plots in light mode. In the page each of them becomes a variable of the style sheet, so that the same
// drawing serves both modes; page.css has both sets.
var (
	inkColour   = hex(0x0b0b0b)
	softColour  = hex(0x52514e) // axis text
	gridColour  = hex(0xe4e3df)
	paperColour = hex(0xfcfcfb)
	// Neighbours differ in hue and lightness, and each contestant has a mark of its own besides.
	seriesColours = []color.RGBA{hex(0x2a78d6), hex(0xeb6834), hex(0x1baf7a), hex(0x4a3aa7), hex(0xe87ba4), hex(0xeda100), hex(0x008300), hex(0xe34948)}
)

func hex(rgb uint32) color.RGBA {
	return color.RGBA{uint8(rgb >> 16), uint8(rgb >> 8), uint8(rgb), 255}
}

// variables maps colours, as SVG has them, to those of the style sheet.
func variables() map[string]string {
	m := map[string]string{svgColour(inkColour): "var(--ink)", svgColour(softColour): "var(--soft)", svgColour(gridColour): "var(--grid)", svgColour(paperColour): "var(--paper)"}
	for i, c := range seriesColours {
		m[svgColour(c)] = fmt.Sprintf("var(--s%d)", i)
	}
	return m
}

func svgColour(c color.RGBA) string { return fmt.Sprintf("#%02X%02X%02X", c.R, c.G, c.B) }

func seriesColour(i int) color.RGBA { return seriesColours[i%len(seriesColours)] }

func line(i int) draw.LineStyle {
	return draw.LineStyle{Color: seriesColour(i), Width: vg.Points(1.6)}
}

// newPlot is an empty plot in the page's style.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = nil
	p.Title.Text = title
	if title != "" {
		p.Title.Padding = vg.Points(8)
	}
	p.Title.TextStyle.Color = inkColour
	p.Title.TextStyle.Font.Size = vg.Points(11)
	p.Title.TextStyle.Font.Variant = "Sans"
	p.X.Label.Text, p.Y.Label.Text = x, y
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Color = softColour
		a.Label.TextStyle.Font.Size = vg.Points(9)
		a.Label.TextStyle.Font.Variant = "Sans"
		a.Tick.Label.Color = softColour
		a.Tick.Label.Font.Size = vg.Points(9)
		a.Tick.Label.Font.Variant = "Sans"
		a.LineStyle.Color, a.LineStyle.Width = softColour, vg.Points(0.5)
		a.Tick.LineStyle.Color, a.Tick.LineStyle.Width = softColour, vg.Points(0.5)
		a.Tick.Length = vg.Points(3)
		a.Scale = plot.LogScale{}
		a.Padding = vg.Points(4)
	}
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.Legend.TextStyle.Font.Variant = "Sans"
	p.Legend.TextStyle.Color = softColour
	return p
}

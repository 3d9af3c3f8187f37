package report

import (
	"bytes"
	"fmt"
	"html/template"
	"image/color"
	"math"
	"regexp"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// figure is one plot. Drawing changes a plot, so each drawing makes it anew.
type figure struct {
	name string // of its file
	alt  string // for who cannot see it
	wide bool
	make func() *plot.Plot
	// legend has the lines that the page shows beside all plots; a picture has its own.
	legend func(*plot.Plot)
}

func (f *figure) size() (w, h vg.Length) {
	if f.wide {
		return vg.Points(720), vg.Points(360)
	}
	return vg.Points(350), vg.Points(250)
}

var (
	svgSize = regexp.MustCompile(`<svg width="([0-9.]+)pt" height="([0-9.]+)pt"`)
	svgFont = regexp.MustCompile(`font-family:[^;"]*;`)
)

// svg draws the figure as an element of the page, in the colours of its style sheet.
func (f *figure) svg() (template.HTML, error) {
	w, h := f.size()
	canvas := vgsvg.New(w, h)
	drawOn(canvas, f.make())
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return "", err
	}
	_, text, ok := strings.Cut(b.String(), "<svg")
	if !ok {
		return "", fmt.Errorf("report: gonum/plot drew no SVG")
	}
	text = "<svg" + text
	alt := template.HTMLEscapeString(f.alt)
	text = svgSize.ReplaceAllString(text, `<svg role="img" aria-label="`+strings.ReplaceAll(alt, "$", "$$")+`" data-size="$1x$2"`)
	text = svgFont.ReplaceAllString(text, "font-family:inherit;")
	for colour, variable := range variables() {
		text = strings.ReplaceAll(text, colour, variable)
	}
	return template.HTML(text), nil
}

// png draws the figure with its legend on white paper.
func (f *figure) png() ([]byte, error) {
	w, h := f.size()
	canvas := vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(192), vgimg.UseBackgroundColor(color.White))
	p := f.make()
	f.legend(p)
	drawOn(canvas, p)
	var b bytes.Buffer
	_, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(&b)
	return b.Bytes(), err
}

// drawOn draws p with room at the right, where the last label of an axis reaches beyond it. The names of the axes are
// drawn here: gonum/plot would make room for them as if logarithmic axes were linear.
func drawOn(canvas vg.CanvasSizer, p *plot.Plot) {
	const left, bottom = 15, 13
	c := draw.New(canvas)
	x, y := p.X.Label, p.Y.Label
	p.X.Label.Text, p.Y.Label.Text = "", ""
	inner := draw.Crop(c, vg.Points(left), -vg.Points(14), vg.Points(bottom), -vg.Points(4))
	p.Draw(inner)
	data := p.DataCanvas(inner)
	x.TextStyle.XAlign, x.TextStyle.YAlign = draw.XCenter, draw.YBottom
	c.FillText(x.TextStyle, vg.Point{X: data.Center().X, Y: c.Min.Y + vg.Points(2)}, x.Text)
	y.TextStyle.Rotation, y.TextStyle.XAlign, y.TextStyle.YAlign = math.Pi/2, draw.XCenter, draw.YTop
	c.FillText(y.TextStyle, vg.Point{X: c.Min.X + vg.Points(1), Y: data.Center().Y}, y.Text)
}

// slug is s as a part of a file's name.
func slug(s string) string {
	s = strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			return c
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		}
		return '-'
	}, s)
	s = strings.Trim(regexp.MustCompile(`-+`).ReplaceAllString(s, "-"), "-")
	return s[:min(len(s), 80)]
}

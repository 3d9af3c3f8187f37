package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// polygon is a filled mark; its corners are in radii from the middle, up is positive.
type polygon [][2]float64

// marks in the order of contestants, filled, so that small ones are seen. A circle has many corners.
var marks = []polygon{
	circle(24),
	{{-.9, -.9}, {.9, -.9}, {.9, .9}, {-.9, .9}},
	{{-1, -.8}, {1, -.8}, {0, 1.1}},
	{{0, -1.25}, {1.25, 0}, {0, 1.25}, {-1.25, 0}},
	{{-1, .8}, {0, -1.1}, {1, .8}},
	{{-1.3, -.5}, {1.3, -.5}, {1.3, .5}, {-1.3, .5}},
	{{-.5, -1.3}, {.5, -1.3}, {.5, 1.3}, {-.5, 1.3}},
	circle(5),
}

func circle(corners int) (p polygon) {
	for i := range corners {
		s, c := math.Sincos(2 * math.Pi * float64(i) / float64(corners))
		p = append(p, [2]float64{s, c})
	}
	return p
}

// DrawGlyph draws the mark around pt.
func (p polygon) DrawGlyph(c *draw.Canvas, s draw.GlyphStyle, pt vg.Point) {
	var path vg.Path
	for i, at := range p {
		to := vg.Point{X: pt.X + s.Radius*vg.Length(at[0]), Y: pt.Y + s.Radius*vg.Length(at[1])}
		if i == 0 {
			path.Move(to)
		} else {
			path.Line(to)
		}
	}
	path.Close()
	c.SetColor(s.Color)
	c.Fill(path)
}

// markOf is the mark of a contestant. The second eight have other marks with the colours of the first.
func markOf(i int) polygon { return marks[(i+i/len(seriesColours))%len(marks)] }

func glyph(i int) draw.GlyphStyle {
	return draw.GlyphStyle{Color: seriesColour(i), Radius: vg.Points(3.2), Shape: markOf(i)}
}

// markSVG draws the mark on a piece of its line, for the page's legend and tables.
func markSVG(i int) template.HTML {
	var corners []string
	for _, at := range markOf(i) {
		corners = append(corners, fmt.Sprintf("%.1f,%.1f", 11+4*at[0], 7-4*at[1]))
	}
	colour := fmt.Sprintf("var(--s%d)", i%len(seriesColours))
	return template.HTML(`<svg class="mark" viewBox="0 0 22 14" aria-hidden="true"><path d="M0 7h22" stroke="` + colour +
		`" stroke-width="1.6"/><polygon points="` + strings.Join(corners, " ") + `" fill="` + colour + `"/></svg>`)
}

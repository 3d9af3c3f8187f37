package report

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"math/bits"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/vkattn/vkattn"
)

// maskCells is the most cells on a side of a picture: more are smaller than a pixel or two.
const maskCells = 160

// MaskPicture draws one head of a block mask of sq x sk tokens in a format, svg or png. Row 0 is at the top; the darker a
// cell, the more of its pairs are visible. A cell is a pair, or a block, or as many blocks as it takes to get by with
// 160 cells on a side.
func MaskPicture(w io.Writer, m *vkattn.BlockMask, sq, sk, batch, head int, title, format string) error {
	if m == nil {
		return &vkattn.ArgError{Arg: "Blocks", Reason: "missing"}
	}
	if err := m.Check(m.Batch, m.Heads, sq, sk); err != nil {
		return err
	}
	if batch < 0 || batch >= m.Batch || head < 0 || head >= m.Heads {
		return fmt.Errorf("the mask has %d sequences and %d heads", m.Batch, m.Heads)
	}
	raster := rasterise(m, sq, sk, batch, head)
	p := newPlot(title, "keys", "rows")
	p.X.Scale, p.Y.Scale = plot.LinearScale{}, plot.InvertedScale{Normalizer: plot.LinearScale{}}
	p.X.Padding, p.Y.Padding = 0, 0
	p.Add(raster)
	side := vg.Points(480)
	var canvas interface {
		vg.CanvasSizer
		io.WriterTo
	}
	switch format {
	case "svg":
		canvas = vgsvg.New(side, side)
	case "png":
		canvas = vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(side, side), vgimg.UseDPI(144), vgimg.UseBackgroundColor(color.White))}
	default:
		return fmt.Errorf("report: no format %q, want svg or png", format)
	}
	drawOn(canvas, p)
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return err
}

// maskRaster is the share of visible pairs in each cell.
type maskRaster struct {
	sq, sk       int // tokens
	cellQ, cellK int // tokens of a cell
	share        [][]float64
}

func rasterise(m *vkattn.BlockMask, sq, sk, batch, head int) *maskRaster {
	cell := func(n, block int) int {
		if n <= maskCells {
			return 1
		}
		blocks := (n + block - 1) / block
		return (blocks + maskCells - 1) / maskCells * block
	}
	r := &maskRaster{sq: sq, sk: sk, cellQ: cell(sq, m.BlockQ), cellK: cell(sk, m.BlockK)}
	r.share = make([][]float64, (sq+r.cellQ-1)/r.cellQ)
	for y := range r.share {
		r.share[y] = make([]float64, (sk+r.cellK-1)/r.cellK)
	}
	inside := make(map[int32]int) // pairs of a tile that no edge cuts
	for row := range m.RowBlocks {
		keys, _ := m.List(batch, head, row)
		tiles := m.Tiles(batch, head, row)
		for e, key := range keys {
			i0, j0 := row*m.BlockQ, int(key)*m.BlockK
			i1, j1 := min(i0+m.BlockQ, sq), min(j0+m.BlockK, sk)
			switch {
			case tiles == nil || tiles[e] < 0:
				r.addAll(i0, i1, j0, j1)
			case r.cellQ == 1 || r.cellK == 1:
				eachPair(m, tiles[e], i1-i0, j1-j0, func(i, j int) { r.add(i0+i, j0+j, 1) })
			default: // the block lies in one cell
				n, known := inside[tiles[e]]
				whole := i1-i0 == m.BlockQ && j1-j0 == m.BlockK
				if !known || !whole {
					n = 0
					eachPair(m, tiles[e], i1-i0, j1-j0, func(_, _ int) { n++ })
				}
				if whole {
					inside[tiles[e]] = n
				}
				r.add(i0, j0, n)
			}
		}
	}
	return r
}

// eachPair calls f for every pair of a tile inside of rows x keys.
func eachPair(m *vkattn.BlockMask, tile int32, rows, keys int, f func(i, j int)) {
	for i := range rows {
		for w, word := range m.TileRow(tile, i) {
			for ; word != 0; word &= word - 1 {
				if j := 32*w + bits.TrailingZeros32(word); j < keys {
					f(i, j)
				}
			}
		}
	}
}

// add makes n pairs visible, in the cell of row i and key j.
func (r *maskRaster) add(i, j, n int) {
	y, x := i/r.cellQ, j/r.cellK
	r.share[y][x] += float64(n) / (float64(min(r.cellQ, r.sq-y*r.cellQ)) * float64(min(r.cellK, r.sk-x*r.cellK)))
}

// addAll makes rows [i0, i1) of keys [j0, j1) visible. On each axis they lie in one cell, or cells are tokens.
func (r *maskRaster) addAll(i0, i1, j0, j1 int) {
	for i := i0; i < i1; i = (i/r.cellQ + 1) * r.cellQ {
		for j := j0; j < j1; j = (j/r.cellK + 1) * r.cellK {
			r.add(i, j, min(r.cellQ, i1-i)*min(r.cellK, j1-j))
		}
	}
}

// DataRange is the grid in tokens.
func (r *maskRaster) DataRange() (xmin, xmax, ymin, ymax float64) {
	return 0, float64(max(r.sk, 1)), 0, float64(max(r.sq, 1))
}

// Plot draws runs of equal cells as one rectangle.
func (r *maskRaster) Plot(c draw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	for n, row := range r.share {
		for from := 0; from < len(row); {
			to := from + 1
			for to < len(row) && shade(row[to]) == shade(row[from]) {
				to++
			}
			if s := shade(row[from]); s > 0 {
				x0, x1 := x(float64(from*r.cellK)), x(float64(min(to*r.cellK, r.sk)))
				y0, y1 := y(float64(n*r.cellQ)), y(float64(min((n+1)*r.cellQ, r.sq)))
				c.SetColor(blend(s))
				c.Fill(vg.Rectangle{Min: vg.Point{X: x0, Y: y1}, Max: vg.Point{X: x1, Y: y0}}.Path())
			}
			from = to
		}
	}
}

// shades are the steps between nothing and everything. Anything at all is seen.
const shades = 12

func shade(share float64) int {
	switch {
	case share <= 0:
		return 0
	case share > 1-1e-9:
		return shades
	}
	return 2 + int(share*(shades-2))
}

func blend(step int) color.RGBA {
	to := seriesColour(0)
	mix := func(c uint8) uint8 { return uint8(255 - (255-int(c))*step/shades) }
	return color.RGBA{mix(to.R), mix(to.G), mix(to.B), 255}
}

package report

import (
	"bytes"
	"image/png"
	"math"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestMaskRaster: every cell has the share of its pairs that the mask keeps, whatever a cell holds.
func TestMaskRaster(t *testing.T) {
	for _, g := range []vkattn.MaskGrid{{SeqQ: 50, SeqK: 70}, {SeqQ: 1000, SeqK: 1000, BlockQ: 3, BlockK: 5}, {SeqQ: 100, SeqK: 900, BlockQ: 16, BlockK: 4}, {SeqQ: 700, SeqK: 7, BlockQ: 64, BlockK: 64}, {}} {
		m, err := g.Streaming(10, 33)
		if err != nil {
			t.Fatal(err)
		}
		r := rasterise(m, g.SeqQ, g.SeqK, 0, 0)
		for y, row := range r.share {
			for x, got := range row {
				n, of := 0, 0
				for i := y * r.cellQ; i < min((y+1)*r.cellQ, g.SeqQ); i++ {
					for j := x * r.cellK; j < min((x+1)*r.cellK, g.SeqK); j++ {
						if of++; m.Listed(0, 0, i, j) {
							n++
						}
					}
				}
				if want := float64(n) / float64(of); math.Abs(got-want) > 1e-9 {
					t.Fatalf("%+v: cell %d, %d is %v, want %v", g, y, x, got, want)
				}
			}
		}
		var svg, picture bytes.Buffer
		if err := MaskPicture(&svg, m, g.SeqQ, g.SeqK, 0, 0, "title", "svg"); err != nil || !strings.Contains(svg.String(), "</svg>") {
			t.Errorf("%+v: svg: %v", g, err)
		}
		if err := MaskPicture(&picture, m, g.SeqQ, g.SeqK, 0, 0, "title", "png"); err != nil {
			t.Errorf("%+v: png: %v", g, err)
		}
		if _, err := png.Decode(&picture); err != nil {
			t.Errorf("%+v: %v", g, err)
		}
		if MaskPicture(&svg, m, g.SeqQ, g.SeqK, 0, 1, "", "svg") == nil || MaskPicture(&svg, m, g.SeqQ, g.SeqK, 0, 0, "", "gif") == nil || MaskPicture(&svg, nil, 1, 1, 0, 0, "", "svg") == nil {
			t.Error("a head, a format or a mask that is not there is no error")
		}
	}
}

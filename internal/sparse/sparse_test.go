package sparse

import (
	"testing"

	"github.com/vkattn/vkattn"
)

// TestPhases: a row of a phase sees a compressed key exactly if the key's block is complete and in the row's past.
func TestPhases(t *testing.T) {
	a := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 37, SeqK: 90, HeadDim: 1, Causal: true}
	for _, n := range []vkattn.NSA{{Compress: 8, Stride: 4}, {Compress: 6, Stride: 6}, {Compress: 5, Stride: 1}, {Compress: 64, Stride: 32}, {Compress: 100, Stride: 50}} {
		n.Attention, n.Select, n.TopN = a, n.Stride, 1
		for _, off := range []int{0, 53, -20, 70, -100, 1 << 40} {
			s := vkattn.Sequence{Sq: 37, Sk: 90, Off: off, Rel: off, Causal: true}
			seen := map[int]bool{}
			for p, f := range Phases(n, &s) {
				for row := range f.Sq {
					i := p + row*n.Stride
					seen[i] = true
					for c := 0; c*n.Stride+n.Compress <= s.Sk; c++ {
						if want := c*n.Stride+n.Compress-1 <= i+off; f.Visible(row, c) != want {
							t.Fatalf("%+v, offset %d: row %d sees key %d: %v, want %v", n, off, i, c, !want, want)
						}
					}
				}
			}
			if len(seen) != 37 {
				t.Errorf("%d rows, want 37", len(seen))
			}
		}
	}
}

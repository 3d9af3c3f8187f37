package cpu

import (
	"math"
	"testing"
)

func init() {
	if hasAVX2 { // the tiles of many rows, for few rows as well
		kernels = append(kernels, struct {
			name string
			new  func() kernel
		}{"avx2 without streams", func() kernel {
			k := newAVX2Kernel().(*avx2Kernel)
			k.streamRows = 0
			return k
		}})
	}
}

// TestAllFinite puts each kind of number at each place.
func TestAllFinite(t *testing.T) {
	if !hasAVX2 {
		t.Skip("needs AVX2")
	}
	for _, cols := range []int{1, 7, 8, 9, 16, 31, 33, 64, 65, 129} {
		const rows = 3
		x := guarded(t, rows*cols)
		packed := growAligned(nil, rows*roundUp(cols, panelCols))
		for at := range x {
			for _, c := range []struct {
				x    float32
				want bool
			}{{float32(math.NaN()), false}, {float32(math.Inf(1)), false}, {float32(math.Inf(-1)), false},
				{math.MaxFloat32, true}, {-math.SmallestNonzeroFloat32, true}, {0, true}} {
				x[at] = c.x
				if got := allFinite(&x[0], cols, rows, cols); got != c.want {
					t.Fatalf("allFinite of %v at %d of %d columns: %v", c.x, at, cols, got)
				}
				if got := packValues(&packed[0], &x[0], cols, rows, cols); got != c.want {
					t.Fatalf("packValues of %v at %d of %d columns: %v", c.x, at, cols, got)
				}
			}
			if got := packed[at%cols/panelCols*panelCols*rows+at/cols*panelCols+at%cols%panelCols]; got != x[at] {
				t.Fatalf("packValues moves element %d of %d columns elsewhere", at, cols)
			}
		}
	}
}

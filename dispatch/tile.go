package dispatch

import "fmt"

// Tile is the shape of a flash kernel. Every shape computes the same, some faster than others.
type Tile struct {
	Lanes       uint32 `json:"lanes"`       // invocations that share a row's head dimension: a power of two from 2 to 32
	Rows        uint32 `json:"rows"`        // rows of a group of so many lanes: 1, 2, 4, 8 or 16, at most twice Lanes
	Invocations uint32 `json:"invocations"` // of a workgroup: a power of two, at least Lanes
}

func (t Tile) String() string {
	return fmt.Sprintf("%d rows per %d lanes, %d invocations", t.Rows, t.Lanes, t.Invocations)
}

// valid reports whether a kernel of that shape exists.
func (t Tile) valid() bool {
	pow2 := func(n, lo, hi uint32) bool { return n >= lo && n <= hi && n&(n-1) == 0 }
	return pow2(t.Lanes, 2, 32) && pow2(t.Rows, 1, min(16, 2*t.Lanes)) && pow2(t.Invocations, t.Lanes, 1024)
}

// tileClass names the problems that share a tile: the rung, the padded head sizes, and 1, 4 or 8 where that
// many rows are all there are, 0 otherwise.
func tileClass(path string, d, dv, few int) string {
	class := fmt.Sprintf("%s d%d", path, d)
	if dv != d {
		class += fmt.Sprintf("-%d", dv)
	}
	if few > 0 {
		class += fmt.Sprintf(" rows%d", few)
	}
	return class
}

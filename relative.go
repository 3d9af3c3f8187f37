package vkattn

import "fmt"

// RelativeIndex is the place of key j for row i in a table by clipped distance, as in Shaw et al.,
// "Self-Attention with Relative Position Representations", 2018:
//
//	RelativeIndex(j-i, k) = min(max(j-i, -k), k) + k,  0 to 2k
//
// k is 0 or more.
func RelativeIndex(distance, k int) int { return min(max(distance, -k), k) + k }

// RelativeBias is a bias that depends on the head and on the distance of key and row alone:
//
//	bias[h, i, j] = Table[h][RelativeIndex(j - (i+off), K)]
//
// It takes 2K+1 numbers for each head, whatever the lengths. T5Buckets.Bias makes one. Kernels look it up as they go:
// see Args.
type RelativeBias struct {
	Heads int
	K     int       // the distance from which on all are the same
	Table []float32 // [Heads, 2K+1], contiguous
}

// Args is the table as Args.Relative, in host memory.
func (r RelativeBias) Args() (Tensor, error) {
	if err := r.check(); err != nil {
		return Tensor{}, err
	}
	return BHSD(Float32s(r.Table), 1, r.Heads, 1, 2*r.K+1), nil
}

// Tensor writes the bias out for rows rows and keys keys, [1, Heads, rows, keys] in host memory; Broadcast
// makes an Args.Bias of it for a batch. Row i stands at key position i+off: off is keys-rows when the last row
// sees the last key, as with AlignBottomRight.
//
// Errors are *ShapeError and name the field. A bias of more than 2^30 elements is refused.
func (r RelativeBias) Tensor(rows, keys, off int) (Tensor, error) {
	if err := r.check(); err != nil {
		return Tensor{}, err
	}
	for _, f := range []struct {
		name string
		n    int
		min  int
	}{{"Rows", rows, 0}, {"Keys", keys, 0}, {"Off", off, -MaxSequence}} {
		if f.n < f.min || f.n > MaxSequence {
			return Tensor{}, &ShapeError{f.name, "", f.n, fmt.Sprintf("%d to %d", f.min, MaxSequence)}
		}
	}
	if rows > 0 && keys > maxTable/rows/r.Heads {
		return Tensor{}, &ShapeError{"Keys", "", keys, fmt.Sprintf("at most %d for %d rows and %d heads", maxTable/rows/r.Heads, rows, r.Heads)}
	}
	bias, width := make([]float32, 0, r.Heads*rows*keys), 2*r.K+1
	for h := range r.Heads {
		table := r.Table[h*width : (h+1)*width]
		for i := range rows {
			for j := range keys {
				bias = append(bias, table[RelativeIndex(j-i-off, r.K)])
			}
		}
	}
	return BHSD(Float32s(bias), 1, r.Heads, rows, keys), nil
}

func (r RelativeBias) check() error {
	if r.Heads < 1 || r.Heads > maxHeads {
		return &ShapeError{"Heads", "", r.Heads, fmt.Sprintf("1 to %d", maxHeads)}
	}
	if r.K < 0 || r.K > MaxSequence {
		return &ShapeError{"K", "", r.K, fmt.Sprintf("0 to %d", MaxSequence)}
	}
	if want := r.Heads * (2*r.K + 1); len(r.Table) != want {
		return &ShapeError{"Table", "length", len(r.Table), fmt.Sprintf("%d: %d heads of %d distances", want, r.Heads, 2*r.K+1)}
	}
	return nil
}

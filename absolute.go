package vkattn

import (
	"fmt"
	"math"
)

// SinusoidalTable is the absolute position encoding of Vaswani et al., "Attention Is All You Need", 2017,
// for n positions p from base on, [n, d] contiguous, computed in float64:
//
//	PE(p, 2i) = sin(p * 10000^(-2i/d)),  PE(p, 2i+1) = cos(p * 10000^(-2i/d))
//
// With an odd d the last column is a sine. Errors are *ShapeError or *ArgError and name the argument.
func SinusoidalTable(base, n, d int) ([]float32, error) {
	return sinusoidal(base, n, d, (d+1)/2, float64(d)/2, func(i int) (sin, cos int) { return 2 * i, 2*i + 1 })
}

// SinusoidalConcatTable is SinusoidalTable in the layout of the program, tensor2tensor, which fairseq and the
// encoder of Whisper have too: all sines, then all cosines, and wavelengths that end at 10000 itself. With h = d/2
// in integer division,
//
//	PE(p, i) = sin(p * 10000^(-i/max(h-1, 1))),  PE(p, h+i) = cos(same),  0 <= i < h
//
// and with an odd d the last column is 0.
func SinusoidalConcatTable(base, n, d int) ([]float32, error) {
	h := d / 2
	return sinusoidal(base, n, d, h, float64(max(h-1, 1)), func(i int) (sin, cos int) { return i, h + i })
}

// sinusoidal makes a table of waves whose frequencies are 10000^(-i/last); columns says where wave i goes. A
// column d is left out.
func sinusoidal(base, n, d, waves int, last float64, columns func(i int) (sin, cos int)) ([]float32, error) {
	if err := checkRange(base, n); err != nil {
		return nil, err
	}
	if d < 1 || d > maxTable {
		return nil, &ShapeError{"D", "", d, fmt.Sprintf("1 to %d", maxTable)}
	}
	if err := checkTable(n, d); err != nil {
		return nil, err
	}
	table := make([]float32, n*d)
	for i := range waves {
		frequency := math.Pow(10000, -float64(i)/last)
		at, beside := columns(i)
		for s := range n {
			sin, cos := sinCos(float64(base+s), frequency)
			table[s*d+at] = float32(sin)
			if beside < d {
				table[s*d+beside] = float32(cos)
			}
		}
	}
	return table, nil
}

// LearnedPositions is the part of a learned position embedding [rows, d] for n positions from base on,
// without copying. offset is the row of position 0: 0 in GPT-2 and BERT, 2 in OPT.
func LearnedPositions(table []float32, d, offset, base, n int) ([]float32, error) {
	if d < 1 || len(table)%d != 0 {
		return nil, &ShapeError{"Table", "length", len(table), fmt.Sprintf("a multiple of d = %d, which is 1 or more", d)}
	}
	if err := checkRange(base, n); err != nil {
		return nil, err
	}
	rows := len(table) / d
	if offset < 0 || offset > rows {
		return nil, &ShapeError{"Offset", "", offset, fmt.Sprintf("0 to %d", rows)}
	}
	first := offset + base
	if first < 0 || first > rows-n {
		return nil, &ArgError{"Base", fmt.Sprintf("positions %d to %d are rows %d to %d of a table of %d rows", base, base+n-1, first, first+n-1, rows)}
	}
	return table[first*d : (first+n)*d : (first+n)*d], nil
}

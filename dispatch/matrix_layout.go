package dispatch

import (
	"math/bits"
	"slices"
)

// matrixLayout says where a driver puts the elements of a cooperative matrix, as shaders/lib/matrix_layout.glsl wants to
// know it: what each bit of an invocation's number, and of an element's place in it, adds to the row or to the column. It is
// kept with the self-tests' verdicts.
type matrixLayout struct {
	Lanes  uint32 `json:"lanes"` // four bits for each bit: an exponent, plus 8 if it is the column's or if there is no such bit
	Places uint32 `json:"places"`
	// Registers: accumulators have it. Otherwise it is one of our own, to which they are brought through shared memory.
	Registers bool `json:"registers"`
	// Direct: a left operand has it, too, place by place.
	Direct bool `json:"direct"`
	// The same of a right operand, where Right says that it is known.
	RightLanes  uint32 `json:"right_lanes"`
	RightPlaces uint32 `json:"right_places"`
	Right       bool   `json:"right"`
	// KeepsNaN: exp2 of a NaN is a NaN.
	KeepsNaN bool `json:"keeps_nan"`
	// Rounding is what makes an operand of a float32: roundsNearest, roundsDown, or neither, or not known.
	Rounding uint32 `json:"rounding"`
}

// ROUNDING of shaders.
const (
	roundsNearest = 1
	roundsDown    = 2 // in size
)

// roundingOf is what made these operands, in digits above one, of numbers just below and above half a digit, and one digit more.
func roundingOf(digits [4]int) uint32 {
	switch digits {
	case [4]int{0, 1, 1, 2}:
		return roundsNearest
	case [4]int{0, 0, 1, 1}:
		return roundsDown
	}
	return 0
}

const (
	noBits    = 0x88888888
	columnBit = 8
	mostBits  = 6 // of an invocation's number, and of a place
)

func setBit(code *uint32, b int, c uint32) { *code = *code&^(15<<(4*b)) | c<<(4*b) }

// place is what the bits of x add up to in an array of rows of n.
func place(code uint32, x, n int) int {
	at := 0
	for b := 0; x>>b != 0; b++ {
		if c := code >> (4 * b) & 15; x>>b&1 == 0 {
			continue
		} else if c&columnBit != 0 {
			at += 1 << (c &^ columnBit)
		} else {
			at += n << c
		}
	}
	return at
}

// mirrored reports whether invocations hold the same rows of a left operand, m x n, as columns of a right one, n x n, in which no invocation holds more than
// eight elements of a row or a column.
func (l matrixLayout) mirrored(m, n, lanes int) bool {
	if !l.Registers || !l.Direct || !l.Right || m != n {
		return false
	}
	for b := 0; 1<<b < lanes; b++ {
		if (l.Lanes^l.RightLanes)>>(4*b)&15 != columnBit {
			return false
		}
	}
	rows, columns := l.lines(n, lanes)
	return n/rows <= 8 && n/columns <= 8
}

// lines is how many invocations differ in the rows of a right operand, and in its columns.
func (l matrixLayout) lines(n, lanes int) (rows, columns int) {
	own := 1 // rows that an invocation holds elements of
	for b := range mostBits {
		if l.RightPlaces>>(4*b)&columnBit == 0 {
			own *= 2
		}
	}
	return n / own, lanes * own / n
}

// probedLayout is the layout behind what a probe found: for each invocation, the numbers (row*n + column) of the elements
// that it holds of an accumulator and of a left operand, both m x n, and of a right operand, n x n. It is a layout of our own where the
// driver's is not of this kind.
func probedLayout(m, n int, accumulator, left, right [][]int) matrixLayout {
	l := matrixLayout{}
	if l.Lanes, l.Places, l.Registers = codes(m, n, accumulator); !l.Registers {
		return ownLayout(m, n, len(accumulator))
	}
	l.Direct = true
	for i, held := range accumulator {
		l.Direct = l.Direct && slices.Equal(held, left[i])
	}
	l.RightLanes, l.RightPlaces, l.Right = codes(n, n, right)
	return l
}

// codes are what the bits of an invocation's number and of a place add to the row and the column of an m x n matrix, of which
// invocations hold these elements; or it is not of this kind.
func codes(m, n int, matrix [][]int) (inLanes, inPlaces uint32, ok bool) {
	inLanes, inPlaces = noBits, noBits
	lanes := len(matrix)
	if lanes == 0 {
		return 0, 0, false
	}
	places := m * n / lanes
	code := func(at int) (uint32, bool) {
		row, column := at/n, at%n
		switch {
		case row == 0 && bits.OnesCount(uint(column)) == 1:
			return uint32(bits.TrailingZeros(uint(column))) | columnBit, true
		case column == 0 && bits.OnesCount(uint(row)) == 1:
			return uint32(bits.TrailingZeros(uint(row))), true
		}
		return 0, false
	}
	for _, held := range matrix {
		if len(held) != places {
			return 0, 0, false
		}
	}
	for b := 0; 1<<b < lanes; b++ {
		c, ok := code(matrix[1<<b][0])
		if !ok {
			return 0, 0, false
		}
		setBit(&inLanes, b, c)
	}
	for b := 0; 1<<b < places; b++ {
		c, ok := code(matrix[0][1<<b])
		if !ok {
			return 0, 0, false
		}
		setBit(&inPlaces, b, c)
	}
	for i, held := range matrix {
		for p, at := range held {
			if at != place(inLanes, i, n)+place(inPlaces, p, n) {
				return 0, 0, false
			}
		}
	}
	return inLanes, inPlaces, true
}

// ownLayout has pairs of columns in an invocation, then four invocations along a row, then rows.
func ownLayout(m, n, lanes int) matrixLayout {
	l := matrixLayout{Lanes: noBits, Places: noBits}
	row, column, lane, p := 0, 0, 0, 0
	along := func(code *uint32, bit, axis *int, is uint32) {
		setBit(code, *bit, uint32(*axis)|is)
		*bit++
		*axis++
	}
	places := m * n / lanes
	if places > 1 {
		along(&l.Places, &p, &column, columnBit)
	}
	for 1<<lane < lanes && lane < 2 && 1<<column < n {
		along(&l.Lanes, &lane, &column, columnBit)
	}
	for 1<<lane < lanes && 1<<row < m {
		along(&l.Lanes, &lane, &row, 0)
	}
	for 1<<lane < lanes {
		along(&l.Lanes, &lane, &column, columnBit)
	}
	for 1<<p < places && 1<<row < m {
		along(&l.Places, &p, &row, 0)
	}
	for 1<<p < places {
		along(&l.Places, &p, &column, columnBit)
	}
	return l
}

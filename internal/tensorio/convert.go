package tensorio

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/vkattn/vkattn/internal/half"
)

var le = binary.LittleEndian

// NewFloat32 makes an array that holds a copy of data.
func NewFloat32(name string, shape []int, data []float32) *Array {
	a := newArray(name, F32, shape, len(data))
	for i, x := range data {
		le.PutUint32(a.Data[4*i:], math.Float32bits(x))
	}
	return a
}

// NewFloat64 makes an array that holds a copy of data.
func NewFloat64(name string, shape []int, data []float64) *Array {
	a := newArray(name, F64, shape, len(data))
	for i, x := range data {
		le.PutUint64(a.Data[8*i:], math.Float64bits(x))
	}
	return a
}

// NewInt32 makes an array that holds a copy of data.
func NewInt32(name string, shape []int, data []int32) *Array {
	a := newArray(name, I32, shape, len(data))
	for i, x := range data {
		le.PutUint32(a.Data[4*i:], uint32(x))
	}
	return a
}

// NewBool makes an array that holds a copy of data.
func NewBool(name string, shape []int, data []bool) *Array {
	a := newArray(name, Bool, shape, len(data))
	for i, x := range data {
		if x {
			a.Data[i] = 1
		}
	}
	return a
}

// NewNarrow makes an array of a narrow float type, F16, BF16, F8E4M3 or F8E5M2, of data rounded to nearest, saturating.
func NewNarrow(name string, d DType, shape []int, data []float32) *Array {
	a := newArray(name, d, shape, len(data))
	for i, x := range data {
		switch d {
		case F16:
			le.PutUint16(a.Data[2*i:], half.ToFloat16Sat(x))
		case BF16:
			le.PutUint16(a.Data[2*i:], half.ToBFloat16Sat(x))
		case F8E4M3:
			a.Data[i] = half.ToFloat8E4M3Sat(x)
		case F8E5M2:
			a.Data[i] = half.ToFloat8E5M2Sat(x)
		}
	}
	return a
}

func newArray(name string, d DType, shape []int, n int) *Array {
	return &Array{Name: name, DType: d, Shape: append([]int(nil), shape...), Data: make([]byte, n*d.Size())}
}

// Float32s returns the elements as float32. Narrow floats are exact; float64
// and integers are rounded to nearest; a float64 beyond the range of float32
// becomes an infinity; true is 1.
func (a *Array) Float32s() []float32 {
	out := make([]float32, a.Elements())
	if a.DType == F32 {
		for i := range out {
			out[i] = math.Float32frombits(le.Uint32(a.Data[4*i:]))
		}
		return out
	}
	if a.DType == I64 { // not through float64: that would round twice
		for i := range out {
			out[i] = float32(int64(le.Uint64(a.Data[8*i:])))
		}
		return out
	}
	at := a.element()
	for i := range out {
		out[i] = float32(at(i))
	}
	return out
}

// Float64s returns the elements as float64, exactly except for integers
// beyond 2^53, which are rounded.
func (a *Array) Float64s() []float64 {
	out := make([]float64, a.Elements())
	at := a.element()
	for i := range out {
		out[i] = at(i)
	}
	return out
}

// element returns a function that reads one element as float64.
func (a *Array) element() func(i int) float64 {
	b := a.Data
	switch a.DType {
	case F32:
		return func(i int) float64 { return float64(math.Float32frombits(le.Uint32(b[4*i:]))) }
	case F64:
		return func(i int) float64 { return math.Float64frombits(le.Uint64(b[8*i:])) }
	case F16:
		return func(i int) float64 { return float64(half.FromFloat16(le.Uint16(b[2*i:]))) }
	case BF16:
		return func(i int) float64 { return float64(half.FromBFloat16(le.Uint16(b[2*i:]))) }
	case F8E4M3:
		return func(i int) float64 { return float64(half.FromFloat8E4M3(b[i])) }
	case F8E5M2:
		return func(i int) float64 { return float64(half.FromFloat8E5M2(b[i])) }
	default:
		at := a.integer()
		return func(i int) float64 { return float64(at(i)) }
	}
}

// integer returns a function that reads one element of an integer or bool
// array. It is nil for other types.
func (a *Array) integer() func(i int) int64 {
	b := a.Data
	switch a.DType {
	case I8:
		return func(i int) int64 { return int64(int8(b[i])) }
	case U8:
		return func(i int) int64 { return int64(b[i]) }
	case I16:
		return func(i int) int64 { return int64(int16(le.Uint16(b[2*i:]))) }
	case I32:
		return func(i int) int64 { return int64(int32(le.Uint32(b[4*i:]))) }
	case I64:
		return func(i int) int64 { return int64(le.Uint64(b[8*i:])) }
	case Bool:
		return func(i int) int64 {
			if b[i] != 0 {
				return 1
			}
			return 0
		}
	}
	return nil
}

// Int32s returns the elements of an integer or bool array as int32. Other types
// and values that do not fit are a *FormatError.
func (a *Array) Int32s() ([]int32, error) {
	at := a.integer()
	if at == nil {
		return nil, &FormatError{Name: a.Name, Reason: fmt.Sprintf("elements are %v, want integers", a.DType)}
	}
	out := make([]int32, a.Elements())
	for i := range out {
		x := at(i)
		if x != int64(int32(x)) {
			return nil, &FormatError{Name: a.Name, Reason: fmt.Sprintf("element %d is %d, beyond int32", i, x)}
		}
		out[i] = int32(x)
	}
	return out, nil
}

// Bools returns the elements of a bool or integer array; anything but zero is
// true. Floats are a *FormatError: a mask of floats means something else.
func (a *Array) Bools() ([]bool, error) {
	at := a.integer()
	if at == nil {
		return nil, &FormatError{Name: a.Name, Reason: fmt.Sprintf("elements are %v, want bool", a.DType)}
	}
	out := make([]bool, a.Elements())
	for i := range out {
		out[i] = at(i) != 0
	}
	return out, nil
}

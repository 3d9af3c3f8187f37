// Package tensorio reads and writes arrays in the three formats that models and
// test data come in: NumPy's .npy and .npz, and .safetensors.
//
// A file is taken to be hostile: whatever it claims is checked against the bytes
// that are really there before memory is allocated for it, and everything wrong
// with it is a *FormatError. Nothing is ever executed: pickled (object) arrays
// are refused.
//
// The .npy header is parsed here and not by codeberg.org/sbinet/npyio, which
// allocates what a header claims, panics on headers that lack a line end or a
// key, and ignores what follows the array; it also reads element by element.
// The tests use npyio as a second opinion.
package tensorio

import (
	"fmt"
	"math"
	"math/bits"
)

// DType is the type of the elements of an array.
type DType uint8

const (
	Invalid DType = iota
	F32
	F64
	F16
	BF16
	I8
	U8
	I16
	I32
	I64
	Bool
	F8E4M3
	F8E5M2
	numDTypes
)

// dtypes has the names of every type in every format; an empty name means that
// the format cannot hold it.
var dtypes = [numDTypes]struct {
	name        string
	size        int
	npy         string // little endian
	safetensors string
}{
	Invalid: {name: "invalid"},
	F32:     {"f32", 4, "<f4", "F32"},
	F64:     {"f64", 8, "<f8", "F64"},
	F16:     {"f16", 2, "<f2", "F16"},
	BF16:    {"bf16", 2, "", "BF16"},
	I8:      {"i8", 1, "|i1", "I8"},
	U8:      {"u8", 1, "|u1", "U8"},
	I16:     {"i16", 2, "<i2", "I16"},
	I32:     {"i32", 4, "<i4", "I32"},
	I64:     {"i64", 8, "<i8", "I64"},
	Bool:    {"bool", 1, "|b1", "BOOL"},
	F8E4M3:  {"f8_e4m3", 1, "", "F8_E4M3"},
	F8E5M2:  {"f8_e5m2", 1, "", "F8_E5M2"},
}

// Size is the size of one element in bytes, 0 for Invalid.
func (d DType) Size() int {
	if d >= numDTypes {
		return 0
	}
	return dtypes[d].size
}

func (d DType) String() string {
	if d >= numDTypes {
		return fmt.Sprintf("dtype(%d)", uint8(d))
	}
	return dtypes[d].name
}

// Header is what a file says about an array before its data are read.
type Header struct {
	Name  string
	DType DType
	Shape []int // empty for a scalar
}

// Elements is the product of the shape. Headers that come from a File never
// overflow.
func (h Header) Elements() int {
	n := 1
	for _, d := range h.Shape {
		n *= d
	}
	return n
}

// Array is an array in memory.
type Array struct {
	Name  string
	DType DType
	Shape []int  // empty for a scalar
	Data  []byte // little endian, C order (the last axis is contiguous)
}

// Elements is the number of elements that Data holds.
func (a *Array) Elements() int {
	if s := a.DType.Size(); s > 0 {
		return len(a.Data) / s
	}
	return 0
}

// Header returns the array without its data.
func (a *Array) Header() Header { return Header{a.Name, a.DType, a.Shape} }

// FormatError says what is wrong with a file or with an array that was to be
// written. Path and Name (the array) may be empty.
type FormatError struct {
	Path   string
	Name   string
	Reason string
}

func (e *FormatError) Error() string {
	s := "tensorio: "
	if e.Path != "" {
		s += e.Path + ": "
	}
	if e.Name != "" {
		s += fmt.Sprintf("array %q: ", e.Name)
	}
	return s + e.Reason
}

// maxRank is NumPy's limit, which no tensor comes near.
const maxRank = 64

// byteSize is the size of an array in bytes. It refuses shapes whose product
// overflows even when another axis is 0, because strides computed from them
// would overflow too.
func byteSize(d DType, shape []int) (int, error) {
	if d.Size() == 0 {
		return 0, fmt.Errorf("unsupported element type %v", d)
	}
	if len(shape) > maxRank {
		return 0, fmt.Errorf("%d axes, more than %d", len(shape), maxRank)
	}
	n, empty := uint64(d.Size()), false
	for _, s := range shape {
		if s < 0 {
			return 0, fmt.Errorf("shape %v has a negative axis", shape)
		}
		if s == 0 {
			empty = true
			continue
		}
		hi, lo := bits.Mul64(n, uint64(s))
		if hi != 0 || lo > math.MaxInt {
			return 0, fmt.Errorf("shape %v overflows", shape)
		}
		n = lo
	}
	if empty {
		return 0, nil
	}
	return int(n), nil
}

package vkattn

import "fmt"

// Type is the element type of a tensor. The zero value is Float32.
type Type uint8

const (
	Float32  Type = iota // IEEE binary32
	Float16              // IEEE binary16
	BFloat16             // upper half of a binary32
	F8E4M3               // 8-bit float, 4 exponent bits, largest 448, no infinity
	F8E5M2               // 8-bit float, 5 exponent bits
	Q8_0                 // blocks of 32 int8 with one float16 scale, ggml's layout
	Q4_0                 // blocks of 32 int4 with one float16 scale, ggml's layout
	Bool                 // one byte, zero is false, anything else true
	numTypes
)

var typeNames = [numTypes]string{"f32", "f16", "bf16", "f8_e4m3", "f8_e5m2", "q8_0", "q4_0", "bool"}

func (t Type) String() string {
	if t < numTypes {
		return typeNames[t]
	}
	return fmt.Sprintf("type(%d)", uint8(t))
}

// Valid reports whether t is one of the constants above.
func (t Type) Valid() bool { return t < numTypes }

// Size is the size of one element in bytes, or 0 for the block types Q8_0 and Q4_0.
func (t Type) Size() int {
	switch t {
	case Float32:
		return 4
	case Float16, BFloat16:
		return 2
	case F8E4M3, F8E5M2, Bool:
		return 1
	}
	return 0
}

// blockLen is the number of elements of a block of Q8_0 and Q4_0.
const blockLen = 32

// blockBytes is the size of a block of a block type, 0 for the others.
func (t Type) blockBytes() int {
	switch t {
	case Q8_0:
		return 34
	case Q4_0:
		return 18
	}
	return 0
}

// MarshalText and UnmarshalText use the short names: f32, f16, bf16, ...
func (t Type) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText parses a short name.
func (t *Type) UnmarshalText(text []byte) error {
	for i, name := range typeNames {
		if name == string(text) {
			*t = Type(i)
			return nil
		}
	}
	return fmt.Errorf("vkattn: unknown type %q, want one of %v", text, typeNames)
}

package vkattn

import (
	"fmt"

	"github.com/vkattn/vkattn/internal/half"
)

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

// Size is the size of one element in bytes, or 0 for the block types Q8_0 and Q4_0; see Block.
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

// Block is the smallest unit of memory of a type, so many elements in so many bytes: 32 in 34 for Q8_0, 32 in 18
// for Q4_0, one element for the others. No known type has 0 bytes.
func (t Type) Block() (elements, bytes int) {
	switch t {
	case Q8_0:
		return half.BlockLen, half.Q8_0Bytes
	case Q4_0:
		return half.BlockLen, half.Q4_0Bytes
	}
	return 1, t.Size()
}

// Bytes is the size of n elements, which fill whole blocks, in memory.
func (t Type) Bytes(n int) int {
	elements, bytes := t.Block()
	return n / elements * bytes
}

// is8BitFloat reports whether t is an 8-bit float, which alone has descale factors.
func (t Type) is8BitFloat() bool { return t == F8E4M3 || t == F8E5M2 }

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

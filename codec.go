package vkattn

import (
	"fmt"
	"math"

	"github.com/vkattn/vkattn/internal/half"
)

// Decode writes the values of all elements that src holds to dst, exactly: float32 has room for those of every
// type. True is 1. Block types come in whole blocks. The error is an *ArgError: a type that is none, a src of
// broken elements, or a dst that is shorter.
func (t Type) Decode(dst []float32, src []byte) error {
	n, size := t.Block()
	switch {
	case size == 0:
		return &ArgError{"Type", fmt.Sprintf("is %s, no known type", t)}
	case len(src)%size != 0:
		return &ArgError{"src", fmt.Sprintf("has %d bytes, %s comes in units of %d", len(src), t, size)}
	case len(dst) < len(src)/size*n:
		return &ArgError{"dst", fmt.Sprintf("has room for %d numbers, src has %d", len(dst), len(src)/size*n)}
	}
	switch t {
	case Float32:
		copy(rawBytes(dst), src)
	case Float16:
		half.DecodeFloat16(dst, src)
	case BFloat16:
		half.DecodeBFloat16(dst, src)
	case F8E4M3:
		half.DecodeFloat8E4M3(dst, src)
	case F8E5M2:
		half.DecodeFloat8E5M2(dst, src)
	case Q8_0:
		half.DecodeQ8_0(dst, src)
	case Q4_0:
		half.DecodeQ4_0(dst, src)
	case Bool:
		for i, b := range src {
			dst[i] = float32(btoi(b != 0))
		}
	}
	return nil
}

// Encode rounds all of src into dst, to nearest, ties to even; finite values that are too large become the largest
// one. NaN stays NaN. Infinities stay infinite in the 16-bit types and become the largest value in the others, as
// OCP's specification of FP8 says of saturation; of Bool, whatever is not 0 is true. Q8_0 and Q4_0 are quantised as
// ggml's reference does, in whole blocks; a NaN spoils its block. The error is an *ArgError, as of Decode.
func (t Type) Encode(dst []byte, src []float32) error {
	n, size := t.Block()
	switch {
	case size == 0:
		return &ArgError{"Type", fmt.Sprintf("is %s, no known type", t)}
	case len(src)%n != 0:
		return &ArgError{"src", fmt.Sprintf("has %d numbers, %s comes in blocks of %d", len(src), t, n)}
	case len(dst) < len(src)/n*size:
		return &ArgError{"dst", fmt.Sprintf("has room for %d bytes, src needs %d", len(dst), len(src)/n*size)}
	}
	dst = dst[:len(src)/n*size]
	switch t {
	case Float32:
		copy(dst, rawBytes(src))
	case Float16:
		half.EncodeFloat16(dst, src)
	case BFloat16:
		half.EncodeBFloat16(dst, src)
	case F8E4M3:
		half.EncodeFloat8E4M3(dst, src)
	case F8E5M2:
		half.EncodeFloat8E5M2(dst, src)
	case Q8_0:
		half.EncodeQ8_0(dst, src)
	case Q4_0:
		half.EncodeQ4_0(dst, src)
	case Bool:
		for i, x := range src {
			dst[i] = byte(btoi(x != 0))
		}
	}
	return nil
}

// rawBytes is the memory of s.
func rawBytes(s []float32) []byte { return Float32s(s).b }

// Max is the largest finite value of a float type, for those who scale into its range; +Inf for the others: the
// scales of Q8_0 and Q4_0 adapt to the data.
func (t Type) Max() float64 {
	switch t {
	case Float32:
		return math.MaxFloat32
	case Float16:
		return 65504
	case BFloat16:
		return 0x1.fep127
	case F8E4M3:
		return half.MaxFloat8E4M3
	case F8E5M2:
		return half.MaxFloat8E5M2
	}
	return math.Inf(1)
}

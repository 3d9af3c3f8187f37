package half

import (
	"encoding/binary"
	"math"
)

// The blocks of ggml: BlockLen elements, whose float16 scale comes first.
const (
	BlockLen  = 32
	Q8_0Bytes = 2 + BlockLen   // 32 int8: x = scale * q
	Q4_0Bytes = 2 + BlockLen/2 // 32 nibbles, 0 to 15 in the low halves, 16 to 31 in the high ones: x = scale * (q - 8)
)

var le = binary.LittleEndian

// DecodeQ8_0 writes the values of whole q8_0 blocks to dst.
func DecodeQ8_0(dst []float32, src []byte) {
	for ; len(src) >= Q8_0Bytes; dst, src = dst[BlockLen:], src[Q8_0Bytes:] {
		scale := FromFloat16(le.Uint16(src))
		to, q := dst[:BlockLen], src[2:Q8_0Bytes]
		for i := range to {
			to[i] = scale * float32(int8(q[i]))
		}
	}
}

// DecodeQ4_0 writes the values of whole q4_0 blocks to dst.
func DecodeQ4_0(dst []float32, src []byte) {
	for ; len(src) >= Q4_0Bytes; dst, src = dst[BlockLen:], src[Q4_0Bytes:] {
		scale := FromFloat16(le.Uint16(src))
		low, high, q := dst[:BlockLen/2], dst[BlockLen/2:BlockLen], src[2:Q4_0Bytes]
		for i, both := range q {
			low[i], high[i] = scale*float32(int(both&15)-8), scale*float32(int(both>>4)-8)
		}
	}
}

// EncodeQ8_0 quantises src into whole q8_0 blocks as ggml's quantize_row_q8_0_ref
// does: the scale is the largest magnitude over 127, before its rounding to float16
// the divisor of the elements, which are rounded to nearest, ties away from 0. What
// ggml leaves undefined: a scale beyond float16 is 65504, and elements beyond it
// saturate; a NaN makes the scale, and so the block, NaN.
func EncodeQ8_0(dst []byte, src []float32) {
	for ; len(dst) >= Q8_0Bytes; dst, src = dst[Q8_0Bytes:], src[BlockLen:] {
		from, q := src[:BlockLen], dst[2:Q8_0Bytes]
		inverse := putScale(dst, float32(math.Abs(float64(extreme(from))))/127)
		if inverse == 0 {
			clear(q)
			continue
		}
		for i, x := range from {
			q[i] = byte(int8(min(max(math.Round(float64(x*inverse)), -127), 127)))
		}
	}
}

// EncodeQ4_0 quantises src into whole q4_0 blocks as ggml's quantize_row_q4_0_ref
// does: the scale is the element of the largest magnitude over -8, so that this
// one is exact; the elements are rounded to nearest, ties up, and the largest code
// is 15. What ggml leaves undefined is as in EncodeQ8_0.
func EncodeQ4_0(dst []byte, src []float32) {
	for ; len(dst) >= Q4_0Bytes; dst, src = dst[Q4_0Bytes:], src[BlockLen:] {
		from, q := src[:BlockLen], dst[2:Q4_0Bytes]
		inverse := putScale(dst, extreme(from)/-8)
		for i := range q {
			q[i] = 0x88
			if inverse != 0 {
				q[i] = nibble(from[i]*inverse) | nibble(from[i+BlockLen/2]*inverse)<<4
			}
		}
	}
}

func nibble(x float32) byte { return byte(min(max(x+8.5, 0), 15)) }

// extreme is the element of the largest magnitude, the first of several, or a NaN if there is one.
func extreme(block []float32) (most float32) {
	for _, x := range block {
		if x != x {
			return x
		}
		if math.Abs(float64(x)) > math.Abs(float64(most)) {
			most = x
		}
	}
	return most
}

// putScale stores the scale of a block and returns the factor that takes its elements
// to codes; 0 where all of them are to mean 0, or NaN with a scale of NaN.
func putScale(block []byte, scale float32) (inverse float32) {
	code := ToFloat16(scale)
	if code&0x7FFF == f16Inf {
		code--
		scale = FromFloat16(code)
	}
	le.PutUint16(block, code)
	if inverse = 1 / scale; inverse-inverse != 0 { // of 0, of NaN, or too small to have a reciprocal and 0 in float16
		return 0
	}
	return inverse
}

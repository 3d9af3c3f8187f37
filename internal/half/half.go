// Package half converts between float32 and the narrow float formats of model
// weights: IEEE binary16 (float16), bfloat16, and, for reading only, the two
// 8-bit floats of the OCP FP8 specification.
//
// Every conversion to a narrow format rounds to nearest, ties to even. What
// happens to a finite value that is too large is the caller's choice: the plain
// functions follow IEEE 754 and return an infinity, the Sat functions return
// the largest finite value, which is what vkattn does with tensors. An infinity
// is a value, not an overflow: it stays an infinity in both (a bias of -inf
// hides a key and must go on hiding it). A NaN stays a NaN and becomes quiet.
//
// All functions are pure and safe for concurrent use.
package half

import "math"

const (
	f16Inf  = 0x7C00
	f16Max  = 0x7BFF // 65504
	bf16Inf = 0x7F80
	bf16Max = 0x7F7F // (2 - 2^-7) * 2^127
)

// FromFloat16 returns the value of a binary16 code; the conversion is exact.
func FromFloat16(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exp := uint32(h>>10) & 0x1F
	man := uint32(h & 0x3FF)
	switch exp {
	case 0: // zero or subnormal: man * 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(man)*0x1p-24))
	case 0x1F:
		return math.Float32frombits(sign | 0x7F800000 | man<<13)
	}
	return math.Float32frombits(sign | (exp+127-15)<<23 | man<<13)
}

// ToFloat16 rounds x to binary16. A finite |x| >= 65520 becomes an infinity.
func ToFloat16(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b>>16) & 0x8000
	abs := b & 0x7FFFFFFF
	switch {
	case abs > 0x7F800000:
		return sign | 0x7E00 | uint16(abs>>13)&0x1FF
	case abs >= 0x477FF000: // 65520: half way to the next power of two, even
		return sign | f16Inf
	case abs < 0x38800000: // below 2^-14: one unit is 2^-24, the spacing of [0.5, 1)
		return sign | uint16(math.Float32bits(math.Float32frombits(abs)+0.5)-0x3F000000)
	}
	abs += 0xFFF + abs>>13&1
	return sign | uint16((abs-(127-15)<<23)>>13)
}

// ToFloat16Sat is ToFloat16 with finite values limited to +-65504.
func ToFloat16Sat(x float32) uint16 {
	h := ToFloat16(x)
	if h&0x7FFF == f16Inf && !isInf(x) {
		h--
	}
	return h
}

// FromBFloat16 returns the value of a bfloat16 code; the conversion is exact.
func FromBFloat16(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// ToBFloat16 rounds x to bfloat16. A finite value beyond the largest bfloat16
// by half a unit or more becomes an infinity.
func ToBFloat16(x float32) uint16 {
	b := math.Float32bits(x)
	if b&0x7FFFFFFF > 0x7F800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7FFF + b>>16&1) >> 16)
}

// ToBFloat16Sat is ToBFloat16 with finite values limited to the largest
// finite bfloat16.
func ToBFloat16Sat(x float32) uint16 {
	h := ToBFloat16(x)
	if h&0x7FFF == bf16Inf && !isInf(x) {
		h--
	}
	return h
}

// FromFloat8E4M3 returns the value of an OCP E4M3 code: bias 7, largest 448,
// NaN at 0x7F and 0xFF, no infinities.
func FromFloat8E4M3(c uint8) float32 {
	sign := uint32(c&0x80) << 24
	exp := uint32(c>>3) & 0xF
	man := uint32(c & 7)
	switch {
	case exp == 0: // man * 2^-9
		return math.Float32frombits(sign | math.Float32bits(float32(man)*0x1p-9))
	case c&0x7F == 0x7F:
		return math.Float32frombits(sign | 0x7FC00000)
	}
	return math.Float32frombits(sign | (exp+127-7)<<23 | man<<20)
}

// FromFloat8E5M2 returns the value of an OCP E5M2 code, which is the upper byte
// of a binary16.
func FromFloat8E5M2(c uint8) float32 { return FromFloat16(uint16(c) << 8) }

// DecodeFloat16 writes the values of src to dst, which must be as long.
func DecodeFloat16(dst []float32, src []uint16) {
	dst = dst[:len(src)]
	for i, h := range src {
		dst[i] = FromFloat16(h)
	}
}

// EncodeFloat16Sat rounds src into dst, which must be as long, saturating.
func EncodeFloat16Sat(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	for i, x := range src {
		dst[i] = ToFloat16Sat(x)
	}
}

// DecodeBFloat16 writes the values of src to dst, which must be as long.
func DecodeBFloat16(dst []float32, src []uint16) {
	dst = dst[:len(src)]
	for i, h := range src {
		dst[i] = FromBFloat16(h)
	}
}

// EncodeBFloat16Sat rounds src into dst, which must be as long, saturating.
func EncodeBFloat16Sat(dst []uint16, src []float32) {
	dst = dst[:len(src)]
	for i, x := range src {
		dst[i] = ToBFloat16Sat(x)
	}
}

func isInf(x float32) bool { return math.Float32bits(x)&0x7FFFFFFF == 0x7F800000 }

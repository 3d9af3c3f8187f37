// Package half converts between float32 and the narrow types of model weights and
// caches: IEEE binary16 (float16), bfloat16, the two 8-bit floats of the OCP
// specification of FP8, and ggml's blocks q8_0 and q4_0.
//
// Every conversion to a narrow float rounds to nearest, ties to even. What
// happens to a finite value that is too large is the caller's choice: the plain
// functions follow IEEE 754 and return an infinity, the Sat functions return
// the largest finite value, which is what vkattn does with tensors. To float16
// and bfloat16 an infinity is a value, not an overflow: it stays an infinity in
// both (a bias of -inf hides a key and must go on hiding it). To FP8 it becomes
// the largest finite value, as the specification says of saturation. A NaN stays
// a NaN and becomes quiet.
//
// Functions of slices take the memory of a tensor: 16-bit elements in the
// machine's order, blocks as ggml writes them, in little endian. They convert all
// of the narrow side; the other one is at least as long.
//
// All functions are pure and safe for concurrent use.
package half

import (
	"encoding/binary"
	"math"
)

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

// DecodeFloat16 writes the values of the binary16 codes of src to dst.
func DecodeFloat16(dst []float32, src []byte) {
	dst = dst[:len(src)/2]
	for i := range dst {
		dst[i] = FromFloat16(binary.NativeEndian.Uint16(src[2*i:]))
	}
}

// EncodeFloat16 rounds src into dst, saturating.
func EncodeFloat16(dst []byte, src []float32) {
	for i, x := range src[:len(dst)/2] {
		binary.NativeEndian.PutUint16(dst[2*i:], ToFloat16Sat(x))
	}
}

// DecodeBFloat16 writes the values of the bfloat16 codes of src to dst.
func DecodeBFloat16(dst []float32, src []byte) {
	dst = dst[:len(src)/2]
	for i := range dst {
		dst[i] = FromBFloat16(binary.NativeEndian.Uint16(src[2*i:]))
	}
}

// EncodeBFloat16 rounds src into dst, saturating.
func EncodeBFloat16(dst []byte, src []float32) {
	for i, x := range src[:len(dst)/2] {
		binary.NativeEndian.PutUint16(dst[2*i:], ToBFloat16Sat(x))
	}
}

func isInf(x float32) bool { return math.Float32bits(x)&0x7FFFFFFF == 0x7F800000 }

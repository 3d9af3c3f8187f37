package half

import "math"

// The largest finite values of the 8-bit floats.
const (
	MaxFloat8E4M3 = 448
	MaxFloat8E5M2 = 57344
)

// FromFloat8E4M3 returns the value of an OCP E4M3 code: bias 7, largest 448,
// NaN at 0x7F and 0xFF, no infinities.
func FromFloat8E4M3(c uint8) float32 { return valuesE4M3[c] }

// FromFloat8E5M2 returns the value of an OCP E5M2 code, which is the upper byte
// of a binary16: bias 15, largest 57344, infinities at 0x7C and 0xFC.
func FromFloat8E5M2(c uint8) float32 { return valuesE5M2[c] }

// ToFloat8E4M3Sat rounds x to E4M3. What is beyond 448, infinities included,
// becomes 448.
func ToFloat8E4M3Sat(x float32) uint8 { return toFloat8(x, 7, 3, 0x7E, 0x7F) }

// ToFloat8E5M2Sat rounds x to E5M2. What is beyond 57344, infinities included,
// becomes 57344.
func ToFloat8E5M2Sat(x float32) uint8 { return toFloat8(x, 15, 2, 0x7B, 0x7E) }

// toFloat8 rounds x to a float of the given bias and bits of mantissa, whose
// largest finite value and quiet NaN have these codes.
func toFloat8(x float32, bias, mantissa uint32, largest, nan uint8) uint8 {
	b := math.Float32bits(x)
	sign := uint8(b>>24) & 0x80
	abs := b & 0x7FFFFFFF
	cut := 23 - mantissa
	switch {
	case abs > 0x7F800000:
		return sign | nan
	case abs < (128-bias)<<23: // subnormal: added to a number whose last bit has the weight of theirs
		unit := (128 - bias - mantissa + 23) << 23
		return sign | uint8(math.Float32bits(math.Float32frombits(abs)+math.Float32frombits(unit))-unit)
	}
	abs += 1<<(cut-1) - 1 + abs>>cut&1
	return sign | uint8(min((abs-(127-bias)<<23)>>cut, uint32(largest)))
}

// valuesE4M3 and valuesE5M2 are the values of all codes.
var (
	valuesE4M3 = tabulate(func(c uint8) float32 {
		sign := uint32(c&0x80) << 24
		exp, man := uint32(c>>3)&0xF, uint32(c&7)
		switch {
		case exp == 0: // man * 2^-9
			return math.Float32frombits(sign | math.Float32bits(float32(man)*0x1p-9))
		case c&0x7F == 0x7F:
			return math.Float32frombits(sign | 0x7FC00000)
		}
		return math.Float32frombits(sign | (exp+127-7)<<23 | man<<20)
	})
	valuesE5M2 = tabulate(func(c uint8) float32 { return FromFloat16(uint16(c) << 8) })
)

func tabulate(value func(c uint8) float32) (table [256]float32) {
	for c := range table {
		table[c] = value(uint8(c))
	}
	return table
}

// DecodeFloat8E4M3 writes the values of the E4M3 codes of src to dst.
func DecodeFloat8E4M3(dst []float32, src []byte) { decodeFloat8(dst, src, &valuesE4M3) }

// DecodeFloat8E5M2 writes the values of the E5M2 codes of src to dst.
func DecodeFloat8E5M2(dst []float32, src []byte) { decodeFloat8(dst, src, &valuesE5M2) }

func decodeFloat8(dst []float32, src []byte, values *[256]float32) {
	dst = dst[:len(src)]
	for i, c := range src {
		dst[i] = values[c]
	}
}

// EncodeFloat8E4M3 rounds src into dst, saturating.
func EncodeFloat8E4M3(dst []byte, src []float32) {
	for i, x := range src[:len(dst)] {
		dst[i] = ToFloat8E4M3Sat(x)
	}
}

// EncodeFloat8E5M2 rounds src into dst, saturating.
func EncodeFloat8E5M2(dst []byte, src []float32) {
	for i, x := range src[:len(dst)] {
		dst[i] = ToFloat8E5M2Sat(x)
	}
}

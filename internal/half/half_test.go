package half

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// format describes a binary float for the tests, which compute its values with
// big.Float and not with the code under test.
type format struct {
	name             string
	expBits, manBits uint
	eight            bool // 8 bits: infinities saturate too, NaN has one code
	finite           bool // no infinities: their exponent has numbers, but for one NaN
	from             func(uint16) float32
	to, sat          func(float32) uint16
}

var formats = []format{
	{"float16", 5, 10, false, false, FromFloat16, ToFloat16, ToFloat16Sat},
	{"bfloat16", 8, 7, false, false, FromBFloat16, ToBFloat16, ToBFloat16Sat},
	{"e5m2", 5, 2, true, false, func(c uint16) float32 { return FromFloat8E5M2(uint8(c)) }, nil, func(x float32) uint16 { return uint16(ToFloat8E5M2Sat(x)) }},
	{"e4m3", 4, 3, true, true, func(c uint16) float32 { return FromFloat8E4M3(uint8(c)) }, nil, func(x float32) uint16 { return uint16(ToFloat8E4M3Sat(x)) }},
}

func (f format) codes() int { return 1 << (1 + f.expBits + f.manBits) }

// beyond is the first code above the largest finite value: infinity, or the NaN where there is none.
func (f format) beyond() uint16 {
	if f.finite {
		return 1<<(f.expBits+f.manBits) - 1
	}
	return (1<<f.expBits - 1) << f.manBits
}

// value is the exact value of code c by the definition of the format.
func (f format) value(c uint16) (v *big.Float, nan bool, inf int) {
	man := int64(c) & (1<<f.manBits - 1)
	exp := int(c>>f.manBits) & (1<<f.expBits - 1)
	sign := 1
	if c>>(f.expBits+f.manBits)&1 != 0 {
		sign = -1
	}
	bias := 1<<(f.expBits-1) - 1
	switch {
	case f.finite && c&f.beyond() == f.beyond():
		return nil, true, 0
	case exp == 1<<f.expBits-1 && !f.finite:
		if man != 0 {
			return nil, true, 0
		}
		return nil, false, sign
	case exp == 0:
		exp = 1
	default:
		man += 1 << f.manBits
	}
	v = new(big.Float).SetInt64(man)
	v.SetMantExp(v, exp-bias-int(f.manBits))
	if sign < 0 {
		v.Neg(v)
	}
	return v, false, 0
}

func TestEveryCode(t *testing.T) {
	for _, f := range formats {
		for i := range f.codes() {
			c := uint16(i)
			got := f.from(c)
			want, nan, inf := f.value(c)
			switch {
			case nan:
				if got == got {
					t.Fatalf("%s %#x: %v, want NaN", f.name, c, got)
				}
			case inf != 0:
				if !math.IsInf(float64(got), inf) {
					t.Fatalf("%s %#x: %v, want infinity of sign %d", f.name, c, got, inf)
				}
			default:
				if want.Cmp(big.NewFloat(float64(got))) != 0 || math.Signbit(float64(got)) != want.Signbit() {
					t.Fatalf("%s %#x: %v, want %v", f.name, c, got, want)
				}
			}
			quiet, saturated := c, c
			if nan {
				quiet |= 1 << (f.manBits - 1)
				saturated = quiet
			}
			if f.eight && nan {
				saturated = c&0x80 | map[bool]uint16{true: 0x7F, false: 0x7E}[f.finite]
			}
			if f.eight && inf != 0 {
				saturated--
			}
			if f.to != nil && f.to(got) != quiet {
				t.Fatalf("%s: %#x -> %v -> %#x", f.name, c, got, f.to(got))
			}
			if b := f.sat(got); b != saturated {
				t.Fatalf("%s: saturating %#x -> %v -> %#x", f.name, c, got, b)
			}
		}
	}
}

// Rounding is monotonic, so it is right everywhere when it is right at every
// boundary between two neighbouring codes and one float32 to each side of it.
func TestEveryBoundary(t *testing.T) {
	for _, f := range formats {
		beyond := f.beyond()
		signBit := uint16(1) << (f.expBits + f.manBits)
		for lo := range beyond {
			hi := lo + 1
			a, _, _ := f.value(lo)
			b, _, _ := f.value(hi)
			if hi == beyond { // the value that hi would have if the exponent range went on
				prev, _, _ := f.value(lo - 1)
				b = new(big.Float).Add(a, new(big.Float).Sub(a, prev))
			}
			mid := new(big.Float).Add(a, b)
			mid.Quo(mid, big.NewFloat(2))
			m, acc := mid.Float32()
			if acc != big.Exact {
				// bfloat16 subnormals and float32 end together: no case does this
				t.Fatalf("%s %#x: the middle %v is no float32", f.name, lo, mid)
			}
			even := lo
			if lo&1 != 0 {
				even = hi
			}
			for _, x := range []struct {
				in   float32
				want uint16
			}{
				{math.Nextafter32(m, 0), lo}, {m, even}, {math.Nextafter32(m, float32(math.Inf(1))), hi},
			} {
				// One below the smallest middle may be lo itself: still right.
				want, sat := x.want, x.want
				if want == beyond {
					sat = beyond - 1
				}
				if f.to != nil && (f.to(x.in) != want || f.to(-x.in) != want|signBit) {
					t.Fatalf("%s: +-%b -> %#x, %#x, want %#x", f.name, x.in, f.to(x.in), f.to(-x.in), want)
				}
				if f.sat(x.in) != sat || f.sat(-x.in) != sat|signBit {
					t.Fatalf("%s: saturating +-%b -> %#x, %#x, want %#x", f.name, x.in, f.sat(x.in), f.sat(-x.in), sat)
				}
			}
		}
	}
}

func TestExtremes(t *testing.T) {
	for _, c := range []struct {
		x           float32
		f16, f16s   uint16
		bf16, bf16s uint16
	}{
		{x: math.MaxFloat32, f16: f16Inf, f16s: f16Max, bf16: bf16Inf, bf16s: bf16Max},
		{x: float32(math.Inf(1)), f16: f16Inf, f16s: f16Inf, bf16: bf16Inf, bf16s: bf16Inf},
		{x: float32(math.Inf(-1)), f16: 0xFC00, f16s: 0xFC00, bf16: 0xFF80, bf16s: 0xFF80},
		{x: math.SmallestNonzeroFloat32},
		{x: 65519.996, f16: f16Max, f16s: f16Max, bf16: 0x4780, bf16s: 0x4780},
		{x: 65520, f16: f16Inf, f16s: f16Max, bf16: 0x4780, bf16s: 0x4780},
	} {
		if g := ToFloat16(c.x); g != c.f16 {
			t.Errorf("ToFloat16(%v) = %#x, want %#x", c.x, g, c.f16)
		}
		if g := ToFloat16Sat(c.x); g != c.f16s {
			t.Errorf("ToFloat16Sat(%v) = %#x, want %#x", c.x, g, c.f16s)
		}
		if g := ToBFloat16(c.x); g != c.bf16 {
			t.Errorf("ToBFloat16(%v) = %#x, want %#x", c.x, g, c.bf16)
		}
		if g := ToBFloat16Sat(c.x); g != c.bf16s {
			t.Errorf("ToBFloat16Sat(%v) = %#x, want %#x", c.x, g, c.bf16s)
		}
	}
	// A NaN whose payload lies only in the bits that are cut must not become an infinity.
	nan := math.Float32frombits(0x7F800001)
	for _, h := range []uint16{ToFloat16(nan), ToFloat16Sat(nan)} {
		if x := FromFloat16(h); x == x {
			t.Errorf("NaN became %v", x)
		}
	}
	for _, h := range []uint16{ToBFloat16(nan), ToBFloat16Sat(nan)} {
		if x := FromBFloat16(h); x == x {
			t.Errorf("NaN became %v", x)
		}
	}
}

func TestFloat8Extremes(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		x          float32
		e4m3, e5m2 uint8
	}{
		{448, 0x7E, 0x5F}, {464, 0x7E, 0x5F}, {480, 0x7E, 0x60}, {57344, 0x7E, 0x7B}, {61440, 0x7E, 0x7B}, {math.MaxFloat32, 0x7E, 0x7B},
		{inf, 0x7E, 0x7B}, {-inf, 0xFE, 0xFB}, {float32(math.Copysign(0, -1)), 0x80, 0x80},
		{0x1p-9, 1, 0x18}, {0x1p-10, 0, 0x14}, {0x1.8p-10, 1, 0x16}, {0x1p-16, 0, 1}, {0x1p-17, 0, 0}, {math.SmallestNonzeroFloat32, 0, 0},
		{math.Float32frombits(0x7F800001), 0x7F, 0x7E}, {math.Float32frombits(0xFFC00000), 0xFF, 0xFE},
	} {
		if g := ToFloat8E4M3Sat(c.x); g != c.e4m3 {
			t.Errorf("ToFloat8E4M3Sat(%v) = %#x, want %#x", c.x, g, c.e4m3)
		}
		if g := ToFloat8E5M2Sat(c.x); g != c.e5m2 {
			t.Errorf("ToFloat8E5M2Sat(%v) = %#x, want %#x", c.x, g, c.e5m2)
		}
	}
	if x, y := FromFloat8E4M3(0x7E), FromFloat8E5M2(0x7B); x != MaxFloat8E4M3 || y != MaxFloat8E5M2 {
		t.Errorf("largest values are %v and %v", x, y)
	}
}

// TestSlices: the functions of slices convert element by element as the scalar ones do.
func TestSlices(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	src := make([]float32, 1<<12)
	for i := range src {
		src[i] = math.Float32frombits(r.Uint32())
	}
	for _, f := range []struct {
		size   int
		encode func([]byte, []float32)
		decode func([]float32, []byte)
		format format
	}{
		{2, EncodeFloat16, DecodeFloat16, formats[0]}, {2, EncodeBFloat16, DecodeBFloat16, formats[1]},
		{1, EncodeFloat8E5M2, DecodeFloat8E5M2, formats[2]}, {1, EncodeFloat8E4M3, DecodeFloat8E4M3, formats[3]},
	} {
		codes, back := make([]byte, f.size*len(src)), make([]float32, len(src))
		f.encode(codes, src)
		f.decode(back, codes)
		for i, x := range src {
			want := f.format.from(f.format.sat(x))
			if math.Float32bits(back[i]) != math.Float32bits(want) && (want == want || back[i] == back[i]) {
				t.Fatalf("%s: %v -> %v, want %v", f.format.name, x, back[i], want)
			}
		}
	}
}

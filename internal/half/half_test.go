package half

import (
	"math"
	"math/big"
	"testing"
)

// format describes a binary float for the tests, which compute its values with
// big.Float and not with the code under test.
type format struct {
	name             string
	expBits, manBits uint
	codes            int
	from             func(uint16) float32
	to, sat          func(float32) uint16
}

var formats = []format{
	{"float16", 5, 10, 1 << 16, FromFloat16, ToFloat16, ToFloat16Sat},
	{"bfloat16", 8, 7, 1 << 16, FromBFloat16, ToBFloat16, ToBFloat16Sat},
	{"e5m2", 5, 2, 1 << 8, func(c uint16) float32 { return FromFloat8E5M2(uint8(c)) }, nil, nil},
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
	switch exp {
	case 1<<f.expBits - 1:
		if man != 0 {
			return nil, true, 0
		}
		return nil, false, sign
	case 0:
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
		for i := range f.codes {
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
			if f.to == nil {
				continue
			}
			quiet := c
			if nan {
				quiet |= 1 << (f.manBits - 1)
			}
			if b := f.to(got); b != quiet {
				t.Fatalf("%s: %#x -> %v -> %#x", f.name, c, got, b)
			}
			if b := f.sat(got); b != quiet {
				t.Fatalf("%s: saturating %#x -> %v -> %#x", f.name, c, got, b)
			}
		}
	}
}

// Rounding is monotonic, so it is right everywhere when it is right at every
// boundary between two neighbouring codes and one float32 to each side of it.
func TestEveryBoundary(t *testing.T) {
	for _, f := range formats {
		if f.to == nil {
			continue
		}
		inf := uint16(1<<f.expBits-1) << f.manBits
		signBit := uint16(1) << (f.expBits + f.manBits)
		for lo := uint16(0); lo < inf; lo++ {
			hi := lo + 1
			a, _, _ := f.value(lo)
			b, _, isInf := f.value(hi)
			if isInf != 0 { // the value that hi would have if the exponent range went on
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
				if want == inf {
					sat = inf - 1
				}
				if got := f.to(x.in); got != want {
					t.Fatalf("%s: %b -> %#x, want %#x", f.name, x.in, got, want)
				}
				if got := f.sat(x.in); got != sat {
					t.Fatalf("%s: saturating %b -> %#x, want %#x", f.name, x.in, got, sat)
				}
				if got := f.to(-x.in); got != want|signBit {
					t.Fatalf("%s: %b -> %#x, want %#x", f.name, -x.in, got, want|signBit)
				}
				if got := f.sat(-x.in); got != sat|signBit {
					t.Fatalf("%s: saturating %b -> %#x, want %#x", f.name, -x.in, got, sat|signBit)
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

func TestE4M3(t *testing.T) {
	for i := range 256 {
		c := uint8(i)
		got := float64(FromFloat8E4M3(c))
		exp, man, sign := i>>3&15, i&7, 1.0
		if i >= 128 {
			sign = -1
		}
		want := sign * math.Ldexp(float64(8+man), exp-7-3)
		if exp == 0 {
			want = sign * math.Ldexp(float64(man), -6-3)
		}
		if i&0x7F == 0x7F {
			if got == got {
				t.Errorf("%#x: %v, want NaN", c, got)
			}
			continue
		}
		if got != want || math.Signbit(got) != (sign < 0) {
			t.Errorf("%#x: %v, want %v", c, got, want)
		}
	}
	if x := FromFloat8E4M3(0x7E); x != 448 {
		t.Errorf("largest = %v, want 448", x)
	}
}

func TestSlices(t *testing.T) {
	src := []float32{0, 1, -2.5, 1e30, 65520}
	h := make([]uint16, len(src))
	back := make([]float32, len(src))
	EncodeFloat16Sat(h, src)
	DecodeFloat16(back, h)
	for i, want := range []float32{0, 1, -2.5, 65504, 65504} {
		if back[i] != want {
			t.Errorf("float16: %v -> %v, want %v", src[i], back[i], want)
		}
	}
	EncodeBFloat16Sat(h, src)
	DecodeBFloat16(back, h)
	for i, x := range back {
		if d := math.Abs(float64(x-src[i])) / math.Max(1, math.Abs(float64(src[i]))); d > 1.0/256 {
			t.Errorf("bfloat16: %v -> %v", src[i], x)
		}
	}
}

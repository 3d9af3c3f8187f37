package half

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
)

// TestBlockLayout: blocks written by hand, from the layout and the formula alone.
func TestBlockLayout(t *testing.T) {
	var x [BlockLen]float32
	x[0], x[1], x[2], x[16], x[31] = 127, -126.5, 0.5, -1, 2.4
	q8 := make([]byte, Q8_0Bytes)
	EncodeQ8_0(q8, x[:])
	want := make([]byte, Q8_0Bytes)
	copy(want, []byte{0x00, 0x3C, 127, 0x81, 1}) // a scale of 1; ties away from 0: -127 and 1
	want[2+16], want[2+31] = 0xFF, 2
	if !bytes.Equal(q8, want) {
		t.Errorf("q8_0 % x, want % x", q8, want)
	}

	clear(x[:])
	x[0], x[1], x[15], x[16], x[17], x[31] = -8, 8, 0.5, 1, -0.5, 6.6
	q4 := make([]byte, Q4_0Bytes)
	EncodeQ4_0(q4, x[:])
	want = bytes.Repeat([]byte{0x88}, Q4_0Bytes)
	copy(want, []byte{0x00, 0x3C, 0x90, 0x8F}) // -8 -> 0 and 1 -> 9; 8 is out of reach, and -0.5 is a tie that goes up
	want[2+15] = 0xF9                          // 0.5 is a tie that goes up, 6.6 -> 15
	if !bytes.Equal(q4, want) {
		t.Errorf("q4_0 % x, want % x", q4, want)
	}
	back := make([]float32, BlockLen)
	DecodeQ4_0(back, q4)
	for i, v := range map[int]float32{0: -8, 1: 7, 15: 1, 16: 1, 17: 0, 31: 7, 5: 0} {
		if back[i] != v {
			t.Errorf("q4_0 element %d is %v, want %v", i, back[i], v)
		}
	}

	clear(x[:])
	EncodeQ8_0(q8, x[:])
	EncodeQ4_0(q4, x[:])
	if !bytes.Equal(q8, make([]byte, Q8_0Bytes)) || !bytes.Equal(q4, append([]byte{0, 0x80}, bytes.Repeat([]byte{0x88}, 16)...)) {
		t.Errorf("zeros: % x, % x", q8, q4) // ggml's scale of -0
	}
}

// TestBlockError: no element is further off than half a step, and what the rounding of the scale to
// float16 moves it. The extreme element is exact but for the scale.
func TestBlockError(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 2000 {
		x := make([]float32, BlockLen)
		size := math.Ldexp(1, n%32-16)
		most, at := 0.0, 0
		for i := range x {
			x[i] = float32(size * r.NormFloat64())
			if a := math.Abs(float64(x[i])); a > most {
				most, at = a, i
			}
		}
		q8, q4 := make([]byte, Q8_0Bytes), make([]byte, Q4_0Bytes)
		EncodeQ8_0(q8, x)
		EncodeQ4_0(q4, x)
		for _, f := range []struct {
			name   string
			decode func([]float32, []byte)
			block  []byte
			steps  float64
			edge   float64 // in steps: how far the code furthest from 0 on the shorter side may be off
		}{{"q8_0", DecodeQ8_0, q8, 127, 0.5}, {"q4_0", DecodeQ4_0, q4, 8, 1}} {
			back := make([]float32, BlockLen)
			f.decode(back, f.block)
			step := most / f.steps
			scaleError := math.Max(step*0x1p-11, 0x1p-25) // relative, or a subnormal scale
			for i := range x {
				e := math.Abs(float64(back[i]) - float64(x[i]))
				allowed := 0.5*step + f.steps*scaleError
				if i == at {
					allowed = f.steps * scaleError
				} else if float64(x[i])*float64(x[at]) < 0 {
					allowed = f.edge*step + f.steps*scaleError
				}
				if e > allowed*(1+1e-6) {
					t.Fatalf("%s: %v of a block up to %v became %v", f.name, x[i], x[at], back[i])
				}
			}
		}
	}
}

// TestBlockExtremes: what cannot be held saturates, a NaN spoils its block, nothing panics.
func TestBlockExtremes(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, f := range []struct {
		name   string
		encode func([]byte, []float32)
		decode func([]float32, []byte)
		bytes  int
		top    float32 // for a negative extreme
	}{{"q8_0", EncodeQ8_0, DecodeQ8_0, Q8_0Bytes, 127 * 65504}, {"q4_0", EncodeQ4_0, DecodeQ4_0, Q4_0Bytes, 8 * 65504}} {
		for _, c := range []struct{ x, want float32 }{
			{-inf, -f.top}, {-math.MaxFloat32, -f.top}, {-f.top, -f.top}, {nan, nan}, {1e-20, 0}, {math.SmallestNonzeroFloat32, 0}, {1e-38, 0},
		} {
			x, back := make([]float32, BlockLen), make([]float32, BlockLen)
			x[3], x[20] = c.x, c.x
			block := make([]byte, f.bytes)
			f.encode(block, x)
			f.decode(back, block)
			for i, y := range back {
				want := float32(0)
				if i == 3 || i == 20 || c.x != c.x {
					want = c.want
				}
				if y != want && (y == y || want == want) {
					t.Errorf("%s: element %d of a block with %v is %v, want %v", f.name, i, c.x, y, want)
				}
			}
		}
	}
}

package cpu

import (
	"math"
	"slices"
	"testing"
)

// mapCases are the maps of a kernel beside their definitions.
var mapCases = []struct {
	name string
	of   func(k kernel, x []float32)
	want func(x float64) float64
}{
	{"exp", func(k kernel, x []float32) { k.exp(x, 0) }, math.Exp},
	{"exp of x-1e6", func(k kernel, x []float32) { k.exp(x, 1e6) }, func(x float64) float64 { return math.Exp(x - 1e6) }},
	{"elu", func(k kernel, x []float32) { k.elu(x) }, func(x float64) float64 {
		if x > 0 {
			return x + 1
		}
		return math.Exp(x)
	}},
	{"silu", func(k kernel, x []float32) { k.silu(x) }, func(x float64) float64 { return x / (1 + math.Exp(-x)) }},
}

// TestKernelMaps compares the maps of every kernel with their definitions in float64, from where they vanish to where
// they overflow, subnormal results included.
func TestKernelMaps(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	var all []float32
	for x := -110.0; x < 95; x += 0.0037 {
		all = append(all, float32(x), float32(1e6+x))
	}
	all = append(all, 0, float32(math.Copysign(0, -1)), math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 1e-30, -1e-30,
		700, -700, 709.5, -709.5, 1e4, -1e4, 1e30, -1e30, math.MaxFloat32, -math.MaxFloat32, inf, -inf, nan, math.Float32frombits(0xffc12345))
	for _, kind := range kernels {
		k := kind.new()
		for _, c := range mapCases {
			x := slices.Clone(all)
			c.of(k, x)
			for i, got := range x {
				want := c.want(float64(all[i]))
				near := float32(want)
				if got == near || got != got && near != near {
					continue
				}
				ulp := math.Abs(float64(math.Nextafter32(near, inf)) - float64(near))
				if off := math.Abs(float64(got)-want) / ulp; !(off <= 0.6) {
					t.Errorf("%s: %s at %v is %v, want %v, %.2f ulp off", kind.name, c.name, all[i], got, want, off)
				}
			}
		}
	}
}

// TestKernelMapsLength runs the maps over every length up to some vectors: numbers behind the last stay as they are,
// and neither they nor the length change a bit of those before.
func TestKernelMapsLength(t *testing.T) {
	for _, kind := range kernels {
		k := kind.new()
		for _, c := range mapCases {
			const most = 70 // more than the portable elu takes at once
			x := normal(newRand(1), most)
			whole := slices.Clone(x)
			c.of(k, whole)
			for n := range most + 1 {
				room, atEnd := slices.Clone(x), guarded(t, max(n, 1))[:n]
				copy(atEnd, x)
				c.of(k, room[:n])
				c.of(k, atEnd)
				if !sameBits(room[:n], whole[:n]) || !sameBits(atEnd, whole[:n]) || !sameBits(room[n:], x[n:]) {
					t.Fatalf("%s: %s of %d numbers depends on the length, or goes beyond it", kind.name, c.name, n)
				}
			}
		}
	}
}

// TestKernelExpSum checks the sum of exponentials, whatever the length, and with numbers that are not finite.
func TestKernelExpSum(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, kind := range kernels {
		k := kind.new()
		for n := range 70 {
			x, want := normal(newRand(uint64(n)), n), 0.0
			for _, v := range x {
				want += math.Exp(float64(v) + 3)
			}
			if got := k.exp(x, -3); math.Abs(got-want) > 1e-7*want {
				t.Errorf("%s: sum of %d exponentials is %v, want %v", kind.name, n, got, want)
			}
		}
		for _, c := range []struct {
			x    []float32
			m    float64
			want float64
		}{
			{[]float32{-inf, -inf}, 0, 0}, {[]float32{-inf, 2}, 2, 1}, {[]float32{0, nan, 1}, 0, math.NaN()}, {[]float32{inf, 0}, 0, math.Inf(1)},
			{[]float32{inf, 0}, math.Inf(1), math.NaN()}, {[]float32{-inf}, math.Inf(-1), math.NaN()}, {[]float32{1}, math.NaN(), math.NaN()},
			{[]float32{0, 0, 0}, math.Inf(1), 0}, {[]float32{89}, 0, math.Inf(1)},
		} {
			if got := k.exp(slices.Clone(c.x), c.m); got != c.want && !(math.IsNaN(got) && math.IsNaN(c.want)) {
				t.Errorf("%s: sum of the exponentials of %v - %v is %v, want %v", kind.name, c.x, c.m, got, c.want)
			}
		}
	}
}

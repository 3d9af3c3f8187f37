package dispatch_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// TestConvert: conversions on the device give what those on the host give, from and to the host and strided device memory.
func TestConvert(t *testing.T) {
	types := []vkattn.Type{vkattn.Float32, vkattn.Float16, vkattn.BFloat16, vkattn.F8E4M3, vkattn.F8E5M2, vkattn.Q8_0, vkattn.Q4_0}
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	rng := rand.New(rand.NewPCG(12, 0))
	for i, from := range types {
		for k, to := range types {
			if from == to || !full && (i+k)%3 == 0 && from != vkattn.Float32 {
				continue
			}
			t.Run(fmt.Sprintf("%s to %s", from, to), func(t *testing.T) {
				for _, where := range [][2]bool{{false, true}, {true, true}, {true, false}} { // is on the device: src, dst
					shape := [4]int{2, 3, 5, 1 + rng.IntN(70)}
					if from.Size() == 0 || to.Size() == 0 {
						shape[3] = 32 * (1 + rng.IntN(3))
					}
					x := normal(rng, shape[0]*shape[1]*shape[2]*shape[3])
					for n := range x {
						x[n] *= float32(math.Exp(8 * rng.NormFloat64()))
						switch rng.IntN(97) {
						case 0:
							x[n] = 0
						case 1:
							x[n] *= 1e6
						}
					}
					clear(x[:min(40, len(x))]) // a block of zeros, where there are blocks
					values := vkattn.BHSD(vkattn.Float32s(x), shape[0], shape[1], shape[2], shape[3])
					src, err := values.To(from)
					if err != nil {
						t.Fatal(err)
					}
					want, err := src.To(to)
					if err != nil {
						t.Fatal(err)
					}
					in, got := src, vkattn.BHSD(vkattn.Bytes(alignedBytes(to.Bytes(want.Len()))), shape[0], shape[1], shape[2], shape[3]).As(to)
					if where[0] {
						in = strided(t, rng, b, true, from, shape)
						if err := b.Copy(t.Context(), in, src); err != nil {
							t.Fatal(err)
						}
					}
					out := got
					if where[1] {
						out = strided(t, rng, b, true, to, shape)
					}
					if err := b.Convert(t.Context(), out, in); err != nil {
						t.Fatal(err)
					}
					if where[1] {
						if err := b.Copy(t.Context(), got, out); err != nil {
							t.Fatal(err)
						}
					}
					a, w := numbersOf(t, got), numbersOf(t, want)
					for n := range w {
						off := math.Abs(float64(a[n]) - float64(w[n]))
						if to.Size() == 0 { // the division may differ by an ulp, and so a rounding
							block := w[n/32*32:][:32]
							step := 0.0
							for _, y := range block {
								step = max(step, math.Abs(float64(y))/map[vkattn.Type]float64{vkattn.Q8_0: 127, vkattn.Q4_0: 7}[to])
							}
							if off > 1.01*step {
								t.Fatalf("%v: element %d is %v, want %v", where, n, a[n], w[n])
							}
							continue
						}
						tiny := math.Abs(float64(w[n])) < 0x1p-126 && a[n] == 0
						if math.Float32bits(a[n]) != math.Float32bits(w[n]) && !tiny {
							t.Fatalf("%v: element %d is %v, want %v", where, n, a[n], w[n])
						}
					}
				}
			})
		}
	}
	t.Logf("%d pipelines", b.PipelinesCreated())
}

// alignedBytes is n bytes that float32 values fit in.
func alignedBytes(n int) []byte {
	return vkattn.Float32s(make([]float32, (n+3)/4)).Bytes()[:n]
}

// numbersOf is the elements of a contiguous host tensor.
func numbersOf(t *testing.T, x vkattn.Tensor) []float32 {
	t.Helper()
	f := make([]float32, x.Len())
	if err := x.Type.Decode(f, x.Mem.(*vkattn.Host).Bytes()); err != nil {
		t.Fatal(err)
	}
	return f
}

// TestBadConversions: what cannot be converted is refused with the argument's name.
func TestBadConversions(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	shape := [4]int{1, 2, 3, 4}
	f16, err := b.NewTensor(vkattn.Float16, shape)
	if err != nil {
		t.Fatal(err)
	}
	defer f16.Mem.Close()
	host := vkattn.BHSD(vkattn.Float32s(make([]float32, 24)), 1, 2, 3, 4)
	for name, x := range map[string]struct{ dst, src vkattn.Tensor }{
		"to bools":      {f16, vkattn.BHSD(vkattn.Bytes(make([]byte, 24)), 1, 2, 3, 4).As(vkattn.Bool)},
		"another shape": {f16, host.Slice(1, 0, 1)},
		"one memory":    {f16, f16.As(vkattn.F8E4M3)},
		"a broadcast":   {f16, host.Slice(3, 0, 1).Broadcast(1, 2, 3, 4)},
		"nothing":       {f16, vkattn.Tensor{Type: vkattn.Float32}},
	} {
		if err := b.Convert(t.Context(), x.dst, x.src); !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

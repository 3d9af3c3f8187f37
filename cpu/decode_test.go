package cpu

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestDecode: every kernel decodes as Type.Decode does, bit for bit but for the payload of a NaN: all codes, rests of
// vectors, any alignment, nothing beyond the end.
func TestDecode(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, k := range kernels {
		for _, typ := range numberTypes[1:] {
			elements, size := typ.Block()
			all := make([]byte, 1<<17+3)
			for i := range all {
				all[i] = byte(r.Uint32())
			}
			if elements == 1 { // every code, one behind the other
				for i := range len(all) / size {
					all[i*size] = byte(i)
					all[i*size+size-1] = byte(i >> (8 * (size - 1)))
				}
			}
			for _, n := range []int{0, 1, 7, 8, 9, 31, 33, 100, 1 << 16} {
				n = n / elements * elements
				src := all[n%3:][:typ.Bytes(n)]
				if n == 1<<16 {
					src = all[:typ.Bytes(n)]
				}
				got, want := make([]float32, n+1), make([]float32, n)
				got[n] = 77
				k.new().decode(got, typ, src)
				if err := typ.Decode(want, src); err != nil {
					t.Fatal(err)
				}
				for i, w := range want {
					if g := got[i]; math.Float32bits(g) != math.Float32bits(w) && (g == g || w == w) {
						t.Fatalf("%s %s: number %d of %d is %v, want %v", k.name, typ, i, n, g, w)
					}
				}
				if got[n] != 77 {
					t.Fatalf("%s %s: wrote beyond %d numbers", k.name, typ, n)
				}
			}
		}
	}
}

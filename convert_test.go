package vkattn

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"
)

var numberTypes = []Type{Float32, Float16, BFloat16, F8E4M3, F8E5M2, Q8_0, Q4_0}

// TestConvert: every type to every other, between memory of different strides, row by row as Encode and Decode say.
func TestConvert(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	random := func(typ Type, layout Tensor) Tensor {
		_, n, _ := layout.Extent()
		n = (n + 31) / 32 * 32
		x, raw := make([]float32, n), make([]byte, typ.Bytes(n))
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		if err := typ.Encode(raw, x); err != nil {
			t.Fatal(err)
		}
		layout.Mem = Bytes(raw)
		if typ == Float32 {
			layout.Mem = Float32s(x)
		}
		return layout.As(typ)
	}
	row := func(x Tensor, b, h, s int) []float32 {
		out := make([]float32, x.Shape[3])
		raw := x.Mem.(*Host).Bytes()[x.Type.Bytes(x.Index(b, h, s, 0)):][:x.Type.Bytes(x.Shape[3])]
		if err := x.Type.Decode(out, raw); err != nil {
			t.Fatal(err)
		}
		return out
	}
	for _, from := range numberTypes {
		for _, to := range numberTypes {
			src := random(from, BSHD(nil, 2, 5, 3, 64).Slice(2, 1, 4).Slice(3, 32, 64))
			dst := random(to, BHSD(nil, 2, 3, 4, 64).Slice(2, 1, 4).Slice(3, 0, 32))
			before := string(dst.Mem.(*Host).Bytes())
			if err := Convert(dst, src, Conversion{}); err != nil {
				t.Fatalf("%s to %s: %v", from, to, err)
			}
			fresh, err := src.To(to)
			if err != nil {
				t.Fatal(err)
			}
			touched := map[int]bool{}
			for b := range 2 {
				for h := range 3 {
					for s := range 3 {
						want, raw := row(src, b, h, s), make([]byte, to.Bytes(32))
						to.Encode(raw, want)
						at := to.Bytes(dst.Index(b, h, s, 0))
						if got := dst.Mem.(*Host).Bytes()[at:][:len(raw)]; string(got) != string(raw) {
							t.Fatalf("%s to %s: row %d %d %d is % x, want % x", from, to, b, h, s, got, raw)
						}
						for i := range raw {
							touched[at+i] = true
						}
						if got := fresh.Mem.(*Host).Bytes()[to.Bytes(fresh.Index(b, h, s, 0)):][:len(raw)]; string(got) != string(raw) {
							t.Fatalf("%s To %s: row %d %d %d is % x, want % x", from, to, b, h, s, got, raw)
						}
					}
				}
			}
			for i, c := range dst.Mem.(*Host).Bytes() {
				if !touched[i] && c != before[i] {
					t.Fatalf("%s to %s: byte %d beside the tensor was written", from, to, i)
				}
			}
		}
	}
}

func TestConvertErrors(t *testing.T) {
	x := make([]float32, 256)
	good := BHSD(Float32s(x), 1, 2, 2, 32)
	fresh := func(typ Type) Tensor { return BHSD(Bytes(make([]byte, 512)), 1, 2, 2, 32).As(typ) }
	one := Vector(Float32s([]float32{1}), 1)
	for name, c := range map[string]struct {
		dst, src Tensor
		c        Conversion
	}{
		"no source":              {dst: fresh(Float16)},
		"no destination":         {src: good},
		"another shape":          {fresh(Float16).Slice(2, 0, 1), good, Conversion{}},
		"unknown type":           {fresh(99), good, Conversion{}},
		"unknown source":         {fresh(Float16), good.As(99), Conversion{}},
		"part of a block":        {fresh(Q8_0).Slice(3, 0, 16), good.Slice(3, 0, 16), Conversion{}},
		"beyond the memory":      {fresh(Float32).Slice(0, 0, 9), good.Broadcast(9, 2, 2, 32), Conversion{}},
		"destination broadcast":  {fresh(Float16).Slice(0, 0, 1).Broadcast(3, 2, 2, 32), good.Broadcast(3, 2, 2, 32), Conversion{}},
		"last axis broadcast":    {fresh(Float16), good.Slice(3, 0, 1).Broadcast(1, 2, 2, 32), Conversion{}},
		"overlap":                {good.As(Float16), good, Conversion{}},
		"overlap in blocks":      {Tensor{Q8_0, [4]int{1, 1, 1, 32}, [4]int{32, 32, 32, 1}, 0, Bytes(make([]byte, 34))}, Tensor{}, Conversion{}},
		"factor 0":               {fresh(F8E4M3), good, Conversion{Descale: Vector(Float32s([]float32{0}), 1)}},
		"factor NaN":             {fresh(F8E4M3), good, Conversion{Descale: Vector(Float32s([]float32{1, float32(math.NaN())}), 2)}},
		"factors of three heads": {fresh(F8E4M3), good, Conversion{Descale: Vector(Float32s(x[:3]), 3)}},
		"factors in f16":         {fresh(F8E4M3), good, Conversion{Descale: one.As(Float16)}},
		"negative blocks":        {fresh(F8E4M3), good, Conversion{Descale: one, DescaleBlock: -1}},
		"a mean too short":       {fresh(F8E4M3), good, Conversion{Mean: BHSD(Float32s(x), 1, 1, 1, 16)}},
		"endless":                {fresh(Float16), Tensor{Shape: [4]int{1 << 20, 1 << 20, 1, 1}, Stride: [4]int{0, 0, 0, 1}, Mem: Float32s(x)}, Conversion{}},
	} {
		if err := Convert(c.dst, c.src, c.c); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v, want an invalid argument", name, err)
		}
	}
	if _, err := good.Slice(3, 0, 31).To(Q4_0); !errors.Is(err, ErrInvalid) {
		t.Errorf("To part of a block: %v", err)
	}
	if _, err := DescaleFactors(good, Float16, true, 0, Conversion{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("factors of f16: %v", err)
	}
	if _, err := KeyMean(good, []int32{3}); !errors.Is(err, ErrInvalid) {
		t.Errorf("mean of more keys than there are: %v", err)
	}
	for _, typ := range append([]Type{Bool, 99}, numberTypes...) {
		if typ != Bool && !errors.Is(typ.Decode(make([]float32, 31), make([]byte, 67)), ErrInvalid) && typ.Size() != 1 {
			t.Errorf("%s: Decode of 67 bytes", typ)
		}
		if !errors.Is(typ.Decode(make([]float32, 31), make([]byte, 136)), ErrInvalid) || !errors.Is(typ.Encode(make([]byte, 17), make([]float32, 32)), ErrInvalid) {
			t.Errorf("%s: Decode or Encode without room", typ)
		}
	}
}

// TestOverlapOfBlocks: memory of blocks counts in blocks.
func TestOverlapOfBlocks(t *testing.T) {
	raw := make([]byte, 4*34+256)
	k := BHSD(Bytes(raw), 1, 1, 4, 32).As(Q8_0)
	for lo, want := range map[int]bool{0: true, 4*34 - 2: true, 4 * 34: false} {
		out := BHSD(Bytes(raw[lo:][:4*32]), 1, 1, 4, 16).As(Float16)
		if out.overlaps(k) != want || k.overlaps(out) != want {
			t.Errorf("from byte %d: overlaps is %v, want %v", lo, out.overlaps(k), want)
		}
	}
}

// TestRotate: the matrix is orthogonal, whatever its size, and spreads what lies in one column.
func TestRotate(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 2, 3, 31, 64, 80, 96, 100, 128, 192, 576} {
		x, y := make([]float32, n), make([]float32, n)
		dot, norm := 0.0, 0.0
		for i := range x {
			x[i], y[i] = float32(r.NormFloat64()), float32(r.NormFloat64())
			dot += float64(x[i]) * float64(y[i])
			norm += float64(x[i]) * float64(x[i])
		}
		Rotate(x, 7)
		Rotate(y, 7)
		gotDot, gotNorm := 0.0, 0.0
		for i := range x {
			gotDot += float64(x[i]) * float64(y[i])
			gotNorm += float64(x[i]) * float64(x[i])
		}
		if math.Abs(gotDot-dot) > 1e-5*math.Max(1, norm) || math.Abs(gotNorm-norm) > 1e-5*norm {
			t.Errorf("%d columns: product %v became %v, square %v became %v", n, dot, gotDot, norm, gotNorm)
		}
	}
	// A unit vector becomes a row of the matrix: ±1/sqrt(64) in its block, 0 in the other.
	x := make([]float32, 80)
	x[5] = 1
	Rotate(x, 1)
	for i, v := range x {
		want := 0.125
		if i >= 64 {
			want = 0
		}
		if math.Abs(float64(v)) != want {
			t.Errorf("column %d is %v, want ±%v", i, v, want)
		}
	}
	// The Hadamard matrix by its definition: (-1)^popcount(i & j), times the sign of row i.
	y := make([]float32, 80)
	y[6] = 1
	Rotate(y, 1)
	flips := 0
	for j := range 64 {
		if (x[j] > 0) != (y[j] > 0) {
			flips++ // 5 and 6 differ in two bits: half of the columns
		}
	}
	if flips != 32 {
		t.Errorf("two rows differ in %d of 64 signs, want 32", flips)
	}
}

// TestDescaleFactors: the largest number of each group becomes the largest code, and nothing saturates.
func TestDescaleFactors(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	x := make([]float32, 2*3*10*16)
	for i := range x {
		x[i] = float32(math.Exp(3*r.NormFloat64()) * r.NormFloat64())
	}
	clear(x[:10*16]) // a head of zeros
	x[200], x[201] = float32(math.Inf(1)), float32(math.NaN())
	src := BHSD(Float32s(x), 2, 3, 10, 16)
	for _, typ := range []Type{F8E4M3, F8E5M2} {
		for _, perHead := range []bool{false, true} {
			for _, block := range []int{0, 1, 4, 100} {
				c := Conversion{DescaleBlock: block, Rotate: block == 4, Seed: 3}
				factors, err := DescaleFactors(src, typ, perHead, block, c)
				if err != nil {
					t.Fatal(err)
				}
				c.Descale = factors
				codes := BHSD(Bytes(make([]byte, len(x))), 2, 3, 10, 16).As(typ)
				if err := Convert(codes, src, c); err != nil {
					t.Fatal(err)
				}
				back, err := codes.To(Float32)
				if err != nil {
					t.Fatal(err)
				}
				op := Attention{DescaleBlock: block}
				most := map[int]float64{} // by factor
				values := back.Mem.(*Host).Float32s()
				for b := range 2 {
					for h := range 3 {
						for s := range 10 {
							at := op.DescaleIndex(factors, b, h, s)
							row := append([]float32(nil), x[src.Index(b, h, s, 0):][:16]...)
							if c.Rotate {
								Rotate(row, 3)
							}
							for d, v := range row {
								code := float64(values[back.Index(b, h, s, d)])
								want := float64(v) / float64(factors.Mem.(*Host).Float32s()[at])
								if v-v == 0 {
									most[at] = math.Max(most[at], math.Abs(code))
									if math.Abs(code-want) > math.Max(math.Abs(want)/8, 0x1p-10) {
										t.Fatalf("%s: %v became %v, want %v", typ, v, code, want)
									}
								} else if v != v && code == code {
									t.Fatalf("%s: NaN became %v", typ, code)
								}
							}
						}
					}
				}
				for at, m := range most {
					if m != typ.Max() && m != 0 {
						t.Errorf("%s, per head %v, blocks of %d: the largest code of group %d is %v", typ, perHead, block, at, m)
					}
				}
			}
		}
	}
}

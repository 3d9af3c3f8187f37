package vkattn

import (
	"math"
	"testing"
	"unsafe"

	"pgregory.net/rapid"
)

// drawTensor draws a small tensor with any strides.
func drawTensor(t *rapid.T) Tensor {
	var x Tensor
	for i := range x.Shape {
		x.Shape[i] = rapid.IntRange(0, 4).Draw(t, "size")
		x.Stride[i] = rapid.IntRange(0, 30).Draw(t, "stride")
	}
	x.Offset = rapid.IntRange(0, 9).Draw(t, "offset")
	return x
}

func addresses(x Tensor) (list []int) {
	for b := range x.Shape[0] {
		for h := range x.Shape[1] {
			for s := range x.Shape[2] {
				for d := range x.Shape[3] {
					list = append(list, x.Index(b, h, s, d))
				}
			}
		}
	}
	return list
}

func TestExtentAndSelfOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := drawTensor(t)
		lo, hi, ok := x.Extent()
		list := addresses(x)
		if len(list) != x.Len() {
			t.Fatalf("Len is %d, want %d", x.Len(), len(list))
		}
		wantLo, wantHi := 0, 0
		seen, twice := map[int]bool{}, false
		for n, at := range list {
			if n == 0 {
				wantLo, wantHi = at, at+1
			}
			wantLo, wantHi = min(wantLo, at), max(wantHi, at+1)
			twice = twice || seen[at]
			seen[at] = true
		}
		if !ok || lo != wantLo || hi != wantHi {
			t.Fatalf("%+v: Extent is %d, %d, %v, want %d, %d", x, lo, hi, ok, wantLo, wantHi)
		}
		if twice && !x.selfOverlaps() {
			t.Fatalf("%+v: elements share an address, and selfOverlaps does not see it", x)
		}
	})
}

// TestLayoutsDoNotOverlap: no order of axes and no padding is taken for an overlap.
func TestLayoutsDoNotOverlap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var x Tensor
		for i := range x.Shape {
			x.Shape[i] = rapid.IntRange(1, 5).Draw(t, "size")
		}
		x.Stride[3] = 1
		step := x.Shape[3]
		for _, a := range rapid.Permutation([]int{0, 1, 2}).Draw(t, "order") {
			step += rapid.IntRange(0, 3).Draw(t, "pad")
			x.Stride[a] = step
			step *= x.Shape[a]
		}
		if x.selfOverlaps() {
			t.Fatalf("%+v: taken for an overlap", x)
		}
	})
}

func TestExtentOverflow(t *testing.T) {
	for _, x := range []Tensor{
		{Shape: [4]int{2, 1, 1, 1}, Stride: [4]int{math.MaxInt, 0, 0, 0}},
		{Shape: [4]int{1, 1, 1, 1}, Offset: -1},
		{Shape: [4]int{1, 1, 1, 1}, Offset: math.MaxInt},
		{Shape: [4]int{1 << 40, 1 << 40, 1, 1}, Stride: [4]int{1 << 40, 1 << 40, 0, 0}},
		{Shape: [4]int{3, 1, 1, 1}, Stride: [4]int{-1, 0, 0, 0}},
		{Shape: [4]int{-3, 1, 1, 1}, Stride: [4]int{1, 0, 0, 0}},
		{Shape: [4]int{math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt}, Stride: [4]int{math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt}},
	} {
		if _, _, ok := x.Extent(); ok {
			t.Errorf("%+v: Extent is fine with it", x)
		}
	}
	wide := Tensor{Shape: [4]int{1, 1, 1, 1}, Stride: [4]int{math.MaxInt, math.MaxInt, math.MaxInt, math.MaxInt}, Offset: 7}
	if lo, hi, ok := wide.Extent(); !ok || lo != 7 || hi != 8 {
		t.Errorf("strides of axes of size 1 count: %d, %d, %v", lo, hi, ok)
	}
}

func TestOverlaps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		data := make([]float32, 400)
		x, y := drawTensor(t), drawTensor(t)
		shift := rapid.IntRange(0, 200).Draw(t, "shift")
		x.Mem, y.Mem = Float32s(data[:300]), Float32s(data[shift:])
		touches := map[int]bool{}
		for _, at := range addresses(x) {
			touches[at] = true
		}
		for _, at := range addresses(y) {
			if touches[at+shift] && !(x.overlaps(y) && y.overlaps(x)) {
				t.Fatalf("%+v and %+v, %d elements on, share an address", x, y, shift)
			}
		}
		apart := y
		apart.Mem = Float32s(make([]float32, 400))
		if x.overlaps(apart) || apart.overlaps(x) {
			t.Fatal("tensors in different memory overlap")
		}
	})
	bytes := make([]byte, 64)
	a := Tensor{Type: Bool, Shape: [4]int{1, 1, 1, 8}, Stride: [4]int{8, 8, 8, 1}, Mem: Bytes(bytes)}
	f := Tensor{Shape: [4]int{1, 1, 1, 2}, Stride: [4]int{2, 2, 2, 1}, Mem: Bytes(bytes), Offset: 1}
	if !a.overlaps(f) || !f.overlaps(a) {
		t.Error("bytes 0 to 8 and floats 1 to 3 overlap")
	}
	f.Offset = 2
	if a.overlaps(f) || f.overlaps(a) {
		t.Error("bytes 0 to 8 and floats 2 to 4 do not overlap")
	}
	if (Tensor{}).overlaps(a) || a.overlaps(Tensor{}) {
		t.Error("a tensor that is not given overlaps")
	}
}

func TestLayouts(t *testing.T) {
	m := Float32s(make([]float32, 2*3*4*5))
	bhsd, bshd := BHSD(m, 2, 3, 4, 5), BSHD(m, 2, 4, 3, 5)
	if bhsd.Shape != [4]int{2, 3, 4, 5} || bshd.Shape != bhsd.Shape {
		t.Errorf("shapes %v and %v", bhsd.Shape, bshd.Shape)
	}
	if got := bhsd.Index(1, 2, 3, 4); got != ((1*3+2)*4+3)*5+4 {
		t.Errorf("BHSD index %d", got)
	}
	if got := bshd.Index(1, 2, 3, 4); got != ((1*4+3)*3+2)*5+4 {
		t.Errorf("BSHD index %d", got)
	}
	if got := THD(m, 8, 3, 5); got.Shape != [4]int{1, 3, 8, 5} || got.Index(0, 2, 7, 1) != (7*3+2)*5+1 {
		t.Errorf("THD %+v", got)
	}
	part := bhsd.Slice(1, 1, 3).Slice(2, 2, 4)
	if part.Shape != [4]int{2, 2, 2, 5} || part.Index(1, 1, 1, 3) != bhsd.Index(1, 2, 3, 3) {
		t.Errorf("Slice %+v", part)
	}
	v := Vector(m, 3)
	wide := v.Broadcast(4, 3, 1, 1)
	if wide.Shape != [4]int{4, 3, 1, 1} || wide.Index(3, 2, 0, 0) != 2 || v.HeadIndex(9, 2) != 2 {
		t.Errorf("Vector %+v, broadcast %+v", v, wide)
	}
	if same := bhsd.Broadcast(7, 7, 7, 7); same != bhsd {
		t.Errorf("Broadcast changed axes that are no 1: %+v", same)
	}
	if s := bhsd.As(Float16).String(); s != "f16[2 3 4 5]" {
		t.Errorf("String is %q", s)
	}
	if s := (Tensor{}).String(); s != "none" {
		t.Errorf("String is %q", s)
	}
}

func TestHost(t *testing.T) {
	f := []float32{1, 2, 3}
	h := Float32s(f)
	if h.Size() != 12 || len(h.Float32s()) != 3 || &h.Float32s()[0] != &f[0] {
		t.Error("Float32s copies")
	}
	if h := Bytes(h.Bytes()[1:9]); h.Float32s() != nil {
		t.Error("Float32s of memory that is not aligned")
	}
	if h := Bools([]bool{true, false}); h.Size() != 2 || h.Bytes()[0] != 1 {
		t.Error("Bools")
	}
	for _, empty := range []*Host{Float32s(nil), Bools(nil), Bytes(nil)} {
		if empty.Size() != 0 || empty.Float32s() != nil || empty.Close() != nil {
			t.Error("empty memory")
		}
	}
	if unsafe.SliceData(h.Bytes()) != (*byte)(unsafe.Pointer(&f[0])) {
		t.Error("Bytes copies")
	}
}

func TestTypes(t *testing.T) {
	sizes := map[Type]int{Float32: 4, Float16: 2, BFloat16: 2, F8E4M3: 1, F8E5M2: 1, Q8_0: 0, Q4_0: 0, Bool: 1}
	for typ := range numTypes {
		text, _ := typ.MarshalText()
		var back Type = 99
		if err := back.UnmarshalText(text); err != nil || back != typ || !typ.Valid() || typ.Size() != sizes[typ] {
			t.Errorf("%v: %v, %v, size %d", typ, back, err, typ.Size())
		}
	}
	if Type(50).Valid() || Type(50).String() != "type(50)" || Type(50).Size() != 0 {
		t.Error("type 50")
	}
	var x Type
	if err := x.UnmarshalText([]byte("f33")); err == nil {
		t.Error("f33 is a type")
	}
}

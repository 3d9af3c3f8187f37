package tensorio

import (
	"bytes"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"codeberg.org/sbinet/npyio"
	"codeberg.org/sbinet/npyio/npz"
)

// samples has one array of every type, and the shapes that formats get wrong.
func samples() []*Array {
	var all []*Array
	for d := Invalid + 1; d < numDTypes; d++ {
		a := newArray("t_"+d.String(), d, []int{2, 3}, 6)
		for i := range a.Data {
			a.Data[i] = byte(37*i + 11)
		}
		if d == Bool {
			for i := range a.Data {
				a.Data[i] &= 1
			}
		}
		all = append(all, a)
	}
	return append(all,
		NewFloat32("scalar", nil, []float32{3.5}),
		NewFloat32("vector", []int{4}, []float32{1, -2, float32(math.Inf(-1)), float32(math.NaN())}),
		NewFloat64("empty", []int{3, 0, 2}, nil),
		NewInt32("four/axes", []int{1, 2, 1, 2}, []int32{1, -1, math.MaxInt32, math.MinInt32}),
		NewBool("mask", []int{2}, []bool{true, false}),
		NewFloat32("../\"quoted\" \u00e9", []int{1}, []float32{1}),
	)
}

func same(a, b *Array) bool {
	return a.Name == b.Name && a.DType == b.DType && slices.Equal(a.Shape, b.Shape) && bytes.Equal(a.Data, b.Data)
}

func readAll(t *testing.T, path string) map[string]*Array {
	t.Helper()
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string]*Array{}
	for _, name := range f.Names() {
		h, err := f.Header(name)
		if err != nil {
			t.Fatal(err)
		}
		a, err := f.Read(name)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(append([]int{}, h.Shape...), append([]int{}, a.Shape...)) || h.DType != a.DType || h.Name != name || h.Elements() != a.Elements() {
			t.Fatalf("header %+v of array %+v", h, a.Header())
		}
		all[name] = a
	}
	return all
}

func TestRoundTrip(t *testing.T) {
	dir := t.TempDir()
	for _, ext := range []string{".npy", ".npz", ".safetensors"} {
		var fit []*Array
		for _, a := range samples() {
			if ext == ".safetensors" || dtypes[a.DType].npy != "" {
				fit = append(fit, a)
			}
		}
		if ext == ".npy" {
			for _, a := range fit {
				a.Name = "one"
				path := filepath.Join(dir, "one.npy")
				if err := Write(path, a); err != nil {
					t.Fatal(err)
				}
				if got := readAll(t, path)["one"]; got == nil || !same(got, a) {
					t.Errorf("npy %v%v: %+v", a.DType, a.Shape, got)
				}
			}
			continue
		}
		path := filepath.Join(dir, "all"+ext)
		if err := Write(path, fit...); err != nil {
			t.Fatal(err)
		}
		got := readAll(t, path)
		if len(got) != len(fit) {
			t.Errorf("%s: %d arrays, want %d", ext, len(got), len(fit))
		}
		for _, a := range fit {
			if b := got[a.Name]; b == nil || !same(a, b) {
				t.Errorf("%s: %s came back as %+v", ext, a.Name, b)
			}
		}
		first, _ := os.ReadFile(path)
		if err := Write(path, fit...); err != nil { // replaces, with the same bytes
			t.Fatal(err)
		}
		if second, _ := os.ReadFile(path); !bytes.Equal(first, second) {
			t.Errorf("%s: two writes differ", ext)
		}
		if err := Write(path); err != nil { // no arrays at all
			t.Fatal(err)
		}
		if got := readAll(t, path); len(got) != 0 {
			t.Errorf("%s: %d arrays in an empty file", ext, len(got))
		}
	}
	left, _ := filepath.Glob(filepath.Join(dir, ".*"))
	if len(left) != 0 {
		t.Errorf("temporary files left: %v", left)
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	one := NewFloat32("a", []int{1}, []float32{1})
	for _, c := range []struct {
		path   string
		arrays []*Array
		want   string
	}{
		{"x.npy", nil, "one array"},
		{"x.npy", []*Array{one, NewFloat32("b", []int{1}, []float32{1})}, "one array"},
		{"x.npy", []*Array{{Name: "a", DType: BF16, Shape: []int{1}, Data: make([]byte, 2)}}, "no bf16"},
		{"x.npz", []*Array{{Name: "a", DType: F8E4M3, Shape: []int{1}, Data: make([]byte, 1)}}, "no f8_e4m3"},
		{"x.npz", []*Array{one, one}, "same name"},
		{"x.npz", []*Array{NewFloat32("", []int{1}, []float32{1})}, "name"},
		{"x.safetensors", []*Array{one, one}, "same name"},
		{"x.safetensors", []*Array{NewFloat32("__metadata__", []int{1}, []float32{1})}, "reserved"},
		{"x.safetensors", []*Array{NewFloat32("\xff", []int{1}, []float32{1})}, "UTF-8"},
		{"x.safetensors", []*Array{{Name: "a", DType: F32, Shape: []int{2}, Data: make([]byte, 4)}}, "needs 8 bytes"},
		{"x.safetensors", []*Array{{Name: "a", DType: F32, Shape: []int{-1}}}, "negative"},
		{"x.safetensors", []*Array{{Name: "a", DType: numDTypes, Shape: []int{1}}}, "unsupported"},
		{"x.safetensors", []*Array{nil}, "nil"},
		{"x.bin", []*Array{one}, "extension"},
	} {
		err := Write(filepath.Join(dir, c.path), c.arrays...)
		var format *FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.path, err, c.want)
		}
	}
	if err := Write(filepath.Join(dir, "no", "such", "x.npy"), one); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing folder: %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(filepath.Join(dir, "none.npy")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	var format *FormatError
	if _, err := Open(dir); !errors.As(err, &format) {
		t.Errorf("folder: %v", err)
	}
	path := filepath.Join(dir, "x.npz")
	if err := Write(path, NewFloat32("a", nil, []float32{1})); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Read("b"); !errors.As(err, &format) || format.Name != "b" || format.Path != path {
		t.Errorf("missing array: %v", err)
	}
	for range 2 {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The content decides, not the extension.
func TestContentWins(t *testing.T) {
	dir := t.TempDir()
	for _, ext := range []string{".npy", ".npz", ".safetensors"} {
		if err := Write(filepath.Join(dir, "x"+ext), NewFloat32("x", []int{1}, []float32{1})); err != nil {
			t.Fatal(err)
		}
		wrong := filepath.Join(dir, "x.bin")
		if err := os.Rename(filepath.Join(dir, "x"+ext), wrong); err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, wrong); got["x"] == nil || got["x"].Float32s()[0] != 1 {
			t.Errorf("%s: %v", ext, got)
		}
	}
}

func TestConversions(t *testing.T) {
	raw := func(d DType, data ...byte) *Array {
		return &Array{DType: d, Shape: []int{len(data) / d.Size()}, Data: data}
	}
	for _, c := range []struct {
		a    *Array
		want []float32
	}{
		{raw(F16, 0x00, 0x3C, 0xFF, 0x7B), []float32{1, 65504}},
		{raw(BF16, 0x80, 0x3F, 0x80, 0xFF), []float32{1, float32(math.Inf(-1))}},
		{raw(F8E4M3, 0x38, 0x7E), []float32{1, 448}},
		{raw(F8E5M2, 0x3C, 0x7C), []float32{1, float32(math.Inf(1))}},
		{raw(I8, 0xFF, 0x7F), []float32{-1, 127}},
		{raw(U8, 0xFF), []float32{255}},
		{raw(I16, 0xFE, 0xFF), []float32{-2}},
		{raw(I64, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF), []float32{-1}},
		{raw(Bool, 0, 1, 2), []float32{0, 1, 1}},
		{NewFloat64("", []int{2}, []float64{0.1, 1e300}), []float32{0.1, float32(math.Inf(1))}},
		{NewInt32("", []int{1}, []int32{1<<24 + 1}), []float32{1 << 24}},
		// 2^54+2^30+1 lies just above a middle of two float32, and float64 drops the 1.
		{raw(I64, 1, 0, 0, 0x40, 0, 0, 0x40, 0), []float32{1<<54 + 1<<31}},
	} {
		if got := c.a.Float32s(); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.a.DType, got, c.want)
		}
	}
	if got, err := raw(I64, 5, 0, 0, 0, 0, 0, 0, 0).Int32s(); err != nil || got[0] != 5 {
		t.Errorf("int64 to int32: %v, %v", got, err)
	}
	var format *FormatError
	if _, err := raw(I64, 0, 0, 0, 0, 1, 0, 0, 0).Int32s(); !errors.As(err, &format) {
		t.Errorf("2^32 to int32: %v", err)
	}
	if _, err := NewFloat32("", nil, []float32{1}).Int32s(); !errors.As(err, &format) {
		t.Errorf("float to int32: %v", err)
	}
	if _, err := NewFloat32("", nil, []float32{1}).Bools(); !errors.As(err, &format) {
		t.Errorf("float to bool: %v", err)
	}
	if got, err := raw(U8, 0, 7).Bools(); err != nil || got[0] || !got[1] {
		t.Errorf("u8 to bool: %v, %v", got, err)
	}
	if got := NewFloat32("", nil, []float32{0.5}).Float64s(); got[0] != 0.5 {
		t.Errorf("Float64s: %v", got)
	}
}

// npyio is an independent reader and writer of the same format.
func TestAgainstNPYIO(t *testing.T) {
	dir := t.TempDir()
	want := []float32{1, 2, 3, 4, 5, 6}
	path := filepath.Join(dir, "x.npy")
	if err := Write(path, NewFloat32("x", []int{2, 3}, want)); err != nil {
		t.Fatal(err)
	}
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, err := npyio.NewReader(r)
	if err != nil {
		t.Fatal(err)
	}
	var got []float32
	if err := n.Read(&got); err != nil || !slices.Equal(got, want) || !slices.Equal(n.Header.Descr.Shape, []int{2, 3}) {
		t.Errorf("npyio read %v, shape %v, %v", got, n.Header.Descr.Shape, err)
	}

	zpath := filepath.Join(dir, "x.npz")
	if err := Write(zpath, NewFloat32("x", []int{6}, want), NewBool("m", []int{2}, []bool{true, false})); err != nil {
		t.Fatal(err)
	}
	z, err := npz.Open(zpath)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var mask []bool
	if err := z.Read("m.npy", &mask); err != nil || !slices.Equal(mask, []bool{true, false}) {
		t.Errorf("npyio read %v, %v", mask, err)
	}

	var buf bytes.Buffer
	if err := npyio.Write(&buf, []float64{1.5, -2}); err != nil {
		t.Fatal(err)
	}
	f, err := NewFile(bytes.NewReader(buf.Bytes()), int64(buf.Len()), "y.npy")
	if err != nil {
		t.Fatal(err)
	}
	a, err := f.Read("y")
	if err != nil || a.DType != F64 || !slices.Equal(a.Float64s(), []float64{1.5, -2}) {
		t.Errorf("npyio wrote %+v, %v", a, err)
	}
}

// Written by numpy 1.x as np.save(f, np.arange(6, dtype='>i4').reshape(2, 3, order='F')) and its kin.
func TestForeignNPY(t *testing.T) {
	for _, c := range []struct {
		header string
		data   []byte
		shape  []int
		want   []float32
	}{
		{"{'descr': '<i2', 'fortran_order': True, 'shape': (2, 3), }", []byte{1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0}, []int{2, 3}, []float32{1, 3, 5, 2, 4, 6}},
		{"{'descr': '>i2', 'fortran_order': True, 'shape': (2, 1, 2), }", []byte{0, 1, 0, 2, 0, 3, 0, 4}, []int{2, 1, 2}, []float32{1, 3, 2, 4}},
		{"{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", []byte{0x3F, 0x80, 0, 0}, []int{1}, []float32{1}},
		{`{"shape": (), "fortran_order": True, "descr": "<i1"}`, []byte{0xFE}, nil, []float32{-2}},
		{"{'descr': '|u1', 'fortran_order': True, 'shape': (0, 5)}", nil, []int{0, 5}, nil},
	} {
		for _, version := range []byte{1, 2, 3} {
			b := npyFile(version, c.header, c.data)
			f, err := NewFile(bytes.NewReader(b), int64(len(b)), "a.npy")
			if err != nil {
				t.Errorf("%s: %v", c.header, err)
				continue
			}
			a, err := f.Read("a")
			if err != nil || !slices.Equal(a.Float32s(), c.want) || !slices.Equal(a.Shape, c.shape) {
				t.Errorf("%s: %+v, %v, want %v", c.header, a, err, c.want)
			}
		}
	}
}

func TestMetadataAndAlignment(t *testing.T) {
	b := safetensorsFile(`{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}   `, []byte{7})
	f, err := NewFile(bytes.NewReader(b), int64(len(b)), "m.safetensors")
	if err != nil || f.Metadata()["format"] != "pt" {
		t.Errorf("metadata %v, %v", f.Metadata(), err)
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := Write(path, samples()...); err != nil {
		t.Fatal(err)
	}
	g, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	for name, s := range g.byName {
		src := s.(*safetensorsSource)
		h, err := src.header()
		if err != nil || src.begin%int64(h.DType.Size()) != 0 {
			t.Errorf("%s starts at %d, %v", name, src.begin, err)
		}
	}
}

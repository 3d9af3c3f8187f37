package spirv_test

import (
	"errors"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/vkattn/vkattn/internal/spirv"
)

// testdata/reflect.spv is made from reflect.comp by
//
//	go run ./tools/spvgen -file internal/spirv/testdata/reflect.comp -o internal/spirv/testdata/reflect.spv
func load(t testing.TB) (*spirv.Module, []uint32) {
	t.Helper()
	b, err := os.ReadFile("testdata/reflect.spv")
	if err != nil {
		t.Fatal(err)
	}
	code, err := spirv.Words(b)
	if err != nil {
		t.Fatal(err)
	}
	m, err := spirv.Parse(code)
	if err != nil {
		t.Fatal(err)
	}
	return m, code
}

func TestParse(t *testing.T) {
	m, _ := load(t)
	if m.Version != "1.5" {
		t.Errorf("version %s", m.Version)
	}
	if len(m.EntryPoints) != 1 {
		t.Fatalf("entry points %+v", m.EntryPoints)
	}
	e := m.EntryPoints[0]
	if e.Name != "main" || e.Model != "GLCompute" || e.LocalSize != [3]uint32{1, 2, 1} || e.LocalSizeSpec != [3]int64{0, -1, 7} {
		t.Errorf("entry point %+v", e)
	}
	wantSpec := []spirv.SpecConstant{
		{ID: 0, Name: "ROWS", Type: "uint", Default: 32},
		{ID: 1, Name: "D", Type: "int", Default: 61},
		{ID: 2, Name: "PAD", Type: "bool", Default: 1},
		{ID: 3, Name: "SCALE", Type: "float", Default: 0x3f000000},
		{ID: 4, Name: "SHIFT", Type: "uint", Default: 1},
		{ID: 7, Name: "local_size_z", Type: "uint", Default: 1},
	}
	if !reflect.DeepEqual(m.Spec, wantSpec) {
		t.Errorf("spec constants\n%+v, want\n%+v", m.Spec, wantSpec)
	}
	wantBindings := []spirv.Binding{
		{Binding: 0, Name: "query", Kind: "storage buffer", Class: "StorageBuffer", Count: 1, ReadOnly: true,
			Members: []spirv.Member{{Name: "data", Type: "vec4[]"}}},
		{Binding: 1, Name: "result", Kind: "storage buffer", Class: "StorageBuffer", Count: 2,
			Members: []spirv.Member{{Name: "data", Type: "float[]"}}},
		{Binding: 2, Name: "keys", Kind: "uniform texel buffer", Class: "UniformConstant", Count: 1},
		{Binding: 3, Name: "scratch", Kind: "storage texel buffer", Class: "UniformConstant", Count: 1},
		{Binding: 4, Name: "Table", Kind: "uniform buffer", Class: "Uniform", Count: 1,
			Members: []spirv.Member{{Name: "table", Type: "vec4[4]", Size: 64}}},
	}
	if !reflect.DeepEqual(m.Bindings, wantBindings) {
		t.Errorf("bindings\n%+v, want\n%+v", m.Bindings, wantBindings)
	}
	wantPush := &spirv.Block{Name: "params", Size: 52, Members: []spirv.Member{
		{Name: "rows", Type: "uint", Offset: 0, Size: 4},
		{Name: "unused_word", Type: "uint", Offset: 4, Size: 4},
		{Name: "address", Type: "uint64", Offset: 8, Size: 8},
		{Name: "q_stride", Type: "Strides", Offset: 16, Size: 12, Members: []spirv.Member{
			{Name: "batch", Type: "uint", Offset: 0, Size: 4},
			{Name: "head", Type: "uint", Offset: 4, Size: 4},
			{Name: "row", Type: "uint", Offset: 8, Size: 4},
		}},
		{Name: "scale", Type: "float", Offset: 28, Size: 4},
		{Name: "pair", Type: "uvec2", Offset: 32, Size: 8},
		{Name: "lengths", Type: "uint[3]", Offset: 40, Size: 12},
	}}
	if !reflect.DeepEqual(m.Push, wantPush) {
		t.Errorf("push constants\n%+v, want\n%+v", m.Push, wantPush)
	}
	for _, c := range []string{"Shader", "Int64", "GroupNonUniformArithmetic", "SampledBuffer", "ImageBuffer"} {
		if !slices.Contains(m.Capabilities, c) {
			t.Errorf("capability %s is not in %q", c, m.Capabilities)
		}
	}
}

// TestSharedBytes compares with sizes worked out by hand from the declarations in reflect.comp.
func TestSharedBytes(t *testing.T) {
	m, _ := load(t)
	// By std430: tile is 16 bytes an element, odd (a vec3) 16, sums 4, Piece 24 rounded up to 32, flags 4.
	// The order of the module is tile, odd, pieces, flags, sums: no gap arises.
	fixed := 2*32 + 3*4
	for _, test := range []struct {
		name string
		spec map[uint32]uint32
		want int
	}{
		// D = 61: 16 vectors; D-63 < 0, so 7%4 = 3 more odd vectors. ROWS<<1 = 64 rows.
		{"defaults", nil, 64*16*16 + (16+3)*16 + fixed + 1*4},
		{"rows and work group size share id 0", map[uint32]uint32{0: 8}, 16*16*16 + (16+3)*16 + fixed + 8*4},
		{"head size", map[uint32]uint32{1: 128}, 64*32*16 + (32+1)*16 + fixed + 4}, // 9%4 = 1
		{"bool", map[uint32]uint32{2: 0}, 3*16 + (16+3)*16 + fixed + 4},
		{"bool by any other number", map[uint32]uint32{2: 7}, 64*16*16 + (16+3)*16 + fixed + 4},
		{"shift", map[uint32]uint32{4: 3}, 256*16*16 + (16+3)*16 + fixed + 4},
		{"constants it does not use", map[uint32]uint32{3: 1, 5: 9, 77: 1}, 64*16*16 + (16+3)*16 + fixed + 4},
	} {
		got, err := m.SharedBytes(test.spec)
		if err != nil || got != test.want {
			t.Errorf("%s: %d, %v, want %d", test.name, got, err, test.want)
		}
	}
	for _, absurd := range []map[uint32]uint32{{0: 1 << 30}, {4: 32}, {1: 1<<31 - 1}} {
		if got, err := m.SharedBytes(absurd); err == nil {
			t.Errorf("%v: %d bytes and no error", absurd, got)
		}
	}
}

func TestLocalSize(t *testing.T) {
	m, _ := load(t)
	got, err := m.LocalSize(map[uint32]uint32{0: 64, 7: 3})
	if err != nil || got != [3]uint32{64, 2, 3} {
		t.Errorf("%v, %v, want [64 2 3]", got, err)
	}
}

type strides struct{ Batch, Head, Row uint32 }

type params struct {
	Rows       uint32
	UnusedWord uint32
	Address    uint64
	QStride    strides
	Scale      float32
	Pair       [2]uint32
	Lengths    [3]uint32
	_          uint32
}

func TestCheckPush(t *testing.T) {
	m, _ := load(t)
	if err := spirv.CheckPush(m, params{}); err != nil {
		t.Error(err)
	}
	if err := spirv.CheckPush(m, &params{}); err != nil {
		t.Error(err)
	}
	type head struct{ Rows, UnusedWord uint32 }
	type tail struct {
		Scale   float32
		Pair    [2]uint32
		Lengths [3]uint32
	}
	if err := spirv.CheckPush(m, struct {
		head
		Address uint64
		Strides strides `spirv:"q_stride"`
		tail
	}{}); err != nil {
		t.Error("embedded structs and a tag:", err)
	}
	for want, bad := range map[string]any{
		"Go has none": nil,
		"no struct":   7,
		"Adress: not in the shader": struct {
			Rows, UnusedWord uint32
			Adress           uint64
		}{},
		"lengths: not in Go": struct{ Rows, UnusedWord uint32 }{},
		"UnusedWord: offset: Go 8, shader 4": struct {
			Rows       uint64
			UnusedWord uint32
		}{},
		"Scale: type: Go uint32, shader float": struct{ Scale uint32 }{},
		"Lengths: size: Go 8, shader 12":       struct{ Lengths [2]uint32 }{},
		"QStride.Head: offset: Go 8, shader 4": struct {
			QStride struct{ Batch, Row, Head uint32 }
		}{},
		"size: Go 4 bytes, shader 52":           struct{ Rows uint32 }{},
		"Pair: size: Go 4, shader 8 (uvec2)":    struct{ Pair uint32 }{},
		"Rows: type: Go int32, shader uint":     struct{ Rows int32 }{},
		"Address: size: Go 4, shader 8 (uint64": struct{ Address uint32 }{},
	} {
		if err := spirv.CheckPush(m, bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%T: %v, want %q", bad, err, want)
		}
	}
	if err := spirv.CheckPush(&spirv.Module{}, nil); err != nil {
		t.Error(err)
	}
	if err := spirv.CheckPush(&spirv.Module{}, params{}); err == nil {
		t.Error("a module without push constants: no error")
	}
}

func TestCheckBlock(t *testing.T) {
	m, _ := load(t)
	if err := spirv.CheckBlock(m, "table", struct{ Table [4][4]float32 }{}); err != nil {
		t.Error(err)
	}
	if err := spirv.CheckBlock(m, "table", struct{ Table [4]float32 }{}); err == nil {
		t.Error("too short a table: no error")
	}
	if err := spirv.CheckBlock(m, "query", struct{}{}); err != nil {
		t.Error("an array without a length needs no field:", err)
	}
	if err := spirv.CheckBlock(m, "no such buffer", struct{}{}); err != nil {
		t.Error(err)
	}
}

func TestCheckSpecAndBindings(t *testing.T) {
	m, _ := load(t)
	ids := map[string]uint32{"Rows": 0, "D": 1, "pad": 2, "Scale": 3, "Shift": 4, "Unused": 5, "LocalSizeZ": 7}
	if err := spirv.CheckSpec(m, ids); err != nil {
		t.Error(err)
	}
	ids["D"] = 6
	delete(ids, "Shift")
	err := spirv.CheckSpec(m, ids)
	for _, want := range []string{"D: Go 6, shader 1", `"SHIFT" (constant_id 4): not in Go`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	names := []string{"Query", "Result", "Keys", "Scratch", "Table", "Unused"}
	if err := spirv.CheckBindings(m, names); err != nil {
		t.Error(err)
	}
	if err := spirv.CheckBindings(m, names[:3]); err == nil {
		t.Error("too few names: no error")
	}
	m.Bindings[0].Name = "Query4"
	if err := spirv.CheckBindings(m, names); err != nil {
		t.Error(err)
	}
	names[0], names[1] = names[1], names[0]
	if err := spirv.CheckBindings(m, names); err == nil {
		t.Error("names in the wrong order: no error")
	}
}

func TestStripIsIdempotent(t *testing.T) {
	_, code := load(t)
	again, err := spirv.Strip(code)
	if err != nil || !slices.Equal(code, again) {
		t.Errorf("the committed module is not stripped: %v", err)
	}
	if !slices.Equal(code, must(spirv.Words(spirv.Bytes(code)))) {
		t.Error("Words is not the inverse of Bytes")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestDamaged(t *testing.T) {
	_, code := load(t)
	for n := range code {
		if m, err := spirv.Parse(code[:n]); err == nil {
			m.SharedBytes(nil)
		} else if n == 0 && !strings.HasPrefix(err.Error(), "spirv: ") {
			t.Error(err)
		}
	}
	for i := 5; i < len(code); i++ {
		for _, w := range []uint32{0, 0xffffffff, code[i] + 1, code[i] ^ 1<<16} {
			bad := slices.Clone(code)
			bad[i] = w
			exercise(bad)
		}
	}
	if _, err := spirv.Words(make([]byte, 22)); err == nil {
		t.Error("22 bytes: no error")
	}
	if _, err := spirv.Parse(make([]uint32, 10)); err == nil {
		t.Error("wrong magic number: no error")
	}
}

// TestDeepTypes asks for blocks that unfold to 2^40 members: s0 {float}, s1 {s0, s0}, s2 {s1, s1}, ...
func TestDeepTypes(t *testing.T) {
	code := []uint32{0x07230203, 0x10500, 0, 1000, 0}
	add := func(op uint32, args ...uint32) { code = append(append(code, uint32(len(args)+1)<<16|op), args...) }
	const depth = 40
	for s := uint32(10); s < 10+depth; s++ {
		add(72, s, 0, 35, 0)
		add(72, s, 1, 35, 4)
		add(71, 100+s, 33, s)
	}
	add(22, 9, 32)
	add(30, 10, 9, 9)
	for s := uint32(11); s < 10+depth; s++ {
		add(30, s, s-1, s-1)
		for i, class := range []uint32{12, 4} {
			add(32, 200*uint32(i+1)+s, class, s)
			add(59, 200*uint32(i+1)+s, 100*(uint32(i)*5+1)+s, class)
		}
	}
	exercise(code)
	add(32, 900, 9, 9+depth)
	add(59, 900, 901, 9)
	if _, err := spirv.Parse(code); err == nil {
		t.Error("a push-constant block of 2^40 members: no error")
	}
}

func exercise(code []uint32) {
	m, err := spirv.Parse(code)
	if err != nil {
		return
	}
	m.SharedBytes(map[uint32]uint32{0: 64, 1: 0xffffffff, 4: 40})
	m.LocalSize(map[uint32]uint32{0: 64})
	spirv.CheckPush(m, params{})
	spirv.CheckBlock(m, "table", params{})
	spirv.CheckSpec(m, map[string]uint32{"D": 1})
	spirv.CheckBindings(m, []string{"query"})
	spirv.Strip(code)
}

func FuzzParse(f *testing.F) {
	_, code := load(f)
	f.Add(spirv.Bytes(code))
	f.Add(spirv.Bytes(code[:40]))
	f.Fuzz(func(t *testing.T, b []byte) {
		if code, err := spirv.Words(b); err == nil {
			exercise(code)
		}
	})
}

func TestSourceHash(t *testing.T) {
	files := fstest.MapFS{
		"a.comp":     {Data: []byte("#version 450\n#include \"lib/x.glsl\"\n  # include \"lib/y.glsl\" // why\n")},
		"lib/x.glsl": {Data: []byte("#include \"y.glsl\"\n")},
		"lib/y.glsl": {Data: []byte("#include \"x.glsl\"\n// #include \"no.glsl\"\n")},
		"b.comp":     {Data: []byte("#include \"missing.glsl\"\n")},
	}
	first, names, err := spirv.SourceHash(files, "a.comp")
	if want := []string{"a.comp", "lib/x.glsl", "lib/y.glsl"}; err != nil || !slices.Equal(names, want) {
		t.Fatalf("%q, %v, want %q", names, err, want)
	}
	files["lib/y.glsl"].Data = append(files["lib/y.glsl"].Data, '\n')
	if second, _, _ := spirv.SourceHash(files, "a.comp"); second == first {
		t.Error("a change of an include does not change the hash")
	}
	if _, _, err := spirv.SourceHash(files, "b.comp"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing include: %v", err)
	}
}

// TestAnyRounding: the capability and the mode go, nothing else does, and a module without them stays as it is.
func TestAnyRounding(t *testing.T) {
	_, code := load(t)
	if same, err := spirv.AnyRounding(code); err != nil || &same[0] != &code[0] {
		t.Errorf("a module without: %v", err)
	}
	wish := slices.Concat(code[:5], []uint32{2<<16 | 17, 4467}, code[5:], []uint32{4<<16 | 16, 1, 4462, 16, 3<<16 | 16, 1, 11})
	got, err := spirv.AnyRounding(wish)
	if want := slices.Concat(code, []uint32{3<<16 | 16, 1, 11}); err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %d words, want %d", err, len(got), len(want))
	}
	if _, err := spirv.AnyRounding(append(wish, 9<<16|16)); err == nil {
		t.Error("an instruction beyond the end: no error")
	}
}

package vk

import (
	"bytes"
	"encoding/json"
	"reflect"
	"regexp"
	"slices"
	"testing"
)

// TestCapsJSON fills every field with something and sends it through JSON; names are snake_case.
func TestCapsJSON(t *testing.T) {
	var c Caps
	n := 0
	fillValue(reflect.ValueOf(&c).Elem(), &n)
	text, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	var back Caps
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, back) {
		t.Errorf("%+v\n%+v", c, back)
	}
	for _, key := range regexp.MustCompile(`"([^"]*)":`).FindAllStringSubmatch(string(text), -1) {
		if !regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`).MatchString(key[1]) {
			t.Errorf("key %q", key[1])
		}
	}
	clone := c.Clone()
	if !reflect.DeepEqual(c, clone) {
		t.Error("Clone loses something")
	}
	clone.Subgroup.Ops[0], clone.Heaps[0].Size, clone.CooperativeMatrix[0].M = "x", 0, 0
	clone.CooperativeMatrixFlexible[0].M, clone.MemoryTypes[0].Heap, clone.QueueFamilies[0].Count = 0, 0, 0
	clone.Extensions[0], clone.TexelFormats[0], clone.Unasked[0] = "x", "x", "x"
	if !reflect.DeepEqual(c, back) {
		t.Error("Clone shares something")
	}
}

// TestRecordedCaps reads the records of real machines: they must have every field that Caps has, and no other.
func TestRecordedCaps(t *testing.T) {
	for _, path := range files(t, "testdata/caps/*.json") {
		text := []byte(read(t, path))
		var c Caps
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(&c); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		again, err := json.MarshalIndent(c, "", "  ")
		if err != nil || string(again)+"\n" != string(text) {
			t.Errorf("%s is of another version of Caps; record it again (VKATTN_TEST_CAPS_OUT)", path)
		}
		if c.Name == "" || c.Limits.MaxStorageBufferRange < 1<<27 || len(memoryOrder(&c, HeapDevice, ^uint32(0))) == 0 ||
			len(memoryOrder(&c, HeapUpload, ^uint32(0))) == 0 || len(memoryOrder(&c, HeapReadback, ^uint32(0))) == 0 {
			t.Errorf("%s: implausible", path)
		}
	}
}

func fillValue(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fillValue(v.Field(i), n)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fillValue(v.Index(0), n)
		fillValue(v.Index(1), n)
	case reflect.Array:
		for i := range v.Len() {
			fillValue(v.Index(i), n)
		}
	case reflect.String:
		v.SetString(string(rune('a' + *n%26)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.25)
	default:
		v.SetUint(uint64(*n))
	}
}

func TestVersion(t *testing.T) {
	v := Version{1, 3, 230}
	if v.String() != "1.3.230" || !v.AtLeast(1, 2) || !v.AtLeast(1, 3) || v.AtLeast(1, 4) || v.AtLeast(2, 0) || !v.AtLeast(0, 9) {
		t.Error(v)
	}
}

func TestSubgroupHas(t *testing.T) {
	s := Subgroup{Compute: true, Ops: []string{"basic"}}
	if !s.Has("basic") || s.Has("vote") {
		t.Error(s)
	}
	s.Compute = false
	if s.Has("basic") {
		t.Error("not in compute")
	}
}

func TestComputeFamily(t *testing.T) {
	both := QueueFamily{Count: 16, Compute: true, Graphics: true}
	only := QueueFamily{Count: 8, Compute: true}
	copies := QueueFamily{Count: 2, Transfer: true}
	for _, c := range []struct {
		kind     string
		families []QueueFamily
		want     uint32
	}{
		{"discrete", []QueueFamily{both, copies, only}, 2},
		{"integrated", []QueueFamily{both, only}, 0},
		{"discrete", []QueueFamily{copies, both}, 1},
		{"cpu", []QueueFamily{both}, 0},
		{"cpu", []QueueFamily{copies}, 1},
	} {
		if got := computeFamily(c.families, c.kind); got != c.want {
			t.Errorf("%+v: %d, want %d", c, got, c.want)
		}
	}
}

// TestMemoryOrder walks kinds of machines.
func TestMemoryOrder(t *testing.T) {
	const device, visible, coherent, cached = 1, 2, 4, 8
	types := func(flags ...uint32) (list []MemoryType) {
		for _, f := range flags {
			heap := uint32(0)
			if f&device == 0 {
				heap = 1
			}
			list = append(list, MemoryType{Heap: heap, DeviceLocal: f&device != 0, HostVisible: f&visible != 0, HostCoherent: f&coherent != 0, HostCached: f&cached != 0, Flags: f})
		}
		return list
	}
	heaps := []MemoryHeap{{Size: 16 << 30, DeviceLocal: true}, {Size: 64 << 30}}
	small := []MemoryHeap{{Size: 256 << 20, DeviceLocal: true}, {Size: 64 << 30}}
	for _, c := range []struct {
		name                     string
		caps                     Caps
		mask                     uint32
		device, upload, readback []uint32
	}{
		{"discrete, resizable BAR", Caps{DeviceType: "discrete", Heaps: heaps,
			MemoryTypes: types(0, device, visible|coherent, visible|coherent|cached, device|visible|coherent)}, ^uint32(0),
			[]uint32{1, 4}, []uint32{4, 2, 3}, []uint32{3, 2, 4}},
		{"discrete, 256 MiB window", Caps{DeviceType: "discrete", Heaps: small,
			MemoryTypes: types(device, visible|coherent, visible|coherent|cached, device|visible|coherent)}, ^uint32(0),
			[]uint32{0, 3}, []uint32{1, 2, 3}, []uint32{2, 1, 3}},
		{"integrated", Caps{DeviceType: "integrated", Heaps: heaps,
			MemoryTypes: types(device, device|visible|coherent, device|visible|coherent|cached)}, ^uint32(0),
			[]uint32{2, 1, 0}, []uint32{1, 2}, []uint32{2, 1}},
		{"cpu", Caps{DeviceType: "cpu", Heaps: heaps, MemoryTypes: types(device | visible | coherent | cached)}, 1, []uint32{0}, []uint32{0}, []uint32{0}},
		{"cached, not coherent", Caps{DeviceType: "integrated", Heaps: heaps, MemoryTypes: types(device|visible|coherent, device|visible|cached)}, ^uint32(0),
			[]uint32{0, 1}, []uint32{0}, []uint32{1, 0}},
		{"masked", Caps{DeviceType: "discrete", Heaps: heaps, MemoryTypes: types(device, visible|coherent, device)}, 0b110, []uint32{2}, []uint32{1}, []uint32{1}},
		{"exotic", Caps{DeviceType: "discrete", Heaps: heaps, MemoryTypes: types(device|0x40|0x80, device|0x20, device)}, ^uint32(0), []uint32{2}, nil, nil},
	} {
		c.caps.UnifiedMemory = unified(c.caps)
		for heap, want := range map[Heap][]uint32{HeapDevice: c.device, HeapUpload: c.upload, HeapReadback: c.readback} {
			if got := memoryOrder(&c.caps, heap, c.mask); !slices.Equal(got, want) {
				t.Errorf("%s, %s: %v, want %v", c.name, heap, got, want)
			}
		}
	}
}

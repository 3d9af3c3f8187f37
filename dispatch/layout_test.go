package dispatch

import (
	"strings"
	"testing"
	"unsafe"

	"github.com/vkattn/vkattn/internal/spirv"
	"github.com/vkattn/vkattn/shaders"
)

// Go and GLSL agree on the params block, the push constants, the bindings and the specialization ids.
func TestShaderInterfaces(t *testing.T) {
	for _, name := range shaders.Names() {
		m, err := shaders.Load(name)
		if err != nil {
			t.Fatal(err)
		}
		var push, block any = sliceParams{}, params{}
		if strings.HasPrefix(name, "linear_") {
			push, block = linearSlice{}, linearParams{}
		}
		switch name {
		case ropeVariant:
			push = ropeSlice{}
		case mergeVariant:
			push = mergeSlice{}
		case appendVariant:
			push = appendSlice{}
		case selectPool:
			push = poolSlice{}
		case selectScores:
			push = scoresSlice{}
		case selectTop:
			push = topSlice{}
		case selectGate:
			push = gateSlice{}
		case convertVariant:
			push = convertSlice{}
		}
		if err := spirv.CheckPush(m.Info, push); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := spirv.CheckBlock(m.Info, "Params", block); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, b := range m.Info.Bindings {
			if b.Set != 0 || b.Binding >= numBindings {
				t.Errorf("%s: binding %s at set %d, binding %d", name, b.Name, b.Set, b.Binding)
			}
		}
	}
	if unsafe.Sizeof(sliceParams{}) != pushBytes {
		t.Errorf("pushBytes is %d, sliceParams has %d", pushBytes, unsafe.Sizeof(sliceParams{}))
	}
	want := map[string]uint32{"local_size_x": 0, "LANES": 1, "ROWS": 2, "DIM4": 3, "VALUE4": 4, "VECTOR": 5, "EXTRAS": 6, "WHOLE": 7, "PAGED": 8,
		"TYPE_Q": 9, "TYPE_K": 10, "TYPE_V": 11, "TYPE_OUT": 12, "DESCALE": 13}
	linear := map[string]uint32{"local_size_x": 0, "LANES": 1, "ROWS": 2, "DIM4": 3, "READS": 4, "VECTOR": 5, "DELTA": 6, "CHANNEL": 7, "NORM": 8, "MAPPING": 9, "WHOLE": 10,
		"TYPE_Q": 11, "TYPE_K": 12, "TYPE_V": 13, "TYPE_OUT": 14}
	m, err := shaders.Load(linearChunk)
	if err != nil {
		t.Fatal(err)
	}
	if err := spirv.CheckSpec(m.Info, map[string]uint32{"local_size_x": 0, "CHUNK": 1, "PADDED": 2, "VECTOR": 3, "DELTA": 4, "NORM": 5, "EXPONENTIAL": 6,
		"SPAN": 7, "CHANNEL": 8, "SLICE": 9, "TYPE_Q": 10, "TYPE_K": 11, "TYPE_V": 12, "TYPE_OUT": 13}); err != nil {
		t.Errorf("%s: %v", linearChunk, err)
	}
	for _, name := range []string{linearChunkMatrix, linearChunkMatrix + "_bf16"} {
		if m, err = shaders.Load(name); err != nil {
			t.Fatal(err)
		}
		if err := spirv.CheckSpec(m.Info, map[string]uint32{"local_size_x": 0, "CHUNK": 1, "PADDED": 2, "VECTOR": 3, "DELTA": 4, "NORM": 5, "EXPONENTIAL": 6,
			"SPAN": 7, "SLICE": 9, "TYPE_Q": 10, "TYPE_K": 11, "TYPE_V": 12, "TYPE_OUT": 13, "SUBGROUP": 14, "M": 15, "N": 16}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m, err = shaders.Load(ropeVariant); err != nil {
		t.Fatal(err)
	}
	if err := spirv.CheckSpec(m.Info, map[string]uint32{"local_size_x": 0, "VECTOR": 1, "IN_PLACE": 2, "TYPE_Q": 3, "TYPE_OUT": 4}); err != nil {
		t.Errorf("%s: %v", ropeVariant, err)
	}
	if m, err = shaders.Load(appendVariant); err != nil {
		t.Fatal(err)
	}
	if err := spirv.CheckSpec(m.Info, map[string]uint32{"local_size_x": 0, "KEY_TYPE": 1, "VALUE_TYPE": 2}); err != nil {
		t.Errorf("%s: %v", appendVariant, err)
	}
	for _, r := range linearRungs {
		m, err := shaders.Load(r.variant)
		if err != nil {
			t.Fatal(err)
		}
		if err := spirv.CheckSpec(m.Info, linear); err != nil {
			t.Errorf("%s: %v", r.variant, err)
		}
	}
	for _, r := range append([]rung{{"subgroup", texelVariant}, {"subgroup", codesVariant}, {"subgroup", dotVariant}, {"subgroup", fewVariant}}, rungs...) {
		m, err := shaders.Load(r.variant)
		if err != nil {
			t.Fatal(err)
		}
		switch r.variant {
		case dotVariant:
			want["LIMBS"] = 14
		case fewVariant:
			want["KEYS"], want["TEAM"] = 15, 16
		}
		if err := spirv.CheckSpec(m.Info, want); err != nil {
			t.Errorf("%s: %v", r.variant, err)
		}
		for _, name := range []string{"LIMBS", "KEYS", "TEAM"} {
			delete(want, name)
		}
	}
}

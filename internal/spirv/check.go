package spirv

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// CheckPush compares a Go struct with the push-constant block of a module, field by field: name,
// offset, size and, for 32 and 64-bit numbers, kind. Names match without regard to case and
// underscores (QStride is q_stride); `spirv:"name"` gives another name; fields named _ are padding;
// embedded structs count as their fields. All differences come in one error.
//
// A nil goStruct says that the module has no push constants.
func CheckPush(m *Module, goStruct any) error {
	switch {
	case goStruct == nil && m.Push == nil:
		return nil
	case goStruct == nil:
		return fmt.Errorf("spirv: push constants: the shader has a block %q of %d bytes, Go has none", m.Push.Name, m.Push.Size)
	case m.Push == nil:
		return fmt.Errorf("spirv: push constants: Go has %T, the shader has none", goStruct)
	}
	return compareStruct("push constants", goStruct, m.Push.Members)
}

// CheckBlock compares a Go struct with the block of a buffer, as CheckPush does. A last array without a
// length has no field in Go; the struct ends where the array starts. A module that does not use the
// buffer has nothing to compare, and no error.
func CheckBlock(m *Module, binding string, goStruct any) error {
	for _, b := range m.Bindings {
		if fold(b.Name) == fold(binding) {
			return compareStruct("members of "+b.Name, goStruct, b.Members)
		}
	}
	return nil
}

func compareStruct(what string, goStruct any, members []Member) error {
	t := reflect.TypeOf(goStruct)
	if t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return fmt.Errorf("spirv: %s: %T is no struct", what, goStruct)
	}
	var end uint32
	if n := len(members); n > 0 && strings.HasSuffix(members[n-1].Type, "[]") {
		members, end = members[:n-1], members[n-1].Offset
	} else if n > 0 {
		align := uint32(t.Align())
		end = (members[n-1].Offset + members[n-1].Size + align - 1) / align * align
	}
	errs := compareFields(t, 0, members, "")
	if uint32(t.Size()) != end {
		errs = append(errs, fmt.Errorf("size: Go %d bytes, shader %d", t.Size(), end))
	}
	return wrap(what, errs)
}

func compareFields(t reflect.Type, base uintptr, members []Member, path string) []error {
	var errs []error
	byName := map[string]Member{}
	for _, f := range members {
		byName[fold(f.Name)] = f
	}
	seen := map[string]bool{}
	var walk func(t reflect.Type, base uintptr)
	walk = func(t reflect.Type, base uintptr) {
		for i := range t.NumField() {
			f := t.Field(i)
			name := f.Tag.Get("spirv")
			if name == "" {
				name = f.Name
			}
			if name == "_" {
				continue
			}
			want, ok := byName[fold(name)]
			switch {
			case !ok && f.Anonymous && f.Type.Kind() == reflect.Struct:
				walk(f.Type, base+f.Offset)
				continue
			case !ok:
				errs = append(errs, fmt.Errorf("%s%s: not in the shader", path, f.Name))
				continue
			}
			seen[fold(name)] = true
			if got := uint32(base + f.Offset); got != want.Offset {
				errs = append(errs, fmt.Errorf("%s%s: offset: Go %d, shader %d", path, f.Name, got, want.Offset))
			}
			if got := uint32(f.Type.Size()); got != want.Size {
				errs = append(errs, fmt.Errorf("%s%s: size: Go %d, shader %d (%s)", path, f.Name, got, want.Size, want.Type))
			}
			if goType, scalar := scalars[want.Type]; scalar && f.Type.Kind() != goType {
				errs = append(errs, fmt.Errorf("%s%s: type: Go %s, shader %s", path, f.Name, f.Type, want.Type))
			}
			if len(want.Members) > 0 && f.Type.Kind() == reflect.Struct {
				errs = append(errs, compareFields(f.Type, 0, want.Members, path+f.Name+".")...)
			}
		}
	}
	walk(t, base)
	for _, f := range members {
		if !seen[fold(f.Name)] {
			errs = append(errs, fmt.Errorf("%s%s: not in Go", path, f.Name))
		}
	}
	return errs
}

var scalars = map[string]reflect.Kind{
	"uint": reflect.Uint32, "int": reflect.Int32, "float": reflect.Float32,
	"uint64": reflect.Uint64, "int64": reflect.Int64, "float64": reflect.Float64,
}

// fold makes q_stride and QStride the same.
func fold(name string) string { return strings.ToLower(strings.ReplaceAll(name, "_", "")) }

// CheckSpec compares a table of specialization ids by name with a module: each constant of the module
// must be in the table under its name. The table may hold more, since a module keeps only the
// constants that its shader uses. Names match as for CheckPush. A work group size that has an id but
// no constant of its own is named local_size_x, local_size_y or local_size_z.
func CheckSpec(m *Module, ids map[string]uint32) error {
	var errs []error
	byName := map[string]uint32{}
	for name, id := range ids {
		byName[fold(name)] = id
	}
	for _, s := range m.Spec {
		id, ok := byName[fold(s.Name)]
		switch {
		case ok && id == s.ID:
		case ok:
			errs = append(errs, fmt.Errorf("%s: Go %d, shader %d", s.Name, id, s.ID))
		default:
			errs = append(errs, fmt.Errorf("%q (constant_id %d): not in Go", s.Name, s.ID))
		}
	}
	return wrap("specialization ids", errs)
}

// CheckBindings compares names of descriptors, by binding number in set 0, with a module. The list
// may hold more, since a module keeps only the bindings that its shader uses. Names match as for
// CheckPush, and without the digits that end the name of another view of a buffer (Q4 is a view of Q).
func CheckBindings(m *Module, names []string) error {
	var errs []error
	for _, b := range m.Bindings {
		switch {
		case b.Set != 0:
			errs = append(errs, fmt.Errorf("%s: in set %d, want 0", b.Name, b.Set))
		case int64(b.Binding) >= int64(len(names)):
			errs = append(errs, fmt.Errorf("%s: binding %d, Go has %d", b.Name, b.Binding, len(names)))
		case fold(names[b.Binding]) != fold(b.Name) && fold(names[b.Binding]) != strings.TrimRight(fold(b.Name), "0123456789"):
			errs = append(errs, fmt.Errorf("binding %d: Go %s, shader %s", b.Binding, names[b.Binding], b.Name))
		}
	}
	return wrap("bindings", errs)
}

func wrap(what string, errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("spirv: %s differ: %w", what, errors.Join(errs...))
}

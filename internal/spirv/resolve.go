package spirv

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// resolve fills the exported lists from the instructions.
func (m *Module) resolve() error {
	v := m.evaluate(nil)
	size := m.workgroupSize()
	for i := range m.EntryPoints {
		e := &m.EntryPoints[i]
		if size != [3]uint32{} {
			e.sizeIDs = size // SPIR-V: the decorated constant wins over the execution mode
		}
		for axis, id := range e.sizeIDs {
			if id == 0 {
				continue
			}
			if c := v.consts[id]; c.known {
				e.LocalSize[axis] = uint32(c.bits)
			}
			if d := m.decor[id]; d != nil && d.spec != nil {
				e.LocalSizeSpec[axis] = int64(*d.spec)
			}
		}
	}
	left := 1 << 14
	for _, in := range m.insts {
		switch in.op {
		case opSpecConstant, opSpecConstantTrue, opSpecConstantFalse:
			m.addSpec(in, v)
		case opVariable:
			if err := m.addVariable(in, v, &left); err != nil {
				return err
			}
		}
	}
	m.nameSizes()
	slices.SortStableFunc(m.Spec, func(a, b SpecConstant) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortStableFunc(m.Bindings, func(a, b Binding) int {
		return cmp.Or(cmp.Compare(a.Set, b.Set), cmp.Compare(a.Binding, b.Binding))
	})
	return nil
}

// workgroupSize returns the constants of the vector decorated as the work group size, or zeros.
func (m *Module) workgroupSize() [3]uint32 {
	for _, in := range m.insts {
		d := m.decor[in.id]
		if d != nil && d.builtin != nil && *d.builtin == builtinWorkgroupSize && len(in.args) == 3 &&
			(in.op == opSpecConstantComposite || in.op == opConstantComposite) {
			return [3]uint32(in.args)
		}
	}
	return [3]uint32{}
}

func (m *Module) addSpec(in inst, v *values) {
	d := m.decor[in.id]
	if d == nil || d.spec == nil {
		return
	}
	s := SpecConstant{ID: *d.spec, Name: m.names[in.id], Type: v.typeName(in.typ, 0), Default: v.consts[in.id].bits}
	// A work group size written with the id of a named constant is a second constant with that id.
	for i := range m.Spec {
		if m.Spec[i].ID == s.ID {
			m.Spec[i].Name = cmp.Or(m.Spec[i].Name, s.Name)
			return
		}
	}
	m.Spec = append(m.Spec, s)
}

// nameSizes names the constants that GLSL leaves without a name: those of layout(local_size_x_id = ...).
func (m *Module) nameSizes() {
	for _, e := range m.EntryPoints {
		for axis, id := range e.LocalSizeSpec {
			for i := range m.Spec {
				if s := &m.Spec[i]; int64(s.ID) == id && s.Name == "" {
					s.Name = sizeNames[axis]
				}
			}
		}
	}
}

var sizeNames = [3]string{"local_size_x", "local_size_y", "local_size_z"}

func (m *Module) addVariable(in inst, v *values, left *int) error {
	pointer := m.types[in.typ]
	if pointer.op != opTypePointer {
		return fmt.Errorf("spirv: variable %d has no pointer type", in.id)
	}
	pointee := pointer.args[1]
	if in.args[0] == classPushConstant {
		if m.Push != nil {
			return errors.New("spirv: two push-constant blocks")
		}
		members, err := m.members(pointee, v, 0, left)
		if err != nil {
			return err
		}
		m.Push = &Block{Name: cmp.Or(m.names[in.id], m.names[pointee]), Members: members}
		for _, f := range members {
			m.Push.Size = max(m.Push.Size, f.Offset+f.Size)
		}
		return nil
	}
	d := m.decor[in.id]
	if d == nil || d.binding == nil {
		return nil
	}
	b := Binding{Binding: *d.binding, Class: classNames[in.args[0]], Count: 1}
	if d.set != nil {
		b.Set = *d.set
	}
	switch t := m.types[pointee]; t.op {
	case opTypeArray:
		b.Count, pointee = v.consts[t.args[1]].bits, t.args[0]
	case opTypeRuntimeArray:
		b.Count, pointee = 0, t.args[0]
	}
	b.Name = cmp.Or(m.names[in.id], m.names[pointee])
	b.Kind = m.descriptor(in.args[0], pointee)
	b.ReadOnly = d.nonWritable || m.allNonWritable(pointee)
	if m.types[pointee].op == opTypeStruct {
		// A block that cannot be laid out, being of types that are not known here, stays without members.
		b.Members, _ = m.members(pointee, v, 0, left)
	}
	m.Bindings = append(m.Bindings, b)
	return nil
}

func (m *Module) allNonWritable(structID uint32) bool {
	t := m.types[structID]
	if t.op != opTypeStruct || len(t.args) == 0 {
		return false
	}
	for i := range t.args {
		if d := m.fieldDecor[field{structID, uint32(i)}]; d == nil || !d.nonWritable {
			return false
		}
	}
	return true
}

func (m *Module) descriptor(class, id uint32) string {
	t := m.types[id]
	d := m.decor[id]
	sampled := false
	if t.op == opTypeSampledImage {
		t, sampled = m.types[t.args[0]], true
	}
	const dimBuffer, forStorage = 5, 2
	switch {
	case class == classStorageBuffer, class == classUniform && d != nil && d.bufferBlock:
		return "storage buffer"
	case class == classUniform:
		return "uniform buffer"
	case t.op == opTypeImage && t.args[1] == dimBuffer && t.args[5] == forStorage:
		return "storage texel buffer"
	case t.op == opTypeImage && t.args[1] == dimBuffer:
		return "uniform texel buffer"
	case t.op == opTypeImage && sampled:
		return "combined image sampler"
	case t.op == opTypeImage && t.args[5] == forStorage:
		return "storage image"
	case t.op == opTypeImage:
		return "sampled image"
	case t.op == opTypeSampler:
		return "sampler"
	case t.op == opTypeAccelerationStructure:
		return "acceleration structure"
	}
	return fmt.Sprintf("descriptor of type opcode %d", t.op)
}

// members lists the fields of a block. left bounds the work that a hostile module can ask for.
func (m *Module) members(structID uint32, v *values, depth int, left *int) ([]Member, error) {
	t := m.types[structID]
	if t.op != opTypeStruct {
		return nil, errors.New("spirv: a block that is no struct")
	}
	var out []Member
	for i, id := range t.args {
		if *left--; *left < 0 || depth > 8 {
			return nil, errors.New("spirv: blocks of absurd depth or length")
		}
		f := field{structID, uint32(i)}
		size, err := v.size(id)
		d := m.fieldDecor[f]
		switch {
		case err != nil:
			return nil, fmt.Errorf("spirv: block member %q: %w", m.fieldNames[f], err)
		case d == nil || d.offset == nil || uint64(*d.offset)+size > maxBytes:
			return nil, fmt.Errorf("spirv: block member %q has no sane offset", m.fieldNames[f])
		}
		member := Member{Name: m.fieldNames[f], Type: v.typeName(id, 0), Offset: *d.offset, Size: uint32(size)}
		if m.types[id].op == opTypeStruct {
			if member.Members, err = m.members(id, v, depth+1, left); err != nil {
				return nil, err
			}
		}
		out = append(out, member)
	}
	return out, nil
}

// typeName names a type as GLSL does, as far as blocks need it.
func (v *values) typeName(id uint32, depth int) string {
	t := v.m.types[id]
	if depth > 8 {
		return "?"
	}
	switch t.op {
	case opTypeBool:
		return "bool"
	case opTypeInt:
		name := "uint"
		if t.args[1] != 0 {
			name = "int"
		}
		if t.args[0] != 32 {
			name += fmt.Sprint(t.args[0])
		}
		return name
	case opTypeFloat:
		switch {
		case len(t.args) > 1 && t.args[0] == 16:
			return "bfloat16"
		case t.args[0] == 32:
			return "float"
		}
		return fmt.Sprint("float", t.args[0])
	case opTypeVector:
		prefix, known := map[string]string{"float": "vec", "uint": "uvec", "int": "ivec"}[v.typeName(t.args[0], depth+1)]
		if known {
			return fmt.Sprint(prefix, t.args[1])
		}
		return fmt.Sprint(v.typeName(t.args[0], depth+1), "vec", t.args[1])
	case opTypeMatrix:
		return fmt.Sprint("mat", t.args[1], "x", v.typeName(t.args[0], depth+1))
	case opTypeArray:
		n := "?"
		if c := v.consts[t.args[1]]; c.known {
			n = fmt.Sprint(c.bits)
		}
		return v.typeName(t.args[0], depth+1) + "[" + n + "]"
	case opTypeRuntimeArray:
		return v.typeName(t.args[0], depth+1) + "[]"
	case opTypePointer:
		return "pointer"
	case opTypeStruct:
		return v.m.names[id]
	}
	return fmt.Sprintf("type(%d)", t.op)
}

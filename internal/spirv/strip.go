package spirv

import "slices"

// Strip drops the debug instructions of a module but for the names that Parse reports: entry points
// need none, specialization constants, bindings, shared variables, blocks and their members keep
// theirs. Compile with `glslc -O -g`, strip, and names survive at a tenth of the size of full debug
// information (glslc -O alone drops all names).
func Strip(code []uint32) ([]uint32, error) {
	m, err := Parse(code)
	if err != nil {
		return nil, err
	}
	keep := m.named()
	const (
		opSourceContinued, opSource, opSourceExtension, opString = 2, 3, 4, 7
		opLine, opNoLine, opModuleProcessed                      = 8, 317, 330
	)
	out := slices.Clone(code[:5])
	err = each(code, func(op uint16, args []uint32) error {
		switch op {
		case opSourceContinued, opSource, opSourceExtension, opString, opLine, opNoLine, opModuleProcessed:
			return nil
		case opName, opMemberName:
			if !keep[args[0]] || args[len(args)-1] == 0 && len(args) == 2 {
				return nil
			}
		}
		out = append(out, uint32(len(args)+1)<<16|uint32(op))
		out = append(out, args...)
		return nil
	})
	return out, err
}

// named is the set of ids whose names the reflection shows.
func (m *Module) named() map[uint32]bool {
	keep := map[uint32]bool{}
	var keepType func(id uint32, depth int)
	keepType = func(id uint32, depth int) {
		t := m.types[id]
		switch {
		case depth > 8 || keep[id]:
		case t.op == opTypeStruct:
			keep[id] = true
			for _, f := range t.args {
				keepType(f, depth+1)
			}
		case t.op == opTypeArray, t.op == opTypeRuntimeArray:
			keepType(t.args[0], depth+1)
		case t.op == opTypePointer:
			keepType(t.args[1], depth+1)
		}
	}
	for _, in := range m.insts {
		d := m.decor[in.id]
		switch {
		case in.op == opVariable && (in.args[0] == classPushConstant || in.args[0] == classWorkgroup || d != nil && d.binding != nil):
			keep[in.id] = true
			keepType(in.typ, 0)
		case d != nil && d.spec != nil:
			keep[in.id] = true
		}
	}
	return keep
}

package spirv

import (
	"errors"
	"fmt"
)

// maxBytes bounds every size, so that sums and products of hostile numbers stay in an int64.
const maxBytes = 1<<31 - 1

var errSize = errors.New("size is not known or absurd")

// values holds the constants and the sizes of types under one choice of specialization constants.
type values struct {
	m       *Module
	consts  map[uint32]value
	layouts map[uint32]layout
}

type value struct {
	bits  uint64 // masked to the width of the type; 0 or 1 for bool
	known bool   // false for what evaluate does not compute, and what depends on it
	typ   uint32
	parts []uint32 // ids of the constituents of a composite
}

// layout of a type in bytes. size is without the padding that an array would add.
type layout struct {
	size, align uint64
	err         error
}

// SharedBytes returns the bytes of shared memory (storage class Workgroup) that a work group takes
// when specialised with spec: raw 32-bit values by constant id, defaults for those left out.
//
// Variables count in the order of the module with std430 sizes and alignments, which is the most that
// Vulkan lets a driver take (VUID-RuntimeSpirv-Workgroup-06530); blocks with explicit layouts
// (WorkgroupMemoryExplicitLayoutKHR) lie over each other. It fails when a length depends on an
// operation that it does not know.
func (m *Module) SharedBytes(spec map[uint32]uint32) (int, error) {
	v := m.evaluate(spec)
	var total, aliased uint64
	for _, in := range m.insts {
		if in.op != opVariable || in.args[0] != classWorkgroup {
			continue
		}
		pointee := m.types[in.typ].args[1]
		l, ok := v.layouts[pointee]
		switch d := m.decor[pointee]; {
		case !ok || l.err != nil:
		case d != nil && d.block:
			aliased = max(aliased, l.size)
		default:
			total = roundUp(total, l.align) + l.size
		}
		if !ok || total+aliased > maxBytes {
			l.err = errSize
		}
		if l.err != nil {
			return 0, fmt.Errorf("spirv: shared variable %q: %w", m.names[in.id], l.err)
		}
	}
	return int(total + aliased), nil
}

// LocalSize returns the work group size of the first entry point when specialised with spec.
func (m *Module) LocalSize(spec map[uint32]uint32) ([3]uint32, error) {
	if len(m.EntryPoints) == 0 {
		return [3]uint32{}, errors.New("spirv: no entry point")
	}
	e, v := m.EntryPoints[0], m.evaluate(spec)
	for axis, id := range e.sizeIDs {
		if id == 0 {
			continue
		}
		c := v.consts[id]
		if !c.known {
			return e.LocalSize, fmt.Errorf("spirv: work group size, axis %d: cannot evaluate", axis)
		}
		e.LocalSize[axis] = uint32(c.bits)
	}
	return e.LocalSize, nil
}

// evaluate computes constants and sizes in module order: SPIR-V defines before it uses.
func (m *Module) evaluate(spec map[uint32]uint32) *values {
	v := &values{m: m, consts: map[uint32]value{}, layouts: map[uint32]layout{}}
	for _, in := range m.insts {
		switch in.op {
		case opVariable:
		case opConstantTrue, opSpecConstantTrue, opConstantFalse, opSpecConstantFalse, opConstant,
			opSpecConstant, opConstantNull, opConstantComposite, opSpecConstantComposite, opSpecConstantOp:
			v.consts[in.id] = v.constant(in, spec)
		default:
			v.layouts[in.id] = v.layout(in)
		}
	}
	return v
}

func (v *values) constant(in inst, spec map[uint32]uint32) value {
	if d := v.m.decor[in.id]; d != nil && d.spec != nil {
		if set, ok := spec[*d.spec]; ok {
			if v.m.types[in.typ].op == opTypeBool && set != 0 {
				set = 1
			}
			return v.fit(in.typ, uint64(set))
		}
	}
	switch in.op {
	case opConstantTrue, opSpecConstantTrue:
		return v.fit(in.typ, 1)
	case opConstantFalse, opSpecConstantFalse, opConstantNull:
		return v.fit(in.typ, 0)
	case opConstantComposite, opSpecConstantComposite:
		return value{parts: in.args}
	case opConstant, opSpecConstant:
		bits := uint64(in.args[0])
		if len(in.args) > 1 {
			bits |= uint64(in.args[1]) << 32
		}
		return v.fit(in.typ, bits)
	case opSpecConstantOp:
		return v.operate(in)
	}
	return value{}
}

// width is that of an integer, float or bool type in bits, 0 for other types.
func (v *values) width(typ uint32) uint {
	switch t := v.m.types[typ]; t.op {
	case opTypeInt, opTypeFloat:
		if w := t.args[0]; w >= 8 && w <= 64 {
			return uint(w)
		}
	case opTypeBool:
		return 1
	}
	return 0
}

func (v *values) fit(typ uint32, bits uint64) value {
	w := v.width(typ)
	if w == 0 {
		return value{}
	}
	return value{bits: bits & (^uint64(0) >> (64 - w)), known: true, typ: typ}
}

// operate computes one OpSpecConstantOp on scalar integers and bools.
func (v *values) operate(in inst) value {
	op, ids := in.args[0], in.args[1:]
	if op == 81 && len(ids) == 2 { // CompositeExtract, of a vector such as gl_WorkGroupSize
		if parts := v.consts[ids[0]].parts; ids[1] < uint32(len(parts)) {
			return v.consts[parts[ids[1]]]
		}
		return value{}
	}
	var x [3]value
	if len(ids) > len(x) {
		return value{}
	}
	for i, id := range ids {
		if x[i] = v.consts[id]; !x[i].known {
			return value{}
		}
	}
	w := v.width(x[0].typ)
	if t := v.m.types[in.typ].op; w == 0 || t != opTypeInt && t != opTypeBool {
		return value{}
	}
	a, b := x[0].bits, x[1].bits
	switch {
	case len(ids) == 3 && op == 169: // Select
		if a != 0 {
			return v.fit(in.typ, b)
		}
		return v.fit(in.typ, x[2].bits)
	case len(ids) == 1:
		bits, ok := unary(op, a, extend(a, w))
		return v.result(in.typ, bits, ok)
	case len(ids) == 2:
		bits, ok := dyadic(op, a, b, extend(a, w), extend(b, w), w)
		return v.result(in.typ, bits, ok)
	}
	return value{}
}

func (v *values) result(typ uint32, bits uint64, ok bool) value {
	if !ok {
		return value{}
	}
	return v.fit(typ, bits)
}

func unary(op uint32, a uint64, sa int64) (uint64, bool) {
	switch op {
	case 113: // UConvert
		return a, true
	case 114: // SConvert
		return uint64(sa), true
	case 126: // SNegate
		return uint64(-sa), true
	case 168: // LogicalNot
		return a ^ 1, true
	case 200: // Not
		return ^a, true
	}
	return 0, false
}

func dyadic(op uint32, a, b uint64, sa, sb int64, w uint) (uint64, bool) {
	switch op {
	case 128: // IAdd
		return a + b, true
	case 130: // ISub
		return a - b, true
	case 132: // IMul
		return a * b, true
	case 134, 135, 137, 138, 139: // UDiv, SDiv, UMod, SRem, SMod
		if b == 0 {
			return 0, false
		}
		return divide(op, a, b, sa, sb), true
	case 194, 195, 196: // ShiftRightLogical, ShiftRightArithmetic, ShiftLeftLogical
		if b >= uint64(w) {
			return 0, false
		}
		switch op {
		case 194:
			return a >> b, true
		case 195:
			return uint64(sa >> b), true
		}
		return a << b, true
	case 166, 197: // LogicalOr, BitwiseOr
		return a | b, true
	case 165, 198: // LogicalNotEqual, BitwiseXor
		return a ^ b, true
	case 167, 199: // LogicalAnd, BitwiseAnd
		return a & b, true
	case 164, 170: // LogicalEqual, IEqual
		return bit(a == b), true
	case 171: // INotEqual
		return bit(a != b), true
	case 172: // UGreaterThan
		return bit(a > b), true
	case 173: // SGreaterThan
		return bit(sa > sb), true
	case 174: // UGreaterThanEqual
		return bit(a >= b), true
	case 175: // SGreaterThanEqual
		return bit(sa >= sb), true
	case 176: // ULessThan
		return bit(a < b), true
	case 177: // SLessThan
		return bit(sa < sb), true
	case 178: // ULessThanEqual
		return bit(a <= b), true
	case 179: // SLessThanEqual
		return bit(sa <= sb), true
	}
	return 0, false
}

func divide(op uint32, a, b uint64, sa, sb int64) uint64 {
	switch op {
	case 134:
		return a / b
	case 135:
		return uint64(sa / sb)
	case 137:
		return a % b
	case 138:
		return uint64(sa % sb)
	}
	r := sa % sb // SMod: the sign of the divisor
	if r != 0 && (r < 0) != (sb < 0) {
		r += sb
	}
	return uint64(r)
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// extend reads the low w bits of a as a signed number.
func extend(a uint64, w uint) int64 { return int64(a<<(64-w)) >> (64 - w) }

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }

func (v *values) size(id uint32) (uint64, error) {
	l, ok := v.layouts[id]
	if !ok {
		return 0, errSize
	}
	return l.size, l.err
}

// layout follows std430, or the offsets and strides that a type is decorated with.
func (v *values) layout(t inst) layout {
	switch t.op {
	case opTypeBool:
		return layout{size: 4, align: 4}
	case opTypeInt, opTypeFloat:
		n := uint64(v.width(t.id)) / 8
		if n == 0 {
			return layout{err: errSize}
		}
		return layout{size: n, align: n}
	case opTypePointer:
		return layout{size: 8, align: 8} // a buffer address
	case opTypeVector:
		e, n := v.layouts[t.args[0]], uint64(t.args[1])
		if n < 2 || n > 4 || e.align == 0 {
			return layout{err: errSize}
		}
		return layout{size: n * e.size, align: e.align * (n + n&1), err: e.err} // vec3 aligns as vec4
	case opTypeMatrix, opTypeArray:
		n := value{bits: uint64(t.args[1]), known: true}
		if t.op == opTypeArray {
			n = v.consts[t.args[1]]
		}
		return v.arrayLayout(t, n)
	case opTypeRuntimeArray:
		return layout{size: 0, align: max(v.layouts[t.args[0]].align, 1), err: v.layouts[t.args[0]].err}
	case opTypeStruct:
		return v.structLayout(t)
	}
	return layout{err: fmt.Errorf("type with opcode %d has no size", t.op)}
}

func (v *values) arrayLayout(t inst, n value) layout {
	e := v.layouts[t.args[0]]
	if e.err != nil || e.align == 0 {
		return layout{err: errSize}
	}
	stride := roundUp(e.size, e.align)
	if d := v.m.decor[t.id]; d != nil && d.stride != nil {
		stride = uint64(*d.stride)
	}
	if !n.known || n.bits > maxBytes || stride > maxBytes || stride*n.bits > maxBytes {
		return layout{err: fmt.Errorf("array length: %w", errSize)}
	}
	return layout{size: stride * n.bits, align: e.align}
}

func (v *values) structLayout(t inst) layout {
	out := layout{align: 1}
	explicit := false
	for i, id := range t.args {
		e := v.layouts[id]
		if e.err != nil || e.align == 0 {
			return layout{err: errSize}
		}
		at := roundUp(out.size, e.align)
		if d := v.m.fieldDecor[field{t.id, uint32(i)}]; d != nil && d.offset != nil {
			at, explicit = uint64(*d.offset), true
		}
		out.size, out.align = max(out.size, at+e.size), max(out.align, e.align)
		if out.size > maxBytes {
			return layout{err: errSize}
		}
	}
	if !explicit {
		out.size = roundUp(out.size, out.align)
	}
	return out
}

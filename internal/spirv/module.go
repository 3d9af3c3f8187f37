// Package spirv reads what a host has to know of a SPIR-V compute module: entry points, work group
// size, specialization constants, descriptor bindings, push constants, shared memory, capabilities.
//
// It is what keeps Go and GLSL in step: planners take shared-memory bytes from it, and tests compare
// Go's push-constant structs, specialization ids and binding numbers with it by name (see CheckPush).
//
// Source: the SPIR-V specification 1.6, https://registry.khronos.org/SPIR-V/specs/unified1/SPIRV.html.
package spirv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Module is what Parse found. It is immutable after Parse, and safe for concurrent use.
type Module struct {
	Version      string         `json:"version"` // of SPIR-V: "1.5"
	EntryPoints  []EntryPoint   `json:"entry_points"`
	Spec         []SpecConstant `json:"spec,omitempty"`     // by id, one for each id
	Bindings     []Binding      `json:"bindings,omitempty"` // by set, then binding
	Push         *Block         `json:"push,omitempty"`     // nil: no push constants
	Capabilities []string       `json:"capabilities"`       // sorted names, "Capability(n)" for unknown ones
	Extensions   []string       `json:"extensions,omitempty"`

	insts      []inst // types, constants and module-scope variables, in module order
	names      map[uint32]string
	fieldNames map[field]string
	decor      map[uint32]*decoration
	fieldDecor map[field]*decoration
	types      map[uint32]inst
}

// EntryPoint is one function that a pipeline can start.
type EntryPoint struct {
	Name  string   `json:"name"`
	Model string   `json:"model"`           // "GLCompute", or "ExecutionModel(n)"
	Modes []string `json:"modes,omitempty"` // execution modes other than the work group size

	// LocalSize is the work group size when nothing is specialised. LocalSizeSpec holds, for each
	// axis, the id of the specialization constant that sets it, or -1 for a fixed size.
	LocalSize     [3]uint32 `json:"local_size"`
	LocalSizeSpec [3]int64  `json:"local_size_spec"`

	id      uint32
	sizeIDs [3]uint32 // of the constants with the size; 0: LocalSize holds literals
}

// SpecConstant is one specialization constant. An optimiser drops those that a shader does not use.
type SpecConstant struct {
	ID      uint32 `json:"id"`
	Name    string `json:"name"`
	Type    string `json:"type"`    // "bool", "int", "uint", "float", "uint64", ...
	Default uint64 `json:"default"` // raw bits; 0 or 1 for bool
}

// Binding is one descriptor.
type Binding struct {
	Set      uint32 `json:"set"`
	Binding  uint32 `json:"binding"`
	Name     string `json:"name"`  // of the variable, or of its block where the variable has none
	Kind     string `json:"kind"`  // "storage buffer", "uniform buffer", "uniform texel buffer", ...
	Class    string `json:"class"` // storage class: "StorageBuffer", "Uniform", "UniformConstant"
	Count    uint64 `json:"count"` // descriptors; 0: an array without a length
	ReadOnly bool   `json:"read_only,omitempty"`

	// Members is the layout of a buffer's block. A last array without a length has size 0.
	Members []Member `json:"-"`
}

// Block is the push-constant block, offsets and sizes in bytes.
type Block struct {
	Name    string   `json:"name"`
	Size    uint32   `json:"size"`
	Members []Member `json:"members"`
}

// Member is one field of a block.
type Member struct {
	Name    string   `json:"name"`
	Type    string   `json:"type"` // "uint", "float", "uvec2", "uint[4]", the name of a struct, ...
	Offset  uint32   `json:"offset"`
	Size    uint32   `json:"size"`
	Members []Member `json:"members,omitempty"` // of a struct, offsets from its start
}

type inst struct {
	op   uint16
	typ  uint32 // result type, 0 for types
	id   uint32
	args []uint32 // what follows the ids
}

type field struct{ id, n uint32 }

type decoration struct {
	spec, set, binding, offset, stride, builtin *uint32
	block, bufferBlock, nonWritable             bool
}

// Opcodes, enumerants and their names: see the specification, section 3.
const (
	magic = 0x07230203

	opName, opMemberName, opExtension                = 5, 6, 10
	opEntryPoint, opExecutionMode, opCapability      = 15, 16, 17
	opTypeBool, opTypeInt, opTypeFloat, opTypeVector = 20, 21, 22, 23
	opTypeMatrix, opTypeImage, opTypeSampler         = 24, 25, 26
	opTypeSampledImage, opTypeArray                  = 27, 28
	opTypeRuntimeArray, opTypeStruct, opTypePointer  = 29, 30, 32
	opTypeForwardPointer                             = 39
	opConstantTrue, opConstantFalse, opConstant      = 41, 42, 43
	opConstantComposite, opConstantNull              = 44, 46
	opSpecConstantTrue, opSpecConstantFalse          = 48, 49
	opSpecConstant, opSpecConstantComposite          = 50, 51
	opSpecConstantOp, opFunction, opVariable         = 52, 54, 59
	opDecorate, opMemberDecorate, opExecutionModeID  = 71, 72, 331
	opTypeAccelerationStructure                      = 5341

	modeLocalSize, modeLocalSizeID = 17, 38

	classUniformConstant, classUniform, classWorkgroup = 0, 2, 4
	classPushConstant, classStorageBuffer              = 9, 12

	builtinWorkgroupSize = 25
)

// Words turns the bytes of a SPIR-V file, little-endian, into a copy of words.
func Words(b []byte) ([]uint32, error) {
	if len(b)%4 != 0 || len(b) < 20 {
		return nil, fmt.Errorf("spirv: a file of %d bytes is not SPIR-V", len(b))
	}
	w := make([]uint32, len(b)/4)
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return w, nil
}

// Bytes is the inverse of Words.
func Bytes(code []uint32) []byte {
	b := make([]byte, 0, 4*len(code))
	for _, w := range code {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

// Parse reads a module. It does not validate it, but any input is safe: it returns an error.
// Parse keeps no reference to code.
func Parse(code []uint32) (*Module, error) {
	m := &Module{
		names: map[uint32]string{}, fieldNames: map[field]string{},
		decor: map[uint32]*decoration{}, fieldDecor: map[field]*decoration{}, types: map[uint32]inst{},
	}
	if len(code) < 5 || code[0] != magic {
		return nil, errors.New("spirv: not a SPIR-V module: wrong magic number")
	}
	m.Version = fmt.Sprintf("%d.%d", code[1]>>16&0xff, code[1]>>8&0xff)
	err := each(code, func(op uint16, args []uint32) error {
		if op == opFunction {
			return errStop
		}
		return m.read(op, args)
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(m.Capabilities)
	slices.Sort(m.Extensions)
	return m, m.resolve()
}

var errStop = errors.New("stop")

// each calls f for every instruction, until f returns errStop.
func each(code []uint32, f func(op uint16, args []uint32) error) error {
	for at := 5; at < len(code); {
		n, op := int(code[at]>>16), uint16(code[at])
		if n == 0 || n > len(code)-at {
			return fmt.Errorf("spirv: instruction of %d words at word %d of %d", n, at, len(code))
		}
		switch err := f(op, code[at+1:at+n]); {
		case errors.Is(err, errStop):
			return nil
		case err != nil:
			return fmt.Errorf("spirv: word %d, opcode %d: %w", at, op, err)
		}
		at += n
	}
	return nil
}

// fewest is the number of operands that read uses of each instruction without looking.
var fewest = map[uint16]int{
	opName: 2, opMemberName: 3, opExtension: 1, opEntryPoint: 3, opExecutionMode: 2, opExecutionModeID: 2,
	opCapability: 1, opDecorate: 2, opMemberDecorate: 3,
	opTypeBool: 1, opTypeInt: 3, opTypeFloat: 2, opTypeVector: 3, opTypeMatrix: 3, opTypeImage: 8,
	opTypeSampledImage: 2, opTypeArray: 3, opTypeRuntimeArray: 2, opTypeStruct: 1, opTypePointer: 3,
	opConstantTrue: 2, opConstantFalse: 2, opConstant: 3, opConstantComposite: 2, opConstantNull: 2,
	opSpecConstantTrue: 2, opSpecConstantFalse: 2, opSpecConstant: 3, opSpecConstantComposite: 2,
	opSpecConstantOp: 3, opVariable: 3,
}

func (m *Module) read(op uint16, args []uint32) error {
	if len(args) < fewest[op] {
		return fmt.Errorf("%d operands, want at least %d", len(args), fewest[op])
	}
	switch op {
	case opCapability:
		m.Capabilities = append(m.Capabilities, capability(args[0]))
	case opExtension:
		name, _ := text(args)
		m.Extensions = append(m.Extensions, name)
	case opName:
		m.names[args[0]], _ = text(args[1:])
	case opMemberName:
		m.fieldNames[field{args[0], args[1]}], _ = text(args[2:])
	case opEntryPoint:
		e := EntryPoint{Model: fmt.Sprintf("ExecutionModel(%d)", args[0]), id: args[1],
			LocalSize: [3]uint32{1, 1, 1}, LocalSizeSpec: [3]int64{-1, -1, -1}}
		if args[0] == 5 {
			e.Model = "GLCompute"
		}
		e.Name, _ = text(args[2:])
		m.EntryPoints = append(m.EntryPoints, e)
	case opExecutionMode, opExecutionModeID:
		m.readMode(args[0], args[1], args[2:])
	case opDecorate:
		decorate(m.decor, args[0], args[1], args[2:])
	case opMemberDecorate:
		decorate(m.fieldDecor, field{args[0], args[1]}, args[2], args[3:])
	case opConstantTrue, opConstantFalse, opConstant, opConstantComposite, opConstantNull, opVariable,
		opSpecConstantTrue, opSpecConstantFalse, opSpecConstant, opSpecConstantComposite, opSpecConstantOp:
		m.insts = append(m.insts, inst{op, args[0], args[1], slices.Clone(args[2:])})
	case opTypeForwardPointer:
	default:
		if len(args) > 0 && (op >= opTypeBool && op < opTypeForwardPointer || op == opTypeAccelerationStructure) {
			t := inst{op: op, id: args[0], args: slices.Clone(args[1:])}
			if _, twice := m.types[t.id]; !twice {
				m.types[t.id] = t
				m.insts = append(m.insts, t)
			}
		}
	}
	return nil
}

func (m *Module) readMode(entry, mode uint32, args []uint32) {
	for i := range m.EntryPoints {
		e := &m.EntryPoints[i]
		switch {
		case e.id != entry:
		case mode == modeLocalSize && len(args) == 3:
			e.LocalSize = [3]uint32(args)
		case mode == modeLocalSizeID && len(args) == 3:
			e.sizeIDs = [3]uint32(args)
		case modeNames[mode] != "" && len(args) == 1:
			e.Modes = append(e.Modes, fmt.Sprint(modeNames[mode], " ", args[0]))
		case modeNames[mode] != "":
			e.Modes = append(e.Modes, modeNames[mode])
		default:
			e.Modes = append(e.Modes, fmt.Sprintf("ExecutionMode(%d)", mode))
		}
	}
}

func decorate[K comparable](to map[K]*decoration, key K, kind uint32, args []uint32) {
	d := to[key]
	if d == nil {
		d = &decoration{}
		to[key] = d
	}
	var number *uint32
	if len(args) > 0 {
		v := args[0]
		number = &v
	}
	switch kind {
	case 1:
		d.spec = number
	case 2:
		d.block = true
	case 3:
		d.bufferBlock = true
	case 6:
		d.stride = number
	case 11:
		d.builtin = number
	case 24:
		d.nonWritable = true
	case 33:
		d.binding = number
	case 34:
		d.set = number
	case 35:
		d.offset = number
	}
}

// text reads a string literal: UTF-8 in words, ended by a zero byte. It returns its length in words.
func text(words []uint32) (string, int) {
	var b []byte
	for i, w := range words {
		for s := 0; s < 32; s += 8 {
			if c := byte(w >> s); c != 0 {
				b = append(b, c)
			} else {
				return string(b), i + 1
			}
		}
	}
	return string(b), len(words)
}

package dispatch

import (
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// decodeRung is the name by which Config.Disable turns flash_decode.comp off.
const decodeRung = "decode"

// decodeKey is everything that a pipeline of flash_decode.comp is specialised on.
type decodeKey struct {
	Variant      string
	Invocations  uint32
	SubgroupSize uint32
	M, N         uint32 // of one product, N being its K, too
	Rows         uint32 // of a tile
	DimMats      uint32 // matrices of a query or key row
	ValueMats    uint32 // of a value row
	Ahead        bool   // keys and values are read a step ahead
	Layout       matrixLayout
	Types        types
	Partial      bool      // results of a part are written
	Whole        bool      // head sizes are those that the matrices hold
	rest         kernelKey // for what it does not do, in the same row tile
}

// spec is the table of specialization ids of flash_decode.comp; a test compares it with the SPIR-V.
func (k decodeKey) spec() []vk.SpecConstant {
	return []vk.SpecConstant{
		{ID: 0, Value: k.Invocations}, {ID: 1, Value: k.SubgroupSize}, {ID: 2, Value: k.M}, {ID: 3, Value: k.N}, {ID: 4, Value: k.Rows},
		{ID: 6, Value: k.DimMats}, {ID: 7, Value: k.ValueMats}, {ID: 10, Value: b2u(k.Ahead)},
		{ID: 13, Value: k.Layout.Lanes}, {ID: 14, Value: k.Layout.Places}, {ID: 15, Value: k.Layout.RightLanes}, {ID: 16, Value: k.Layout.RightPlaces},
		{ID: 17, Value: b2u(k.Layout.KeepsNaN)}, {ID: 23, Value: b2u(k.Partial)}, {ID: 24, Value: b2u(k.Whole)}, {ID: 28, Value: k.Layout.Rounding},
	}
}

func (k decodeKey) pipelineSpec() vk.PipelineSpec {
	return vk.PipelineSpec{Name: k.Variant, Spec: k.spec(), SubgroupSize: k.SubgroupSize, FullSubgroups: true, PushBytes: pushBytes}
}

// probe is the kernel that finds out the layout.
func (k decodeKey) probe() probeKey {
	return matrixKey{Variant: matrixVariant(k.Types.Q), SubgroupSize: k.SubgroupSize, M: k.M, N: k.N}.probe()
}

func (k decodeKey) variant() string     { return k.Variant }
func (k decodeKey) tileRows() int       { return int(k.Rows) }
func (k decodeKey) keys() int           { return keyTile }
func (k decodeKey) stateFloats() int    { return k.rest.stateFloats() }
func (k decodeKey) invocations() int    { return int(k.Invocations) }
func (k decodeKey) elements() types     { return k.Types }
func (k decodeKey) texels() bool        { return false }
func (k decodeKey) vector() bool        { return true }
func (k decodeKey) padded() (d, dv int) { return int(k.DimMats * k.N), int(k.ValueMats * k.N) }
func (k decodeKey) general() tiledKey   { return k.rest }

func (k decodeKey) tile() string {
	return fmt.Sprintf("%dx%d, %d subgroups that share %d rows, matrices of %dx%dx%d", k.Rows, k.N, k.Invocations/k.SubgroupSize, k.Rows, k.M, k.N, k.N)
}

func (k decodeKey) loaded(t types, multiple int) tiledKey {
	if multiple%8 != 0 {
		return k.rest.loaded(t, multiple)
	}
	return k
}

func (k decodeKey) forPiece(pc *piece, phase uint32, split bool) tiledKey {
	if phase != 0 || pc.row0 != 0 || pc.row1 != allRows {
		return k.rest
	}
	k.Partial = split
	return k
}

// mostDecodeRows is the most rows, heads that share their keys among them, that any device has a matrix for.
const mostDecodeRows = 16

// fewestDecodeKeys is the fewest keys that are worth to be shared out.
const fewestDecodeKeys = 512

// decodeVariants are the builds of flash_decode.comp.
var decodeVariants = map[vkattn.Type]string{vkattn.Float16: "flash_decode", vkattn.BFloat16: "flash_decode_bf16"}

// chooseDecode takes flash_decode.comp where it serves, and reports whether it does.
func (p *planner) chooseDecode(caps *vk.Caps, c *choice, disabled map[string]string) bool {
	off, isOff := disabled[decodeRung]
	if _, matrixOff := disabled[rungMatrix]; matrixOff || c.op.SeqQ*sharing(c.op) > mostDecodeRows || c.op.SeqK < fewestDecodeKeys && !p.decodes {
		return false
	}
	f, why := p.fitDecode(caps, c.op, disabled)
	switch {
	case why != "":
		c.notFor = append(c.notFor, vkattn.Refusal{Kernel: "flash_decode", Reason: why})
		return false
	case isOff:
		c.refused = append(c.refused, vkattn.Refusal{Kernel: "flash_decode", Reason: off})
		return false
	}
	c.path, c.matrix, c.pack, c.shared = rungMatrix, f.key, f.pack, f.shared
	// The pipeline that a plan builds is to be the one that its calls take.
	key := f.key.(decodeKey)
	key.Partial = planSplits(caps, c.op.Batch*c.op.HeadsQ/c.pack, key.invocations(), c.readingRows(), c.op.SeqK, c.op.SeqK, 0) > 1
	c.matrix = key
	return true
}

// fitDecode sizes flash_decode.comp.
func (p *planner) fitDecode(caps *vk.Caps, op vkattn.Attention, disabled map[string]string) (f fitting, why string) {
	switch why := rangeRefuses(op); {
	case why != "":
		return f, why
	case p.fixedTile:
		return f, "parts have a fixed number of keys, which it shares out anew"
	}
	operand := op.TypeQ
	if _, is := matrixTypeNames[operand]; !is {
		return f, fmt.Sprintf("q is %s, matrix units multiply f16 and bf16", operand)
	}
	required, shape, why := matrixUnits(caps, operand)
	if why != "" {
		return f, why
	}
	key := decodeKey{Variant: decodeVariants[operand], SubgroupSize: required, M: shape.M, N: shape.N, Rows: 1, Types: typesOf(op)}
	layout, known := p.layouts.of(key.probe())
	key.Layout = layout
	if _, off := disabled[matrixRegisters]; off || known && !layout.mirrored(int(shape.M), int(shape.N), int(required)) {
		return f, "the layout of matrices is not of the kind that it knows"
	}
	rows := op.SeqQ * sharing(op)
	if most := min(shape.M, required); rows > int(most) {
		return f, fmt.Sprintf("%d rows share their keys, a matrix has %d", rows, most)
	}
	for int(key.Rows) < rows {
		key.Rows *= 2
	}
	d, dv := op.HeadDim, op.ValueDim
	// Invocations take eight elements of a row each, side by side.
	besideKeys := max(1, int(shape.N)/8)
	besideValues := besideKeys
	if known {
		besideKeys, besideValues = layout.lines(int(shape.N), int(required))
	}
	key.DimMats, key.ValueMats = uint32(ceilDiv(d, 8*besideKeys)*8*besideKeys)/shape.N, uint32(ceilDiv(dv, 8*besideValues)*8*besideValues)/shape.N
	// Queries, keys and values are held in sixteen bits, outputs in thirty-two: an H200 has registers for heads of 192 and 128.
	held := shape.M * shape.N / required * (2*key.DimMats + 3*key.ValueMats) / 2
	key.Ahead = held <= 192
	key.Whole = d == int(key.DimMats*key.N) && dv == int(key.ValueMats*key.N)
	key.rest = kernelKey{Variant: "flash_subgroup", Invocations: required, Lanes: required, Rows: key.Rows, Dim4: uint32(ceilDiv(d, 4*int(required))), Value4: uint32(ceilDiv(dv, 4*int(required))),
		Vector: true, Whole: caps.Subgroup.Min == caps.Subgroup.Max, Types: key.Types, SubgroupSize: required, FullSubgroups: true}
	limit := mostInvocations(caps, required)
	key.Invocations = min(4, limit/required) * required
	f.pack = sharing(op)
	for {
		var err error
		if f.shared, err = p.modules[key.Variant].Info.SharedBytes(specMap(key.spec())); err != nil {
			return f, err.Error()
		}
		switch {
		case uint32(f.shared) <= caps.Limits.MaxComputeSharedMemorySize:
			f.key = key
			return f, ""
		case key.Invocations > required:
			key.Invocations -= required
		default:
			return f, fmt.Sprintf("needs %d bytes of shared memory, the device has %d", f.shared, caps.Limits.MaxComputeSharedMemorySize)
		}
	}
}

package dispatch

import (
	"fmt"
	"math"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// matrixKey is everything that a pipeline of flash_matrix.comp is specialised on, or of flash_range.comp.
type matrixKey struct {
	Variant      string
	Invocations  uint32
	SubgroupSize uint32
	M, N         uint32 // of one product, N being its K, too
	RowMats      uint32 // matrices that the rows of a subgroup take
	KeyTile      uint32
	DimMats      uint32 // matrices of a query or key row
	ValueMats    uint32 // of a value row
	Extras       uint32 // EXTRAS of flash.comp
	Ahead        bool   // tiles are read into registers while the one before is multiplied
	KeepQuery    bool   // queries stay in registers
	Layout       matrixLayout
	Vector, Wide bool // rows are whole fours, whole eights
	Types        types
	Range        bool // flash_range.comp
	rangeParts
}

// rangeParts are what only flash_range.comp is specialised on.
type rangeParts struct {
	Partial   bool   // results of a part are written
	Sliced    bool   // a running state is taken up or left
	Whole     bool   // head sizes are those that the matrices hold
	ChunkMats uint32 // matrices of keys whose scores are held at a time
	Buffers   uint32 // tiles that shared memory holds
}

// rangeRung is the name by which Config.Disable turns flash_range.comp off.
const rangeRung = "range"

// matrixRegisters is the name by which Config.Disable keeps weights out of registers.
const matrixRegisters = "registers"

// probe is the kernel that finds out the layout.
func (k matrixKey) probe() probeKey {
	variant := "matrix_probe"
	if k.Variant == "flash_matrix_bf16" {
		variant = bfloatProbe
	}
	return probeKey{Variant: variant, M: k.M, N: k.N, Lanes: k.SubgroupSize}
}

// matrixPad is what rows in shared memory are longer, in 16 bytes: it keeps those of a matrix in banks of their own. On an H100,
// 52 TFLOP/s with it were 35 without.
const matrixPad = 1

// general is the key of the kernel for all that flash_range.comp is not for, in the same tile.
func (k matrixKey) general() tiledKey {
	k.Range, k.rangeParts = false, rangeParts{}
	k.KeyTile = uint32(k.keys())
	return k
}

// vanishes reports whether a scale is so small that the lowest float32 times it says nothing of a row without a maximum; drivers may take it for zero.
func vanishes(scale float64) bool { return math.Abs(scale) < 0x1p-120 }

// rangeRefuses says why flash_range.comp is not for op, or is "".
func rangeRefuses(op vkattn.Attention) string {
	t := op.TypeQ
	switch {
	case op.TypeK != t || op.TypeV != t || op.TypeOut != t:
		return "tensors are of several types"
	case extrasOf(op) > 0 || op.SinkTokens > 0 || op.With.Has(vkattn.WithGlobal):
		return "rows see more than one range of keys, or scores are changed"
	case op.Window.Left.Set && op.Window.Left.N < 0 || op.Window.Right.Set && op.Window.Right.N < 0 || op.Window.Given() && op.Chunk > 0:
		return "rows may see no key of a range"
	case op.HeadDim%8 != 0 || op.ValueDim%8 != 0 || max(op.HeadDim, op.ValueDim) > widestMatrix2:
		return "rows are no whole eights, or too wide"
	case vanishes(op.Scale.Value):
		return "the scale is zero, or as good as" // and -inf, of a hidden key, must not be multiplied by it
	}
	return ""
}

// spec is the table of specialization ids of flash_matrix.comp, and of flash_range.comp; a test compares it with the SPIR-V.
func (k matrixKey) spec() []vk.SpecConstant {
	if k.Range {
		return []vk.SpecConstant{
			{ID: 0, Value: k.Invocations}, {ID: 1, Value: k.SubgroupSize}, {ID: 2, Value: k.M}, {ID: 3, Value: k.N}, {ID: 4, Value: k.RowMats},
			{ID: 5, Value: k.KeyTile}, {ID: 6, Value: k.DimMats}, {ID: 7, Value: k.ValueMats}, {ID: 10, Value: b2u(k.Ahead)}, {ID: 12, Value: matrixPad},
			{ID: 13, Value: k.Layout.Lanes}, {ID: 14, Value: k.Layout.Places}, {ID: 17, Value: b2u(k.Layout.KeepsNaN)}, {ID: 23, Value: b2u(k.Partial)}, {ID: 24, Value: b2u(k.Whole)},
			{ID: 25, Value: b2u(k.Sliced)}, {ID: 26, Value: k.ChunkMats}, {ID: 27, Value: k.Buffers}, {ID: 28, Value: k.Layout.Rounding},
		}
	}
	return []vk.SpecConstant{
		{ID: 0, Value: k.Invocations}, {ID: 1, Value: k.SubgroupSize}, {ID: 2, Value: k.M}, {ID: 3, Value: k.N}, {ID: 4, Value: k.RowMats},
		{ID: 5, Value: k.KeyTile}, {ID: 6, Value: k.DimMats}, {ID: 7, Value: k.ValueMats}, {ID: 8, Value: b2u(k.Vector)}, {ID: 9, Value: k.Extras},
		{ID: 10, Value: b2u(k.Ahead)}, {ID: 11, Value: b2u(k.KeepQuery)}, {ID: 12, Value: matrixPad},
		{ID: 13, Value: k.Layout.Lanes}, {ID: 14, Value: k.Layout.Places}, {ID: 15, Value: b2u(k.Layout.Registers)},
		{ID: 16, Value: b2u(k.Layout.Direct)}, {ID: 17, Value: b2u(k.Layout.KeepsNaN)}, {ID: 18, Value: b2u(k.Wide)},
		{ID: 19, Value: uint32(k.Types.Q)}, {ID: 20, Value: uint32(k.Types.K)}, {ID: 21, Value: uint32(k.Types.V)}, {ID: 22, Value: uint32(k.Types.Out)}, {ID: 28, Value: k.Layout.Rounding},
	}
}

func (k matrixKey) keys() int      { return max(keyTile, int(k.KeyTile)) } // flash_range.comp may take half of them at a time
func (k matrixKey) subgroups() int { return int(k.Invocations / k.SubgroupSize) }
func (k matrixKey) variant() string {
	if k.Range {
		return rangeVariants[k.Variant]
	}
	return k.Variant
}
func (k matrixKey) tileRows() int    { return k.subgroups() * int(k.RowMats*k.M) }
func (k matrixKey) invocations() int { return int(k.Invocations) }
func (k matrixKey) elements() types  { return k.Types }
func (k matrixKey) texels() bool     { return false }
func (k matrixKey) vector() bool     { return k.Vector }

func (k matrixKey) padded() (d, dv int) { return int(k.DimMats * k.N), int(k.ValueMats * k.N) }

// stateFloats is the running state of one row: maximum, sums by column, and the padded output.
func (k matrixKey) stateFloats() int { return int(4 + k.N + k.ValueMats*k.N) }

func (k matrixKey) tile() string {
	return fmt.Sprintf("%dx%d, %d subgroups of %d rows, matrices of %dx%dx%d, %s", k.tileRows(), k.KeyTile, k.subgroups(), k.RowMats*k.M, k.M, k.N, k.N, k.way())
}

// way is the way of weights to the matrices that they are multiplied in.
func (k matrixKey) way() string {
	switch {
	case !k.Layout.Registers:
		return "scores through shared memory"
	case !k.Layout.Direct:
		return "weights through shared memory"
	}
	return "weights in registers"
}

func (k matrixKey) loaded(_ types, multiple int) tiledKey {
	k.Vector, k.Wide = multiple%4 == 0, multiple%8 == 0
	if !k.Wide {
		return k.general()
	}
	return k
}

// forPiece has the running state only where it is: what takes it up or leaves it would cost all others registers.
func (k matrixKey) forPiece(pc *piece, _ uint32, split bool) tiledKey {
	if k.Range {
		k.Partial, k.Sliced = split, pc.resume || pc.suspend
	}
	return k
}

// rangeVariants are the builds of flash_range.comp, by those of flash_matrix.comp.
var rangeVariants = map[string]string{"flash_matrix": "flash_range", "flash_matrix_bf16": "flash_range_bf16"}

func (k matrixKey) pipelineSpec() vk.PipelineSpec {
	return vk.PipelineSpec{Name: k.variant(), Spec: k.spec(), SubgroupSize: k.SubgroupSize, FullSubgroups: true, PushBytes: pushBytes}
}

// matrixPlaces is the most elements of a matrix that an invocation may hold.
const matrixPlaces = 16

// matrixShape is the largest product of operands of a type that flash_matrix.comp is made for, in subgroups of a size.
func matrixShape(caps *vk.Caps, operand string, subgroup uint32) (best vk.MatrixShape, ok bool) {
	for _, s := range caps.CooperativeMatrix {
		held := s.M * s.N / subgroup
		if s.A == operand && s.B == operand && s.C == "f32" && s.Result == "f32" && s.Scope == "subgroup" && !s.Saturating &&
			s.N == s.K && s.N%8 == 0 && s.N <= 32 && prevPow2(s.M) == s.M && prevPow2(s.N) == s.N &&
			held >= 1 && held <= matrixPlaces && s.M*s.N > best.M*best.N {
			best, ok = s, true
		}
	}
	return best, ok
}

var matrixTypeNames = map[vkattn.Type]string{vkattn.Float16: "f16", vkattn.BFloat16: "bf16"}

// matrixUnits are the size of the subgroups that multiply matrices of a type, and the shape of these, or why there are none.
func matrixUnits(caps *vk.Caps, operand vkattn.Type) (subgroup uint32, shape vk.MatrixShape, why string) {
	if missing := missingMatrix(&caps.Features, operand); missing != "" {
		return 0, shape, "needs features that the device lacks: " + missing
	}
	_, subgroup, why = subgroups(caps.Subgroup, 4)
	if why == "" && (missingOps(caps.Subgroup, "vote") != "" || subgroup == 0) {
		why = "needs full subgroups of a size that can be required, and votes"
	}
	if why != "" {
		return 0, shape, why
	}
	shape, ok := matrixShape(caps, matrixTypeNames[operand], subgroup)
	if !ok {
		why = fmt.Sprintf("the device multiplies no %s to f32 in matrices of a shape that the kernel knows", matrixTypeNames[operand])
	}
	return subgroup, shape, why
}

// fitMatrix sizes flash_matrix.comp.
func (p *planner) fitMatrix(caps *vk.Caps, op vkattn.Attention, operand vkattn.Type, disabled map[string]string) (f fitting, why string) {
	required, shape, why := matrixUnits(caps, operand)
	if why != "" {
		return f, why
	}
	key := matrixKey{Variant: matrixVariant(operand), SubgroupSize: required, M: shape.M, N: shape.N, RowMats: 1, KeyTile: 64, KeepQuery: true,
		Extras: extrasOf(op), Vector: true, Wide: true, Types: typesOf(op)}
	if vanishes(op.Scale.Value) { // -inf, of a hidden key, must not be multiplied by it
		key.Extras = max(key.Extras, 2)
	}
	layout, known := p.layouts.of(key.probe())
	key.Layout = layout
	// What has not been probed may well be of the right kind; the plan is made again when it has.
	_, registersOff := disabled[matrixRegisters]
	_, off := disabled[rangeRung]
	key.Range = !off && !registersOff && (!known || layout.Registers && layout.Direct) && rangeRefuses(op) == ""
	d, dv := headBuckets(op.HeadDim, op.ValueDim)
	key.DimMats, key.ValueMats = uint32(ceilDiv(d, int(shape.N))), uint32(ceilDiv(dv, int(shape.N)))
	software := caps.DeviceType == "cpu"
	subgroups := uint32(4)
	switch {
	case software:
		subgroups = 2
	case d > 64:
		subgroups = 8
	}
	if software || key.Extras > 0 || d > 128 {
		key.KeyTile = keyTile
	}
	if key.Range {
		key.Whole, key.Buffers = op.HeadDim == d && op.ValueDim == dv, 1
		if !software {
			subgroups = key.rangeShape(max(d, dv), !p.fixedTile && wideFits(caps, op))
		}
		if p.rangeMats > 0 {
			key.RowMats, key.KeyTile, key.Buffers = p.rangeMats, p.rangeKeys, p.rangeBuffers
		}
	}
	// What an invocation holds of outputs and queries, in words of about 255.
	held := shape.M * shape.N / required
	if words := held * (key.ValueMats + key.DimMats/2); words > 160 && !key.Range {
		key.KeepQuery = false
	}
	if words := held * key.ValueMats; words > 192 && !software {
		return f, fmt.Sprintf("value size %d, the outputs of %d rows take %d words of an invocation", op.ValueDim, shape.M, words)
	}
	subgroups = min(subgroups, mostInvocations(caps, required)/required)
	if subgroups == 0 {
		return f, fmt.Sprintf("needs %d invocations in a workgroup", required)
	}
	key.Invocations = subgroups * required
	f.pack = 1
	if op.SeqQ < key.tileRows() {
		f.pack = sharing(op)
	}
	for key.Invocations > required && 2*op.SeqQ*f.pack <= key.tileRows() {
		key.Invocations = key.Invocations / required / 2 * required
	}
	limit := caps.Limits.MaxComputeSharedMemorySize
	for {
		if key.Range { // where there are two buffers, registers hold the scores of one matrix of keys at a time
			key.ChunkMats = key.KeyTile / key.N
			if key.Buffers > 1 {
				key.ChunkMats = 1
			}
		}
		var err error
		if f.shared, err = p.modules[key.variant()].Info.SharedBytes(specMap(key.spec())); err != nil {
			return f, err.Error()
		}
		if key.Range { // the other one has to fit, too
			other, err := p.modules[key.Variant].Info.SharedBytes(specMap(key.general().(matrixKey).spec()))
			if err != nil {
				return f, err.Error()
			}
			f.shared = max(f.shared, other)
		}
		switch {
		case uint32(f.shared) <= limit:
			f.key = key
			return f, ""
		case key.Buffers > 1: // the shape without them, or at least less
			key.RowMats, key.KeyTile, key.Buffers = 1, 2*key.KeyTile, 1
			key.Ahead = key.Ahead && key.KeyTile > keyTile
		case key.KeyTile > keyTile:
			key.KeyTile /= 2
		case key.Invocations > required:
			key.Invocations = key.Invocations / required / 2 * required
		default:
			return f, fmt.Sprintf("needs %d bytes of shared memory, the device has %d", f.shared, limit)
		}
	}
}

// rangeShape gives a key of flash_range.comp the shape that was fastest on an H200 (driver 580.159.04), see docs/benchmarks: as many rows of a subgroup as
// registers hold. Two matrices of rows halve what is read of shared memory, for heads of 128 only with the scores of one matrix of keys at a time, and
// two buffers make up for short tiles. It returns the number of subgroups. wide: row tiles of wideRows are worth while.
func (k *matrixKey) rangeShape(d int, wide bool) (subgroups uint32) {
	k.Ahead = true
	switch {
	case d <= 64:
		k.RowMats = 2
		return 4
	case d <= 96:
		k.RowMats, k.KeyTile = 2, keyTile
		return 4
	case d > 128:
		k.KeyTile, k.Buffers = max(keyTile/2, k.N), 2
	case wide:
		k.RowMats, k.KeyTile, k.Buffers = 2, keyTile, 2
	}
	return 8
}

// wideRows are the rows of the largest row tile of flash_range.comp.
const wideRows = 256

// wideFits reports whether row tiles of wideRows are worth while for heads of 128. Their workgroups take a multiprocessor each (an H200 has 132), and at the end of a
// call some of these wait for the others, longer for larger tiles, so there have to be enough for about two rounds. Few rows would leave matrices empty, and masks
// that are not full make tiles unequal and their edges dear: a causal call took a fifth longer in it.
func wideFits(caps *vk.Caps, op vkattn.Attention) bool {
	pack := 1
	if op.SeqQ < wideRows {
		pack = sharing(op)
	}
	rows := op.SeqQ * pack
	return !op.Causal && !op.Window.Given() && op.Chunk == 0 && rows > wideRows/2 &&
		op.Batch*op.HeadsQ/pack*ceilDiv(rows, wideRows) >= 4*parallelTiles(caps, wideRows, rows)
}

func matrixVariant(operand vkattn.Type) string {
	if operand == vkattn.BFloat16 {
		return "flash_matrix_bf16"
	}
	return "flash_matrix"
}

// missingMatrix names the features that flash_matrix.comp needs and that are not there.
func missingMatrix(f *vk.Features, operand vkattn.Type) string {
	var missing []string
	for _, n := range []struct {
		has  bool
		name string
	}{
		{f.CooperativeMatrix, "cooperative matrices"}, {f.VulkanMemoryModel, "the Vulkan memory model"}, {f.Float16, "float16 arithmetic"},
		{f.BFloat16CooperativeMatrix || operand != vkattn.BFloat16, "bfloat16 matrices"},
	} {
		if !n.has {
			missing = append(missing, n.name)
		}
	}
	return strings.Join(missing, ", ")
}

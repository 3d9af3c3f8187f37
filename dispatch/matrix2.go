package dispatch

import (
	"fmt"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// matrix2Key is everything that a pipeline of flash_matrix2.comp is specialised on.
type matrix2Key struct {
	Variant       string
	Invocations   uint32
	Workgroup     bool   // matrices are of the workgroup, not of its subgroups
	Scopes        uint32 // subgroups of the workgroup, or 1
	Rows          uint32 // of a scope
	Columns       uint32 // of a matrix of scores or of outputs
	Dim, ValueDim uint32 // padded
	Depth         uint32 // of one product of queries and keys
	Extras        uint32 // EXTRAS of flash.comp
	Vector, Wide  bool   // rows are whole fours, whole eights
	Padded        bool   // the op's head sizes are less
	Reload        bool   // queries are loaded for each tile
	KeyTile       uint32 // keys of one tile
	Step          uint32 // of them, keys of one step of the softmax
	SumUp         bool   // sums are kept by row
	Ahead         bool   // tiles are read ahead, into registers
	Stages        uint32 // tiles in shared memory
	Types         types
	SubgroupSize  uint32
}

const (
	scopeWorkgroup = 2
	scopeSubgroup  = 3
)

// spec is the table of specialization ids of flash_matrix2.comp; a test compares it with the SPIR-V.
func (k matrix2Key) spec() []vk.SpecConstant {
	scope := uint32(scopeSubgroup)
	if k.Workgroup {
		scope = scopeWorkgroup
	}
	return []vk.SpecConstant{
		{ID: 0, Value: k.Invocations}, {ID: 1, Value: scope}, {ID: 2, Value: k.Scopes}, {ID: 3, Value: k.Rows}, {ID: 4, Value: k.KeyTile}, {ID: 8, Value: k.Step},
		{ID: 5, Value: b2u(k.Vector)}, {ID: 6, Value: k.Extras}, {ID: 7, Value: k.Columns},
		{ID: 9, Value: uint32(k.Types.Q)}, {ID: 10, Value: uint32(k.Types.K)}, {ID: 11, Value: uint32(k.Types.V)}, {ID: 12, Value: uint32(k.Types.Out)},
		{ID: 13, Value: k.Dim}, {ID: 14, Value: k.ValueDim}, {ID: 15, Value: k.Depth}, {ID: 16, Value: b2u(k.Wide)}, {ID: 17, Value: 1},
		{ID: 18, Value: b2u(k.Padded)}, {ID: 19, Value: b2u(k.Reload)}, {ID: 20, Value: b2u(k.Ahead)}, {ID: 21, Value: k.Stages}, {ID: 22, Value: b2u(k.SumUp)},
	}
}

func (k matrix2Key) variant() string     { return k.Variant }
func (k matrix2Key) tileRows() int       { return int(k.Scopes * k.Rows) }
func (k matrix2Key) invocations() int    { return int(k.Invocations) }
func (k matrix2Key) padded() (d, dv int) { return int(k.Dim), int(k.ValueDim) }
func (k matrix2Key) elements() types     { return k.Types }
func (k matrix2Key) texels() bool        { return false }
func (k matrix2Key) vector() bool        { return k.Vector }
func (k matrix2Key) keys() int           { return int(k.KeyTile) }

// stateFloats is the running state of one row: maximum and sum, in four, sums by column, and the padded output.
func (k matrix2Key) stateFloats() int { return int(4 + k.Columns + k.ValueDim) }

func (k matrix2Key) tile() string {
	whose := fmt.Sprintf("%d subgroups of %d rows", k.Scopes, k.Rows)
	if k.Workgroup {
		whose = "one matrix"
	}
	return fmt.Sprintf("%dx%d, %s, %d columns, %d invocations", k.tileRows(), k.KeyTile, whose, k.Columns, k.Invocations)
}

func (k matrix2Key) loaded(_ types, multiple int) tiledKey {
	k.Vector, k.Wide = multiple%4 == 0, multiple%8 == 0
	return k
}

func (k matrix2Key) pipelineSpec() vk.PipelineSpec {
	return vk.PipelineSpec{Name: k.Variant, Spec: k.spec(), SubgroupSize: k.SubgroupSize, FullSubgroups: true, PushBytes: pushBytes}
}

// widestMatrix2 is the largest padded head size of which a subgroup holds the outputs of 16 rows in its registers.
const widestMatrix2 = 256

// fitMatrix2 sizes flash_matrix2.comp: matrices of subgroups, or of the whole workgroup where rows are too wide for those.
func (p *planner) fitMatrix2(caps *vk.Caps, op vkattn.Attention, operand vkattn.Type, _ map[string]string) (f fitting, why string) {
	need := []needed{
		{caps.Features.CooperativeMatrix, "cooperative matrices"}, {caps.Features.CooperativeMatrix2.FlexibleDimensions, "flexible dimensions"},
		{caps.Features.CooperativeMatrix2.Reductions, "reductions"}, {caps.Features.CooperativeMatrix2.Conversions, "conversions"},
		{caps.Features.CooperativeMatrix2.PerElementOperations, "per-element operations"}, {caps.Features.VulkanMemoryModel, "the Vulkan memory model"},
		{caps.Features.Float16, "float16 arithmetic"}, {caps.Features.Storage16, "16-bit storage"},
		{caps.Features.BFloat16CooperativeMatrix || operand != vkattn.BFloat16, "bfloat16 matrices"},
	}
	_, required, why := subgroups(caps.Subgroup, 8)
	if why == "" && required == 0 {
		why = "needs full subgroups of a size that can be required"
	}
	if ops := missingOps(caps.Subgroup, "vote"); why == "" && ops != "" {
		why = "needs subgroup operations that the device lacks: " + ops
	}
	if why != "" {
		return f, why
	}
	d, dv := headBuckets(op.HeadDim, op.ValueDim)
	key := matrix2Key{Variant: "flash_matrix2", Dim: uint32(d), ValueDim: uint32(dv), Extras: extrasOf(op), Vector: true, Wide: true,
		Types: typesOf(op), SubgroupSize: required, Padded: op.HeadDim != d || op.ValueDim != dv}
	if vanishes(op.Scale.Value) { // -inf, of a hidden key, must not be multiplied by it
		key.Extras = max(key.Extras, 2)
	}
	reserved := uint32(0)
	if d <= widestMatrix2 {
		why = key.ofSubgroups(caps, operand, need)
	} else if why = key.ofWorkgroup(caps, operand, need); why == "" {
		reserved = caps.Features.CooperativeMatrix2Properties.WorkgroupScopeReservedSharedMemory
	}
	if why != "" {
		return f, why
	}
	if operand == vkattn.BFloat16 {
		key.Variant += "_bf16"
	}
	f.pack = 1
	if op.SeqQ < key.tileRows() {
		f.pack = sharing(op)
	}
	for ; !p.fixedTile && key.Scopes > 1 && op.SeqQ*f.pack <= key.tileRows()/2; key.Scopes /= 2 {
		key.Invocations /= 2
	}
	if !p.fixedTile && op.SeqQ*f.pack <= fewestMatrixRows {
		key.Rows = min(key.Rows, fewestMatrixRows)
	}
	for {
		var err error
		if f.shared, err = p.modules[key.Variant].Info.SharedBytes(specMap(key.spec())); err != nil {
			return f, err.Error()
		}
		if limit := caps.Limits.MaxComputeSharedMemorySize; uint32(f.shared)+reserved <= limit {
			f.key = key
			return f, ""
		} else if key.KeyTile == keyTile || key.Workgroup {
			return f, fmt.Sprintf("needs %d bytes of shared memory, the device has %d", uint32(f.shared)+reserved, limit)
		}
		key.KeyTile /= 2
		key.Step = min(key.Step, key.KeyTile)
	}
}

// ofSubgroups gives the key the shape of matrices of subgroups, or says why it cannot.
func (k *matrix2Key) ofSubgroups(caps *vk.Caps, operand vkattn.Type, need []needed) (why string) {
	if why = missing(need); why != "" {
		return why
	}
	g, ok := granularity(caps, operand, "subgroup", 0)
	if !ok {
		return fmt.Sprintf("the device does not multiply %s to f32 in matrices of flexible dimensions", operand)
	}
	k.Columns, k.Depth = max(g.N, 8), max(g.K, 8)
	k.shape(caps.DeviceType == "cpu")
	k.Rows = max(k.Rows, g.M)
	k.Scopes = prevPow2(min(k.Scopes, mostInvocations(caps, k.SubgroupSize)/k.SubgroupSize))
	k.Invocations = k.Scopes * k.SubgroupSize
	return ""
}

// shape is what was fastest on an H100 (driver 580.159.04), see docs/benchmarks: by 32 rows of a subgroup half as much of a tile
// is read from shared memory as by 16, as long as registers hold their outputs.
func (k *matrix2Key) shape(software bool) {
	k.Scopes, k.Rows, k.Step, k.Stages, k.SumUp = 4, 32, 32, 1, true
	switch {
	case software:
		// More than 16 rows take minutes to compile. A current llvmpipe (Mesa 26.2.6) makes a barrier of a subgroup one of the
		// workgroup, which not all of its subgroups reach: so there is one.
		k.Scopes, k.Rows, k.KeyTile = 1, 16, 64
	case k.ValueDim <= 64:
		k.KeyTile, k.Step, k.SumUp = 128, 64, false
	case k.ValueDim <= 128:
		k.Scopes, k.KeyTile, k.Step = 8, 64, 64
	default:
		k.Rows, k.KeyTile = 16, 32
	}
	if k.Extras > 0 { // block lists count tiles of 32 keys
		k.KeyTile, k.Step = keyTile, keyTile
	}
}

// ofWorkgroup gives the key the shape of matrices of the workgroup, which holds wide outputs in the registers of all its
// invocations.
func (k *matrix2Key) ofWorkgroup(caps *vk.Caps, operand vkattn.Type, need []needed) (why string) {
	const invocations, rows = 256, 64
	columns := uint32(64)
	if k.Extras > 0 { // block lists count tiles of 32 keys
		columns = keyTile
	}
	m, limits := &caps.Features.CooperativeMatrix2, &caps.Features.CooperativeMatrix2Properties
	why = missing(append(need, needed{m.WorkgroupScope, "matrices of a workgroup"}, needed{m.TensorAddressing, "tensor addressing"},
		needed{m.BlockLoads, "block loads"}, needed{caps.Features.BufferDeviceAddress, "buffer device addresses"}))
	if why != "" {
		return why
	}
	g, ok := granularity(caps, operand, "workgroup", invocations)
	switch {
	case !ok || rows%g.M != 0 || columns%g.N != 0 || columns%g.K != 0:
		return fmt.Sprintf("the device does not multiply %s to f32 in %dx%d matrices of %d invocations", operand, rows, columns, invocations)
	case min(mostInvocations(caps, k.SubgroupSize), limits.WorkgroupScopeMaxWorkgroupSize) < invocations:
		return fmt.Sprintf("needs %d invocations in a workgroup with matrices", invocations)
	case limits.FlexibleDimensionsMaxDimension < columns:
		return fmt.Sprintf("needs matrices of %d columns, the device has %d", columns, limits.FlexibleDimensionsMaxDimension)
	}
	k.Variant, k.Workgroup, k.Reload = "flash_matrix2_tensor", true, true
	k.Invocations, k.Scopes, k.Rows, k.Columns, k.Depth, k.KeyTile, k.Step, k.Stages = invocations, 1, rows, columns, columns, columns, columns, 1
	return ""
}

// needed is a feature, and whether it is there.
type needed struct {
	has  bool
	name string
}

// missing names the features that are not there, or is "".
func missing(need []needed) string {
	var names []string
	for _, n := range need {
		if !n.has {
			names = append(names, n.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return "needs features that the device lacks: " + strings.Join(names, ", ")
}

// granularity is what the sides of matrices of a type, multiplied to float32, must be multiples of.
func granularity(caps *vk.Caps, operand vkattn.Type, scope string, invocations uint32) (vk.MatrixGranularity, bool) {
	name := operand.String()
	for _, g := range caps.CooperativeMatrixFlexible {
		if g.A == name && g.B == name && g.C == "f32" && g.Result == "f32" && g.Scope == scope && g.Invocations == invocations && !g.Saturating {
			return g, true
		}
	}
	return vk.MatrixGranularity{}, false
}

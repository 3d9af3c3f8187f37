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
	Types         types
	SubgroupSize  uint32
}

const (
	scopeWorkgroup = 2
	scopeSubgroup  = 3
)

// spec is the table of specialization ids of flash_matrix2.comp; a test compares it with the SPIR-V.
func (k matrix2Key) spec() []vk.SpecConstant {
	scope, clamp := uint32(scopeSubgroup), uint32(0)
	if k.Workgroup {
		scope = scopeWorkgroup
	}
	if k.Types.Q != vkattn.Float32 {
		clamp = 1
	}
	return []vk.SpecConstant{
		{ID: 0, Value: k.Invocations}, {ID: 1, Value: scope}, {ID: 2, Value: k.Scopes}, {ID: 3, Value: k.Rows}, {ID: 4, Value: keyTile},
		{ID: 5, Value: b2u(k.Vector)}, {ID: 6, Value: k.Extras}, {ID: 7, Value: k.Columns},
		{ID: 9, Value: uint32(k.Types.Q)}, {ID: 10, Value: uint32(k.Types.K)}, {ID: 11, Value: uint32(k.Types.V)}, {ID: 12, Value: uint32(k.Types.Out)},
		{ID: 13, Value: k.Dim}, {ID: 14, Value: k.ValueDim}, {ID: 15, Value: k.Depth}, {ID: 16, Value: b2u(k.Wide)}, {ID: 17, Value: 1}, {ID: 18, Value: clamp},
	}
}

func (k matrix2Key) variant() string     { return k.Variant }
func (k matrix2Key) tileRows() int       { return int(k.Scopes * k.Rows) }
func (k matrix2Key) invocations() int    { return int(k.Invocations) }
func (k matrix2Key) padded() (d, dv int) { return int(k.Dim), int(k.ValueDim) }
func (k matrix2Key) elements() types     { return k.Types }
func (k matrix2Key) texels() bool        { return false }
func (k matrix2Key) vector() bool        { return k.Vector }

// stateFloats is the running state of one row: maxima and sums by column, and the padded output.
func (k matrix2Key) stateFloats() int { return int(2*k.Columns + k.ValueDim) }

func (k matrix2Key) tile() string {
	whose := fmt.Sprintf("%d subgroups of %d rows", k.Scopes, k.Rows)
	if k.Workgroup {
		whose = "one matrix"
	}
	return fmt.Sprintf("%dx%d, %s, %d columns, %d invocations", k.tileRows(), keyTile, whose, k.Columns, k.Invocations)
}

func (k matrix2Key) loaded(_ types, multiple int) tiledKey {
	k.Vector, k.Wide = multiple%4 == 0, multiple%8 == 0
	return k
}

func (k matrix2Key) pipelineSpec() vk.PipelineSpec {
	return vk.PipelineSpec{Name: k.Variant, Spec: k.spec(), SubgroupSize: k.SubgroupSize, FullSubgroups: true, PushBytes: pushBytes}
}

// widestMatrix2 is the largest padded value row whose outputs fit into registers, sixteen rows of a subgroup of 32.
const widestMatrix2 = 256

// fitMatrix2 sizes flash_matrix2.comp.
func (p *planner) fitMatrix2(caps *vk.Caps, op vkattn.Attention, operand vkattn.Type) (f fitting, why string) {
	if missing := missingMatrix2(&caps.Features, operand); missing != "" {
		return f, "needs features that the device lacks: " + missing
	}
	_, required, why := subgroups(caps.Subgroup, 8)
	if why == "" && (missingOps(caps.Subgroup, "vote") != "" || required == 0) {
		why = "needs full subgroups of a size that can be required, and votes"
	}
	if why != "" {
		return f, why
	}
	name := map[vkattn.Type]string{vkattn.Float16: "f16", vkattn.BFloat16: "bf16"}[operand]
	g, ok := granularity(caps, name, "subgroup", 0)
	if !ok {
		return f, fmt.Sprintf("the device does not multiply %s to f32 in matrices of flexible dimensions", name)
	}
	key := matrix2Key{Variant: "flash_matrix2", Columns: g.N, Depth: max(g.K, 8), Extras: extrasOf(op), Vector: true, Wide: true,
		Types: typesOf(op), SubgroupSize: required}
	if operand == vkattn.BFloat16 {
		key.Variant = "flash_matrix2_bf16"
	}
	d, dv := headBuckets(op.HeadDim, op.ValueDim)
	if d > widestMatrix2 {
		return f, fmt.Sprintf("head sizes %d and %d, the outputs of %d fit into registers", op.HeadDim, op.ValueDim, widestMatrix2)
	}
	key.Columns = max(key.Columns, 8)
	key.Dim, key.ValueDim = uint32(d), uint32(dv)
	key.Rows = max(g.M, matrix2Rows(caps, dv))
	key.Scopes = 4
	if caps.DeviceType == "cpu" {
		key.Scopes = 1
	}
	key.Scopes = min(key.Scopes, mostInvocations(caps, required)/required)
	if key.Scopes == 0 {
		return f, fmt.Sprintf("needs %d invocations in a workgroup", required)
	}
	key.Invocations = key.Scopes * required
	f.pack = 1
	if op.SeqQ < key.tileRows() {
		f.pack = sharing(op)
	}
	for ; key.Scopes > 1 && op.SeqQ*f.pack <= key.tileRows()/2; key.Scopes /= 2 {
		key.Invocations /= 2
	}
	var err error
	if f.shared, err = p.modules[key.Variant].Info.SharedBytes(specMap(key.spec())); err != nil {
		return f, err.Error()
	}
	if limit := caps.Limits.MaxComputeSharedMemorySize; uint32(f.shared) > limit {
		return f, fmt.Sprintf("needs %d bytes of shared memory, the device has %d", f.shared, limit)
	}
	f.key = key
	return f, ""
}

// matrix2Rows is the number of rows of a subgroup. llvmpipe's reduction over rows is wrong in matrices of more than 8 rows and
// more than 8 columns (Mesa 26.2.6).
func matrix2Rows(caps *vk.Caps, dv int) uint32 {
	if caps.DriverID == driverLLVMpipe || dv > 64 {
		return 16
	}
	return 32
}

// missingMatrix2 names the features that flash_matrix2.comp needs and that are not there.
func missingMatrix2(f *vk.Features, operand vkattn.Type) string {
	var missing []string
	m := f.CooperativeMatrix2
	for _, n := range []struct {
		has  bool
		name string
	}{
		{f.CooperativeMatrix, "cooperative matrices"}, {m.FlexibleDimensions, "flexible dimensions"}, {m.Reductions, "reductions"},
		{m.Conversions, "conversions"}, {m.PerElementOperations, "per-element operations"}, {f.VulkanMemoryModel, "the Vulkan memory model"},
		{f.Float16, "float16 arithmetic"}, {f.Int16, "int16 arithmetic"}, {f.Storage16, "16-bit storage"},
		{f.BFloat16CooperativeMatrix || operand != vkattn.BFloat16, "bfloat16 matrices"},
	} {
		if !n.has {
			missing = append(missing, n.name)
		}
	}
	return strings.Join(missing, ", ")
}

// granularity is what the sides of matrices of a type, multiplied to float32, must be multiples of.
func granularity(caps *vk.Caps, operand, scope string, invocations uint32) (vk.MatrixGranularity, bool) {
	for _, g := range caps.CooperativeMatrixFlexible {
		if g.A == operand && g.B == operand && g.C == "f32" && g.Result == "f32" && g.Scope == scope && g.Invocations == invocations && !g.Saturating {
			return g, true
		}
	}
	return vk.MatrixGranularity{}, false
}

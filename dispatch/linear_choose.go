package dispatch

import (
	"fmt"
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// maxFeatures is the largest FeatureDim that the linear kernels are made for.
const maxFeatures = 1024

// linearBuckets are the padded numbers of features: a kernel is built for a bucket.
var linearBuckets = []int{32, 64, 128, 256, 512, maxFeatures}

// linearKey is everything that a recurrent pipeline is specialised on.
type linearKey struct {
	Variant        string
	Invocations    uint32
	Lanes, Columns uint32 // invocations that share the features of so many columns of the state
	Dim4           uint32 // vec4 of features of a lane
	Reads          uint32 // heads of the output computed together
	Vector         bool
	Delta, Channel bool
	Norm           uint32
	Mapping        uint32 // 0: features are what they are, 1: a map without exp, 2: one with exp
	Whole          bool
	Types          types
	SubgroupSize   uint32 // required; 0: the driver's choice
	FullSubgroups  bool
}

// spec is the table of specialization ids of linear_recurrent.comp; a test compares it with the SPIR-V.
func (k linearKey) spec() []vk.SpecConstant {
	return []vk.SpecConstant{
		{ID: 0, Value: k.Invocations}, {ID: 1, Value: k.Lanes}, {ID: 2, Value: k.Columns}, {ID: 3, Value: k.Dim4}, {ID: 4, Value: k.Reads},
		{ID: 5, Value: b2u(k.Vector)}, {ID: 6, Value: b2u(k.Delta)}, {ID: 7, Value: b2u(k.Channel)}, {ID: 8, Value: k.Norm},
		{ID: 9, Value: k.Mapping}, {ID: 10, Value: b2u(k.Whole)},
		{ID: 11, Value: uint32(k.Types.Q)}, {ID: 12, Value: uint32(k.Types.K)}, {ID: 13, Value: uint32(k.Types.V)}, {ID: 14, Value: uint32(k.Types.Out)},
	}
}

const linearTexels = "linear_recurrent_texels"

func (k linearKey) texels() bool { return k.Variant == linearTexels }

func (k linearKey) pipelineSpec() vk.PipelineSpec {
	spec := vk.PipelineSpec{Name: k.Variant, Spec: k.spec(), SubgroupSize: k.SubgroupSize, FullSubgroups: k.FullSubgroups, PushBytes: linearPushBytes}
	if k.texels() {
		spec.Texels = 1<<bindQ | 1<<bindK | 1<<bindV
	}
	return spec
}

// scalar is the key for tensors of these types whose rows cannot be read four elements at a time.
func (k linearKey) scalar(t types) linearKey {
	k.Vector, k.Types = false, t
	if k.texels() {
		k.Variant = "linear_recurrent_subgroup"
	}
	return k
}

// span is the number of columns of one workgroup.
func (k linearKey) span() int { return int(k.Invocations / k.Lanes * k.Columns) }

// linearSimpleKey is one of the kernels around the recurrence.
type linearSimpleKey struct {
	Variant     string
	Invocations uint32
	Type        vkattn.Type // that linear_features reads, and that linear_srms writes
}

func (k linearSimpleKey) pipelineSpec() vk.PipelineSpec {
	spec := vk.PipelineSpec{Name: k.Variant, Spec: []vk.SpecConstant{{ID: 0, Value: k.Invocations}}, PushBytes: linearPushBytes}
	if k.Variant == linearFeatures || k.Variant == linearSRMS {
		spec.Spec = append(spec.Spec, vk.SpecConstant{ID: 1, Value: uint32(k.Type)})
	}
	return spec
}

const (
	linearRecurrent, linearChunk = "linear_recurrent", "linear_chunk"
	linearFeatures, linearSRMS   = "linear_features", "linear_srms"
)

// linearLanes is the workgroup of those kernels.
const linearLanes = 64

// linearChoice is the planner's decision for one linear op on one device.
type linearChoice struct {
	op      vkattn.Linear // canonical
	path    string
	key     linearKey
	shared  int
	reads   int      // heads of the output that read one state
	chunk   chunkKey // of the chunked form; Chunk is 0 where tokens go one by one
	refused []vkattn.Refusal
	notFor  []vkattn.Refusal // as of a choice
	notes   []string
}

var linearRungs = []rung{{"subgroup", "linear_recurrent_subgroup"}, {"plain", "linear_recurrent_plain"}}

// types are those of what the recurrence or the chunks read and write: features of a kernel of their own, and outputs whose
// norm is not known yet, are in float32.
func (c *linearChoice) types() types {
	t := types{c.op.TypeQ, c.op.TypeK, c.op.TypeV, c.op.TypeOut}
	if c.featured() {
		t.Q, t.K = vkattn.Float32, vkattn.Float32
	}
	if c.op.Norm == vkattn.NormSRMS {
		t.Out = vkattn.Float32
	}
	return t
}

// featured says that queries and keys go through the features kernel: maps that need a whole head.
func (c *linearChoice) featured() bool {
	return c.op.Features > 0 || c.op.Map == vkattn.MapSoftmax || c.op.Norm == vkattn.NormLiteral
}

// mapping is what the kernels that load features do to them: nothing, a map without exp, or one with exp.
func (c *linearChoice) mapping() uint32 {
	switch {
	case c.featured() || c.op.Map == vkattn.MapIdentity && c.op.MapEps.Value == 0:
		return 0
	case c.op.Map == vkattn.MapELU || c.op.Map == vkattn.MapSiLU || c.op.Map == vkattn.MapExp:
		return 2
	}
	return 1
}

// columns are those of a state: the values', and one for the denominator where there is one.
func (c *linearChoice) columns() int { return c.op.StateShape(1)[3] }

// chooseLinear is choose for the linear family.
func (p *planner) chooseLinear(caps *vk.Caps, op vkattn.Linear, kernel string, disabled map[string]string) (*linearChoice, error) {
	op = op.Canonical()
	refuse := func(reasons ...vkattn.Refusal) error {
		return &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + caps.Name, Reasons: reasons}
	}
	no := func(format string, args ...any) error {
		return refuse(vkattn.Refusal{Kernel: "linear_recurrent", Reason: fmt.Sprintf(format, args...)})
	}
	for i, t := range []vkattn.Type{op.TypeQ, op.TypeK, op.TypeV, op.TypeOut} {
		if t > vkattn.BFloat16 {
			return nil, no("%s is %s, the kernels read and write f32, f16 and bf16", typeNames[i], t)
		}
	}
	if f := op.FeatureDim(); f > maxFeatures || op.HeadDim > maxFeatures || op.ValueDim > maxFeatures {
		return nil, no("head sizes %d and %d and %d features, the kernels go up to %d", op.HeadDim, op.ValueDim, f, maxFeatures)
	}
	if n := caps.Limits.MaxPerStageStorageBuffers; n > 0 && n < numStorage {
		return nil, no("needs %d storage buffers in a stage, the device has %d", numStorage, n)
	}
	if n := caps.Limits.MaxPushConstantsSize; int(n) < linearPushBytes {
		return nil, no("needs %d bytes of push constants, the device has %d", linearPushBytes, n)
	}
	c := &linearChoice{op: op, reads: op.Heads() / op.States()}
	if c.reads > 1 {
		c.notes = append(c.notes, fmt.Sprintf("%d heads of the output read one state, which advances once for all of them", c.reads))
	}
	if op.Rule == vkattn.RuleDelta {
		c.notes = append(c.notes, "tokens of the delta rule follow each other: long sequences are not split, however few there are")
	}
	if c.featured() {
		c.notes = append(c.notes, "features are computed by a kernel of their own, slice by slice")
	}
	if kernel == linearChunk {
		if !p.chooseChunk(caps, c, disabled) {
			return nil, refuse(slices.Concat(c.refused, c.notFor)...)
		}
		c.notes = append(c.notes, "chunks of tokens, as asked for")
		return c, nil
	}
	c.notes = append(c.notes, "tokens go one by one; Config.Kernel asks for chunks, which only matrix units made faster so far, and there what is not finite may spoil its chunk")
	for _, r := range linearRungs {
		if why, off := disabled[r.path]; off {
			c.refused = append(c.refused, vkattn.Refusal{Kernel: r.variant, Reason: why})
			continue
		}
		variant := r.variant
		if t := c.types(); texelBuild(caps, r.path, texelVariant, disabled, t.Q, t.K, t.V) {
			variant = linearTexels
		}
		key, shared, why := p.fitLinear(caps, c, r.path, variant)
		if why != "" {
			c.refused = append(c.refused, vkattn.Refusal{Kernel: r.variant, Reason: why})
			continue
		}
		c.path, c.key, c.shared = r.path, key, shared
		return c, nil
	}
	return nil, refuse(c.refused...)
}

// fitLinear sizes the recurrent kernel for a device, or says why it cannot.
func (p *planner) fitLinear(caps *vk.Caps, c *linearChoice, path, variant string) (key linearKey, shared int, why string) {
	op := &c.op
	software, sg := caps.DeviceType == "cpu", caps.Subgroup
	key = linearKey{Variant: variant, Vector: true, Delta: op.Rule == vkattn.RuleDelta, Channel: op.Decay == vkattn.DecayChannel, Reads: 1, Types: c.types()}
	if key.texels() { // whose formats decode
		key.Types = types{Out: key.Types.Out}
	}
	if op.Norm == vkattn.NormSum || op.Norm == vkattn.NormLiteral {
		key.Norm = uint32(op.Norm)
	}
	key.Mapping = c.mapping()
	for key.Reads < 4 && int(2*key.Reads) <= c.reads && !(key.Norm != 0 && key.Reads == 2) {
		key.Reads *= 2
	}
	f := linearBuckets[slices.IndexFunc(linearBuckets, func(b int) bool { return b >= op.FeatureDim() })]

	// Two vec4 of features a lane, and so many lanes as there are, else more features. A lane holds columns * dim4
	// vec4 of the state in registers.
	lanes := uint32(clamp(f/8, 8, 32))
	if path == "subgroup" {
		smallest, required, why := subgroups(sg, 4)
		if why != "" {
			return key, 0, why
		}
		key.SubgroupSize, key.FullSubgroups = required, required > 0
		lanes = min(lanes, prevPow2(smallest))
	}
	key.Lanes, key.Dim4 = lanes, uint32(ceilDiv(f, int(4*lanes)))
	key.Whole = path == "subgroup" && sg.Min == sg.Max && key.Lanes == sg.Size
	key.Columns = min(8, key.Lanes)
	if key.Columns*key.Dim4 > 32 {
		key.Columns = 4
	}
	if key.Columns*key.Dim4 > 128 {
		return key, 0, fmt.Sprintf("%d features in %d lanes need too many registers", f, lanes)
	}
	floor := key.Lanes
	key.Invocations = max(64, key.Lanes)
	if software {
		key.Invocations = max(key.Lanes, sg.Size)
	}
	if path == "subgroup" {
		floor = max(floor, sg.Size)
		key.Invocations = max(key.Invocations, sg.Size)
	}
	limit := mostInvocations(caps, key.SubgroupSize)
	for key.Invocations > limit && key.Invocations/2 >= floor {
		key.Invocations /= 2
	}
	if key.Invocations > limit || linearLanes > limit {
		return key, 0, fmt.Sprintf("needs %d invocations in a workgroup, the device has %d", max(key.Invocations, linearLanes), limit)
	}
	for {
		var err error
		if shared, err = p.modules[key.Variant].Info.SharedBytes(specMap(key.spec())); err != nil {
			return key, 0, err.Error()
		}
		if uint32(shared) <= caps.Limits.MaxComputeSharedMemorySize {
			return key, shared, ""
		}
		switch {
		case key.Invocations/2 >= floor:
			key.Invocations /= 2
		case key.Reads > 1:
			key.Reads /= 2
		case key.Columns > 4:
			key.Columns /= 2
		default:
			return key, 0, fmt.Sprintf("needs %d bytes of shared memory, the device has %d", shared, caps.Limits.MaxComputeSharedMemorySize)
		}
	}
}

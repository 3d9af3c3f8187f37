package dispatch

import (
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// chunkKey is everything that a pipeline of the chunked form is specialised on.
type chunkKey struct {
	Variant                    string
	Invocations, Chunk, Padded uint32
	Delta                      bool
	Norm                       uint32
	Exponential                bool
	Span                       uint32 // columns of a state, with z
	Channel                    bool
	Slice                      uint32 // features at once
	Types                      types

	// On matrix units:
	SubgroupSize, M, N uint32
	Vector             bool
}

// spec is the table of specialization ids of linear_chunk.comp; a test compares it with the SPIR-V.
func (k chunkKey) spec() []vk.SpecConstant {
	spec := []vk.SpecConstant{{ID: 0, Value: k.Invocations}, {ID: 1, Value: k.Chunk}, {ID: 2, Value: k.Padded}, {ID: 3, Value: b2u(k.Vector)},
		{ID: 4, Value: b2u(k.Delta)}, {ID: 5, Value: k.Norm}, {ID: 6, Value: b2u(k.Exponential)}, {ID: 7, Value: k.Span},
		{ID: 9, Value: k.Slice},
		{ID: 10, Value: uint32(k.Types.Q)}, {ID: 11, Value: uint32(k.Types.K)}, {ID: 12, Value: uint32(k.Types.V)}, {ID: 13, Value: uint32(k.Types.Out)}}
	if k.matrix() {
		spec = append(spec, vk.SpecConstant{ID: 14, Value: k.SubgroupSize}, vk.SpecConstant{ID: 15, Value: k.M}, vk.SpecConstant{ID: 16, Value: k.N})
	} else {
		spec = append(spec, vk.SpecConstant{ID: 8, Value: b2u(k.Channel)})
	}
	return spec
}

func (k chunkKey) pipelineSpec() vk.PipelineSpec {
	return vk.PipelineSpec{Name: k.Variant, Spec: k.spec(), SubgroupSize: k.SubgroupSize, FullSubgroups: k.matrix(), PushBytes: linearPushBytes}
}

func (k chunkKey) matrix() bool { return k.M > 0 }

// loaded is the key for tensors whose rows can be read so many elements at a time.
func (k chunkKey) loaded(multiple int) chunkKey {
	k.Vector = k.matrix() && multiple%4 == 0
	return k
}

// span is the number of value columns of one workgroup.
func (k chunkKey) span() int {
	if k.Norm != 0 {
		return int(k.Span) - 1
	}
	return int(k.Span)
}

// linearChunkMatrix is linear_chunk.comp on matrix units. What turns those of attention off turns it off, too.
const linearChunkMatrix = "linear_chunk_matrix"

// chooseChunk puts the best rung of the chunked form into c, and reports whether there is one. On a software driver matrices are
// multiplied element by element.
func (p *planner) chooseChunk(caps *vk.Caps, c *linearChoice, disabled map[string]string) bool {
	order := []string{linearChunkMatrix, linearChunk}
	if caps.DeviceType == "cpu" {
		order = []string{linearChunk, linearChunkMatrix}
	}
	for _, name := range order {
		fit, why, path := p.fitChunk, disabled[name], "plain"
		if name == linearChunkMatrix {
			fit, path = p.fitChunkMatrix, rungMatrix
			if why == "" {
				why = disabled[rungMatrix]
			}
		}
		key, shared, reason := fit(caps, c)
		switch {
		case reason != "":
			c.notFor = append(c.notFor, vkattn.Refusal{Kernel: name, Reason: reason})
			continue
		case why != "":
			c.refused = append(c.refused, vkattn.Refusal{Kernel: name, Reason: why})
			continue
		}
		c.path, c.chunk, c.shared = path, key, shared
		c.key = linearKey{Variant: key.Variant, Norm: key.Norm, Invocations: key.Invocations, Lanes: 1, Columns: 1}
		return true
	}
	return false
}

// chunked is what both rungs are specialised on, or why the chunked form cannot be.
func (p *planner) chunked(c *linearChoice) (key chunkKey, why string) {
	op := &c.op
	switch {
	case !op.Causal:
		return key, "a call that is not causal has no order to cut to chunks"
	case op.Norm == vkattn.NormLiteral:
		return key, "norm literal divides the state anew for each token"
	}
	key = chunkKey{Variant: linearChunk, Delta: op.Rule == vkattn.RuleDelta, Channel: op.Decay == vkattn.DecayChannel, Slice: 16, Span: 16,
		Exponential: c.mapping() == 2, Types: c.types()}
	if op.Norm == vkattn.NormSum {
		key.Norm = uint32(op.Norm)
	}
	return key, ""
}

// fitChunk sizes the chunked kernel for a device, or says why it cannot.
func (p *planner) fitChunk(caps *vk.Caps, c *linearChoice) (key chunkKey, shared int, why string) {
	key, why = p.chunked(c)
	if why != "" {
		return key, 0, why
	}
	if key.Channel {
		key.Slice = 8
	}
	key.Padded = uint32(ceilDiv(c.op.FeatureDim(), 16) * 16)
	// Long chunks need more memory, and have fewer and larger products.
	for _, key.Chunk = range chunkSizes {
		if shared, why = p.fitsChunk(caps, &key, c.op.FeatureDim()); why == "" {
			return key, shared, ""
		}
	}
	return key, 0, why
}

var chunkSizes = []uint32{64, 32, 16}

// fitsChunk completes a key, and says what does not fit.
func (p *planner) fitsChunk(caps *vk.Caps, key *chunkKey, features int) (shared int, why string) {
	key.Invocations = key.Chunk * key.Chunk / 16
	if limit := mostInvocations(caps, key.SubgroupSize); key.Invocations > limit {
		return 0, fmt.Sprintf("needs %d invocations in a workgroup, the device has %d", key.Invocations, limit)
	}
	shared, err := p.modules[key.Variant].Info.SharedBytes(specMap(key.spec()))
	if err != nil {
		return 0, err.Error()
	}
	if limit := caps.Limits.MaxComputeSharedMemorySize; uint32(shared) > limit {
		return 0, fmt.Sprintf("needs %d bytes of shared memory for %d features, the device has %d", shared, features, limit)
	}
	return shared, ""
}

// fitChunkMatrix does so on matrix units.
func (p *planner) fitChunkMatrix(caps *vk.Caps, c *linearChoice) (key chunkKey, shared int, why string) {
	op := &c.op
	if key, why = p.chunked(c); why != "" {
		return key, 0, why
	}
	operand := op.TypeQ
	name, is := matrixTypeNames[operand]
	switch {
	case !is:
		return key, 0, fmt.Sprintf("q is %s, matrix units multiply f16 and bf16", operand)
	case op.TypeK != operand:
		return key, 0, fmt.Sprintf("k is %s and q is %s, matrix units multiply equals", op.TypeK, operand)
	case op.TypeV != operand:
		return key, 0, fmt.Sprintf("v is %s and q is %s, matrix units multiply equals", op.TypeV, operand)
	case c.featured():
		return key, 0, "features of a kernel of their own are float32"
	case key.Channel:
		return key, 0, "a decay of each feature by itself is no product of matrices"
	case operand == vkattn.Float16 && (op.Map == vkattn.MapExp || op.Map == vkattn.MapSquaredReLU):
		return key, 0, fmt.Sprintf("map %s may leave the range of f16", op.Map)
	}
	if missing := missingMatrix(&caps.Features, operand); missing != "" {
		return key, 0, "needs features that the device lacks: " + missing
	}
	_, required, why := subgroups(caps.Subgroup, 1)
	if why == "" && required == 0 {
		why = "needs full subgroups of a size that can be required"
	}
	if why != "" {
		return key, 0, why
	}
	shape, ok := matrixShape(caps, name, required)
	if !ok || shape.M < 8 || shape.M > 32 {
		return key, 0, fmt.Sprintf("the device multiplies no %s to f32 in matrices of a shape that the kernel knows", name)
	}
	if key.Variant = linearChunkMatrix; operand == vkattn.BFloat16 {
		key.Variant += "_bf16"
	}
	key.SubgroupSize, key.M, key.N, key.Vector = required, shape.M, shape.N, true
	// Long chunks first, then wide spans, for which scores are not computed again.
	largest := max(shape.M, shape.N)
	for _, key.Chunk = range chunkSizes {
		for _, key.Span = range []uint32{32, 16} {
			key.Slice = 32
			key.Padded = uint32(ceilDiv(op.FeatureDim(), 32) * 32)
			if key.Chunk < largest || key.Span < shape.N || key.Chunk*key.Chunk/16%required != 0 {
				why = fmt.Sprintf("chunks of %d tokens do not fill matrices of %dx%d or subgroups of %d", key.Chunk, shape.M, shape.N, required)
				continue
			}
			if shared, why = p.fitsChunk(caps, &key, op.FeatureDim()); why == "" {
				return key, shared, ""
			}
		}
	}
	return key, 0, why
}

package dispatch

import (
	"fmt"
	"sync"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/spirv"
	"github.com/vkattn/vkattn/vk"
)

// The bindings of every kernel, and the size of its push constants.
const (
	bindWork = iota
	bindQ
	bindK
	bindV
	bindOut
	bindLSE
	bindBias
	bindMask
	numStorage             // of them are storage buffers
	bindParams  = iota - 1 // the head of the work buffer again, as a uniform buffer
	numBindings = iota - 1
)

const pushBytes = 68 // sizeof(sliceParams)

// pipelineKey is everything that a pipeline is specialised on: equal keys share one. Its spec has no code, no
// bindings and no uniform buffers: those come from the module, and are the same for all kernels.
type pipelineKey interface {
	pipelineSpec() vk.PipelineSpec
}

func (k kernelKey) pipelineSpec() vk.PipelineSpec {
	spec := vk.PipelineSpec{Name: k.Variant, Spec: k.spec(), SubgroupSize: k.SubgroupSize, FullSubgroups: k.FullSubgroups, PushBytes: pushBytes}
	if k.texels() {
		spec.Texels = 1<<bindK | 1<<bindV
	}
	return spec
}

// simpleKey is a kernel without tiles: merge and the unfused baseline.
type simpleKey struct {
	Variant     string
	Invocations uint32
	Vector      bool
	Out         vkattn.Type // of merge
}

// mergeKey is merge for the parts of a kernel.
func mergeKey(key tiledKey, lanes uint32) simpleKey {
	out := key.elements().Out
	return simpleKey{Variant: "merge", Invocations: lanes, Vector: key.vector() && out != vkattn.Float32, Out: out}
}

func (k simpleKey) pipelineSpec() vk.PipelineSpec {
	spec := vk.PipelineSpec{Name: k.Variant, Spec: []vk.SpecConstant{{ID: 0, Value: k.Invocations}}, PushBytes: pushBytes}
	if k.Variant == "peak_read_texels" {
		spec.Texels = 1 << bindK
	}
	switch k.Variant {
	case "standard_scores":
		spec.Spec = append(spec.Spec, vk.SpecConstant{ID: 5, Value: b2u(k.Vector)})
	case "merge":
		spec.Spec = append(spec.Spec, vk.SpecConstant{ID: 5, Value: b2u(k.Vector)}, vk.SpecConstant{ID: 12, Value: uint32(k.Out)})
	}
	return spec
}

// pipelines builds each pipeline once. Builds of different keys run side by side.
type pipelines struct {
	dev     *vk.Device
	planner *planner
	mu      sync.Mutex
	entries map[pipelineKey]*pipelineEntry
}

type pipelineEntry struct {
	once sync.Once
	p    *vk.Pipeline
	err  error
}

// get builds or finds the pipeline of a key. warm is called once with a new pipeline, because drivers may
// compile at its first dispatch.
func (p *pipelines) get(key pipelineKey, warm func(*vk.Pipeline, *vk.PipelineSpec) error) (*vk.Pipeline, error) {
	p.mu.Lock()
	e := p.entries[key]
	if e == nil {
		e = &pipelineEntry{}
		p.entries[key] = e
	}
	p.mu.Unlock()
	e.once.Do(func() {
		spec := key.pipelineSpec()
		spec.Bindings, spec.Uniforms = numBindings, 1<<bindParams
		spec.Code = p.planner.modules[spec.Name].Code
		if !p.dev.Caps().Features.RoundingModeRTE16 {
			spec.Code, e.err = spirv.AnyRounding(spec.Code)
		}
		if e.err == nil {
			e.p, e.err = p.dev.NewPipeline(spec)
		}
		if e.err == nil {
			if e.err = warm(e.p, &spec); e.err != nil {
				e.p.Close()
			}
		}
		if e.err != nil {
			e.err = fmt.Errorf("dispatch: pipeline %s: %w", spec.Name, e.err)
		}
	})
	if e.err != nil {
		p.mu.Lock()
		if p.entries[key] == e {
			delete(p.entries, key) // a later attempt may succeed, out of memory passes
		}
		p.mu.Unlock()
		return nil, e.err
	}
	return e.p, nil
}

func (p *pipelines) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.entries {
		if e.p != nil {
			e.p.Close()
		}
	}
	p.entries = map[pipelineKey]*pipelineEntry{}
}

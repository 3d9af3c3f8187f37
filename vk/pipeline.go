//go:build cgo && !novulkan && (linux || windows)

package vk

// #include "shim.h"
import "C"

import (
	"math/bits"
	"sync/atomic"
	"unsafe"

	goki "github.com/goki/vulkan"
)

// Pipeline is a compiled kernel. It may be bound by any number of Commands at once.
type Pipeline struct {
	device    *Device
	name      string
	bindings  int
	texels    uint64
	uniforms  uint64
	pushBytes int
	setLayout goki.DescriptorSetLayout
	layout    goki.PipelineLayout
	handle    goki.Pipeline
	closed    atomic.Bool
}

// NewPipeline compiles a kernel. It holds no lock meanwhile, so several goroutines compile in parallel.
//
// ErrInvalid: the spec breaks a rule or a limit of this device; ErrUnsupported: the device cannot promise the
// subgroup size; *CallError: the driver refused. That Code fits the device in other ways (capabilities, shared
// memory, local size) is the caller's to know: drivers do not check it.
func (d *Device) NewPipeline(spec PipelineSpec) (*Pipeline, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	if err := d.checkSpec(&spec); err != nil {
		return nil, err
	}
	for _, call := range []string{"vkCreateShaderModule", "vkCreateComputePipelines"} {
		if r := d.inject(call); r != Success {
			return nil, d.fail(call, r)
		}
	}
	var constants *C.vkattn_spec
	if len(spec.Spec) > 0 {
		constants = (*C.vkattn_spec)(unsafe.Pointer(unsafe.SliceData(spec.Spec)))
	}
	made := C.vkattn_pipeline_create(d.d, raw(d.cache.handle),
		(*C.uint32_t)(unsafe.Pointer(unsafe.SliceData(spec.Code))), C.uint64_t(len(spec.Code)),
		C.uint32_t(spec.Bindings), C.uint64_t(spec.Texels), C.uint64_t(spec.Uniforms), C.uint32_t(spec.PushBytes),
		constants, C.uint32_t(len(spec.Spec)), C.uint32_t(spec.SubgroupSize), bit(spec.FullSubgroups))
	if r := Result(made.result); r != Success {
		err := d.fail(C.GoString(made.call), r)
		if call, ok := err.(*CallError); ok && call.Advice == "" {
			call.Advice = "pipeline " + spec.Name
		}
		return nil, err
	}
	p := &Pipeline{
		device:    d,
		name:      spec.Name,
		bindings:  spec.Bindings,
		texels:    spec.Texels,
		uniforms:  spec.Uniforms,
		pushBytes: spec.PushBytes,
		setLayout: handleOf[goki.DescriptorSetLayout](made.set_layout),
		layout:    handleOf[goki.PipelineLayout](made.layout),
		handle:    handleOf[goki.Pipeline](made.pipeline),
	}
	d.created.Add(1)
	d.name(19, uint64(made.pipeline), spec.Name) // VK_OBJECT_TYPE_PIPELINE
	d.mu.Lock()
	d.pipelines[p] = struct{}{}
	d.mu.Unlock()
	return p, nil
}

func (d *Device) checkSpec(spec *PipelineSpec) error {
	limits, subgroup := &d.caps.Limits, &d.caps.Subgroup
	texels, uniforms := bits.OnesCount64(spec.Texels), bits.OnesCount64(spec.Uniforms)
	switch {
	case len(spec.Code) < 5 || spec.Code[0] != 0x07230203:
		return invalid("pipeline %q: Code is not SPIR-V in this machine's byte order", spec.Name)
	case spec.Bindings < 0 || spec.Bindings > C.VKATTN_MAX_BINDINGS:
		return invalid("pipeline %q: %d bindings; 0 to %d are possible", spec.Name, spec.Bindings, C.VKATTN_MAX_BINDINGS)
	case spec.Bindings < 64 && spec.Texels>>spec.Bindings != 0:
		return invalid("pipeline %q: Texels %#x names bindings beyond the %d there are", spec.Name, spec.Texels, spec.Bindings)
	case spec.Bindings < 64 && spec.Uniforms>>spec.Bindings != 0 || spec.Uniforms&spec.Texels != 0:
		return invalid("pipeline %q: Uniforms %#x names bindings beyond the %d there are, or Texels", spec.Name, spec.Uniforms, spec.Bindings)
	case uniforms > maxUniforms:
		return invalid("pipeline %q: %d uniform buffers; %d are possible", spec.Name, uniforms, maxUniforms)
	case uint64(spec.Bindings-texels-uniforms) > uint64(limits.MaxPerStageStorageBuffers) || uint64(spec.Bindings) > uint64(limits.MaxPerStageResources):
		return invalid("pipeline %q: %d bindings; this device allows %d storage buffers", spec.Name, spec.Bindings, limits.MaxPerStageStorageBuffers)
	case spec.PushBytes < 0 || spec.PushBytes%4 != 0 || uint64(spec.PushBytes) > uint64(limits.MaxPushConstantsSize):
		return invalid("pipeline %q: %d bytes of push constants; a multiple of 4 up to %d is possible", spec.Name, spec.PushBytes, limits.MaxPushConstantsSize)
	case texels > 0 && len(d.caps.TexelFormats) == 0:
		return unsupported("pipeline %q: this device has no uniform texel buffers", spec.Name)
	case spec.FullSubgroups && !subgroup.FullSubgroups:
		return unsupported("pipeline %q: this device cannot promise full subgroups", spec.Name)
	}
	if size := spec.SubgroupSize; size != 0 {
		if !subgroup.RequiredSizeInCompute {
			return unsupported("pipeline %q: this device cannot promise a subgroup size", spec.Name)
		}
		if size < subgroup.Min || size > subgroup.Max || size&(size-1) != 0 {
			return unsupported("pipeline %q: subgroup size %d; this device has powers of two from %d to %d", spec.Name, size, subgroup.Min, subgroup.Max)
		}
	}
	seen := map[uint32]bool{}
	for _, c := range spec.Spec {
		if seen[c.ID] {
			return invalid("pipeline %q: specialization constant %d is given twice", spec.Name, c.ID)
		}
		seen[c.ID] = true
	}
	return nil
}

// PipelinesCreated counts the pipelines made so far, closed ones included. Compiling is slow, so tests bound it.
func (d *Device) PipelinesCreated() int { return int(d.created.Load()) }

// Name is the one in the spec.
func (p *Pipeline) Name() string { return p.name }

// Close destroys the pipeline. The caller guarantees that the device is done with it. Close may be called again;
// it then does nothing.
func (p *Pipeline) Close() error {
	d := p.device
	d.life.RLock()
	defer d.life.RUnlock()
	if d.closed || !p.closed.CompareAndSwap(false, true) {
		return nil
	}
	d.mu.Lock()
	delete(d.pipelines, p)
	d.mu.Unlock()
	d.destroy(p.free)
	d.instance.pump()
	return nil
}

func (p *Pipeline) free() {
	p.closed.Store(true)
	C.vkattn_pipeline_destroy(p.device.d, raw(p.setLayout), raw(p.layout), raw(p.handle))
}

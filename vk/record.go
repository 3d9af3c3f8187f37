//go:build cgo && !novulkan && (linux || windows)

package vk

// #include "shim.h"
import "C"

import (
	"unsafe"

	goki "github.com/goki/vulkan"
)

// op appends a step to the program.
func (c *Commands) op(code uint64, words ...uint64) {
	c.program = append(c.program, code|uint64(len(words))<<32)
	c.program = append(c.program, words...)
}

// opData appends a step whose words are followed by data, a multiple of 4 bytes.
func (c *Commands) opData(code uint64, data []byte, words ...uint64) {
	n := (len(data) + 7) / 8
	c.program = append(c.program, code|uint64(len(words)+n)<<32)
	c.program = append(c.program, words...)
	at := len(c.program)
	c.program = append(c.program, make([]uint64, n)...)
	copy(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(c.program[at:]))), 8*n), data)
}

// Bind selects a pipeline and its buffers for the dispatches that follow. What breaks a rule is a *BindError.
func (c *Commands) Bind(p *Pipeline, bindings []Binding) error {
	return c.record(func() error {
		c.pipeline, c.bound, c.pushed = nil, false, false
		if p == nil || p.device != c.device {
			return &BindError{Binding: -1, Reason: "the pipeline is of another device", Err: ErrInvalid}
		}
		fail := func(i int, err error, reason string) error {
			return &BindError{Pipeline: p.name, Binding: i, Reason: reason, Err: err}
		}
		if p.closed.Load() {
			return fail(-1, ErrClosed, "the pipeline is closed")
		}
		if len(bindings) != p.bindings {
			return fail(-1, ErrInvalid, count(len(bindings), "buffer")+" for "+count(p.bindings, "binding"))
		}
		start := len(c.program)
		c.op(C.VKATTN_OP_PIPELINE, uint64(raw(p.handle)))
		if p.bindings > 0 {
			c.program = append(c.program, C.VKATTN_OP_BIND|uint64(4+3*p.bindings)<<32,
				uint64(raw(p.layout)), uint64(raw(p.setLayout)), p.texels, p.uniforms)
		}
		for i, b := range bindings {
			texel := p.texels>>i&1 != 0
			size, refused := c.window(b, texel, p.uniforms>>i&1 != 0)
			if refused != nil {
				c.program = c.program[:start]
				return fail(i, refused.err, refused.text)
			}
			if texel {
				view, err := c.view(b, size)
				if err != nil {
					c.program = c.program[:start]
					return err
				}
				c.program = append(c.program, uint64(view), 0, 0)
			} else {
				c.program = append(c.program, uint64(raw(b.Buffer.handle)), uint64(b.Offset), uint64(size))
			}
			c.buffers[b.Buffer] = struct{}{}
		}
		c.pipelines[p] = struct{}{}
		c.pipeline, c.bound = p, true
		if p.bindings > 0 {
			texels, uniforms := uint32(popcount(p.texels)), uint32(popcount(p.uniforms))
			c.need.sets++
			c.need.texels += texels
			c.need.uniforms += uniforms
			c.need.buffers += uint32(p.bindings) - texels - uniforms
		}
		return nil
	})
}

// window is the length of a binding in bytes, or why it must not be bound.
func (c *Commands) window(b Binding, texel, uniform bool) (int64, *reasoned) {
	switch {
	case b.Buffer == nil:
		return 0, refuse(ErrInvalid, "no buffer")
	case b.Buffer.device != c.device:
		return 0, refuse(ErrInvalid, "the buffer is of another device")
	case b.Buffer.closed.Load():
		return 0, refuse(ErrClosed, "the buffer is closed")
	}
	return checkRange(&c.device.caps, b.Buffer.size, b.Buffer.capacity, b.Offset, b.Range, b.Format, texel, uniform)
}

// view makes a texel view, or finds the one this recording already has.
func (c *Commands) view(b Binding, size int64) (C.uint64_t, error) {
	key := viewKey{b.Buffer, b.Format, b.Offset, size}
	if view, ok := c.views[key]; ok {
		return view, nil
	}
	d := c.device
	if r := d.inject("vkCreateBufferView"); r != Success {
		return 0, d.fail("vkCreateBufferView", r)
	}
	made := C.vkattn_view_create(d.d, raw(b.Buffer.handle), C.uint32_t(texelFormats[b.Format].format), C.uint64_t(b.Offset), C.uint64_t(size))
	if r := Result(made.result); r != Success {
		return 0, d.fail("vkCreateBufferView", r)
	}
	c.views[key] = made.handle
	return made.handle, nil
}

// Push sets the push constants of the bound pipeline: all of its PushBytes.
func (c *Commands) Push(data []byte) error {
	return c.record(func() error {
		switch {
		case !c.bound:
			return invalid("push: bind a pipeline first")
		case len(data) != c.pipeline.pushBytes:
			return invalid("push: %d bytes; pipeline %q takes %d", len(data), c.pipeline.name, c.pipeline.pushBytes)
		}
		if len(data) > 0 {
			c.opData(C.VKATTN_OP_PUSH, data, uint64(raw(c.pipeline.layout)), uint64(len(data)))
		}
		c.pushed = true
		return nil
	})
}

// Dispatch runs x*y*z workgroups of the bound pipeline. A count of zero records nothing.
func (c *Commands) Dispatch(x, y, z uint32) error {
	return c.record(func() error {
		limit := c.device.caps.Limits.MaxComputeWorkGroupCount
		switch {
		case !c.bound:
			return invalid("dispatch: bind a pipeline first")
		case c.pipeline.pushBytes > 0 && !c.pushed:
			return invalid("dispatch: pipeline %q takes %d bytes of push constants; push them after Bind", c.pipeline.name, c.pipeline.pushBytes)
		case x > limit[0] || y > limit[1] || z > limit[2]:
			return invalid("dispatch: %d x %d x %d workgroups of %q; this device allows %d x %d x %d", x, y, z, c.pipeline.name, limit[0], limit[1], limit[2])
		}
		if x > 0 && y > 0 && z > 0 {
			c.op(C.VKATTN_OP_DISPATCH, uint64(x), uint64(y), uint64(z))
		}
		return nil
	})
}

const (
	stageCompute  = uint64(goki.PipelineStageComputeShaderBit)
	stageTransfer = uint64(goki.PipelineStageTransferBit)
	stageHost     = uint64(goki.PipelineStageHostBit)
	stageAll      = uint64(goki.PipelineStageAllCommandsBit)

	shaderWrite   = uint64(goki.AccessShaderWriteBit)
	shaderBoth    = uint64(goki.AccessShaderReadBit | goki.AccessShaderWriteBit | goki.AccessUniformReadBit)
	transferWrite = uint64(goki.AccessTransferWriteBit)
	transferBoth  = uint64(goki.AccessTransferReadBit | goki.AccessTransferWriteBit)
	hostWrite     = uint64(goki.AccessHostWriteBit)
	hostBoth      = uint64(goki.AccessHostReadBit | goki.AccessHostWriteBit)
	memoryWrite   = uint64(goki.AccessMemoryWriteBit)
	memoryBoth    = uint64(goki.AccessMemoryReadBit | goki.AccessMemoryWriteBit)
)

// barrierToHost is what End appends.
const barrierToHost = BarrierAll + 1

// barriers gives source stage and access, destination stage and access. An execution dependency covers reads in
// the source.
var barriers = [...][4]uint64{
	ComputeToCompute:   {stageCompute, shaderWrite, stageCompute, shaderBoth},
	ComputeToTransfer:  {stageCompute, shaderWrite, stageTransfer, transferBoth},
	ComputeToHost:      {stageCompute, shaderWrite, stageHost, hostBoth},
	TransferToCompute:  {stageTransfer, transferWrite, stageCompute, shaderBoth},
	TransferToTransfer: {stageTransfer, transferWrite, stageTransfer, transferBoth},
	TransferToHost:     {stageTransfer, transferWrite, stageHost, hostBoth},
	HostToCompute:      {stageHost, hostWrite, stageCompute, shaderBoth},
	HostToTransfer:     {stageHost, hostWrite, stageTransfer, transferBoth},
	BarrierAll:         {stageAll, memoryWrite, stageAll, memoryBoth},
	barrierToHost:      {stageAll, memoryWrite, stageHost, hostBoth},
}

// Barrier orders and makes visible what was recorded before it to what is recorded after it.
func (c *Commands) Barrier(kind BarrierKind) {
	c.record(func() error {
		if kind > BarrierAll {
			return invalid("barrier: no kind %d", kind)
		}
		c.barrier(kind)
		return nil
	})
}

func (c *Commands) barrier(kind BarrierKind) {
	b := barriers[kind]
	c.op(C.VKATTN_OP_BARRIER, b[:]...)
}

// use checks that n bytes at off are inside b and notes that the recording uses it.
func (c *Commands) use(call string, b *Buffer, off, n, limit int64) error {
	switch {
	case b == nil || b.device != c.device:
		return invalid("%s: the buffer is of another device", call)
	case b.closed.Load():
		return &reasoned{"vk: " + call + ": the buffer is closed", ErrClosed}
	case off < 0 || n <= 0 || off > limit || n > limit-off:
		return invalid("%s: %d bytes at %d are not inside buffer %q of %d bytes", call, n, off, b.purpose, b.size)
	}
	c.buffers[b] = struct{}{}
	return nil
}

// Copy copies regions from src to dst, which may be one buffer if no source overlaps a destination.
func (c *Commands) Copy(src, dst *Buffer, regions []Region) error {
	return c.record(func() error {
		if len(regions) == 0 {
			return nil
		}
		words := make([]uint64, 2, 2+3*len(regions))
		for _, r := range regions {
			if err := c.use("copy from", src, r.Src, r.Size, src.limit()); err != nil {
				return err
			}
			if err := c.use("copy to", dst, r.Dst, r.Size, dst.limit()); err != nil {
				return err
			}
			words = append(words, uint64(r.Src), uint64(r.Dst), uint64(r.Size))
		}
		if src == dst && overlap(regions) {
			return invalid("copy: a source overlaps a destination in buffer %q", src.purpose)
		}
		words[0], words[1] = uint64(raw(src.handle)), uint64(raw(dst.handle))
		c.op(C.VKATTN_OP_COPY, words...)
		return nil
	})
}

// limit is the end of what may be accessed: the size with its padding.
func (b *Buffer) limit() int64 {
	if b == nil {
		return 0
	}
	return b.capacity
}

// Fill sets size bytes at off to a repeated word; both are multiples of 4. Size 0 means to the end of the buffer.
func (c *Commands) Fill(dst *Buffer, off, size int64, word uint32) error {
	return c.record(func() error {
		if size == 0 && dst != nil {
			size = (dst.capacity - off) &^ 3
		}
		if off%4 != 0 || size%4 != 0 {
			return invalid("fill: %d bytes at %d; both must be multiples of 4", size, off)
		}
		if err := c.use("fill", dst, off, size, dst.limit()); err != nil {
			return err
		}
		c.op(C.VKATTN_OP_FILL, uint64(raw(dst.handle)), uint64(off), uint64(size), uint64(word))
		return nil
	})
}

// Update writes data, copied now, to dst at off: at most 65536 bytes, a multiple of 4, at a multiple of 4.
func (c *Commands) Update(dst *Buffer, off int64, data []byte) error {
	return c.record(func() error {
		if off%4 != 0 || len(data)%4 != 0 || len(data) > 65536 {
			return invalid("update: %d bytes at %d; at most 65536, and both multiples of 4", len(data), off)
		}
		if err := c.use("update", dst, off, int64(len(data)), dst.limit()); err != nil {
			return err
		}
		c.opData(C.VKATTN_OP_UPDATE, data, uint64(raw(dst.handle)), uint64(off), uint64(len(data)))
		return nil
	})
}

// maxSlots bounds the timestamps of one recording.
const maxSlots = 4096

// Timestamp notes the time in a slot, 0 to 4095, when all that was recorded before it is done. Each slot is
// written once per recording. ErrNoTimestamps where the queue has none.
func (c *Commands) Timestamp(slot int) error {
	return c.record(func() error {
		switch {
		case c.device.caps.Limits.TimestampValidBits == 0:
			return ErrNoTimestamps
		case slot < 0 || slot >= maxSlots:
			return invalid("timestamp: slot %d; 0 to %d are possible", slot, maxSlots-1)
		case slot < len(c.written) && c.written[slot]:
			return invalid("timestamp: slot %d is written twice", slot)
		}
		if grow := slot + 1 - len(c.written); grow > 0 {
			c.written = append(c.written, make([]bool, grow)...)
		}
		c.written[slot] = true
		c.op(C.VKATTN_OP_TIMESTAMP, uint64(slot))
		return nil
	})
}

// timeBytes is what a timestamp takes when it is read: its value and whether there is one, 64 bits each.
const timeBytes = 16

// copiesTimes reports whether recordings copy their timestamps to memory that the host sees: llvmpipe's
// vkGetQueryPoolResults waits until the device is idle, which wakes two threads for nothing.
func (d *Device) copiesTimes() bool { return d.caps.DriverID == driverLLVMpipe }

// copyTimes records the copy of the slots that are written, run by run.
func (c *Commands) copyTimes() {
	if !c.device.copiesTimes() {
		return
	}
	for first := 0; first < len(c.written); {
		n := 0
		for first+n < len(c.written) && c.written[first+n] {
			n++
		}
		if n > 0 {
			c.op(C.VKATTN_OP_COPY_TIMES, uint64(first), uint64(n), uint64(raw(c.times.handle)), uint64(first*timeBytes))
		}
		first += n + 1
	}
}

// TimestampsNS reads the slots of the latest run, after Wait, in nanoseconds since the first slot written; a slot
// that was not written is NaN. ErrBusy while the device still runs it, ErrNoTimestamps if the recording has none.
func (c *Commands) TimestampsNS() ([]float64, error) {
	d := c.device
	if c.ticket != 0 && !d.Done(c.ticket) && !d.Lost() {
		return nil, ErrBusy
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	switch {
	case c.closed.Load():
		return nil, ErrClosed
	case d.caps.Limits.TimestampValidBits == 0 || len(c.written) == 0:
		return nil, ErrNoTimestamps
	case c.state != commandsReady || c.ticket == 0:
		return nil, invalid("timestamps: submit the recording and wait for it first")
	}
	raws := make([]uint64, 2*len(c.written))
	words := unsafe.Slice((*byte)(unsafe.Pointer(&raws[0])), len(c.written)*timeBytes)
	if d.copiesTimes() {
		copy(words, c.times.Bytes()) // all of llvmpipe's memory is coherent
		return nanoseconds(raws, c.written, d.caps.Limits.TimestampPeriod, d.caps.Limits.TimestampValidBits), nil
	}
	r := Result(C.vkattn_queries_read(d.d, raw(c.queries), C.uint32_t(len(c.written)), (*C.uint64_t)(unsafe.Pointer(&words[0]))))
	if r != Success && r != NotReady {
		return nil, d.fail("vkGetQueryPoolResults", r)
	}
	return nanoseconds(raws, c.written, d.caps.Limits.TimestampPeriod, d.caps.Limits.TimestampValidBits), nil
}

//go:build cgo && !novulkan && (linux || windows)

package vk

// #include "shim.h"
import "C"

import (
	"math"
	"sync/atomic"
	"unsafe"

	goki "github.com/goki/vulkan"
)

// padding is what buffer sizes are rounded up to, so that a kernel may read its last elements as a vector of 16
// bytes.
const padding = 16

// Buffer is memory of a device. Its methods are safe for concurrent use; that the device and the host do not meet in
// its bytes is the caller's business.
type Buffer struct {
	device    *Device
	heap      Heap
	purpose   string
	size      int64 // as asked for
	capacity  int64 // rounded up to padding
	allocated int64 // bytes of memory behind it
	handle    goki.Buffer
	memory    goki.DeviceMemory
	coherent  bool
	mapped    unsafe.Pointer // C memory, nil if the host cannot see it
	address   uint64
	closed    atomic.Bool
}

// raw gives the shim a handle of goki as a number: with layers handles are small integers, which must never look
// like a Go pointer.
func raw[H any](h H) C.uint64_t {
	if unsafe.Sizeof(h) == 4 {
		return C.uint64_t(*(*uint32)(unsafe.Pointer(&h)))
	}
	return *(*C.uint64_t)(unsafe.Pointer(&h))
}

// handleOf is the way back.
func handleOf[H any](v C.uint64_t) (h H) {
	if unsafe.Sizeof(h) == 4 {
		*(*uint32)(unsafe.Pointer(&h)) = uint32(v)
	} else {
		*(*C.uint64_t)(unsafe.Pointer(&h)) = v
	}
	return h
}

const bufferUsage = C.uint32_t(goki.BufferUsageTransferSrcBit | goki.BufferUsageTransferDstBit | goki.BufferUsageStorageBufferBit | goki.BufferUsageUniformBufferBit)

func (d *Device) bufferUsage() C.uint32_t {
	usage := bufferUsage
	if len(d.caps.TexelFormats) > 0 {
		usage |= C.uint32_t(goki.BufferUsageUniformTexelBufferBit)
	}
	if d.caps.Features.BufferDeviceAddress {
		usage |= C.uint32_t(goki.BufferUsageShaderDeviceAddressBit)
	}
	return usage
}

// MappedDevice reports whether the host sees buffers of HeapDevice (Bytes is not nil), as it does where device
// memory is host memory.
func (d *Device) MappedDevice() bool {
	order := memoryOrder(&d.caps, HeapDevice, math.MaxUint32)
	return d.caps.UnifiedMemory && len(order) > 0 && d.caps.MemoryTypes[order[0]].HostVisible
}

// UploadInDevice reports whether buffers of HeapUpload lie in device memory, as they do where the host can map all of it: what is
// written to them need not be copied.
func (d *Device) UploadInDevice() bool {
	order := memoryOrder(&d.caps, HeapUpload, math.MaxUint32)
	return len(order) > 0 && d.caps.MemoryTypes[order[0]].DeviceLocal && memoryRank(&d.caps, HeapUpload, d.caps.MemoryTypes[order[0]]) < 2
}

// NewBuffer allocates size bytes. The contents are undefined. The buffer serves as storage buffer, uniform buffer, uniform texel
// buffer (where Caps.TexelFormats is not empty), source and destination of copies, and by address (where
// Features.BufferDeviceAddress). Purpose groups it in MemoryStats. Where the best memory type is full the next one
// of the same heap is tried; device buffers never fall back to host memory.
//
// Each buffer is an allocation of its own, of which a driver may allow only Limits.MaxMemoryAllocationCount: pool
// small things. An error is a *MemoryError, except on a device that is closed or lost already.
func (d *Device) NewBuffer(size int64, heap Heap, purpose string) (*Buffer, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	b, err := d.newBuffer(size, heap, purpose)
	if err == nil {
		d.mu.Lock()
		d.buffers[b] = struct{}{}
		d.mu.Unlock()
	}
	return b, err
}

// newBuffer is NewBuffer for a caller that has entered the device and frees the buffer itself.
func (d *Device) newBuffer(size int64, heap Heap, purpose string) (*Buffer, error) {
	fail := func(limit int64, err error) (*Buffer, error) {
		use := d.memory.stats().Total
		return nil, &MemoryError{Size: size, Heap: heap, Purpose: purpose, InUse: use.Bytes, Count: use.Count, Limit: limit, Err: err}
	}
	if size <= 0 || heap >= heapCount {
		return fail(0, invalid("size must be positive and the heap one of device, upload and readback"))
	}
	limit := min(d.caps.Limits.MaxBufferSize, d.caps.Limits.MaxMemoryAllocationSize, math.MaxInt64-padding)
	if uint64(size) > limit {
		return fail(int64(limit), ErrOutOfDeviceMemory)
	}
	b := &Buffer{device: d, heap: heap, purpose: purpose, size: size, capacity: (size + padding - 1) &^ (padding - 1)}
	if uint64(b.capacity) > limit {
		b.capacity = size
	}
	if r := d.inject("vkCreateBuffer"); r != Success {
		return fail(0, d.fail("vkCreateBuffer", r))
	}
	made := C.vkattn_buffer_create(d.d, C.uint64_t(b.capacity), d.bufferUsage())
	if r := Result(made.result); r != Success {
		return fail(0, d.fail("vkCreateBuffer", r))
	}
	b.handle = handleOf[goki.Buffer](made.buffer)
	b.allocated = int64(made.size)
	if !d.memory.reserve(b.allocated, d.config.MaxMemory, d.caps.Limits.MaxMemoryAllocationCount, heap, purpose) {
		C.vkattn_buffer_destroy(d.d, made.buffer)
		return fail(d.config.MaxMemory, ErrOutOfDeviceMemory)
	}
	if err := b.allocate(uint32(made.types)); err != nil {
		C.vkattn_buffer_destroy(d.d, made.buffer)
		d.memory.release(b.allocated, heap, purpose)
		return fail(0, err)
	}
	if d.caps.Features.BufferDeviceAddress {
		b.address = uint64(C.vkattn_buffer_address(d.d, made.buffer))
	}
	d.name(9, uint64(made.buffer), purpose) // VK_OBJECT_TYPE_BUFFER
	return b, nil
}

// allocate tries the memory types in order.
func (b *Buffer) allocate(mask uint32) error {
	d := b.device
	err := unsupported("no memory type for it")
	for _, t := range memoryOrder(&d.caps, b.heap, mask) {
		if err = b.allocateType(t); err == nil || d.lost.Load() {
			return err
		}
	}
	return err
}

func (b *Buffer) allocateType(t uint32) error {
	d := b.device
	if r := d.inject("vkAllocateMemory"); r != Success {
		return d.fail("vkAllocateMemory", r)
	}
	made := C.vkattn_memory_allocate(d.d, C.uint64_t(b.allocated), C.uint32_t(t), bit(d.caps.Features.BufferDeviceAddress))
	if r := Result(made.result); r != Success {
		return d.fail("vkAllocateMemory", r)
	}
	kind := d.caps.MemoryTypes[t]
	if kind.HostVisible && (b.heap != HeapDevice || d.caps.UnifiedMemory) {
		r := d.inject("vkMapMemory")
		if r == Success {
			mapped := C.vkattn_memory_map(d.d, made.handle)
			r, b.mapped = Result(mapped.result), mapped.pointer
		}
		if r != Success {
			C.vkattn_memory_free(d.d, made.handle)
			return d.fail("vkMapMemory", r)
		}
	}
	r := d.inject("vkBindBufferMemory")
	if r == Success {
		r = Result(C.vkattn_buffer_bind(d.d, raw(b.handle), made.handle))
	}
	if r != Success {
		C.vkattn_memory_free(d.d, made.handle)
		b.mapped = nil
		return d.fail("vkBindBufferMemory", r)
	}
	b.memory = handleOf[goki.DeviceMemory](made.handle)
	b.coherent = kind.HostCoherent
	return nil
}

// Size is the number of bytes asked for.
func (b *Buffer) Size() int64 { return b.size }

// Heap is where the buffer lives.
func (b *Buffer) Heap() Heap { return b.heap }

// Address is the device's address of the first byte, or 0 without Features.BufferDeviceAddress.
func (b *Buffer) Address() uint64 { return b.address }

// Bytes is the memory itself, mapped for the life of the buffer, or nil where the host cannot see it. It must not
// be used after Close: that is a fault no Go program can recover from.
func (b *Buffer) Bytes() []byte {
	if b.closed.Load() || b.mapped == nil {
		return nil
	}
	return unsafe.Slice((*byte)(b.mapped), b.size)
}

// Flush makes what the host wrote to n bytes at off visible to the device. It does nothing where memory is
// coherent, as it always is in HeapUpload.
func (b *Buffer) Flush(off, n int64) error { return b.sync("vkFlushMappedMemoryRanges", off, n) }

// Invalidate makes what the device wrote to n bytes at off visible to the host, after Wait. It does nothing where
// memory is coherent.
func (b *Buffer) Invalidate(off, n int64) error {
	return b.sync("vkInvalidateMappedMemoryRanges", off, n)
}

func (b *Buffer) sync(call string, off, n int64) error {
	d := b.device
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	switch {
	case b.closed.Load():
		return ErrClosed
	case b.mapped == nil:
		return unsupported("%s: the host cannot see buffer %q", call, b.purpose)
	case off < 0 || n < 0 || off > b.size || n > b.size-off:
		return invalid("%s: %d bytes at %d are not inside buffer %q of %d bytes", call, n, off, b.purpose, b.size)
	case b.coherent || n == 0:
		return nil
	}
	r := d.inject(call)
	if r == Success {
		first, length := atoms(off, n, int64(d.caps.Limits.NonCoherentAtomSize), b.allocated)
		if call == "vkFlushMappedMemoryRanges" {
			r = Result(C.vkattn_memory_flush(d.d, raw(b.memory), C.uint64_t(first), C.uint64_t(length)))
		} else {
			r = Result(C.vkattn_memory_invalidate(d.d, raw(b.memory), C.uint64_t(first), C.uint64_t(length)))
		}
	}
	if r != Success {
		return d.fail(call, r)
	}
	return nil
}

// Close gives the memory back. The caller guarantees that the device is done with it. Close may be called again;
// it then does nothing.
func (b *Buffer) Close() error {
	d := b.device
	d.life.RLock()
	defer d.life.RUnlock()
	if d.closed || !b.closed.CompareAndSwap(false, true) {
		return nil
	}
	d.mu.Lock()
	delete(d.buffers, b)
	d.mu.Unlock()
	d.destroy(b.free)
	d.instance.pump()
	return nil
}

// free destroys the objects; freeing memory unmaps it.
func (b *Buffer) free() {
	b.closed.Store(true)
	d := b.device
	C.vkattn_buffer_destroy(d.d, raw(b.handle))
	C.vkattn_memory_free(d.d, raw(b.memory))
	d.memory.release(b.allocated, b.heap, b.purpose)
}

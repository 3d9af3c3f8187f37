package vk

import "fmt"

// Heap says what a buffer is for; the driver's memory types are chosen from it.
type Heap uint8

const (
	// HeapDevice is memory of the device, for all that kernels work on. The host sees it only where
	// Device.MappedDevice says so.
	HeapDevice Heap = iota
	// HeapUpload is host visible and coherent, written by the host in order and best never read by it; in device
	// memory where the host can map all of that.
	HeapUpload
	// HeapReadback is host visible and, where the driver has it, cached, for the host to read. Call Invalidate
	// before reading.
	HeapReadback

	heapCount = 3
)

// String is "device", "upload" or "readback".
func (h Heap) String() string {
	switch h {
	case HeapDevice:
		return "device"
	case HeapUpload:
		return "upload"
	case HeapReadback:
		return "readback"
	}
	return fmt.Sprintf("Heap(%d)", uint8(h))
}

// BarrierKind orders what was recorded before it against what is recorded after it: the first part of
// the name writes, the second then reads or writes.
type BarrierKind uint8

// The barriers.
const (
	ComputeToCompute BarrierKind = iota
	ComputeToTransfer
	ComputeToHost
	TransferToCompute
	TransferToTransfer
	TransferToHost
	HostToCompute
	HostToTransfer
	// BarrierAll orders everything against everything.
	BarrierAll
)

// TexelFormat is how the elements of a uniform texel buffer read. The zero value means a storage buffer.
type TexelFormat uint8

// The formats, with the name they have in Caps.TexelFormats.
const (
	TexelNone    TexelFormat = iota
	TexelR32F                // "r32f"
	TexelRGBA32F             // "rgba32f"
	TexelR16F                // "r16f"
	TexelRGBA16F             // "rgba16f"
	TexelR32U                // "r32u"
	TexelRGBA32U             // "rgba32u"
	TexelRGBA8S              // "rgba8s": signed integers
	TexelRGBA8U              // "rgba8u": unsigned integers
	TexelRG32U               // "rg32u"
)

// texelFormats gives the name, the VkFormat and the bytes of an element.
var texelFormats = [...]struct {
	name   string
	format uint32
	bytes  int64
}{
	TexelR32F:    {"r32f", 100, 4},
	TexelRGBA32F: {"rgba32f", 109, 16},
	TexelR16F:    {"r16f", 76, 2},
	TexelRGBA16F: {"rgba16f", 97, 8},
	TexelR32U:    {"r32u", 98, 4},
	TexelRGBA32U: {"rgba32u", 107, 16},
	TexelRGBA8S:  {"rgba8s", 42, 4},
	TexelRGBA8U:  {"rgba8u", 41, 4},
	TexelRG32U:   {"rg32u", 101, 8},
}

// String is the name in Caps.TexelFormats, or "none".
func (f TexelFormat) String() string {
	if f == TexelNone {
		return "none"
	}
	if int(f) < len(texelFormats) {
		return texelFormats[f].name
	}
	return fmt.Sprintf("TexelFormat(%d)", uint8(f))
}

// Bytes is the size of an element, or 0 for TexelNone.
func (f TexelFormat) Bytes() int64 {
	if int(f) < len(texelFormats) {
		return texelFormats[f].bytes
	}
	return 0
}

// Binding is the window of a buffer that a kernel sees at one binding of set 0.
type Binding struct {
	Buffer *Buffer
	// Offset in bytes, a multiple of Limits.MinStorageBufferOffsetAlignment (MinTexelBufferOffsetAlignment for a
	// texel buffer, 256 for a uniform buffer).
	Offset int64
	// Range in bytes, at most Limits.MaxStorageBufferRange (16384 for a uniform buffer); 0 means to the end of the buffer. It may reach into
	// the padding of the buffer's last 16 bytes.
	Range int64
	// Format is set where the pipeline declares a uniform texel buffer, and only there.
	Format TexelFormat
}

// Region is one piece of a Copy, in bytes. Vulkan puts no alignment on them.
type Region struct {
	Src, Dst, Size int64
}

// SpecConstant gives a specialization constant its value: the 32 bits of an integer, float or bool.
type SpecConstant struct {
	ID, Value uint32
}

// PipelineSpec describes a compute pipeline.
type PipelineSpec struct {
	// Name appears in errors, validation messages and debuggers.
	Name string
	// Code is the SPIR-V; the entry point is main. It is not kept.
	Code []uint32
	// Bindings is the number of buffers of set 0, at bindings 0 to Bindings-1, at most 64.
	Bindings int
	// Texels has bit i set where binding i is a uniform texel buffer instead of a storage buffer.
	Texels uint64
	// Uniforms has bit i set where binding i is a uniform buffer: at most 12 of them.
	Uniforms uint64
	// PushBytes is the size of the push constants, a multiple of 4.
	PushBytes int
	// Spec sets specialization constants; those not named keep the default of the shader.
	Spec []SpecConstant
	// SubgroupSize is required of the driver; ErrUnsupported where Caps.Subgroup.RequiredSizeInCompute is false.
	// Zero leaves it to the driver.
	SubgroupSize uint32
	// FullSubgroups asks that all subgroups be full. The local size in x must then be a multiple of the subgroup
	// size.
	FullSubgroups bool
}

// Ticket names a submit of one device: tickets grow in the order of submission. The zero Ticket is always done.
type Ticket uint64

// MemoryUse counts buffers that are open.
type MemoryUse struct {
	Bytes int64 `json:"bytes"`
	Count int   `json:"count"`
	Peak  int64 `json:"peak"` // most Bytes there ever were
}

// MemoryStats counts the buffers of a device: all of them, by heap and by purpose.
type MemoryStats struct {
	Total    MemoryUse            `json:"total"`
	Heaps    map[string]MemoryUse `json:"heaps"` // by Heap.String
	Purposes map[string]MemoryUse `json:"purposes"`
}

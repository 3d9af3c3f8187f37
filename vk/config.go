package vk

// ValidationLevel selects checks of the Khronos validation layer; levels are bits, so they can be or-ed.
type ValidationLevel uint8

const (
	// ValidationNone loads no layer. It is the default.
	ValidationNone ValidationLevel = 0
	// ValidationCore checks the arguments and the state of every call.
	ValidationCore ValidationLevel = 1 << 0
	// ValidationSync also looks for missing barriers.
	ValidationSync ValidationLevel = 1 << 1
	// ValidationGPU instruments shaders to find accesses outside their buffers. Slow.
	ValidationGPU ValidationLevel = 1 << 2
	// ValidationRaces instruments shaders to find invocations of a workgroup that use the same word of shared memory with no
	// barrier between, and undefined arithmetic, but without ValidationGPU not to look at buffers. Layers before 2026 cannot:
	// ErrUnsupported where the layer takes no settings, silence where it does not know this one. Slow.
	ValidationRaces ValidationLevel = 1 << 3
)

// Config says how to reach Vulkan. The zero value is the usual choice.
type Config struct {
	// Library is the file name or path of the Vulkan loader. Empty: libvulkan.so.1, then libvulkan.so
	// (vulkan-1.dll on Windows).
	Library string
	// Validation turns on VK_LAYER_KHRONOS_validation; Open returns ErrUnsupported where it is not installed.
	Validation ValidationLevel
	// OnMessage, if set, receives every message of drivers, layers and this package. It is called by the goroutine
	// that made the call in question, after that call, one message at a time; it must not call back into this
	// package.
	OnMessage func(Message)
	// Ask, if set, decides about the calls in which drivers have crashed: it is told what is known of the device until
	// then and the name of the Vulkan function, of RiskyQueries, and a call that it refuses is not made; Caps.Unasked
	// then has its name. It must not call back into this package. If nil, calls are made unless a Quirk of the device has
	// EffectQueryCrashes.
	Ask func(c *Caps, call string) bool
	// AppName is what the driver is told that the application is called. Empty: "vkattn".
	AppName string
}

// DeviceConfig says how to open a device. The zero value is the usual choice.
type DeviceConfig struct {
	// CacheDir is the folder of the on-disk pipeline cache, created if missing. Empty: no file.
	CacheDir string
	// Override may lower limits and switch features off, for tests. The device then enforces the lowered limits
	// and does not enable what was switched off. It must not raise anything.
	Override func(*Caps)
	// MaxMemory bounds the bytes of all buffers together; beyond it NewBuffer fails like a device whose memory is
	// full. Zero: no own limit.
	MaxMemory int64
	// Robust enables robustBufferAccess: accesses outside a binding become harmless, at some cost. For tests of
	// kernels.
	Robust bool
	// Inject, if set, is asked before a driver call by the name of that call (such as vkAllocateMemory,
	// vkQueueSubmit, vkWaitSemaphores, vkCreateComputePipelines); a result other than Success is taken for the
	// answer of the driver, which is then not called. It may be called from several goroutines at once, and must
	// not call back into this package. For tests of error paths.
	Inject func(call string) Result
}

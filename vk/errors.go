package vk

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// Sentinels, for errors.Is.
var (
	// ErrUnavailable says that there is nothing to run on: no loader, no driver, no device, or a build without
	// Vulkan.
	ErrUnavailable = errors.New("vk: vulkan is not available")
	// ErrUnsupported says that this device, driver or installation lacks what was asked for.
	ErrUnsupported = errors.New("vk: not supported here")
	// ErrDeviceLost says that the device was reset or taken away. The device is of no more use: close it and open
	// it again.
	ErrDeviceLost = errors.New("vk: device lost")
	// ErrOutOfDeviceMemory says that device memory, or the limit set on it, is used up.
	ErrOutOfDeviceMemory = errors.New("vk: out of device memory")
	// ErrOutOfHostMemory says that the driver ran out of host memory.
	ErrOutOfHostMemory = errors.New("vk: out of host memory")
	// ErrClosed says that the object, or the device or instance it belongs to, is closed.
	ErrClosed = errors.New("vk: closed")
	// ErrNoTimestamps says that this queue cannot write timestamps.
	ErrNoTimestamps = errors.New("vk: this device has no timestamps")
	// ErrInvalid says that the caller broke a rule of this package; the message names the argument.
	ErrInvalid = errors.New("vk: invalid argument")
	// ErrBusy says that recorded commands are still running on the device.
	ErrBusy = errors.New("vk: commands still running")
	// ErrLeaked is found in the error of a Close that had to close children the caller had left open.
	ErrLeaked = errors.New("vk: objects were left open")
)

// Result is a VkResult. Zero is Success, positive values are a status, negative ones are errors.
type Result int32

// The results that this package tells apart; any other code keeps its number.
const (
	Success                Result = 0
	NotReady               Result = 1
	Timeout                Result = 2
	Incomplete             Result = 5
	OutOfHostMemory        Result = -1
	OutOfDeviceMemory      Result = -2
	InitializationFailed   Result = -3
	DeviceLost             Result = -4
	MemoryMapFailed        Result = -5
	LayerNotPresent        Result = -6
	ExtensionNotPresent    Result = -7
	FeatureNotPresent      Result = -8
	IncompatibleDriver     Result = -9
	TooManyObjects         Result = -10
	FormatNotSupported     Result = -11
	FragmentedPool         Result = -12
	Unknown                Result = -13
	OutOfPoolMemory        Result = -1000069000
	InvalidExternalHandle  Result = -1000072003
	Fragmentation          Result = -1000161000
	InvalidOpaqueAddress   Result = -1000257000
	PipelineCompileRefused Result = 1000297000
	ValidationFailed       Result = -1000011001
	InvalidShader          Result = -1000012000
	NotPermitted           Result = -1000174001
)

var resultNames = map[Result]string{
	Success: "VK_SUCCESS", NotReady: "VK_NOT_READY", Timeout: "VK_TIMEOUT", 3: "VK_EVENT_SET", 4: "VK_EVENT_RESET", Incomplete: "VK_INCOMPLETE",
	OutOfHostMemory: "VK_ERROR_OUT_OF_HOST_MEMORY", OutOfDeviceMemory: "VK_ERROR_OUT_OF_DEVICE_MEMORY",
	InitializationFailed: "VK_ERROR_INITIALIZATION_FAILED", DeviceLost: "VK_ERROR_DEVICE_LOST", MemoryMapFailed: "VK_ERROR_MEMORY_MAP_FAILED",
	LayerNotPresent: "VK_ERROR_LAYER_NOT_PRESENT", ExtensionNotPresent: "VK_ERROR_EXTENSION_NOT_PRESENT", FeatureNotPresent: "VK_ERROR_FEATURE_NOT_PRESENT",
	IncompatibleDriver: "VK_ERROR_INCOMPATIBLE_DRIVER", TooManyObjects: "VK_ERROR_TOO_MANY_OBJECTS", FormatNotSupported: "VK_ERROR_FORMAT_NOT_SUPPORTED",
	FragmentedPool: "VK_ERROR_FRAGMENTED_POOL", Unknown: "VK_ERROR_UNKNOWN", OutOfPoolMemory: "VK_ERROR_OUT_OF_POOL_MEMORY",
	InvalidExternalHandle: "VK_ERROR_INVALID_EXTERNAL_HANDLE", Fragmentation: "VK_ERROR_FRAGMENTATION",
	InvalidOpaqueAddress: "VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS", PipelineCompileRefused: "VK_PIPELINE_COMPILE_REQUIRED",
	ValidationFailed: "VK_ERROR_VALIDATION_FAILED_EXT", InvalidShader: "VK_ERROR_INVALID_SHADER_NV", NotPermitted: "VK_ERROR_NOT_PERMITTED_KHR",
}

// String is the name in the Vulkan specification, or "VkResult(n)" for a code it has no name for here.
func (r Result) String() string {
	if name, ok := resultNames[r]; ok {
		return name
	}
	return fmt.Sprintf("VkResult(%d)", int32(r))
}

// Error is "vk: " and the name.
func (r Result) Error() string { return "vk: " + r.String() }

// Is makes errors.Is(err, ErrDeviceLost) and its like work on a Result.
func (r Result) Is(target error) bool {
	switch target {
	case ErrDeviceLost:
		return r == DeviceLost
	case ErrOutOfDeviceMemory:
		return r == OutOfDeviceMemory || r == OutOfPoolMemory || r == Fragmentation || r == FragmentedPool || r == TooManyObjects
	case ErrOutOfHostMemory:
		return r == OutOfHostMemory
	case ErrUnavailable:
		return r == IncompatibleDriver
	case ErrUnsupported:
		return r == FeatureNotPresent || r == ExtensionNotPresent || r == LayerNotPresent || r == FormatNotSupported
	}
	return false
}

// CallError is a driver call that failed.
type CallError struct {
	Call   string // the name of the Vulkan function
	Result Result
	Advice string // what to do about it; may be empty
}

// Error names the call, the result and what to do next.
func (e *CallError) Error() string {
	s := "vk: " + e.Call + ": " + e.Result.String()
	if e.Advice != "" {
		s += "; " + e.Advice
	}
	return s
}

// Unwrap returns the Result, so that errors.Is finds both the code and the sentinel it stands for.
func (e *CallError) Unwrap() error { return e.Result }

// MemoryError is a buffer that could not be made.
type MemoryError struct {
	Size    int64 // bytes asked for
	Heap    Heap
	Purpose string
	InUse   int64 // bytes of all buffers of this device
	Count   int   // number of them
	Limit   int64 // the limit that was hit, in bytes; 0 when the driver refused without one
	Err     error // the cause
}

// Error names the size asked for, its purpose, and what is in use.
func (e *MemoryError) Error() string {
	s := fmt.Sprintf("vk: buffer %q of %d bytes in %s memory: %v (in use: %d bytes in %d buffers",
		e.Purpose, e.Size, e.Heap, e.Err, e.InUse, e.Count)
	if e.Limit > 0 {
		s += fmt.Sprintf(", limit %d bytes", e.Limit)
	}
	return s + ")"
}

// Unwrap returns the cause.
func (e *MemoryError) Unwrap() error { return e.Err }

// BindError is a binding that was refused before the driver saw it.
type BindError struct {
	Pipeline string
	Binding  int // index in the list given to Bind; -1 when the list as a whole is wrong
	Reason   string
	Err      error // ErrInvalid, ErrClosed or ErrUnsupported
}

// Error names the pipeline, the binding and the rule it breaks.
func (e *BindError) Error() string {
	if e.Binding < 0 {
		return fmt.Sprintf("vk: bind %q: %s", e.Pipeline, e.Reason)
	}
	return fmt.Sprintf("vk: bind %q: binding %d: %s", e.Pipeline, e.Binding, e.Reason)
}

// Unwrap returns the sentinel.
func (e *BindError) Unwrap() error { return e.Err }

// LeakError is what Close of a device or an instance returns when children were still open. They have been closed.
type LeakError struct {
	Owner  string         // what was closed
	Counts map[string]int // number of open objects by kind: "buffer", "pipeline", "commands", "device"
	Bytes  int64          // bytes of the buffers
	Names  []string       // purposes and names, at most 16
}

// Error lists the counts.
func (e *LeakError) Error() string {
	kinds := make([]string, 0, len(e.Counts))
	for kind := range e.Counts {
		kinds = append(kinds, kind)
	}
	sort.Strings(kinds)
	for i, kind := range kinds {
		kinds[i] = fmt.Sprintf("%d %s", e.Counts[kind], kind)
	}
	s := fmt.Sprintf("vk: close %s: left open: %s", e.Owner, strings.Join(kinds, ", "))
	if e.Bytes > 0 {
		s += fmt.Sprintf(" (%d bytes)", e.Bytes)
	}
	if len(e.Names) > 0 {
		s += ": " + strings.Join(e.Names, ", ")
	}
	return s
}

// Is reports whether target is ErrLeaked.
func (e *LeakError) Is(target error) bool { return target == ErrLeaked }

func invalid(format string, args ...any) error {
	return &reasoned{fmt.Sprintf("vk: "+format, args...), ErrInvalid}
}

func unsupported(format string, args ...any) error {
	return &reasoned{fmt.Sprintf("vk: "+format, args...), ErrUnsupported}
}

func unavailable(format string, args ...any) error {
	return &reasoned{"vk: vulkan is not available: " + fmt.Sprintf(format, args...), ErrUnavailable}
}

// reasoned carries its own whole message and answers errors.Is for its sentinel.
type reasoned struct {
	text string
	err  error
}

func (e *reasoned) Error() string { return e.text }
func (e *reasoned) Unwrap() error { return e.err }

//go:build cgo && !novulkan && (linux || windows)

package vk

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"sync"
	"unsafe"
)

const adviceNoDriver = "install mesa-vulkan-drivers or your GPU's driver; vulkaninfo --summary lists what the loader finds"

// Instance is a connection to the Vulkan loader. It is safe for concurrent use, and a process may have several.
type Instance struct {
	config Config
	api    Version // of the loader

	life    sync.RWMutex // held for writing by Close alone
	t       *C.vkattn_instance
	closed  bool
	mu      sync.Mutex // guards devices
	devices map[*Device]struct{}

	messages messages
}

// Open loads Vulkan and makes an instance. Without a loader or a driver the error is ErrUnavailable, with
// validation asked for and its layer not installed ErrUnsupported. The caller closes the instance.
func Open(config Config) (*Instance, error) {
	proc, err := loadLibrary(config.Library)
	if err != nil {
		return nil, err
	}
	name := config.AppName
	if name == "" {
		name = "vkattn"
	}
	cname := C.CString(name)
	defer C.free(unsafe.Pointer(cname))
	listen := C.uint32_t(0)
	if config.OnMessage != nil {
		listen = 1
	}
	made := C.vkattn_instance_create(proc, cname, C.uint32_t(config.Validation), listen)
	if made.layer_missing != 0 && Result(made.result) == ExtensionNotPresent {
		return nil, unsupported("this VK_LAYER_KHRONOS_validation takes no settings, which ValidationRaces needs; install a newer one")
	}
	if made.layer_missing != 0 {
		return nil, unsupported("VK_LAYER_KHRONOS_validation is not installed; install vulkan-validationlayers, or open with ValidationNone")
	}
	if r := Result(made.result); r != Success {
		if r == IncompatibleDriver || r == InitializationFailed {
			return nil, unavailable("%s: %s; %s", C.GoString(made.call), r.String(), adviceNoDriver)
		}
		return nil, &CallError{Call: C.GoString(made.call), Result: r}
	}
	i := &Instance{
		config:  config,
		api:     decodeVersion(uint32(made.api)),
		t:       made.instance,
		devices: map[*Device]struct{}{},
	}
	i.messages.callback = config.OnMessage
	i.pump()
	return i, nil
}

// enter keeps the instance open until leave.
func (i *Instance) enter() error {
	i.life.RLock()
	if i.closed {
		i.life.RUnlock()
		return ErrClosed
	}
	return nil
}

func (i *Instance) leave() {
	i.pump()
	i.life.RUnlock()
}

// Devices asks the drivers for their devices, in the loader's order, and for what each can do. None at all is
// ErrUnavailable. Devices that are too old for Open are listed too.
func (i *Instance) Devices() ([]*PhysicalDevice, error) {
	if err := i.enter(); err != nil {
		return nil, err
	}
	defer i.leave()
	var handles [64]C.uint64_t
	n := C.vkattn_physical_devices(i.t, &handles[0], C.uint32_t(len(handles)))
	if n < 0 && Result(n) != InitializationFailed {
		return nil, &CallError{Call: "vkEnumeratePhysicalDevices", Result: Result(n)}
	}
	if n <= 0 {
		return nil, unavailable("no device; %s", adviceNoDriver)
	}
	var found []*PhysicalDevice
	for _, handle := range handles[:min(int(n), len(handles))] {
		found = append(found, newPhysicalDevice(i, uint64(handle)))
	}
	return found, nil
}

// Close destroys the instance. Devices still open are closed first and reported in the error as ErrLeaked.
// PhysicalDevices of the instance are of no more use. Close may be called again; it then does nothing.
func (i *Instance) Close() error {
	i.life.Lock()
	if i.closed {
		i.life.Unlock()
		return nil
	}
	i.closed = true
	i.life.Unlock()

	i.mu.Lock()
	open := make([]*Device, 0, len(i.devices))
	for d := range i.devices {
		open = append(open, d)
	}
	i.mu.Unlock()
	var errs []error
	if len(open) > 0 {
		leak := &LeakError{Owner: "instance", Counts: map[string]int{"device": len(open)}}
		for _, d := range open {
			leak.Names = append(leak.Names, d.caps.Name)
		}
		errs = append(errs, leak)
	}
	for _, d := range open {
		errs = append(errs, d.Close())
	}
	C.vkattn_instance_destroy(i.t)
	i.pump()
	C.vkattn_instance_free(i.t)
	i.t = nil
	return errors.Join(errs...)
}

func decodeVersion(v uint32) Version { return Version{v >> 22 & 0x7f, v >> 12 & 0x3ff, v & 0xfff} }

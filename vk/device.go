//go:build cgo && !novulkan && (linux || windows)

package vk

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"unsafe"
)

// Device is an open device with one queue. It is safe for concurrent use.
type Device struct {
	instance *Instance
	physical *PhysicalDevice
	config   DeviceConfig
	caps     Caps

	life   sync.RWMutex // held for writing by Close alone
	d      *C.vkattn_device
	closed bool
	lost   atomic.Bool

	mu        sync.Mutex // guards the sets of open children and the graves
	buffers   map[*Buffer]struct{}
	pipelines map[*Pipeline]struct{}
	commands  map[*Commands]struct{}
	graves    []func() // destroy what was closed after the device was lost

	memory  accounting
	created atomic.Int64 // pipelines
	cache   pipelineCache
	queue   queue
	waits   waits
}

const (
	adviceLost  = "close the device and open it again; the usual cause is a submit that ran longer than the system allows"
	adviceOutOf = "close buffers, or use smaller ones"
)

// Open makes the device ready for work, with every feature enabled that Caps reports. The device needs Vulkan 1.2
// with timeline semaphores and a queue that computes, else the error is ErrUnsupported. The caller closes it.
func (p *PhysicalDevice) Open(config DeviceConfig) (*Device, error) {
	i := p.instance
	if err := i.enter(); err != nil {
		return nil, err
	}
	defer i.leave()
	caps := p.caps.Clone()
	switch {
	case p.have&C.VKATTN_API_1_2 == 0:
		return nil, unsupported("%s offers Vulkan %s; 1.2 or newer is needed, update the driver", caps.Name, caps.APIVersion)
	case !caps.Features.TimelineSemaphore:
		return nil, unsupported("%s has no timeline semaphores; update the driver", caps.Name)
	case int(caps.ComputeFamily) >= len(caps.QueueFamilies):
		return nil, unsupported("%s has no queue that computes", caps.Name)
	}
	if config.Override != nil {
		config.Override(&caps)
	}
	settle(&caps)
	var enable C.vkattn_features
	eachFeature(&caps.Features, &enable, func(g *bool, c *C.uint32_t) { *c = bit(*g) })
	enable.timeline = 1
	enable.robust = bit(config.Robust && caps.Features.RobustBufferAccess)
	enable.subgroup_extended_types = bit(caps.Subgroup.ExtendedTypes)
	enable.size_control = bit(caps.Subgroup.SizeControl)
	enable.full_subgroups = bit(caps.Subgroup.FullSubgroups)
	enable.matrix_robust &= enable.robust // costs speed and is of use only together

	made := C.vkattn_device_create(i.t, C.uint64_t(p.handle), p.have, &enable, C.uint32_t(caps.ComputeFamily))
	if r := Result(made.result); r != Success {
		return nil, &CallError{Call: C.GoString(made.call), Result: r}
	}
	d := &Device{
		instance:  i,
		physical:  p,
		config:    config,
		caps:      caps,
		d:         made.device,
		buffers:   map[*Buffer]struct{}{},
		pipelines: map[*Pipeline]struct{}{},
		commands:  map[*Commands]struct{}{},
	}
	d.waits.init()
	d.cache.open(d)
	i.mu.Lock()
	i.devices[d] = struct{}{}
	i.mu.Unlock()
	return d, nil
}

func bit(b bool) C.uint32_t {
	if b {
		return 1
	}
	return 0
}

// enter keeps the device open until leave; it fails on a closed or lost device.
func (d *Device) enter() error {
	d.life.RLock()
	if d.closed {
		d.life.RUnlock()
		return ErrClosed
	}
	if d.lost.Load() {
		d.life.RUnlock()
		return d.lostError("")
	}
	return nil
}

func (d *Device) leave() {
	d.instance.pump()
	d.life.RUnlock()
}

// inject asks the test hook for the answer of a call.
func (d *Device) inject(call string) Result {
	if d.config.Inject == nil {
		return Success
	}
	return d.config.Inject(call)
}

// fail makes an error of a result and latches the loss of the device.
func (d *Device) fail(call string, r Result) error {
	switch r {
	case DeviceLost:
		d.lost.Store(true)
		d.waits.wake()
		return d.lostError(call)
	case OutOfDeviceMemory, OutOfHostMemory:
		return &CallError{Call: call, Result: r, Advice: adviceOutOf}
	}
	return &CallError{Call: call, Result: r}
}

func (d *Device) lostError(call string) error {
	if call == "" {
		call = "earlier call"
	}
	return &CallError{Call: call, Result: DeviceLost, Advice: adviceLost}
}

// Caps says what this device can do, with what Override changed. The caller may change the value freely.
func (d *Device) Caps() Caps { return d.caps.Clone() }

// Lost reports whether the device was lost.
func (d *Device) Lost() bool { return d.lost.Load() }

// Memory counts the open buffers by heap and purpose, in bytes as allocated.
func (d *Device) Memory() MemoryStats { return d.memory.stats() }

// Heaps asks the driver for its heaps again; budgets change as other programs allocate.
func (d *Device) Heaps() ([]MemoryHeap, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	heaps, _ := d.physical.queryMemory()
	return heaps, nil
}

// name tells debuggers and the validation layer what an object is called.
func (d *Device) name(objectType C.uint32_t, object uint64, name string) {
	if name == "" || d.instance.config.Validation == ValidationNone && d.instance.config.OnMessage == nil {
		return
	}
	c := C.CString(name)
	defer C.free(unsafe.Pointer(c))
	C.vkattn_set_name(d.d, objectType, C.uint64_t(object), c)
}

// destroy runs f now, or at the end of Close if the device is lost or closing: waiters have given up by then, and
// what the device still runs is not known before it is idle.
func (d *Device) destroy(f func()) {
	if !d.lost.Load() && !d.waits.closed.Load() {
		f()
		return
	}
	d.mu.Lock()
	d.graves = append(d.graves, f)
	d.mu.Unlock()
}

// Close waits until the device is idle, writes the pipeline cache and destroys the device. Children still open are
// closed too and reported in the error as ErrLeaked. It also works on a lost device. Close may be called again; it
// then does nothing.
func (d *Device) Close() error {
	// Waiters hold the device open for milliseconds at a time; from here on they give up.
	d.waits.close()
	d.life.Lock()
	defer d.life.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	r := Result(C.vkattn_device_wait_idle(d.d))
	var errs []error
	if r != Success && !d.lost.Load() {
		errs = append(errs, d.fail("vkDeviceWaitIdle", r))
	}
	if leak := d.closeChildren(); leak != nil {
		errs = append(errs, leak)
	}
	for _, f := range d.graves {
		f()
	}
	d.graves = nil
	d.cache.close(d)
	C.vkattn_device_destroy(d.d)
	d.d = nil
	i := d.instance
	i.pump() // the instance is open while one of its devices is listed
	i.mu.Lock()
	delete(i.devices, d)
	i.mu.Unlock()
	return errors.Join(errs...)
}

func (d *Device) closeChildren() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.commands)+len(d.pipelines)+len(d.buffers) == 0 {
		return nil
	}
	leak := &LeakError{Owner: d.caps.Name, Counts: map[string]int{}}
	note := func(kind, name string) {
		leak.Counts[kind]++
		if len(leak.Names) < 16 {
			leak.Names = append(leak.Names, fmt.Sprintf("%s %q", kind, name))
		}
	}
	for c := range d.commands {
		note("commands", "")
		c.free()
	}
	for p := range d.pipelines {
		note("pipeline", p.name)
		p.free()
	}
	for b := range d.buffers {
		note("buffer", b.purpose)
		leak.Bytes += b.allocated
		b.free()
	}
	clear(d.commands)
	clear(d.pipelines)
	clear(d.buffers)
	return leak
}

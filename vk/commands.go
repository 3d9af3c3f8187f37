//go:build cgo && !novulkan && (linux || windows)

package vk

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"sync/atomic"
	"unsafe"

	goki "github.com/goki/vulkan"
)

// Commands records work for the device and may then be submitted any number of times, one run at a time. It
// belongs to one goroutine at a time.
//
// Begin and End put barriers around the recording: what earlier submits wrote is visible to it, and what it wrote
// is visible to later submits and, after Wait, to the host. Between its own steps the caller sets the barriers.
//
// Every argument is checked while recording, before the driver sees anything; the driver's part happens at once in
// End. An error of a recording call is also returned by End.
type Commands struct {
	device *Device
	pool   goki.CommandPool
	buffer goki.CommandBuffer
	state  commandState
	closed atomic.Bool
	ticket Ticket // of the latest submit
	err    error  // first error of this recording

	program  []uint64 // see VKATTN_OP_ in shim.h
	pipeline *Pipeline
	bound    bool // buffers of pipeline are bound
	pushed   bool

	buffers   map[*Buffer]struct{} // used by the recording
	pipelines map[*Pipeline]struct{}
	views     map[viewKey]C.uint64_t

	sets    setPool
	need    setPool // sets and descriptors of this recording; its handle is not used
	queries goki.QueryPool
	slots   int     // size of queries
	written []bool  // timestamps of this recording
	times   *Buffer // where the device copies them to, if copiesTimes
}

type commandState uint8

const (
	commandsNew commandState = iota
	commandsRecording
	commandsReady
)

type viewKey struct {
	buffer         *Buffer
	format         TexelFormat
	offset, range_ int64
}

type setPool struct {
	handle                          goki.DescriptorPool
	sets, buffers, uniforms, texels uint32
}

// NewCommands makes an empty recording.
func (d *Device) NewCommands() (*Commands, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	if r := d.inject("vkCreateCommandPool"); r != Success {
		return nil, d.fail("vkCreateCommandPool", r)
	}
	made := C.vkattn_commands_create(d.d)
	if r := Result(made.result); r != Success {
		return nil, d.fail(C.GoString(made.call), r)
	}
	c := &Commands{
		device:    d,
		pool:      handleOf[goki.CommandPool](made.pool),
		buffer:    handleOf[goki.CommandBuffer](made.buffer),
		buffers:   map[*Buffer]struct{}{},
		pipelines: map[*Pipeline]struct{}{},
		views:     map[viewKey]C.uint64_t{},
	}
	d.mu.Lock()
	d.commands[c] = struct{}{}
	d.mu.Unlock()
	return c, nil
}

// Begin forgets what was recorded and starts anew. ErrBusy while the device still runs it.
func (c *Commands) Begin() error {
	if c.ticket != 0 && !c.device.Done(c.ticket) && !c.device.Lost() {
		return ErrBusy
	}
	if err := c.device.enter(); err != nil {
		return err
	}
	defer c.device.leave()
	if c.closed.Load() {
		return ErrClosed
	}
	c.state = commandsRecording
	c.err = nil
	c.program = c.program[:0]
	c.pipeline, c.bound, c.pushed = nil, false, false
	clear(c.buffers)
	clear(c.pipelines)
	c.freeViews()
	c.need = setPool{}
	c.written = c.written[:0]
	c.barrier(BarrierAll)
	return nil
}

// End finishes the recording and hands it to the driver.
func (c *Commands) End() error {
	d := c.device
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	if err := c.recording(); err != nil {
		return err
	}
	c.state = commandsNew
	if c.err != nil {
		return c.err
	}
	if err := c.grow(); err != nil {
		return err
	}
	c.copyTimes()
	c.barrier(barrierToHost)
	for _, call := range []string{"vkBeginCommandBuffer", "vkEndCommandBuffer"} {
		if r := d.inject(call); r != Success {
			return d.fail(call, r)
		}
	}
	made := C.vkattn_record(d.d, raw(c.pool), raw(c.buffer), raw(c.sets.handle), raw(c.queries), C.uint32_t(len(c.written)),
		(*C.uint64_t)(unsafe.Pointer(unsafe.SliceData(c.program))), C.uint64_t(len(c.program)))
	if r := Result(made.result); r != Success {
		return d.fail(C.GoString(made.call), r)
	}
	c.state = commandsReady
	return nil
}

// recording is an error unless Begin was called; the caller has entered the device.
func (c *Commands) recording() error {
	switch {
	case c.closed.Load():
		return ErrClosed
	case c.state == commandsRecording:
		return nil
	}
	return invalid("call Begin before recording")
}

// record runs one step of a recording and keeps its error for End.
func (c *Commands) record(step func() error) error {
	if err := c.device.enter(); err != nil {
		return err
	}
	defer c.device.leave()
	if err := c.recording(); err != nil {
		return err
	}
	err := step()
	if err != nil && c.err == nil {
		c.err = err
	}
	return err
}

// grow makes the descriptor pool and the query pool large enough; nothing of this recording is in them yet.
func (c *Commands) grow() error {
	d := c.device
	if n := c.need; n.sets > c.sets.sets || n.buffers > c.sets.buffers || n.uniforms > c.sets.uniforms || n.texels > c.sets.texels {
		n.sets, n.buffers, n.uniforms, n.texels = powerOfTwo(n.sets), powerOfTwo(n.buffers), powerOfTwo(n.uniforms), powerOfTwo(n.texels)
		if r := d.inject("vkCreateDescriptorPool"); r != Success {
			return d.fail("vkCreateDescriptorPool", r)
		}
		made := C.vkattn_sets_create(d.d, C.uint32_t(n.sets), C.uint32_t(n.buffers), C.uint32_t(n.uniforms), C.uint32_t(n.texels))
		if r := Result(made.result); r != Success {
			return d.fail(C.GoString(made.call), r)
		}
		C.vkattn_sets_destroy(d.d, raw(c.sets.handle))
		n.handle = handleOf[goki.DescriptorPool](made.handle)
		c.sets = n
	}
	if n := len(c.written); n > c.slots {
		n = int(powerOfTwo(uint32(n)))
		made := C.vkattn_queries_create(d.d, C.uint32_t(n))
		if r := Result(made.result); r != Success {
			return d.fail(C.GoString(made.call), r)
		}
		C.vkattn_queries_destroy(d.d, raw(c.queries))
		c.queries, c.slots = handleOf[goki.QueryPool](made.handle), n
	}
	if n := int64(c.slots) * timeBytes; d.copiesTimes() && n > 0 && (c.times == nil || c.times.size < n) {
		times, err := d.newBuffer(n, HeapReadback, "timestamps")
		if err != nil {
			return err
		}
		if c.times != nil {
			c.times.free()
		}
		c.times = times
	}
	return nil
}

func powerOfTwo(n uint32) uint32 {
	p := uint32(0)
	for p < n {
		p = max(2*p, 8)
	}
	return p
}

// Close waits until the device no longer runs the recording and frees it. Close may be called again; it then does
// nothing.
func (c *Commands) Close() error {
	d := c.device
	if c.closed.Load() {
		return nil
	}
	err := d.Wait(context.Background(), c.ticket)
	d.life.RLock()
	defer d.life.RUnlock()
	if d.closed || !c.closed.CompareAndSwap(false, true) {
		return nil
	}
	d.mu.Lock()
	delete(d.commands, c)
	d.mu.Unlock()
	d.destroy(c.free)
	d.instance.pump()
	if errors.Is(err, ErrDeviceLost) || errors.Is(err, ErrClosed) {
		return nil // nothing left to wait for
	}
	return err
}

func (c *Commands) free() {
	c.closed.Store(true)
	d := c.device.d
	c.freeViews()
	C.vkattn_sets_destroy(d, raw(c.sets.handle))
	C.vkattn_queries_destroy(d, raw(c.queries))
	C.vkattn_commands_destroy(d, raw(c.pool))
	if c.times != nil {
		c.times.free()
	}
}

func (c *Commands) freeViews() {
	for _, view := range c.views {
		C.vkattn_view_destroy(c.device.d, view)
	}
	clear(c.views)
}

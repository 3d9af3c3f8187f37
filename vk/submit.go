//go:build cgo && !novulkan && (linux || windows)

package vk

// #include "shim.h"
import "C"

import (
	"context"
	"sync"
	"sync/atomic"
)

// queue is the device's one queue; Vulkan wants its submits one at a time.
type queue struct {
	mu        sync.Mutex
	last      Ticket        // submitted; under mu
	completed atomic.Uint64 // highest ticket known to be done
}

// Submit starts a recording and returns at once. Work runs in the order of submission: each submit sees what
// earlier ones wrote. All buffers and pipelines of the recording must stay open until it is done. ErrBusy while
// the same recording still runs.
func (d *Device) Submit(c *Commands) (Ticket, error) {
	if c == nil || c.device != d {
		return 0, invalid("submit: the commands are of another device")
	}
	if c.ticket != 0 && !d.Done(c.ticket) && !d.Lost() {
		return 0, ErrBusy
	}
	if err := d.enter(); err != nil {
		return 0, err
	}
	defer d.leave()
	switch {
	case c.closed.Load():
		return 0, ErrClosed
	case c.state != commandsReady:
		return 0, invalid("submit: the recording is not finished; call Begin and End, and look at their errors")
	}
	for b := range c.buffers {
		if b.closed.Load() {
			return 0, &reasoned{"vk: submit: buffer \"" + b.purpose + "\" was closed after it was recorded", ErrClosed}
		}
	}
	for p := range c.pipelines {
		if p.closed.Load() {
			return 0, &reasoned{"vk: submit: pipeline \"" + p.name + "\" was closed after it was recorded", ErrClosed}
		}
	}
	d.queue.mu.Lock()
	defer d.queue.mu.Unlock()
	if r := d.inject("vkQueueSubmit"); r != Success {
		return 0, d.fail("vkQueueSubmit", r)
	}
	ticket := d.queue.last + 1
	if r := Result(C.vkattn_submit(d.d, raw(c.buffer), C.uint64_t(ticket))); r != Success {
		return 0, d.fail("vkQueueSubmit", r)
	}
	d.queue.last = ticket
	c.ticket = ticket
	return ticket, nil
}

// complete notes that tickets up to t are done.
func (q *queue) complete(t Ticket) {
	for {
		known := q.completed.Load()
		if uint64(t) <= known || q.completed.CompareAndSwap(known, uint64(t)) {
			return
		}
	}
}

// Done reports whether the work of a ticket is done. On a lost or closed device it knows only what was known before.
func (d *Device) Done(t Ticket) bool {
	if d.queue.known(t) {
		return true
	}
	if d.enter() != nil {
		return false
	}
	defer d.leave()
	d.poll()
	return d.queue.known(t)
}

func (q *queue) known(t Ticket) bool { return uint64(t) <= q.completed.Load() }

// poll asks the driver how far it is. The caller has entered the device.
func (d *Device) poll() error {
	r := d.inject("vkGetSemaphoreCounterValue")
	if r == NotReady {
		return nil // a test wants to wait longer
	}
	var progress C.vkattn_progress
	if r == Success {
		progress = C.vkattn_completed(d.d)
		r = Result(progress.result)
	}
	if r != Success {
		return d.fail("vkGetSemaphoreCounterValue", r)
	}
	d.queue.complete(Ticket(progress.value))
	return nil
}

// WaitIdle waits for all that was submitted before the call.
func (d *Device) WaitIdle() error {
	d.queue.mu.Lock()
	last := d.queue.last
	d.queue.mu.Unlock()
	return d.Wait(context.Background(), last)
}

//go:build cgo && !novulkan && (linux || windows)

package vk

// #include "shim.h"
import "C"

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A goroutine inside a driver's wait holds an operating system thread. So of all waiters one, the leader, waits in
// the driver, for the lowest ticket that anyone wants; the others sleep on a channel that the leader closes after
// each slice.
type waits struct {
	mu      sync.Mutex
	leading bool
	closed  atomic.Bool
	ended   chan struct{} // closed when the leader's slice ends
	wanted  map[Ticket]int
}

const (
	// spinTime is how long a waiter asks again and again before it blocks: kernels of a decode step end sooner
	// than a thread wakes up.
	spinTime = 20 * time.Microsecond
	// sliceTime bounds how late a cancelled context is noticed, and how late a ticket is that was asked for after
	// the slice began.
	sliceTime = 2 * time.Millisecond
)

func (w *waits) init() {
	w.ended = make(chan struct{})
	w.wanted = map[Ticket]int{}
}

// wake ends the sleep of all waiters, so that they look at the device again.
func (w *waits) wake() {
	w.mu.Lock()
	close(w.ended)
	w.ended = make(chan struct{})
	w.mu.Unlock()
}

// close makes all waiters, present and future, give up.
func (w *waits) close() {
	w.closed.Store(true)
	w.wake()
}

// want registers interest in a ticket.
func (w *waits) want(t Ticket, n int) {
	w.mu.Lock()
	if w.wanted[t] += n; w.wanted[t] == 0 {
		delete(w.wanted, t)
	}
	w.mu.Unlock()
}

// lead makes the caller the leader and says which ticket to wait for, or returns the channel to sleep on.
func (w *waits) lead() (lowest Ticket, ended <-chan struct{}, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed.Load() {
		return 0, nil, ErrClosed
	}
	if w.leading {
		return 0, w.ended, nil
	}
	w.leading = true
	for t := range w.wanted {
		if lowest == 0 || t < lowest {
			lowest = t
		}
	}
	return lowest, nil, nil
}

func (w *waits) follow() {
	w.mu.Lock()
	w.leading = false
	w.mu.Unlock()
	w.wake()
}

// Wait returns when the work of a ticket is done: nil, or the loss of the device. When ctx ends first its error is
// returned and the work runs on. Any number of goroutines may wait; together they hold one thread.
func (d *Device) Wait(ctx context.Context, t Ticket) error {
	if d.queue.known(t) {
		return nil
	}
	d.queue.mu.Lock()
	last := d.queue.last
	d.queue.mu.Unlock()
	if t > last {
		return invalid("wait: ticket %d was not given out by this device", t)
	}
	for begin := time.Now(); time.Since(begin) < spinTime; runtime.Gosched() {
		if d.Done(t) {
			return nil
		}
	}
	d.waits.want(t, 1)
	defer d.waits.want(t, -1)
	for {
		if d.queue.known(t) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		lowest, ended, err := d.waits.lead()
		switch {
		case err != nil:
			return err
		case ended != nil:
			if d.lost.Load() { // the wake of its loss may have come before this channel was made
				return d.lostError("")
			}
			select {
			case <-ended:
			case <-ctx.Done():
			}
		default:
			err := d.waitSlice(lowest)
			d.waits.follow()
			if err != nil && !d.queue.known(t) {
				return err
			}
		}
	}
}

// waitSlice waits in the driver for a short while.
func (d *Device) waitSlice(t Ticket) error {
	if err := d.enter(); err != nil {
		return err
	}
	defer d.leave()
	r := d.inject("vkWaitSemaphores")
	if r == Success {
		r = Result(C.vkattn_wait(d.d, C.uint64_t(t), C.uint64_t(sliceTime)))
	}
	switch r {
	case Success:
		d.queue.complete(t)
		return d.poll()
	case Timeout, NotReady:
		return nil
	}
	return d.fail("vkWaitSemaphores", r)
}

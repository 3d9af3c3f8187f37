//go:build cgo && !novulkan && (linux || windows)

package vk

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fault answers one call, from the moment it is armed.
type fault struct {
	mu     sync.Mutex
	call   string
	result Result
	seen   map[string]int
}

func (f *fault) inject(call string) Result {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = map[string]int{}
	}
	f.seen[call]++
	if call == f.call {
		return f.result
	}
	return Success
}

func (f *fault) arm(call string, r Result) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.call, f.result = call, r
}

func (f *fault) count(call string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.seen[call]
}

// everything does one of each and returns the first error.
func everything(t *testing.T, d *Device) error {
	b, err := d.NewBuffer(64, HeapUpload, "fault")
	if err != nil {
		return err
	}
	defer b.Close()
	p, err := d.NewPipeline(countSpec(t))
	if err != nil {
		return err
	}
	defer p.Close()
	c, err := d.NewCommands()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Begin(); err != nil {
		return err
	}
	if err := c.Bind(p, []Binding{{Buffer: b}}); err != nil {
		return err
	}
	if err := c.Dispatch(1, 1, 1); err != nil {
		return err
	}
	if err := c.End(); err != nil {
		return err
	}
	ticket, err := d.Submit(c)
	if err != nil {
		return err
	}
	return d.Wait(context.Background(), ticket)
}

var faultCalls = []string{
	"vkCreateBuffer", "vkAllocateMemory", "vkMapMemory", "vkBindBufferMemory", "vkCreateShaderModule", "vkCreateComputePipelines",
	"vkCreateCommandPool", "vkCreateDescriptorPool", "vkBeginCommandBuffer", "vkEndCommandBuffer", "vkQueueSubmit",
	"vkGetSemaphoreCounterValue",
}

func TestDeviceLostAnywhere(t *testing.T) {
	i := testInstance(t, Config{})
	physical := testPhysical(t, i)
	for _, call := range faultCalls {
		f := &fault{}
		d, err := physical.Open(DeviceConfig{Inject: f.inject})
		must(t, err)
		must(t, everything(t, d))
		b, err := d.NewBuffer(64, HeapDevice, "kept")
		must(t, err)
		p, err := d.NewPipeline(countSpec(t))
		must(t, err)
		c, err := d.NewCommands()
		must(t, err, c.Begin(), c.Fill(b, 0, 0, 1), c.End())
		f.arm(call, DeviceLost)
		err = everything(t, d)
		if !errors.Is(err, ErrDeviceLost) || !d.Lost() {
			t.Errorf("%s: %v, lost %v", call, err, d.Lost())
		}
		f.arm("", Success)
		calls := f.count("vkQueueSubmit") + f.count("vkAllocateMemory")
		for name, err := range map[string]error{
			"buffer":   second(d.NewBuffer(4, HeapDevice, "")),
			"pipeline": second(d.NewPipeline(countSpec(t))),
			"commands": second(d.NewCommands()),
			"submit":   second(d.Submit(c)),
			"begin":    c.Begin(),
			"end":      c.End(),
			"wait":     d.Wait(context.Background(), d.queue.last),
			"heaps":    second(d.Heaps()),
		} {
			if name == "wait" && err == nil {
				continue // what was submitted before is known to be done
			}
			if !errors.Is(err, ErrDeviceLost) {
				t.Errorf("%s on a lost device: %v", name, err)
			}
		}
		if f.count("vkQueueSubmit")+f.count("vkAllocateMemory") != calls {
			t.Errorf("%s: a lost device still talks to the driver", call)
		}
		must(t, b.Close(), p.Close(), c.Close(), d.Close(), d.Close())
		if m := d.Memory(); m.Total.Bytes != 0 || m.Total.Count != 0 {
			t.Errorf("%s: left %+v", call, m)
		}
	}
}

// TestLostWhileWaiting: waiters of a device that is lost under them all wake up with the reason, and Close works
// though the GPU is still busy.
func TestLostWhileWaiting(t *testing.T) {
	f := &fault{}
	d := testDevice(t, DeviceConfig{Inject: f.inject})
	c, b, p := longWork(t, d, 50*time.Millisecond)
	ticket, err := d.Submit(c)
	must(t, err)
	errs := make(chan error, 20)
	for range cap(errs) {
		go func() { errs <- d.Wait(context.Background(), ticket) }()
	}
	time.Sleep(5 * time.Millisecond)
	f.arm("vkWaitSemaphores", DeviceLost)
	for range cap(errs) {
		if err := <-errs; !errors.Is(err, ErrDeviceLost) && err != nil {
			t.Error(err)
		}
	}
	must(t, c.Close(), b.Close(), p.Close(), d.Close())
}

func TestOutOfMemoryAnywhere(t *testing.T) {
	f := &fault{}
	d := testDevice(t, DeviceConfig{Inject: f.inject})
	for _, call := range faultCalls {
		for _, r := range []Result{OutOfDeviceMemory, OutOfHostMemory} {
			f.arm(call, r)
			err := everything(t, d)
			want := map[Result]error{OutOfDeviceMemory: ErrOutOfDeviceMemory, OutOfHostMemory: ErrOutOfHostMemory}[r]
			if call == "vkGetSemaphoreCounterValue" && err == nil {
				continue // found out by vkWaitSemaphores instead
			}
			if !errors.Is(err, want) || !errors.Is(err, r) || d.Lost() {
				t.Errorf("%s: %v", call, err)
			}
			f.arm("", Success)
			if err := d.WaitIdle(); err != nil {
				t.Fatal(err)
			}
			if m := d.Memory(); m.Total.Count != 0 {
				t.Errorf("%s leaves %+v", call, m.Total)
			}
			must(t, everything(t, d))
		}
	}
}

// TestFallbackType: where the best memory type is full the next is tried.
func TestFallbackType(t *testing.T) {
	var refused atomic.Int32
	d := testDevice(t, DeviceConfig{Inject: func(call string) Result {
		if call == "vkAllocateMemory" && refused.Add(-1) >= 0 {
			return OutOfDeviceMemory
		}
		return Success
	}})
	order := memoryOrder(&d.caps, HeapUpload, ^uint32(0))
	refused.Store(int32(len(order)) - 1)
	b, err := d.NewBuffer(64, HeapUpload, "")
	must(t, err)
	must(t, b.Close())
	refused.Store(int32(len(order)))
	if _, err := d.NewBuffer(64, HeapUpload, ""); !errors.Is(err, ErrOutOfDeviceMemory) {
		t.Error(err)
	}
}

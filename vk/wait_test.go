//go:build cgo && !novulkan && (linux || windows)

package vk

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// longWork records something that keeps the device busy for about as long as asked.
func longWork(t testing.TB, d *Device, want time.Duration) (*Commands, *Buffer, *Pipeline) {
	t.Helper()
	p := newPipeline(t, d, PipelineSpec{Name: "spin", Code: spirv(t, "spin"), Bindings: 1, PushBytes: 4})
	b, c := newBuffer(t, d, 4, HeapDevice), newCommands(t, d)
	record := func(rounds int) func() { // lavapipe leaves any loop after 65535 turns, hence many workgroups
		return func() {
			must(t, c.Bind(p, []Binding{{Buffer: b}}), c.Push(words(10000)), c.Dispatch(uint32(min(rounds, 65535)), uint32(rounds/65536+1), 1))
		}
	}
	run(t, d, c, record(1)) // compiles
	rounds := 16
	for {
		begin := time.Now()
		run(t, d, c, record(rounds))
		took := time.Since(begin)
		if took >= want || rounds > 1<<28 {
			break
		}
		rounds = int(float64(rounds) * min(8, 1.3*float64(want)/float64(took)))
	}
	must(t, c.Begin())
	record(rounds)()
	must(t, c.End())
	return c, b, p
}

func TestWaitContext(t *testing.T) {
	d := testDevice(t, DeviceConfig{})
	if err := d.Wait(context.Background(), 0); err != nil {
		t.Error("the zero ticket:", err)
	}
	if err := d.Wait(context.Background(), 99); !errors.Is(err, ErrInvalid) {
		t.Error("a ticket nobody gave out:", err)
	}
	c, _, _ := longWork(t, d, 150*time.Millisecond)
	ticket, err := d.Submit(c)
	must(t, err)
	if _, err := d.Submit(c); !errors.Is(err, ErrBusy) {
		t.Error("submitted while running:", err)
	}
	if err := c.Begin(); !errors.Is(err, ErrBusy) {
		t.Error("recorded while running:", err)
	}
	if _, err := c.TimestampsNS(); !errors.Is(err, ErrBusy) {
		t.Error("timestamps while running:", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err = d.Wait(ctx, ticket)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if took := time.Since(begin); took > 120*time.Millisecond {
		t.Errorf("a cancelled wait took %v", took)
	}
	must(t, d.Wait(context.Background(), ticket))
	if err := d.Wait(ctx, ticket); err != nil {
		t.Error("done, whatever the context:", err)
	}
}

// TestWaiters: many waiters, of several tickets, hold few threads and all return.
func TestWaiters(t *testing.T) {
	d := testDevice(t, DeviceConfig{})
	first, _, _ := longWork(t, d, 60*time.Millisecond)
	last, _, _ := longWork(t, d, 60*time.Millisecond)
	a, err := d.Submit(first)
	must(t, err)
	b, err := d.Submit(last)
	must(t, err)
	before := threads(t)
	var wait sync.WaitGroup
	for n := range 200 {
		ticket := a
		if n%2 == 1 {
			ticket = b
		}
		wait.Go(func() {
			if err := d.Wait(context.Background(), ticket); err != nil {
				t.Error(err)
			}
			if !d.Done(ticket) {
				t.Error("returned, but not done")
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	if grown := threads(t) - before; grown > 20 {
		t.Errorf("200 waiters hold %d more threads", grown)
	}
	wait.Wait()
}

func threads(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "Threads:")
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	must(t, err)
	return n
}

// TestHang: a device that never finishes holds neither a waiter with a context nor Close.
func TestHang(t *testing.T) {
	var hung sync.Map
	d := testDevice(t, DeviceConfig{Inject: func(call string) Result {
		if _, ok := hung.Load(call); ok {
			return NotReady
		}
		return Success
	}})
	b, c := newBuffer(t, d, 4, HeapDevice), newCommands(t, d)
	must(t, c.Begin(), c.Fill(b, 0, 4, 1), c.End())
	hung.Store("vkGetSemaphoreCounterValue", true)
	hung.Store("vkWaitSemaphores", true)
	ticket, err := d.Submit(c)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if err := d.Wait(ctx, ticket); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	waiting := make(chan error)
	go func() { waiting <- d.Wait(context.Background(), ticket) }()
	time.Sleep(5 * time.Millisecond)
	err = d.Close()
	if !errors.Is(err, ErrLeaked) {
		t.Error(err)
	}
	if err := <-waiting; !errors.Is(err, ErrClosed) {
		t.Error("a waiter of a closed device:", err)
	}
}

// TestConcurrency: goroutines compile, record, submit, wait and close on one device at once.
func TestConcurrency(t *testing.T) {
	d := testDevice(t, DeviceConfig{})
	const workers, rounds = 8, 25
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			p, err := d.NewPipeline(countSpec(t))
			if err != nil {
				t.Error(err)
				return
			}
			defer p.Close()
			b, err := d.NewBuffer(4, HeapReadback, "worker")
			if err != nil {
				t.Error(err)
				return
			}
			defer b.Close()
			c, err := d.NewCommands()
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			var before Ticket
			for n := range rounds {
				err := errors.Join(c.Begin(), c.Bind(p, []Binding{{Buffer: b}}))
				if n == 0 {
					err = errors.Join(err, c.Fill(b, 0, 4, 0))
					c.Barrier(TransferToCompute)
				}
				err = errors.Join(err, c.Dispatch(1, 1, 1), c.End())
				ticket, e := d.Submit(c)
				if err := errors.Join(err, e, d.Wait(context.Background(), ticket), b.Invalidate(0, 4)); err != nil {
					t.Error(err)
					return
				}
				if ticket <= before {
					t.Errorf("ticket %d after %d", ticket, before)
				}
				before = ticket
				if got := wordsOf(b.Bytes())[0]; got != uint32(n+1) {
					t.Errorf("counted %d, want %d", got, n+1)
				}
			}
		})
	}
	wait.Wait()
	if m := d.Memory(); m.Total.Count != 0 || m.Purposes["worker"].Peak < 4*2 {
		t.Errorf("%+v", m)
	}
}

// TestCloseUnderUse: closing a device under its users gives them ErrClosed, not a crash.
func TestCloseUnderUse(t *testing.T) {
	i := testInstance(t, Config{})
	for range 5 {
		d, err := testPhysical(t, i).Open(DeviceConfig{})
		must(t, err)
		var wait sync.WaitGroup
		for range 4 {
			wait.Go(func() {
				for {
					if err := everything(t, d); err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		time.Sleep(10 * time.Millisecond)
		if err := d.Close(); err != nil && !errors.Is(err, ErrLeaked) {
			t.Error(err)
		}
		wait.Wait()
	}
}

// TestCloseWhileClosing: once waiters give up, what a child's Close frees may still run, so the device keeps it.
func TestCloseWhileClosing(t *testing.T) {
	d, err := testPhysical(t, testInstance(t, Config{})).Open(DeviceConfig{})
	must(t, err)
	b, err := d.NewBuffer(64, HeapDevice, "running")
	must(t, err)
	p, err := d.NewPipeline(countSpec(t))
	must(t, err)
	c, err := d.NewCommands()
	must(t, err)
	must(t, c.Begin(), c.Bind(p, []Binding{{Buffer: b}}), c.Dispatch(1, 1, 1), c.End())
	_, err = d.Submit(c)
	must(t, err)
	d.waits.close() // how Close begins
	must(t, c.Close(), p.Close(), b.Close())
	if n := len(d.graves); n != 3 {
		t.Errorf("%d of 3 objects are kept until the device is idle", n)
	}
	must(t, d.Close())
}

// TestOrder: submits run in order and see each other's results without a wait between them.
func TestOrder(t *testing.T) {
	d := testDevice(t, DeviceConfig{})
	b, p := newBuffer(t, d, 4, HeapDevice), newPipeline(t, d, countSpec(t))
	zero := newCommands(t, d)
	must(t, zero.Begin(), zero.Fill(b, 0, 4, 0), zero.End())
	_, err := d.Submit(zero)
	must(t, err)
	for range 50 {
		c := newCommands(t, d)
		must(t, c.Begin(), c.Bind(p, []Binding{{Buffer: b}}), c.Dispatch(1, 1, 1), c.End())
		_, err := d.Submit(c)
		must(t, err)
	}
	must(t, d.WaitIdle())
	if got := download(t, d, b, 1)[0]; got != 50 {
		t.Errorf("counted %d, want 50", got)
	}
}

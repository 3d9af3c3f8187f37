//go:build cgo && !novulkan && (linux || windows)

package vk

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// hammer collects garbage and allocates for as long as the test runs: what C was given must not move or vanish.
func hammer(t *testing.T) {
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			runtime.GC()
			time.Sleep(100 * time.Microsecond)
		}
	}()
	go func() {
		var keep [64][]byte
		for n := 0; !stop.Load(); n++ {
			keep[n%len(keep)] = make([]byte, 256<<10)
			time.Sleep(200 * time.Microsecond)
		}
		runtime.KeepAlive(keep)
	}()
	t.Cleanup(func() { stop.Store(true); <-done })
}

// TestGarbageCollection: pipelines, recordings and submits under a collecting runtime. (Mesa 22's lavapipe itself
// loses 64 KiB for each pipeline.)
func TestGarbageCollection(t *testing.T) {
	n := 1500
	if testing.Short() {
		n = 100
	}
	d := testDevice(t, DeviceConfig{})
	hammer(t)
	b, c := newBuffer(t, d, 4, HeapReadback), newCommands(t, d)
	spec := PipelineSpec{Name: "axpy", Code: spirv(t, "axpy"), Bindings: 3, PushBytes: 8}
	for i := range n {
		spec.Spec = []SpecConstant{{0, 64}, {1, uint32(i % 4)}, {2, 0}}
		p, err := d.NewPipeline(spec)
		must(t, err)
		if i%8 == 0 {
			run(t, d, c, func() {
				must(t, c.Update(b, 0, words(uint32(i))))
				c.Barrier(TransferToCompute)
				must(t, c.Bind(p, []Binding{{Buffer: b}, {Buffer: b}, {Buffer: b}}), c.Push(words(0, 0)), c.Dispatch(1, 1, 1))
			})
			if got := wordsOf(b.Bytes())[0]; got != uint32(i) {
				t.Fatalf("got %d, want %d", got, i)
			}
		}
		must(t, p.Close())
	}
	if d.PipelinesCreated() != n {
		t.Error(d.PipelinesCreated())
	}
}

// allowedGrowth is in bytes. The validation layer keeps records of its own.
func allowedGrowth() int64 {
	if os.Getenv("VKATTN_TEST_VALIDATION") == "1" {
		return 4 * growthLimit
	}
	return growthLimit
}

// resident is the memory of this process in bytes.
func resident(t *testing.T) int64 {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Skip("no /proc/self/statm")
	}
	pages, err := strconv.ParseInt(strings.Fields(string(statm))[1], 10, 64)
	must(t, err)
	return pages * int64(os.Getpagesize())
}

// TestNoGrowth: recording, submitting and waiting leaves nothing behind, in C or in Go.
func TestNoGrowth(t *testing.T) {
	n := 10000
	if testing.Short() {
		n = 1000
	}
	d := testDevice(t, DeviceConfig{})
	b, p, c := newBuffer(t, d, 4, HeapDevice), newPipeline(t, d, countSpec(t)), newCommands(t, d)
	round := func() {
		must(t, c.Begin(), c.Fill(b, 0, 4, 0))
		c.Barrier(TransferToCompute)
		must(t, c.Bind(p, []Binding{{Buffer: b}}), c.Dispatch(1, 1, 1), c.End())
		ticket, err := d.Submit(c)
		must(t, err, d.Wait(context.Background(), ticket))
	}
	for range n / 10 {
		round()
	}
	runtime.GC()
	before := resident(t)
	for range n {
		round()
	}
	runtime.GC()
	grown := resident(t) - before
	t.Logf("%d submits: %+d KiB resident", n, grown>>10)
	if grown > allowedGrowth() {
		t.Errorf("%d submits left %d KiB", n, grown>>10)
	}
}

// TestNoGrowthOfObjects: buffers and commands come back.
func TestNoGrowthOfObjects(t *testing.T) {
	n := 3000
	if testing.Short() {
		n = 300
	}
	d := testDevice(t, DeviceConfig{})
	round := func() {
		b, err := d.NewBuffer(1<<12, HeapUpload, "x")
		must(t, err)
		c, err := d.NewCommands()
		must(t, err, c.Begin(), c.Fill(b, 0, 0, 0), c.End(), c.Close(), b.Close())
	}
	for range n / 10 {
		round()
	}
	runtime.GC()
	before := resident(t)
	for range n {
		round()
	}
	runtime.GC()
	if grown := resident(t) - before; grown > allowedGrowth() {
		t.Errorf("%d buffers and commands left %d KiB", n, grown>>10)
	}
}

// TestRecordingAllocates bounds what a recorded step costs in Go.
func TestRecordingAllocates(t *testing.T) {
	d := testDevice(t, DeviceConfig{})
	b, p, c := newBuffer(t, d, 4, HeapDevice), newPipeline(t, d, countSpec(t)), newCommands(t, d)
	bindings := []Binding{{Buffer: b}}
	record := func() {
		must(t, c.Begin())
		for range 100 {
			c.Bind(p, bindings)
			c.Dispatch(1, 1, 1)
			c.Barrier(ComputeToCompute)
		}
		must(t, c.End())
	}
	record()
	if n := testing.AllocsPerRun(10, record); n > 20 && !instrumented {
		t.Errorf("%v allocations for 100 dispatches", n)
	}
}

func BenchmarkRecord100(b *testing.B) {
	d := testDevice(b, DeviceConfig{})
	buffer, p, c := newBuffer(b, d, 4, HeapDevice), newPipeline(b, d, countSpec(b)), newCommands(b, d)
	bindings := []Binding{{Buffer: buffer}}
	b.ReportAllocs()
	for b.Loop() {
		must(b, c.Begin())
		for range 100 {
			c.Bind(p, bindings)
			c.Dispatch(1, 1, 1)
			c.Barrier(ComputeToCompute)
		}
		must(b, c.End())
	}
}

func BenchmarkSubmitWait(b *testing.B) {
	d := testDevice(b, DeviceConfig{})
	buffer, p, c := newBuffer(b, d, 4, HeapDevice), newPipeline(b, d, countSpec(b)), newCommands(b, d)
	must(b, c.Begin(), c.Bind(p, []Binding{{Buffer: buffer}}), c.Dispatch(1, 1, 1), c.End())
	b.ReportAllocs()
	for b.Loop() {
		ticket, err := d.Submit(c)
		must(b, err, d.Wait(context.Background(), ticket))
	}
}

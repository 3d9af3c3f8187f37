package dispatch_test

import (
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// resident is the memory of this process, in bytes, or 0 where the system does not say.
func resident(t *testing.T) int64 {
	t.Helper()
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// TestSoak: 10,000 runs of one plan, from the host and on the device, leave no memory behind.
func TestSoak(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	c := namedCall{op: vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 4, SeqK: 40, HeadDim: 64, With: vkattn.WithLSE}}
	p, err := b.Plan(t.Context(), c.op)
	if err != nil {
		t.Fatal(err)
	}
	host := c.args(1)
	device := host
	for _, x := range []*vkattn.Tensor{&device.Q, &device.K, &device.V, &device.Out, &device.LSE} {
		d, err := b.NewTensor(vkattn.Float32, x.Shape)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Mem.Close()
		if err := b.Copy(t.Context(), d, *x); err != nil {
			t.Fatal(err)
		}
		*x = d
	}
	runs := func(n int) {
		for i := range n {
			args := host
			if i%2 == 1 {
				args = device
			}
			if _, err := p.Run(t.Context(), args); err != nil {
				t.Fatal(err)
			}
		}
	}
	runs(1000)
	memory, before := b.Memory().Total, resident(t)
	runs(10_000)
	after := resident(t)
	t.Logf("%d bytes resident after 1,000 runs, %d after 11,000; %d bytes of the device", before, after, b.Memory().Total.Bytes)
	if now := b.Memory().Total; now.Bytes != memory.Bytes || now.Count != memory.Count {
		t.Errorf("device memory went from %+v to %+v", memory, now)
	}
	if before == 0 {
		t.Log("this system does not tell the memory of a process")
	} else if grown := after - before; grown > 4<<20 {
		t.Errorf("the process grew by %d bytes", grown)
	}
	checkRows(t, c.op, &host, 4)
}

// TestGarbage: runs, plans and tensors while other goroutines allocate and collect. What C holds must not
// be memory of Go.
func TestGarbage(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	stop := make(chan struct{})
	var hammers sync.WaitGroup
	for range 2 {
		hammers.Go(func() {
			var keep [64][]byte
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				keep[n%len(keep)] = make([]byte, 1<<(n%16))
				for i := range keep[n%len(keep)] {
					keep[n%len(keep)][i] = 0xff
				}
				if n%100 == 0 {
					runtime.GC()
				}
			}
		})
	}
	c := namedCall{op: vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 3, SeqK: 40, HeadDim: 64, With: vkattn.WithLSE}}
	args := c.args(1)
	run(t, b, c.op, args)
	want := results(&args)
	var runners sync.WaitGroup
	for range 2 {
		runners.Go(func() {
			for n := range 1000 {
				p, err := b.Plan(t.Context(), c.op)
				if err != nil {
					t.Error(err)
					return
				}
				mine := c.args(1)
				d, err := b.NewTensor(vkattn.Float32, mine.V.Shape)
				if err == nil && n%4 == 0 {
					err = b.Copy(t.Context(), d, mine.V)
					mine.V = d
				}
				if err == nil {
					_, err = p.Run(t.Context(), mine)
				}
				if err == nil {
					err = sameBits(results(&mine), want)
				}
				if err != nil {
					t.Error(err)
					return
				}
				d.Mem.Close()
				p.Close()
			}
		})
	}
	runners.Wait()
	close(stop)
	hammers.Wait()
}

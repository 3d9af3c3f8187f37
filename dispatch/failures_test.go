package dispatch_test

import (
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/vk"
)

// fault is the answer of the driver to the calls of one name, after skip of them.
type fault struct {
	call   string
	result vk.Result
	skip   int64
	once   bool
}

// driver answers as armed, and as the real one otherwise.
type driver struct {
	fault atomic.Pointer[fault]
	seen  atomic.Int64 // calls of the armed name
}

func (d *driver) arm(f fault) { d.seen.Store(0); d.fault.Store(&f) }

func (d *driver) inject(call string) vk.Result {
	f := d.fault.Load()
	if f == nil || call != f.call {
		return vk.Success
	}
	if n := d.seen.Add(1); n <= f.skip || f.once && n > f.skip+1 {
		return vk.Success
	}
	return f.result
}

// within fails when f hangs.
func within(t *testing.T, d time.Duration, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(d):
		panic(what + " hangs") // the goroutines are what one wants to see
	}
}

var small = namedCall{op: vkattn.Attention{Batch: 1, HeadsQ: 4, HeadsK: 2, SeqQ: 40, SeqK: 300, HeadDim: 64, With: vkattn.WithLSE}}

func faulty(t *testing.T) (*dispatch.Backend, *driver) {
	t.Helper()
	d := &driver{}
	return open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true, Budget: time.Millisecond, VK: vk.DeviceConfig{Inject: d.inject}}), d
}

// TestDeviceLost: a lost device is a typed error from then on, whatever was under way; Close works, and
// another backend takes over.
func TestDeviceLost(t *testing.T) {
	for _, f := range []fault{
		{call: "vkQueueSubmit"}, {call: "vkQueueSubmit", skip: 2}, {call: "vkWaitSemaphores", skip: 1},
		{call: "vkAllocateMemory"}, {call: "vkEndCommandBuffer", skip: 1},
	} {
		t.Run(fmt.Sprintf("%s after %d", f.call, f.skip), func(t *testing.T) {
			within(t, time.Minute, f.call, func() {
				b, d := faulty(t)
				p, err := b.Plan(t.Context(), small.op)
				if err != nil {
					t.Error(err)
					return
				}
				kept, err := b.NewTensor(vkattn.Float32, [4]int{1, 1, 1, 1000})
				if err != nil {
					t.Error(err)
					return
				}
				f.result = vk.DeviceLost
				d.arm(f)
				var pending []vkattn.Pending
				for i := range 4 {
					batch := b.NewBatch()
					err := p.Record(batch, small.args(uint64(i)))
					if err == nil {
						var x vkattn.Pending
						if x, err = batch.Submit(t.Context()); err == nil {
							pending = append(pending, x)
						}
					}
					if err != nil && !errors.Is(err, vkattn.ErrDeviceLost) {
						t.Error(err)
					}
				}
				lost := 0
				for _, x := range pending {
					_, err := x.Wait(t.Context())
					if err != nil && !errors.Is(err, vkattn.ErrDeviceLost) {
						t.Errorf("wait: %v", err)
					}
					if err != nil {
						lost++
					}
				}
				if lost == 0 {
					t.Error("no batch noticed the loss")
				}
				d.fault.Store(nil) // the loss is latched
				_, planErr := b.Plan(t.Context(), small.op)
				_, runErr := p.Run(t.Context(), small.args(1))
				_, tensorErr := b.NewTensor(vkattn.Float32, [4]int{1, 1, 1, 1})
				for name, err := range map[string]error{"plan": planErr, "run": runErr, "tensor": tensorErr, "supports": b.Supports(small.op), "copy": b.Copy(t.Context(), kept, kept)} {
					if !errors.Is(err, vkattn.ErrDeviceLost) {
						t.Errorf("%s on a lost device: %v", name, err)
					}
				}
				for _, err := range []error{kept.Mem.Close(), p.Close(), b.Close(), b.Close()} {
					if err != nil {
						t.Error(err)
					}
				}
				if _, err := p.Run(t.Context(), small.args(1)); !errors.Is(err, vkattn.ErrClosed) {
					t.Errorf("run on a closed backend: %v", err)
				}
			})
			b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
			args := small.args(9)
			run(t, b, small.op, args)
			checkRows(t, small.op, &args, 3)
		})
	}
}

// TestDeviceLostInPlan: the same while a pipeline is built and tried.
func TestDeviceLostInPlan(t *testing.T) {
	for _, call := range []string{"vkCreateComputePipelines", "vkCreateShaderModule", "vkQueueSubmit", "vkWaitSemaphores"} {
		b, d := faulty(t)
		d.arm(fault{call: call, result: vk.DeviceLost})
		if _, err := b.Plan(t.Context(), small.op); !errors.Is(err, vkattn.ErrDeviceLost) && !(call == "vkWaitSemaphores" && err == nil) {
			t.Errorf("%s: %v", call, err)
		}
		if err := b.Close(); err != nil {
			t.Errorf("%s: close: %v", call, err)
		}
	}
}

// TestOutOfMemory: whichever driver call has no memory, the run fails with ErrOutOfMemory, leaves nothing
// behind, and the next one works.
func TestOutOfMemory(t *testing.T) {
	b, d := faulty(t)
	p, err := b.Plan(t.Context(), small.op)
	if err != nil {
		t.Fatal(err)
	}
	args := small.args(1)
	if _, err := p.Run(t.Context(), args); err != nil {
		t.Fatal(err)
	}
	want, level := results(&args), b.Memory().Total.Bytes
	bigger := small
	bigger.op.SeqQ, bigger.op.SeqK = 3, 301 // buffers of the pool do not fit: they stay what they are while the sizes grow
	failed := 0
	for _, call := range []string{"vkAllocateMemory", "vkCreateBuffer", "vkBindBufferMemory", "vkMapMemory", "vkCreateCommandPool", "vkCreateDescriptorPool",
		"vkBeginCommandBuffer", "vkEndCommandBuffer", "vkQueueSubmit"} {
		for skip := range int64(10) {
			for _, result := range []vk.Result{vk.OutOfDeviceMemory, vk.OutOfHostMemory} {
				bigger.op.SeqK = bigger.op.SeqK*5/4 + 100
				if bigger.op.SeqK > 9000 {
					bigger.op.SeqK = 350
				}
				other := bigger.args(2)
				q, err := b.Plan(t.Context(), bigger.op)
				if err != nil {
					t.Fatal(err)
				}
				d.arm(fault{call: call, result: result, skip: skip})
				_, err = q.Run(t.Context(), other)
				d.fault.Store(nil)
				if err != nil && !errors.Is(err, vkattn.ErrOutOfMemory) {
					t.Errorf("%s after %d: %v", call, skip, err)
				}
				if err != nil {
					failed++
				}
				blank(&args)
				if _, err := p.Run(t.Context(), args); err != nil {
					t.Fatalf("after %s: %v", call, err)
				}
				if err := sameBits(results(&args), want); err != nil {
					t.Fatalf("after %s: %v", call, err)
				}
			}
		}
	}
	t.Logf("%d runs failed; memory was %d bytes after the first run and is %d now", failed, level, b.Memory().Total.Bytes)
	if failed < 15 {
		t.Errorf("only %d runs failed", failed)
	}
	if err := b.Close(); err != nil {
		t.Error(err)
	}
	if m := b.Memory(); m.Total.Bytes != 0 || m.Total.Count != 0 {
		t.Errorf("left %+v", m.Total)
	}
}

// TestNoPipeline: a pipeline that cannot be built is an error of Plan, nothing of it stays, and a later
// attempt may succeed.
func TestNoPipeline(t *testing.T) {
	b, d := faulty(t)
	for _, f := range []fault{
		{call: "vkCreateComputePipelines", result: vk.OutOfDeviceMemory}, {call: "vkCreateComputePipelines", result: vk.InvalidShader},
		{call: "vkCreateShaderModule", result: vk.OutOfHostMemory}, {call: "vkQueueSubmit", result: vk.OutOfDeviceMemory},
		{call: "vkEndCommandBuffer", result: vk.OutOfHostMemory},
	} {
		d.arm(f)
		_, err := b.Plan(t.Context(), small.op)
		d.fault.Store(nil)
		if err == nil || !errors.Is(err, f.result) {
			t.Errorf("%s: %v", f.call, err)
		}
		if wantMemory := f.result != vk.InvalidShader; errors.Is(err, vkattn.ErrOutOfMemory) != wantMemory {
			t.Errorf("%s: %v", f.call, err)
		}
	}
	args := small.args(1)
	run(t, b, small.op, args)
	checkRows(t, small.op, &args, 3)
	if err := b.Close(); err != nil {
		t.Error(err)
	}
}

// TestMaxMemory: a call beyond the memory of the device fails, a smaller one runs, before and after.
func TestMaxMemory(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true, VK: vk.DeviceConfig{MaxMemory: 3 << 20}})
	large := small
	large.op.SeqK = 5000
	for range 3 {
		args := small.args(1)
		run(t, b, small.op, args)
		checkRows(t, small.op, &args, 3)
		level := b.Memory().Total.Bytes
		p, err := b.Plan(t.Context(), large.op)
		if err != nil {
			t.Fatal(err)
		}
		var m *vk.MemoryError
		if _, err := p.Run(t.Context(), large.args(1)); !errors.Is(err, vkattn.ErrOutOfMemory) || !errors.As(err, &m) || m.Limit != 3<<20 {
			t.Errorf("%v", err)
		}
		if _, err := b.NewTensor(vkattn.Float32, [4]int{1, 1, 1, 1 << 20}); !errors.Is(err, vkattn.ErrOutOfMemory) {
			t.Errorf("%v", err)
		}
		t.Logf("%d bytes before, %d after", level, b.Memory().Total.Bytes)
		// What the backend keeps for later runs makes room for a tensor.
		x, err := b.NewTensor(vkattn.Float32, [4]int{1, 1, 1, 700_000})
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Mem.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestRefusedHalfway: of a call that is refused after some of it has been submitted and some recorded, and of the calls before it in its
// batch, nothing is left to those that follow.
func TestRefusedHalfway(t *testing.T) {
	for _, budget := range []time.Duration{0, 1} {
		l := &listener{}
		b := validated(t, dispatch.Config{Validation: vk.ValidationCore | vk.ValidationSync, SkipSelfTest: true, Splits: 8, Budget: budget,
			VK: vk.DeviceConfig{Override: func(c *vk.Caps) { c.Limits.MaxStorageBufferRange = 16 << 10 }}}, l)
		good := linearCase{op: vkattn.Linear{Batch: 1, HeadsQ: 2, SeqQ: 200, HeadDim: 8, Causal: true, StateOut: true}}
		args := good.run(t, b, 1)
		want := linearResults(&args)
		bad := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 50, SeqK: 900, HeadDim: 32} // 8 states of 4224 bytes
		batch := b.NewBatch()
		for _, c := range []struct {
			op   vkattn.Linear
			args vkattn.Args
		}{{good.op, linearArgs(good.op, nil, 2, 0, false)}, {bad, linearArgs(bad, nil, 3, 0, false)}} {
			p, err := b.Plan(t.Context(), c.op)
			if err == nil {
				err = p.Record(batch, c.args)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		pending, err := batch.Submit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r, err := pending.Wait(t.Context()); !errors.Is(err, vkattn.ErrUnsupported) || r.Slices < 2 {
			t.Fatalf("%d slices, then %v", r.Slices, err)
		}
		blankLinear(&args)
		run(t, b, good.op, args)
		if err := sameBits(linearResults(&args), want); err != nil {
			t.Error(err)
		}
		for _, m := range l.heard {
			t.Errorf("%s: %s", m.ID, m.Text)
		}
	}
}

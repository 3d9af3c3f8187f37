package dispatch_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/vk"
)

// submits counts what goes to the queue, and calls then with the number of each submit, before it goes.
type submits struct {
	n    atomic.Int64
	then atomic.Pointer[func(n int64)]
}

func (s *submits) inject(call string) vk.Result {
	if call == "vkQueueSubmit" {
		n := s.n.Add(1)
		if f := s.then.Load(); f != nil {
			(*f)(n)
		}
	}
	return vk.Success
}

func (s *submits) reset(then func(n int64)) {
	s.n.Store(0)
	s.then.Store(&then)
}

var slow = namedCall{op: vkattn.Attention{Batch: 1, HeadsQ: 4, SeqQ: 300, SeqK: 4000, HeadDim: 64, With: vkattn.WithLSE}}

// TestCancel: after the context ends at most one further submit starts, the error is the context's, and
// the backend goes on as before.
func TestCancel(t *testing.T) {
	s := &submits{}
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true, Budget: time.Millisecond, VK: vk.DeviceConfig{Inject: s.inject}})
	onlySlow(t, b)
	p, err := b.Plan(t.Context(), slow.op)
	if err != nil {
		t.Fatal(err)
	}
	args := slow.args(4)
	whole, err := p.Run(t.Context(), args)
	if err != nil {
		t.Fatal(err)
	}
	if whole.Submits < 20 {
		t.Fatalf("%d submits are too few to cancel between them", whole.Submits)
	}
	want := results(&args)
	for _, at := range []int64{1, 2, 7, 15} {
		ctx, cancel := context.WithCancel(t.Context())
		s.reset(func(n int64) {
			if n == at {
				cancel()
			}
		})
		_, err := p.Run(ctx, args)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("canceled at submit %d: %v", at, err)
		}
		if n := s.n.Load(); n > at+1 {
			t.Errorf("canceled at submit %d, %d were made", at, n)
		}
		s.reset(nop)
		blank(&args)
		if _, err := p.Run(t.Context(), args); err != nil {
			t.Fatalf("after being canceled at submit %d: %v", at, err)
		}
		if err := sameBits(results(&args), want); err != nil {
			t.Errorf("after being canceled at submit %d: %v", at, err)
		}
	}
	ctx, cancel := context.WithDeadline(t.Context(), time.Now())
	defer cancel()
	s.reset(nop)
	if _, err := p.Run(ctx, args); !errors.Is(err, context.DeadlineExceeded) || s.n.Load() != 0 {
		t.Errorf("with a context that had ended: %v, %d submits", err, s.n.Load())
	}
	if err := b.Copy(ctx, args.Out, args.Q); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	d, err := b.NewTensor(vkattn.Float32, args.Q.Shape)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Mem.Close()
	if err := b.Copy(ctx, d, args.Q); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("copy with a context that had ended: %v", err)
	}
	if _, err := b.Plan(ctx, slow.op); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("plan with a context that had ended: %v", err)
	}
}

func nop(int64) {}

// TestWaitEnds: when the context of Wait ends, Wait returns and the batch goes on.
func TestWaitEnds(t *testing.T) {
	s := &submits{}
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true, Budget: 2 * time.Millisecond, VK: vk.DeviceConfig{Inject: s.inject}})
	onlySlow(t, b)
	p, err := b.Plan(t.Context(), slow.op)
	if err != nil {
		t.Fatal(err)
	}
	args := slow.args(4)
	ctx, cancel := context.WithCancel(t.Context())
	s.reset(func(n int64) {
		if n == 3 {
			cancel()
		}
	})
	batch := b.NewBatch()
	if err := p.Record(batch, args); err != nil {
		t.Fatal(err)
	}
	pending, err := batch.Submit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := pending.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Fatalf("wait: %v", err)
	}
	for range 2 {
		r, err := pending.Wait(t.Context())
		if err != nil || r.Submits < 4 || r.Calls != 1 {
			t.Fatalf("wait again: %+v, %v", r, err)
		}
	}
	if _, err := pending.Wait(ctx); err != nil {
		t.Errorf("a batch that is done, and an ended context: %v", err)
	}
	checkRows(t, slow.op, &args, 3)
	if _, err := batch.Submit(t.Context()); !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("a second submit of a batch: %v", err)
	}
	if err := p.Record(batch, args); !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("recorded to a batch that was submitted: %v", err)
	}
}

// TestCanceledInLine: a batch that is canceled while it waits for its turn does not hold up the ones behind it.
func TestCanceledInLine(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true, Budget: 2 * time.Millisecond})
	p, err := b.Plan(t.Context(), slow.op)
	if err != nil {
		t.Fatal(err)
	}
	submit := func(ctx context.Context, args vkattn.Args) vkattn.Pending {
		batch := b.NewBatch()
		if err := p.Record(batch, args); err != nil {
			t.Fatal(err)
		}
		pending, err := batch.Submit(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return pending
	}
	first, second, third := slow.args(4), slow.args(5), slow.args(6)
	ctx, cancel := context.WithCancel(t.Context())
	one, two, three := submit(t.Context(), first), submit(ctx, second), submit(t.Context(), third)
	cancel()
	if _, err := two.Wait(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("the canceled batch: %v", err)
	}
	if o := results(&second)[0][0]; o == o {
		t.Error("the canceled batch wrote its output")
	}
	var wait sync.WaitGroup
	for _, x := range []struct {
		p    vkattn.Pending
		args *vkattn.Args
	}{{three, &third}, {one, &first}} {
		wait.Go(func() {
			if _, err := x.p.Wait(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	checkRows(t, slow.op, &first, 3)
	checkRows(t, slow.op, &third, 3)
}

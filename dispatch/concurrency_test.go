package dispatch_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// TestConcurrentRuns: many goroutines, plans and shapes on one backend, and every answer as if alone.
func TestConcurrentRuns(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	type alone struct {
		call namedCall
		plan vkattn.Plan
		want [2][]float32
	}
	var calls []alone
	for i := range 4 {
		c := namedCall{op: vkattn.Attention{Batch: 1 + i, HeadsQ: 4, HeadsK: 2, SeqQ: 1 + 13*i, SeqK: 50 + 111*i, HeadDim: 64, Causal: i%2 == 0, With: vkattn.WithLSE}}
		if i == 3 {
			c.op.HeadDim = 59
		}
		p, err := b.Plan(t.Context(), c.op)
		if err != nil {
			t.Fatal(err)
		}
		args := c.args(uint64(i))
		if _, err := p.Run(t.Context(), args); err != nil {
			t.Fatal(err)
		}
		calls = append(calls, alone{c, p, results(&args)})
	}
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			for n := range 15 {
				c := &calls[(g+n)%len(calls)]
				args := c.call.args(uint64((g + n) % len(calls)))
				if n%5 == 4 { // a plan of one's own, and one tensor on the device
					p, err := b.Plan(t.Context(), c.call.op)
					if err != nil {
						t.Error(err)
						return
					}
					d, err := b.NewTensor(vkattn.Float32, args.K.Shape)
					if err == nil {
						err = b.Copy(t.Context(), d, args.K)
					}
					if err == nil {
						args.K = d
						_, err = p.Run(t.Context(), args)
					}
					if err = errors.Join(err, d.Mem.Close(), p.Close()); err != nil {
						t.Error(err)
						return
					}
				} else if _, err := c.plan.Run(t.Context(), args); err != nil {
					t.Error(err)
					return
				}
				if err := sameBits(results(&args), c.want); err != nil {
					t.Errorf("%v: %v", c.call.op, err)
					return
				}
			}
		})
	}
	wait.Wait()
}

// TestOnePipeline: plans of one op made at once share one pipeline.
func TestOnePipeline(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	var wait sync.WaitGroup
	for i := range 16 {
		wait.Go(func() {
			op := small.op
			op.SeqQ += i // another op, the same kernel
			p, err := b.Plan(t.Context(), op)
			if err != nil {
				t.Error(err)
				return
			}
			p.Close()
		})
	}
	wait.Wait()
	if n := b.PipelinesCreated(); n != 1 {
		t.Errorf("%d pipelines", n)
	}
}

// TestCloseUnderLoad: whatever runs, is planned or allocated while the backend closes ends well or with
// ErrClosed, and nothing is left open.
func TestCloseUnderLoad(t *testing.T) {
	for round := range 5 {
		b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
		started := make(chan struct{}, 100)
		var wait sync.WaitGroup
		fail := func(what string, err error) {
			if err != nil && !errors.Is(err, vkattn.ErrClosed) {
				t.Errorf("round %d, %s: %v", round, what, err)
			}
		}
		for g := range 6 {
			wait.Go(func() {
				args := small.args(uint64(g))
				for n := range 10 {
					op := small.op
					if g == 5 {
						op.HeadDim, op.With = 32*(1+n%2), 0
						p, err := b.Plan(t.Context(), op)
						fail("plan", err)
						if err == nil {
							p.Close()
						}
						started <- struct{}{}
						continue
					}
					p, err := b.Plan(t.Context(), op)
					fail("plan", err)
					started <- struct{}{}
					if err != nil {
						continue
					}
					_, err = p.Run(t.Context(), args)
					fail("run", err)
					x, err := b.NewTensor(vkattn.Float32, args.Q.Shape)
					fail("tensor", err)
					if err == nil {
						fail("copy", b.Copy(t.Context(), x, args.Q))
						fail("close of a tensor", x.Mem.Close())
					}
				}
			})
		}
		for range 1 + 9*round {
			<-started
		}
		if err := b.Close(); err != nil {
			t.Error(fmt.Errorf("round %d: %w", round, err))
		}
		wait.Wait()
	}
}

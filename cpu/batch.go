package cpu

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vkattn/vkattn"
)

type batch struct {
	backend   *Backend
	calls     []recorded
	submitted bool
}

// recorded is a call and what it is called.
type recorded struct {
	name string
	op   operation
	job
}

func (b *batch) Len() int { return len(b.calls) }

// Submit starts the batch behind all that was submitted before.
func (b *batch) Submit(ctx context.Context) (vkattn.Pending, error) {
	if b.submitted {
		return nil, &vkattn.ArgError{Arg: "Batch", Reason: "has been submitted already"}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t, err := b.backend.enqueue()
	if err != nil {
		return nil, err
	}
	b.submitted = true
	p := &pending{done: make(chan struct{})}
	go p.run(ctx, b, t, time.Now())
	return p, nil
}

// pending is a batch on its way. report and err are written before done is closed.
type pending struct {
	done   chan struct{}
	report vkattn.Report
	err    error
}

// Wait returns the report of the finished batch, or ctx's error when ctx ends first.
func (p *pending) Wait(ctx context.Context) (vkattn.Report, error) {
	select {
	case <-p.done:
		return p.report, p.err
	default:
	}
	select {
	case <-p.done:
		return p.report, p.err
	case <-ctx.Done():
		return vkattn.Report{}, ctx.Err()
	}
}

func (p *pending) run(ctx context.Context, b *batch, t turn, start time.Time) {
	defer t.end()
	select {
	case <-t.ready:
	case <-ctx.Done():
		p.err = ctx.Err()
		close(p.done)
		<-t.ready // those behind in the queue must still not overtake those before
		return
	}
	defer close(p.done)
	backend := b.backend
	r := vkattn.Report{Info: backend.info, Path: "cpu", Splits: 1, Submits: 1, Fallback: backend.fallback}
	r.Work.Exact = true
	for _, c := range b.calls {
		began := time.Now()
		splits, err := c.run(ctx, backend)
		if err != nil {
			p.err = err
			return
		}
		r.DeviceTime += time.Since(began)
		r.Op, r.Kernel, r.Tile, r.Splits = c.name, c.op.kernel(), c.op.tile(backend.kernel), splits
		r.Calls++
		r.Slices++
		if note := noteOf(c.job); note != "" && !slices.Contains(r.Notes, note) {
			r.Notes = append(r.Notes, note)
		}
		r.Scratch = max(r.Scratch, int64(len(backend.workers))*c.op.scratchBytes(backend.kernel))
	}
	r.WallTime, r.DeviceMem = time.Since(start), r.Scratch
	for _, c := range b.calls {
		addWork(&r.Work, c.work())
	}
	p.report = r
}

// noteOf is what a job has to say of how it ran.
func noteOf(j job) string {
	switch j := j.(type) {
	case *call:
		return j.note
	case *cacheJob:
		if j.args.Cascade && j.args.Q.Given() {
			return "cascade not taken: the CPU attends one sequence after the other"
		}
	}
	return ""
}

func addWork(sum *vkattn.Work, w vkattn.Work) {
	sum.Pairs += w.Pairs
	sum.Exact = sum.Exact && w.Exact
	sum.FLOPs += w.FLOPs
	sum.FLOPsFA += w.FLOPsFA
	sum.Bytes += w.Bytes
}

// spread calls f for each of n units, on as many workers as there are, and returns when none of them works any
// more. An error ends it early.
func (b *Backend) spread(n int, f func(w *worker, unit int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	for i := range min(len(b.workers), n) {
		w := &b.workers[i]
		group.Go(func() {
			for failed.Load() == nil {
				unit := int(next.Add(1)) - 1
				if unit >= n {
					return
				}
				if err := f(w, unit); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	group.Wait()
	if e := failed.Load(); e != nil {
		return *e
	}
	return nil
}

func (b *Backend) workerCount() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.workers)
}

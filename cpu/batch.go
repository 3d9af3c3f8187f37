package cpu

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vkattn/vkattn"
)

type batch struct {
	backend   *Backend
	calls     []*call
	submitted bool
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
	r := vkattn.Report{Info: backend.info, Path: "cpu", Kernel: kernelName, Tile: tileText(backend.kernel), Splits: 1, Submits: 1, Fallback: backend.fallback}
	r.Work.Exact = true
	for _, c := range b.calls {
		began := time.Now()
		splits, err := backend.attend(ctx, c)
		if err != nil {
			p.err = err
			return
		}
		r.DeviceTime += time.Since(began)
		r.Op, r.Splits = c.name, splits
		r.Calls++
		r.Slices++
		r.Scratch = max(r.Scratch, int64(len(backend.workers))*scratchBytes(backend.kernel, c.op.HeadDim, c.op.ValueDim))
	}
	r.WallTime, r.DeviceMem = time.Since(start), r.Scratch
	for _, c := range b.calls {
		addWork(&r.Work, c.op.Work(&c.args, c.seqs, false))
	}
	p.report = r
}

func addWork(sum *vkattn.Work, w vkattn.Work) {
	sum.Pairs += w.Pairs
	sum.Exact = sum.Exact && w.Exact
	sum.FLOPs += w.FLOPs
	sum.FLOPsFA += w.FLOPsFA
	sum.Bytes += w.Bytes
}

// attend runs one call on all workers, and returns when none of them works any more.
func (b *Backend) attend(ctx context.Context, c *call) (splits int, err error) {
	rows, _ := b.kernel.tile()
	units := c.units(rows)
	whole := len(units)
	units = c.split(units, len(b.workers))
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var group sync.WaitGroup
	for n := range min(len(b.workers), len(units)) {
		w := &b.workers[n]
		group.Go(func() {
			for failed.Load() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(units) {
					return
				}
				if err := w.attend(ctx, c, &units[i]); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	group.Wait()
	if e := failed.Load(); e != nil {
		return 0, *e
	}
	return (len(units) + whole - 1) / max(whole, 1), nil
}

func (b *Backend) workerCount() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.workers)
}

package cpu

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/vkattn/vkattn"
)

type plan struct {
	backend *Backend
	given   vkattn.Op
	routine routine
	closed  atomic.Bool
}

func (p *plan) Op() vkattn.Op { return p.given }

func (p *plan) Explain() vkattn.Explanation {
	workers := p.backend.workerCount()
	e := vkattn.Explanation{Op: p.given.String(), Backend: "cpu", Path: "cpu", Splits: 1, Notes: p.routine.notes(workers)}
	e.Kernel, e.Tile, e.ScratchBytes = p.routine.kernel(p.backend, workers)
	if p.backend.fallback != "" {
		e.NotTaken = []vkattn.Refusal{{Kernel: "vulkan", Reason: p.backend.fallback}}
	}
	return e
}

// Record checks args and adds the call to b, which must be a batch of the same backend that has not been
// submitted. Tensors must be in host memory.
func (p *plan) Record(b vkattn.Batch, args vkattn.Args) error {
	if p.closed.Load() {
		return fmt.Errorf("%w: plan for %s", vkattn.ErrClosed, p.given)
	}
	if err := p.backend.open(); err != nil {
		return err
	}
	own, ok := b.(*batch)
	if !ok || own.backend != p.backend {
		return &vkattn.ArgError{Arg: "Batch", Reason: "belongs to another backend"}
	}
	if own.submitted {
		return &vkattn.ArgError{Arg: "Batch", Reason: "has been submitted already"}
	}
	t, err := p.routine.bind(args)
	if err != nil {
		return err
	}
	own.calls = append(own.calls, recorded{p, t})
	return nil
}

// Run computes one call. When ctx ends early it stops within one tile and returns ctx's error; it
// returns only when nothing touches the tensors any more.
func (p *plan) Run(ctx context.Context, args vkattn.Args) (vkattn.Report, error) {
	b := p.backend.NewBatch()
	if err := p.Record(b, args); err != nil {
		return vkattn.Report{}, err
	}
	pending, err := b.Submit(ctx)
	if err != nil {
		return vkattn.Report{}, err
	}
	return pending.Wait(context.WithoutCancel(ctx))
}

// Close ends the plan. Calls that are recorded already still run.
func (p *plan) Close() error {
	p.closed.Store(true)
	return nil
}

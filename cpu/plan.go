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
	op      operation
	closed  atomic.Bool
}

func (p *plan) Op() vkattn.Op { return p.given }

func (p *plan) Explain() vkattn.Explanation {
	workers, k := p.backend.workerCount(), p.backend.kernel
	e := vkattn.Explanation{
		Op: p.given.String(), Backend: "cpu", Path: "cpu", Kernel: p.op.kernel(), Tile: p.op.tile(k),
		Splits:       1,
		ScratchBytes: int64(workers) * p.op.scratchBytes(k),
		Notes:        []string{p.op.note(workers)},
	}
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
	j, err := p.op.bind(args)
	if err != nil {
		return err
	}
	own.calls = append(own.calls, recorded{p.given.String(), p.op, j})
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

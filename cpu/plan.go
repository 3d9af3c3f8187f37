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
	op      vkattn.Attention // canonical
	groups  [][]int
	closed  atomic.Bool
}

func (p *plan) Op() vkattn.Op { return p.given }

func (p *plan) Explain() vkattn.Explanation {
	workers := p.backend.workerCount()
	e := vkattn.Explanation{
		Op: p.given.String(), Backend: "cpu", Path: "cpu", Kernel: kernelName, Tile: tileText(p.backend.kernel),
		Splits:       1,
		ScratchBytes: int64(workers) * scratchBytes(p.backend.kernel, p.op.HeadDim, p.op.ValueDim),
		Notes:        []string{fmt.Sprintf("%d workers; keys are merged in parts of %d, which may run on several workers", workers, partKeys)},
	}
	if p.backend.fallback != "" {
		e.NotTaken = []vkattn.Refusal{{Kernel: "vulkan", Reason: p.backend.fallback}}
	}
	return e
}

func tileText(k kernel) string {
	rows, keys := k.tile()
	return fmt.Sprintf("%d rows x %d keys, %s", rows, keys, k.name())
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
	c, err := bind(p.op, p.groups, args)
	if err != nil {
		return err
	}
	c.name = p.given.String()
	own.calls = append(own.calls, c)
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

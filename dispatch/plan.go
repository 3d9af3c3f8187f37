package dispatch

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// Plan is one op, decided and compiled for one device. It is safe for concurrent use; see vkattn.Plan.
type Plan struct {
	be     *Backend
	choice *choice
	mu     sync.Mutex
	closed bool
	last   *geometry // of the last call
}

// geometry cuts the sequences of a call, or finds the last call's, when it had the same.
func (p *Plan) geometry(seqs []vkattn.Sequence) *geometry {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil || !sameSequences(p.last.seqs, seqs) {
		seqs = slices.Clone(seqs)
		for i := range seqs {
			seqs[i].Global = slices.Clone(seqs[i].Global)
		}
		p.last = newGeometry(p.choice.op, seqs, p.choice.tileRows(), p.choice.pack)
	}
	return p.last
}

// Supports says whether this device can run op; see vkattn.Backend.
func (b *Backend) Supports(op vkattn.Op) error {
	if err := b.alive(); err != nil {
		return err
	}
	_, err := b.planner.forOp(&b.caps, op, b.config.Kernel, b.disabled)
	return err
}

// forOp is choose for any op.
func (p *planner) forOp(caps *vk.Caps, op vkattn.Op, kernel string, disabled map[string]string) (*choice, error) {
	if op == nil {
		return nil, &vkattn.ArgError{Arg: "Op", Reason: "missing"}
	}
	if err := op.Validate(); err != nil {
		return nil, err
	}
	a, ok := op.(vkattn.Attention)
	if !ok {
		return nil, &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + caps.Name,
			Reasons: []vkattn.Refusal{{Kernel: "flash", Reason: fmt.Sprintf("computes the forward pass of attention alone, not %T", op)}}}
	}
	return p.choose(caps, a, kernel, disabled)
}

// Plan decides how to run op, builds its pipeline and warms it up; see vkattn.Backend.
func (b *Backend) Plan(ctx context.Context, op vkattn.Op) (vkattn.Plan, error) {
	if err := b.begin(); err != nil {
		return nil, err
	}
	defer b.active.Done()
	c, err := b.planner.forOp(&b.caps, op, b.config.Kernel, b.disabled)
	if err != nil {
		return nil, err
	}
	if b.config.Strict && !c.standard && len(c.refused) > 0 {
		return nil, &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + b.caps.Name + ", strictly", Reasons: c.refused}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !c.standard {
		if _, err := b.pipeline(c.key); err != nil {
			return nil, wrap(err)
		}
	}
	return &Plan{be: b, choice: c}, nil
}

// PlanFor explains what a device with these capabilities would do for op. It needs no device.
func PlanFor(caps vk.Caps, op vkattn.Op, cfg Config) (vkattn.Explanation, error) {
	p, err := newPlanner()
	if err != nil {
		return vkattn.Explanation{}, err
	}
	p.fixedTile, p.tiles = cfg.SplitKeys > 0, cfg.Tiles
	disabled := map[string]string{}
	for _, name := range cfg.Disable {
		disabled[name] = "disabled by the caller"
	}
	c, err := p.forOp(&caps, op, cfg.Kernel, disabled)
	if err != nil {
		return vkattn.Explanation{}, err
	}
	return c.explain(&caps, cfg.Splits), nil
}

// explain describes the choice at full capacity.
func (c *choice) explain(caps *vk.Caps, forcedSplits int) vkattn.Explanation {
	op := c.op
	e := vkattn.Explanation{Op: op.String(), Backend: "vulkan on " + caps.Name, Path: c.path, Kernel: c.kernel(), Tile: c.tile(),
		Splits: 1, SharedBytes: c.shared, Notes: c.notes, NotTaken: c.refused}
	batch := op.Batch
	tiles := batch * op.HeadsQ / c.pack * ceilDiv(op.SeqQ*c.pack, c.tileRows())
	if c.standard {
		e.ScratchBytes = 4 * int64(tiles) * int64(op.SeqK)
		return e
	}
	widest := op.SeqK
	if w := op.Window; w.Left.Set && (w.Right.Set || op.Causal) {
		widest = min(widest, max(0, w.Left.N+w.Right.N)+c.tileRows()+op.SinkTokens)
	}
	e.Splits = planSplits(caps, tiles, int(c.key.Invocations), op.SeqQ*c.pack, op.SeqK, widest, forcedSplits)
	rows := int64(tiles) * int64(c.tileRows())
	e.ScratchBytes = int64(paramWords+batch*sequenceWords) * 4
	if e.Splits > 1 {
		e.ScratchBytes += int64(e.Splits) * rows * int64(op.ValueDim+2) * 4
	}
	limit := caps.Limits.MaxStorageBufferRange
	kBytes := 4 * uint64(max(batch, 1)) * uint64(op.HeadsK) * uint64(op.SeqK) * uint64(op.HeadDim)
	if kBytes > limit {
		e.Notes = append(e.Notes, fmt.Sprintf("k takes %d bytes and the device binds %d at once: it is seen through windows", kBytes, limit))
	}
	return e
}

// Op is what the plan computes, in canonical form.
func (p *Plan) Op() vkattn.Op { return p.choice.op }

// Explain says which kernel runs and why the others do not.
func (p *Plan) Explain() vkattn.Explanation {
	e := p.choice.explain(&p.be.caps, p.be.config.Splits)
	if p.be.fallback != "" {
		e.Notes = append(e.Notes, p.be.fallback)
	}
	return e
}

// Close gives the plan up; pipelines stay with the backend for other plans.
func (p *Plan) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

// Batch collects calls; see vkattn.Batch.
type Batch struct {
	be        *Backend
	calls     []*call
	submitted bool
}

// NewBatch starts an empty batch.
func (b *Backend) NewBatch() vkattn.Batch { return &Batch{be: b} }

// Len is the number of recorded calls.
func (b *Batch) Len() int { return len(b.calls) }

// Record checks args and adds the call; see vkattn.Plan.
func (p *Plan) Record(batch vkattn.Batch, args vkattn.Args) error {
	p.mu.Lock()
	closed := p.closed
	p.mu.Unlock()
	if closed {
		return vkattn.ErrClosed
	}
	if err := p.be.alive(); err != nil {
		return err
	}
	b, ok := batch.(*Batch)
	if !ok || b.be != p.be {
		return &vkattn.ArgError{Arg: "Batch", Reason: "belongs to another backend"}
	}
	if b.submitted {
		return &vkattn.ArgError{Arg: "Batch", Reason: "was submitted already"}
	}
	c := &call{plan: p, args: args}
	for _, t := range c.tensors() {
		switch m := t.t.Mem.(type) {
		case nil, *vkattn.Host:
		case *memory:
			if m.be != p.be {
				return &vkattn.ArgError{Arg: t.name, Reason: "lives on another backend"}
			}
		default:
			return &vkattn.ArgError{Arg: t.name, Reason: fmt.Sprintf("memory of type %T is neither host memory nor this backend's", m)}
		}
	}
	var err error
	if c.seqs, err = p.choice.op.Check(&c.args); err != nil {
		return err
	}
	if p.choice.op.With.Has(vkattn.WithALiBi) {
		for i := range c.seqs {
			if rel := c.seqs[i].Rel; rel >= reach || rel <= -reach {
				return &vkattn.ArgError{Arg: "QBase", Reason: fmt.Sprintf("places rows %d positions from the keys, too far for ALiBi in float32", rel)}
			}
		}
	}
	b.calls = append(b.calls, c)
	return nil
}

// Submit starts the batch; see vkattn.Batch.
func (b *Batch) Submit(ctx context.Context) (vkattn.Pending, error) {
	if b.submitted {
		return nil, &vkattn.ArgError{Arg: "Batch", Reason: "was submitted already"}
	}
	if err := b.be.alive(); err != nil {
		return nil, err
	}
	var held []*memory
	for _, c := range b.calls {
		for _, m := range c.memories() {
			if err := m.acquire(); err != nil {
				for _, h := range held {
					h.release()
				}
				return nil, err
			}
			held = append(held, m)
		}
	}
	b.submitted = true
	enter := b.be.turn()
	p := &pending{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		leave, err := enter(ctx)
		if err != nil {
			for _, h := range held {
				h.release()
			}
			p.err = err
			return
		}
		defer b.be.active.Done()
		r := b.be.newRun(ctx, leave)
		r.memories = held
		for _, c := range b.calls {
			if err = r.call(c); err != nil {
				break
			}
		}
		p.err = r.end(err)
		p.report = r.report
	}()
	return p, nil
}

type pending struct {
	done   chan struct{}
	report vkattn.Report
	err    error
}

// Wait returns when the batch is done; see vkattn.Pending.
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

// Run records, submits and waits. It returns only when nothing of it runs any more; see vkattn.Plan.
func (p *Plan) Run(ctx context.Context, args vkattn.Args) (vkattn.Report, error) {
	b := p.be.NewBatch()
	if err := p.Record(b, args); err != nil {
		return vkattn.Report{}, err
	}
	pend, err := b.Submit(ctx)
	if err != nil {
		return vkattn.Report{}, err
	}
	return pend.Wait(context.Background())
}

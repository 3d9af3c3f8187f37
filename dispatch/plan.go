package dispatch

import (
	"context"
	"fmt"
	"sync"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// decision is what the planner decided for one op on one device, and how its calls run there. What surrounds
// it is the same for all ops: batches, turns, submits within the budget, staging, reports.
type decision interface {
	// Op is what is computed, in canonical form.
	Op() vkattn.Op
	// explain describes the decision at full capacity.
	explain(caps *vk.Caps, cfg *Config) vkattn.Explanation
	// pipelineKeys are the pipelines that every call needs.
	pipelineKeys() []pipelineKey
	// check is the op's Check, and what the kernels demand beyond it.
	check(args *vkattn.Args) ([]vkattn.Sequence, error)
	// work counts what a checked call has to do.
	work(c *call) vkattn.Work
	// run records and submits a call.
	run(r *run, c *call) error
	// summary names what runs, for reports.
	summary() summary
}

// summary is the part of a decision that stands in reports.
type summary struct {
	op, path, kernel, tile string
	refused                []vkattn.Refusal
	ladder                 bool // refused rungs are a fallback, which Strict forbids
}

// Plan is one op, decided and compiled for one device. It is safe for concurrent use; see vkattn.Plan.
type Plan struct {
	be       *Backend
	decision decision
	summary  summary
	mu       sync.Mutex
	closed   bool
}

// Supports says whether this device can run op; see vkattn.Backend.
func (b *Backend) Supports(op vkattn.Op) error {
	if err := b.alive(); err != nil {
		return err
	}
	_, err := b.planner.forOp(&b.caps, op, b.config.Kernel, b.unfit())
	return err
}

// forOp is choose for any op.
func (p *planner) forOp(caps *vk.Caps, op vkattn.Op, kernel string, disabled map[string]string) (decision, error) {
	if op == nil {
		return nil, &vkattn.ArgError{Arg: "Op", Reason: "missing"}
	}
	if err := op.Validate(); err != nil {
		return nil, err
	}
	switch op := op.(type) {
	case vkattn.Attention:
		c, err := p.choose(caps, op, kernel, disabled)
		if err != nil {
			return nil, err
		}
		return c, nil
	case vkattn.Linear:
		c, err := p.chooseLinear(caps, op, kernel, disabled)
		if err != nil {
			return nil, err
		}
		return c, nil
	case vkattn.MoBA:
		c, err := p.chooseMoBA(caps, op, kernel, disabled)
		if err != nil {
			return nil, err
		}
		return c, nil
	case vkattn.NSA:
		c, err := p.chooseNSA(caps, op, kernel, disabled)
		if err != nil {
			return nil, err
		}
		return c, nil
	case vkattn.Merge:
		c, err := p.chooseMerge(caps, op, disabled)
		if err != nil {
			return nil, err
		}
		return c, nil
	case vkattn.Rope:
		c, err := p.chooseRope(caps, op, disabled)
		if err != nil {
			return nil, err
		}
		return c, nil
	}
	return nil, &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + caps.Name,
		Reasons: []vkattn.Refusal{{Kernel: "flash", Reason: fmt.Sprintf("computes the forward pass of attention alone, not %T", op)}}}
}

// Plan decides how to run op, builds its pipeline and warms it up; see vkattn.Backend.
func (b *Backend) Plan(ctx context.Context, op vkattn.Op) (vkattn.Plan, error) {
	if err := b.begin(); err != nil {
		return nil, err
	}
	defer b.active.Done()
	d, err := b.decide(ctx, op)
	if err != nil {
		return nil, err
	}
	if sum := d.summary(); b.config.Strict && sum.ladder && len(sum.refused) > 0 {
		return nil, &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + b.caps.Name + ", strictly", Reasons: sum.refused}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, key := range d.pipelineKeys() {
		if _, err := b.pipeline(key); err != nil {
			return nil, wrap(err)
		}
	}
	return b.newPlan(d), nil
}

func (b *Backend) newPlan(d decision) *Plan { return &Plan{be: b, decision: d, summary: d.summary()} }

// Pipelines names the pipelines that every call of op needs, none for an op that the device does not run. It builds none of
// them. Equal names are one pipeline; they mean nothing to other devices, versions or configurations.
func (b *Backend) Pipelines(op vkattn.Op) (names []string) {
	d, err := b.planner.forOp(&b.caps, op, b.config.Kernel, b.disabled)
	if err != nil {
		return nil
	}
	for _, key := range d.pipelineKeys() {
		s := key.pipelineSpec()
		names = append(names, fmt.Sprintf("%s %v %d %v", s.Name, s.Spec, s.SubgroupSize, s.FullSubgroups))
	}
	return names
}

// PlanFor explains what a device with these capabilities would do for op. It needs no device.
func PlanFor(caps vk.Caps, op vkattn.Op, cfg Config) (vkattn.Explanation, error) {
	disabled, err := disabledBy(cfg.Disable, "")
	if err == nil {
		err = checkNames(cfg.Kernel)
	}
	if err != nil {
		return vkattn.Explanation{}, err
	}
	distrust(disabled, &caps)
	p, err := newPlanner()
	if err != nil {
		return vkattn.Explanation{}, err
	}
	p.fixedTile, p.tiles = cfg.SplitKeys > 0, cfg.Tiles
	c, err := p.forOp(&caps, op, cfg.Kernel, disabled)
	if err != nil {
		return vkattn.Explanation{}, err
	}
	return c.explain(&caps, &cfg), nil
}

// Op is what the plan computes, in canonical form.
func (p *Plan) Op() vkattn.Op { return p.decision.Op() }

// Explain says which kernel runs and why the others do not.
func (p *Plan) Explain() vkattn.Explanation {
	e := p.decision.explain(&p.be.caps, &p.be.config)
	if failed := failedTest(p.summary.refused); failed != "" {
		e.Notes = append(e.Notes, failed)
	}
	return e
}

// Close gives the plan up, and what it keeps of block masks; pipelines stay with the backend for other plans.
func (p *Plan) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if c, ok := p.decision.(*choice); ok {
		c.blocks.close()
	}
	return nil
}

// Batch collects calls; see vkattn.Batch.
type Batch struct {
	be        *Backend
	calls     []*call
	submitted bool
	one       [1]*call // room for the usual number
}

// NewBatch starts an empty batch.
func (b *Backend) NewBatch() vkattn.Batch {
	n := &Batch{be: b}
	n.calls = n.one[:0]
	return n
}

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
	c := &call{plan: p, args: args}
	if err := b.takes(c); err != nil {
		return err
	}
	var err error
	if c.seqs, err = p.decision.check(&c.args); err != nil {
		return err
	}
	b.calls = append(b.calls, c)
	return nil
}

// takes refuses a call on tensors of others, and any after the batch was submitted.
func (b *Batch) takes(c *call) error {
	if b.submitted {
		return &vkattn.ArgError{Arg: "Batch", Reason: "was submitted already"}
	}
	for _, t := range c.tensors() {
		switch m := t.t.Mem.(type) {
		case nil, *vkattn.Host:
		case *memory:
			if m.be != b.be {
				return &vkattn.ArgError{Arg: t.name, Reason: "lives on another backend"}
			}
		default:
			return &vkattn.ArgError{Arg: t.name, Reason: fmt.Sprintf("memory of type %T is neither host memory nor this backend's", m)}
		}
	}
	return nil
}

// Submit starts the batch; see vkattn.Batch.
func (b *Batch) Submit(ctx context.Context) (vkattn.Pending, error) {
	p, err := b.start()
	if err != nil {
		return nil, err
	}
	go p.run(ctx)
	return p, nil
}

// start takes the batch's turn and holds its memories; what it returns must be run.
func (b *Batch) start() (*pending, error) {
	if b.submitted {
		return nil, &vkattn.ArgError{Arg: "Batch", Reason: "was submitted already"}
	}
	if err := b.be.alive(); err != nil {
		return nil, err
	}
	p := &pending{batch: b, done: make(chan struct{})}
	p.held = p.four[:0]
	for _, c := range b.calls {
		if err := p.hold(c); err != nil {
			p.release()
			return nil, err
		}
	}
	b.submitted = true
	p.turn = b.be.turn()
	return p, nil
}

// pending is a batch that has its place in the order of runs.
type pending struct {
	batch *Batch
	held  []*memory
	four  [4]*memory // room for q, k, v and out
	turn  turn

	done   chan struct{}
	report vkattn.Report
	err    error
}

// hold keeps the device allocations of a call until release.
func (p *pending) hold(c *call) error {
	keep := func(m *memory) error {
		err := m.acquire()
		if err == nil {
			p.held = append(p.held, m)
		}
		return err
	}
	for _, t := range c.tensors() {
		if m, ok := t.t.Mem.(*memory); ok {
			if err := keep(m); err != nil {
				return err
			}
		}
	}
	for _, m := range c.more {
		if err := keep(m); err != nil {
			return err
		}
	}
	return nil
}

func (p *pending) release() {
	for _, m := range p.held {
		m.release()
	}
}

// run waits for the batch's turn and for its end.
func (p *pending) run(ctx context.Context) {
	defer close(p.done)
	err := p.turn.enter(ctx)
	if err != nil {
		p.release()
		p.err = err
		return
	}
	be := p.batch.be
	defer be.active.Done()
	r := be.newRun(ctx, p.turn)
	r.memories = p.held
	for _, c := range p.batch.calls {
		if err = r.call(c); err != nil {
			break
		}
	}
	p.err = r.end(err)
	p.report = r.report
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
	b := &Batch{be: p.be}
	if err := p.Record(b, args); err != nil {
		return vkattn.Report{}, err
	}
	return b.run(ctx)
}

// run submits the batch and waits for it, on the caller's goroutine.
func (b *Batch) run(ctx context.Context) (vkattn.Report, error) {
	pend, err := b.start()
	if err != nil {
		return vkattn.Report{}, err
	}
	pend.run(ctx)
	return pend.report, pend.err
}

package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// inFlight is how many submits may be on the device at once: one runs while the next one waits.
const inFlight = 2

// run is one submitted batch (or copy) while it has its turn. One goroutine owns it.
type run struct {
	be  *Backend
	ctx context.Context

	cmds   *vk.Commands // being recorded, nil when none is open
	cost   float64      // FLOPs recorded in cmds
	timed  bool
	sent   []flight
	report vkattn.Report
	start  time.Time

	held     []*vk.Buffer // back to the pool at the end
	keep     *recording   // nil: what is recorded is submitted
	memories []*memory
	turn     turn

	// Room for what most runs need.
	flights [inFlight]flight
	buffers [4]*vk.Buffer
}

type flight struct {
	cmds   *vk.Commands
	ticket vk.Ticket
	cost   float64
	timed  bool
	start  time.Time
}

func (b *Backend) newRun(ctx context.Context, t turn) *run {
	r := &run{be: b, ctx: ctx, turn: t, start: time.Now(), report: vkattn.Report{Info: b.Info(), Splits: 1}}
	r.sent, r.held = r.flights[:0], r.buffers[:0]
	return r
}

// hold takes a buffer from the pool until the end of the run.
func (r *run) hold(size int64, heap vk.Heap, purpose string) (*vk.Buffer, error) {
	buf, err := r.be.pool.buffer(size, heap, purpose)
	if err != nil {
		return nil, err
	}
	r.held = append(r.held, buf)
	r.report.DeviceMem += buf.Size()
	if purpose == "scratch" {
		r.report.Scratch += buf.Size()
	}
	return buf, nil
}

// open returns the command buffer being recorded. Command buffers see what earlier ones wrote, and the
// host sees what they wrote once it has waited for them; package vk sees to both.
func (r *run) open() (*vk.Commands, error) {
	if r.cmds != nil {
		return r.cmds, nil
	}
	c, err := r.be.pool.getCommands()
	if err != nil {
		return nil, err
	}
	if err := c.Begin(); err != nil {
		c.Close()
		return nil, err
	}
	r.timed = false
	if r.be.timestamps {
		if err := c.Timestamp(0); err != nil {
			c.Close()
			return nil, err
		}
		r.timed = true
	}
	r.cmds, r.cost = c, 0
	return c, nil
}

// flush submits what is recorded, unless the context has ended.
func (r *run) flush() error {
	if r.cmds == nil {
		return nil
	}
	c := r.cmds
	r.cmds = nil
	abandon := func(err error) error {
		c.Close()
		return err
	}
	if err := r.ctx.Err(); err != nil {
		return abandon(err)
	}
	if r.timed {
		if err := c.Timestamp(1); err != nil {
			return abandon(err)
		}
	}
	if err := c.End(); err != nil {
		return abandon(err)
	}
	if r.keep != nil {
		r.keep.cmds = append(r.keep.cmds, flight{cmds: c, cost: r.cost, timed: r.timed})
		return nil
	}
	start := time.Now()
	t, err := r.be.dev.Submit(c)
	if err != nil {
		return abandon(err)
	}
	r.report.Submits++
	r.sent = append(r.sent, flight{c, t, r.cost, r.timed, start})
	for len(r.sent) >= inFlight {
		if err := r.retire(); err != nil {
			return err
		}
	}
	return nil
}

// retire waits for the oldest submit and learns the device's speed from it.
func (r *run) retire() error {
	f := r.sent[0]
	r.sent = r.sent[:copy(r.sent, r.sent[1:])]
	// Work on the device cannot be called back, so this wait ignores the context; the time budget bounds it.
	if err := r.be.dev.Wait(context.Background(), f.ticket); err != nil {
		f.cmds.Close()
		return err
	}
	r.measure(&f)
	r.be.pool.putCommands(f.cmds)
	return nil
}

// measure takes the time of a submit that is done, and learns from it.
func (r *run) measure(f *flight) {
	took := time.Since(f.start)
	if f.timed {
		ns, err := f.cmds.TimestampsNS()
		if err == nil && len(ns) >= 2 && ns[1] >= ns[0] {
			took = time.Duration(ns[1] - ns[0])
			r.report.DeviceTime += took
		}
	}
	r.be.learn(f.cost, took)
}

// drain submits and waits for everything recorded so far.
func (r *run) drain() error {
	if err := r.flush(); err != nil {
		return err
	}
	for len(r.sent) > 0 {
		if err := r.retire(); err != nil {
			return err
		}
	}
	return nil
}

// end finishes the run: submits the rest, lets the next run in, waits, and gives everything back.
func (r *run) end(err error) error {
	if err == nil {
		err = r.flush()
	} else if r.cmds != nil {
		r.cmds.Close()
		r.cmds = nil
	}
	r.turn.leave()
	for len(r.sent) > 0 {
		if e := r.retire(); err == nil {
			err = e
		}
	}
	if r.be.dev.Lost() {
		for _, b := range r.held {
			b.Close()
		}
	} else {
		r.be.pool.put(r.held...)
	}
	for _, m := range r.memories {
		m.release()
	}
	r.report.WallTime = time.Since(r.start)
	return wrap(err)
}

// inTurn runs f when its turn comes, and waits for what it has submitted.
func (b *Backend) inTurn(ctx context.Context, f func(*run) error) error {
	t := b.turn()
	if err := t.enter(ctx); err != nil {
		return err
	}
	defer b.active.Done()
	r := b.newRun(ctx, t)
	return r.end(f(r))
}

// call runs one recorded call.
func (r *run) call(c *call) error {
	d, sum := c.plan.decision, &c.plan.summary
	r.report.Op, r.report.Path, r.report.Kernel, r.report.Tile = sum.op, sum.path, sum.kernel, sum.tile
	r.report.NotTaken, r.report.Fallback = sum.refused, failedTest(sum.refused)
	r.report.Calls++
	r.report.Work = addWork(r.report.Work, d.work(c), r.report.Calls == 1)
	return d.run(r, c)
}

// note adds a line to the report's notes, once.
func (r *run) note(line string) {
	if line != "" && !slices.Contains(r.report.Notes, line) {
		r.report.Notes = append(r.report.Notes, line)
	}
}

// dispatch records one dispatch of a kernel, and what follows sees its results. What would take a submit over its
// budget (both in FLOPs) goes into the next one.
func (r *run) dispatch(p *vk.Pipeline, b []vk.Binding, push []byte, x, y, z int, cost, budget float64) error {
	err := r.beside(p, b, push, x, y, z, cost, budget)
	if err == nil {
		r.cmds.Barrier(vk.ComputeToCompute)
	}
	return err
}

// beside is dispatch for what may run at the same time as the next one.
func (r *run) beside(p *vk.Pipeline, b []vk.Binding, push []byte, x, y, z int, cost, budget float64) error {
	if r.cmds != nil && r.cost > 0 && r.cost+cost > budget {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if err := r.ctx.Err(); err != nil {
		return err
	}
	c, err := r.open()
	if err != nil {
		return err
	}
	if err := c.Bind(p, b); err != nil {
		return err
	}
	if err := c.Push(push); err != nil {
		return err
	}
	if err := c.Dispatch(uint32(x), uint32(y), uint32(z)); err != nil {
		return err
	}
	r.cost += cost
	return nil
}

// grid folds n workgroups into x and y.
func (r *run) grid(n int) (x, y int) {
	x = min(n, int(min(r.be.caps.Limits.MaxComputeWorkGroupCount[0], 1<<20)))
	return x, ceilDiv(n, x)
}

func addWork(a, b vkattn.Work, first bool) vkattn.Work {
	if first {
		return b
	}
	return vkattn.Work{Pairs: a.Pairs + b.Pairs, Exact: a.Exact && b.Exact, FLOPs: a.FLOPs + b.FLOPs, FLOPsFA: a.FLOPsFA + b.FLOPsFA, Bytes: a.Bytes + b.Bytes}
}

// wrap adds the vocabulary's sentinels to errors of the layer below.
func wrap(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, vk.ErrDeviceLost) && !errors.Is(err, vkattn.ErrDeviceLost):
		return fmt.Errorf("%w: %w", vkattn.ErrDeviceLost, err)
	case (errors.Is(err, vk.ErrOutOfDeviceMemory) || errors.Is(err, vk.ErrOutOfHostMemory)) && !errors.Is(err, vkattn.ErrOutOfMemory):
		return fmt.Errorf("%w: %w", vkattn.ErrOutOfMemory, err)
	case errors.Is(err, vk.ErrClosed) && !errors.Is(err, vkattn.ErrClosed):
		return fmt.Errorf("%w: %w", vkattn.ErrClosed, err)
	}
	return err
}

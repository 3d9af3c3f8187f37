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
	memories []*memory
	leave    func() // ends the turn
}

type flight struct {
	cmds   *vk.Commands
	ticket vk.Ticket
	cost   float64
	timed  bool
	start  time.Time
}

func (b *Backend) newRun(ctx context.Context, leave func()) *run {
	return &run{be: b, ctx: ctx, leave: leave, start: time.Now(), report: vkattn.Report{Info: b.Info(), Splits: 1}}
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
	r.sent = r.sent[1:]
	// Work on the device cannot be called back, so this wait ignores the context; the time budget bounds it.
	if err := r.be.dev.Wait(context.Background(), f.ticket); err != nil {
		f.cmds.Close()
		return err
	}
	took := time.Since(f.start)
	if f.timed {
		ns, err := f.cmds.TimestampsNS()
		if err == nil && len(ns) >= 2 && ns[1] >= ns[0] {
			took = time.Duration(ns[1] - ns[0])
			r.report.DeviceTime += took
		}
	}
	r.be.learn(f.cost, took)
	r.be.pool.putCommands(f.cmds)
	return nil
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
	r.leave()
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

// call runs one recorded call.
func (r *run) call(c *call) error {
	ch := c.plan.choice
	op := ch.op
	r.report.Op, r.report.Path, r.report.Kernel, r.report.Tile = op.String(), ch.path, ch.kernel(), ch.tile()
	r.report.NotTaken, r.report.Fallback = ch.refused, r.be.fallback
	r.report.Calls++
	w := op.Work(&c.args, c.seqs, false)
	r.report.Work = addWork(r.report.Work, w, r.report.Calls == 1)

	l := newLayout(c.plan.geometry(c.seqs), &r.be.caps.Limits)
	if l.tiles == 0 || op.ValueDim == 0 {
		return nil
	}
	vector := c.vectorRows()
	pad := 1
	if vector {
		pad = 4
	}
	var err error
	for _, in := range []struct {
		v   *view
		t   vkattn.Tensor
		pad int
	}{{&l.q, c.args.Q, pad}, {&l.k, c.args.K, pad}, {&l.v, c.args.V, pad}, {&l.bias, c.args.Bias, 1}} {
		if *in.v, err = r.stageIn(in.t, in.pad); err != nil {
			return err
		}
	}
	mask, err := r.boolMask(&c.args)
	if err != nil {
		return err
	}
	if l.mask, err = r.stageIn(mask, 1); err != nil {
		return err
	}
	var home [2]func() error
	if l.out, home[0], err = r.stageOut(c.written(c.args.Out), pad); err != nil {
		return err
	}
	if l.lse, home[1], err = r.stageOut(c.written(c.args.LSE), 1); err != nil {
		return err
	}
	slopes, err := r.perHeadVector(c.args.Slopes)
	if err != nil {
		return err
	}
	sinks, err := r.perHeadVector(c.args.SinkLogits)
	if err != nil {
		return err
	}
	splits := 1
	if !ch.standard {
		splits = planSplits(&r.be.caps, l.tiles, int(ch.key.Invocations), op.SeqQ*ch.pack, l.longest, l.widest, r.be.config.Splits)
	}
	s := &sections{layout: l, params: buildParams(op, c.seqs, ch.tileRows(), ch.pack, splits), slopes: slopes, sinks: sinks}
	s.params.Dim, s.params.ValueDim = uint32(l.q.n), uint32(l.out.n)
	setStrides(&s.params, l)
	if op.With.Has(vkattn.WithBlocks) {
		sq, sk := c.args.Q.Shape[2], c.args.K.Shape[2]
		if op.Packed {
			sq, sk = op.SeqQ, op.SeqK
		}
		s.blocks = newBlockCutter(c.args.Blocks, sq, sk, ch.tileRows())
	}
	if ch.standard {
		err = r.standard(s, vector)
	} else {
		err = r.flash(c.plan, s, vector)
	}
	for _, h := range home {
		if err == nil && h != nil {
			err = h()
		}
	}
	return err
}

func setStrides(p *params, l *layout) {
	for _, s := range []struct {
		v          *view
		sb, sh, ss *uint32
	}{
		{&l.q, &p.QBatch, &p.QHead, &p.QRow}, {&l.k, &p.KBatch, &p.KHead, &p.KRow}, {&l.v, &p.VBatch, &p.VHead, &p.VRow},
		{&l.out, &p.OutBatch, &p.OutHead, &p.OutRow}, {&l.lse, &p.LseBatch, &p.LseHead, &p.LseRow},
		{&l.bias, &p.BiasBatch, &p.BiasHead, &p.BiasRow}, {&l.mask, &p.MaskBatch, &p.MaskHead, &p.MaskRow},
	} {
		*s.sb, *s.sh, *s.ss = uint32(s.v.sb), uint32(s.v.sh), uint32(s.v.ss)
	}
	p.BiasKey, p.MaskKey = uint32(l.bias.sj), uint32(l.mask.sj)
}

// bindings are those of a dispatch; what a kernel does not use shows the work buffer.
func bindings(work *vk.Buffer, l *layout, w *[numBindings]window) []vk.Binding {
	b := make([]vk.Binding, numBindings)
	workRange := min(work.Size(), l.limit)
	b[bindParams] = vk.Binding{Buffer: work, Range: paramBytes}
	for i, v := range []*view{nil, &l.q, &l.k, &l.v, &l.out, &l.lse, &l.bias, &l.mask} {
		if v != nil && v.given() && w[i].size > 0 {
			b[i] = vk.Binding{Buffer: v.buf, Offset: w[i].off, Range: w[i].size}
		} else {
			b[i] = vk.Binding{Buffer: work, Range: workRange}
		}
	}
	return b
}

// dispatch records one dispatch of a kernel. What would take a submit over its budget (both in FLOPs)
// goes into the next one.
func (r *run) dispatch(p *vk.Pipeline, b []vk.Binding, s *sliceParams, x, y, z int, cost, budget float64) error {
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
	if err := c.Push(bytesOf(s)); err != nil {
		return err
	}
	if err := c.Dispatch(uint32(x), uint32(y), uint32(z)); err != nil {
		return err
	}
	c.Barrier(vk.ComputeToCompute)
	r.cost += cost
	return nil
}

// grid folds n workgroups into x and y.
func (r *run) grid(n int) (x, y int) {
	x = min(n, int(min(r.be.caps.Limits.MaxComputeWorkGroupCount[0], 1<<20)))
	return x, ceilDiv(n, x)
}

// mergeColumns is COLUMNS of merge.comp: as many elements of a row one of its workgroups merges.
const mergeColumns = 32

// mergeLanes is the workgroup of merge: on a GPU, up to 8 times 32 invocations share many parts.
func mergeLanes(caps *vk.Caps, splits int) uint32 {
	if caps.DeviceType == "cpu" || splits < 16 {
		return mergeColumns
	}
	return min(256, prevPow2(min(caps.Limits.MaxComputeWorkGroupInvocations, caps.Limits.MaxComputeWorkGroupSize[0])))
}

// flash runs the fused kernel over all row tiles, group by group.
func (r *run) flash(plan *Plan, s *sections, vector bool) error {
	l, p := s.layout, &s.params
	key := plan.choice.key
	if !vector {
		key = key.scalar()
	}
	if key.texels() {
		l.texels(&r.be.caps.Limits)
	}
	pipeline, err := r.be.pipeline(key)
	if err != nil {
		return err
	}
	longest := max(l.longest, 1)
	tileRows := key.tileRows()
	// The running state and the partial results of one row tile must fit into half a binding, beside the lists.
	partState := int64(tileRows) * int64(key.stateFloats()) * 4
	most := int(max(1, (l.limit/2-l.align)/partState))
	if n := mergeParts(&r.be.caps); n > 0 {
		most = min(most, n)
	}
	partKeys := ceilDiv(ceilDiv(longest, min(int(p.Splits), most)), keyTile) * keyTile
	if n := r.be.config.SplitKeys; n > 0 {
		partKeys = ceilDiv(n, keyTile) * keyTile
	}
	splits := ceilDiv(longest, partKeys)
	if splits > most {
		return fmt.Errorf("dispatch: parts of %d keys cut %d keys to %d parts, this device joins %d: %w", partKeys, longest, splits, most, vkattn.ErrUnsupported)
	}
	// A fixed part size goes through merge even with a single part, so that all batches take the same path.
	split := splits > 1 || r.be.config.SplitKeys > 0
	p.Splits = uint32(splits)
	c := &cutter{layout: l, splits: splits, partKeys: partKeys, fewest: min(parallelTiles(&r.be.caps, int(key.Invocations), l.op.SeqQ*l.pack), l.tiles)}
	if split {
		c.rowBytes = int64(splits) * int64(p.ValueDim) * 4
	}
	// The running state of a group that slices its keys; most calls have none.
	tileState := int64(splits) * partState
	for c.fewest > 1 && int64(c.fewest)*tileState > min(l.limit/2, maxState) {
		c.fewest /= 2
	}
	state := int64(0)
	var merge *vk.Pipeline
	if split {
		if merge, err = r.be.pipeline(simpleKey{Variant: "merge", Invocations: mergeLanes(&r.be.caps, splits)}); err != nil {
			return err
		}
	}
	r.report.Splits = max(r.report.Splits, splits)
	var work, partial *vk.Buffer
	var stateAt int64
	var partialRows int
	section := func(at int) error {
		sec, err := s.next(at, state)
		if err != nil {
			return err
		}
		if work, stateAt, err = r.work(&sec, state); err != nil {
			return err
		}
		c.end = sec.end
		c.mostKeys = sliceKeys(&r.be.caps, l.op, l.longest, int(sec.params.GlobalCount))
		return nil
	}
	for at := 0; at < l.tiles; {
		if at == c.end {
			if err := section(at); err != nil {
				return err
			}
		}
		budget := r.be.budgetFLOPs()
		g, err := c.cut(at, budget)
		if err != nil {
			return err
		}
		if state == 0 && slices.ContainsFunc(g.pieces, func(p piece) bool { return p.suspend }) {
			state = int64(c.fewest) * tileState
			if err := section(at); err != nil {
				return err
			}
			continue // the section may be shorter now
		}
		at += g.tiles
		rows := g.tiles * tileRows
		outBytes := (int64(splits)*int64(rows)*int64(p.ValueDim)*4 + l.align - 1) / l.align * l.align
		if split && rows > partialRows {
			// Sized for the largest group; earlier groups keep their own until the end.
			if partial, err = r.hold(outBytes+int64(splits)*int64(rows)*8, vk.HeapDevice, "scratch"); err != nil {
				return err
			}
			partialRows = rows
		}
		partials := vk.Binding{Buffer: partial, Range: outBytes}
		partialState := vk.Binding{Buffer: partial, Offset: outBytes, Range: int64(splits) * int64(rows) * 8}
		for i := range g.pieces {
			pc := &g.pieces[i]
			s := pc.slice()
			s.PartKeys, s.StateBase = int32(partKeys), uint32(stateAt/16)
			b := bindings(work, l, &pc.windows)
			if key.texels() {
				for _, i := range []int{bindK, bindV} {
					b[i].Range, b[i].Format = min(b[i].Range, l.keyLimit), vk.TexelRGBA32F
				}
			}
			if split {
				s.Phase |= phasePartial
				s.OutBase, s.LseBase = 0, 0
				b[bindOut], b[bindLSE] = partials, partialState
			}
			x, y := r.grid(pc.tiles)
			if err := r.dispatch(pipeline, b, &s, x, y, pc.parts, pc.cost, budget); err != nil {
				return err
			}
			r.report.Slices++
		}
		for i := range g.pieces {
			// The last piece of the last part, for each range of rows.
			pc := &g.pieces[i]
			if !split || pc.suspend || pc.part+pc.parts < splits {
				continue
			}
			s := pc.slice()
			b := bindings(work, l, &pc.windows)
			b[bindQ], b[bindK] = partials, partialState
			x, y := r.grid(rows)
			if err := r.dispatch(merge, b, &s, x, y, ceilDiv(int(p.ValueDim), mergeColumns), 0, budget); err != nil {
				return err
			}
		}
	}
	return nil
}

// slice is the push constant block of a piece, but for what it shares with all others.
func (pc *piece) slice() sliceParams {
	w := &pc.windows
	s := sliceParams{TileFirst: uint32(pc.tile), TileCount: uint32(pc.tiles), KeyFirst: int32(pc.key0), KeyEnd: int32(pc.key1), PartFirst: uint32(pc.part),
		RowFirst: int32(pc.row0), RowEnd: int32(pc.row1), QBase: w[bindQ].base, KBase: w[bindK].base, VBase: w[bindV].base,
		OutBase: w[bindOut].base, LseBase: w[bindLSE].base, BiasBase: w[bindBias].base, MaskBase: w[bindMask].base}
	if pc.resume {
		s.Phase |= phaseResume
	}
	if pc.suspend {
		s.Phase |= phaseSuspend
	}
	return s
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

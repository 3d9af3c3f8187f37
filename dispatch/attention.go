package dispatch

import (
	"fmt"
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// Op is what is computed, in canonical form.
func (c *choice) Op() vkattn.Op { return c.op }

func (c *choice) summary() summary {
	return summary{op: c.op.String(), path: c.path, kernel: c.kernel(), tile: c.tile(), refused: c.refused, ladder: !c.standard}
}

func (c *choice) pipelineKeys() []pipelineKey {
	if c.standard {
		return nil
	}
	return []pipelineKey{c.tiled()}
}

func (c *choice) check(args *vkattn.Args) ([]vkattn.Sequence, error) {
	seqs, err := c.op.Check(args)
	if err != nil {
		return nil, err
	}
	if c.op.With.Has(vkattn.WithALiBi) {
		return seqs, nearEnough(seqs)
	}
	return seqs, nil
}

// nearEnough refuses rows that stand too far from the keys for ALiBi.
func nearEnough(seqs []vkattn.Sequence) error {
	for i := range seqs {
		if rel := seqs[i].Rel; rel >= reach || rel <= -reach {
			return &vkattn.ArgError{Arg: "QBase", Reason: fmt.Sprintf("places rows %d positions from the keys, too far for ALiBi in float32", rel)}
		}
	}
	return nil
}

func (c *choice) work(call *call) vkattn.Work { return c.op.Work(&call.args, call.seqs, false) }

// readingRows is how many rows the workgroups that keep a device busy are counted for: in flash_decode.comp the head size
// says what room their registers leave, and not the rows.
func (c *choice) readingRows() int {
	k, is := c.matrix.(decodeKey)
	switch {
	case !is:
		return c.op.SeqQ * c.pack
	case max(k.DimMats, k.ValueMats)*k.N <= 64:
		return 1
	}
	return readingRows
}

// geometry cuts the sequences of a call to row tiles of pack heads, or finds the last call's, when it had the same.
func (c *choice) geometry(seqs []vkattn.Sequence, pack int) *geometry {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last == nil || c.last.pack != pack || !sameSequences(c.last.seqs, seqs) {
		seqs = slices.Clone(seqs)
		for i := range seqs {
			seqs[i].Global = slices.Clone(seqs[i].Global)
		}
		c.last = newGeometry(c.op, seqs, c.tileRows(), c.tileKeys(), pack)
	}
	return c.last
}

// explain describes the choice at full capacity.
func (c *choice) explain(caps *vk.Caps, cfg *Config) vkattn.Explanation {
	op := c.op
	e := vkattn.Explanation{Op: op.String(), Backend: "vulkan on " + caps.Name, Path: c.path, Kernel: c.kernel(), Tile: c.tile(),
		Splits: 1, SharedBytes: c.shared, Notes: c.notes, NotTaken: slices.Concat(c.refused, c.notFor)}
	if op.With.Has(vkattn.WithBlocks) && !c.standard {
		e.Notes = append(slices.Clip(e.Notes), "a block mask whose builder knows a stride goes by it, in parts that are joined, where nothing but causal lies on top")
	}
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
	e.Splits = planSplits(caps, tiles, c.tiled().invocations(), c.readingRows(), op.SeqK, widest, cfg.Splits)
	rows := int64(tiles) * int64(c.tileRows())
	e.ScratchBytes = int64(paramWords+batch*sequenceWords) * 4
	mean := widest
	if op.Causal && widest == op.SeqK && op.Align == vkattn.AlignBottomRight {
		mean = max(keyTile, op.SeqK-op.SeqQ/2)
	}
	if even, ok := newEven(caps, c.tiled().invocations(), c.tileRows(), op.ValueDim, op.SeqQ*c.pack, tiles, float64(tiles)*float64(mean)/keyTile,
		ceilDiv(widest, keyTile), float64(batch*op.HeadsQ)*float64(op.SeqQ)*float64(op.SeqK)); ok && cfg.Splits == 0 && cfg.SplitKeys == 0 {
		e.Splits = ceilDiv(ceilDiv(widest, keyTile), even.length)
		items := int64(tiles) * int64(ceilDiv(ceilDiv(mean, keyTile), even.length))
		e.ScratchBytes += min(items, int64(even.slots))*int64(c.tileRows())*int64(op.ValueDim+2)*4 + items*itemWords*4
		e.Notes = append(e.Notes, fmt.Sprintf("row tiles that visit more than %d keys are cut to parts of about as many", even.length*keyTile))
	} else if e.Splits > 1 {
		e.ScratchBytes += int64(e.Splits) * rows * int64(op.ValueDim+2) * 4
	}
	limit := caps.Limits.MaxStorageBufferRange
	kBytes := uint64(max(batch, 1)) * uint64(op.HeadsK) * uint64(op.SeqK) * uint64(op.TypeK.Bytes(op.HeadDim))
	if kBytes > limit {
		e.Notes = append(e.Notes, fmt.Sprintf("k takes %d bytes and the device binds %d at once: it is seen through windows", kBytes, limit))
	}
	return e
}

// run brings the tensors to the device, runs the kernel, and brings the outputs home.
func (ch *choice) run(r *run, c *call) error {
	if f := ch.formOf(r, c); f != nil {
		return ch.runForm(r, c, f)
	}
	if l, err := ch.listsOf(r, c); err != nil {
		return err
	} else if l != nil {
		return ch.runLists(r, c, l)
	}
	op := ch.op
	l := newLayout(ch.geometry(c.seqs, ch.pack), &r.be.caps.Limits)
	if c.share > 0 {
		l.share = c.share
	}
	l.cached = c.cached
	l.allKeys = c.cached.recorded()
	if l.tiles == 0 || op.ValueDim == 0 {
		return nil
	}
	pad := 4
	if ch.matrix != nil {
		pad = 8
	}
	pad = c.rowsOf(pad)
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
	mask, maskBlock, err := r.boolMask(&c.args, op.MaskBlock)
	if err != nil {
		return err
	}
	if mask.Given() {
		l.maskHeads, l.maskBlock = mask.Shape[1], max(maskBlock, 1)
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
	if c.leaves {
		l.phase |= phaseLeave
	}
	if c.joins.Given() {
		l.phase |= phaseJoin
		l.bias, l.mask = deviceView(c.joins), deviceView(c.joinsOut)
	}
	if !l.packFits() {
		l.geometry = ch.geometry(c.seqs, 1)
	}
	slopes, err := r.perHead(c.args.Slopes)
	if err != nil {
		return err
	}
	sinks, err := r.perHead(c.args.SinkLogits)
	if err != nil {
		return err
	}
	relative, err := r.perHead(c.args.Relative)
	if err != nil {
		return err
	}
	splits := 1
	if !ch.standard {
		splits = planSplits(&r.be.caps, l.tiles, ch.tiled().invocations(), ch.readingRows(), l.longest, l.widest, r.be.config.Splits)
	}
	s := &sections{layout: l, params: buildParams(op, c.seqs, ch.tileRows(), l.pack, splits), slopes: slopes, sinks: sinks, relative: relative}
	s.params.RelativeReach = int32(c.args.Relative.Shape[3] / 2)
	if err := r.descale(op, &c.args, s); err != nil {
		return err
	}
	s.params.Dim, s.params.ValueDim = uint32(l.q.n), uint32(l.out.n)
	setStrides(&s.params, l)
	if op.With.Has(vkattn.WithBlocks) {
		sq, sk := c.args.Q.Shape[2], c.args.K.Shape[2]
		if op.Packed {
			sq, sk = op.SeqQ, op.SeqK
		}
		s.mask = &cutMask{c.args.Blocks, sq, sk, &ch.blocks}
	}
	if ch.standard {
		err = r.standard(s, pad >= 4)
	} else {
		err = r.flash(ch.tiled().loaded(typesOf(op), pad), s)
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
	p.MaskHeads, p.MaskBlock = uint32(l.maskHeads), uint32(l.maskBlock)
}

// wholeWork is a work buffer, as much of it as can be bound.
func wholeWork(work *vk.Buffer, l *layout) vk.Binding {
	return vk.Binding{Buffer: work, Range: min(work.Size(), l.limit)}
}

// bindings are those of a dispatch, whose params and lists lie in work; what a kernel does not use shows work, too.
func bindings(work vk.Binding, l *layout, w *[numBindings]window) []vk.Binding {
	b := make([]vk.Binding, numBindings)
	b[bindParams] = vk.Binding{Buffer: work.Buffer, Offset: work.Offset, Range: paramBytes}
	for i, v := range []*view{nil, &l.q, &l.k, &l.v, &l.out, &l.lse, &l.bias, &l.mask} {
		if v != nil && v.given() && w[i].size > 0 {
			b[i] = vk.Binding{Buffer: v.buf, Offset: w[i].off, Range: w[i].size}
		} else {
			b[i] = work
		}
	}
	return b
}

// keyBindings makes texel buffers of keys and values where the kernel reads them so.
func keyBindings(key tiledKey, l *layout, b []vk.Binding) {
	if !key.texels() {
		return
	}
	for i, v := range map[int]*view{bindK: &l.k, bindV: &l.v} {
		b[i].Range, b[i].Format = min(b[i].Range, l.limitOf(i)), texelFormat(key.variant(), v.typ)
	}
}

// mergeColumns is COLUMNS of merge.comp: as many elements of a row one of its workgroups merges.
const mergeColumns = 32

// mergeTogether is TOGETHER of merge.comp: the parts that one of its invocations reads at once.
const mergeTogether = 8

// mergeLanes is the workgroup of merge: on a GPU, up to 32 times 32 invocations share the many parts of few rows.
func mergeLanes(caps *vk.Caps, splits, rows int) uint32 {
	if caps.DeviceType == "cpu" || splits < 16 || rows > 1024 {
		return mergeColumns
	}
	lanes := min(1024, caps.Limits.MaxComputeWorkGroupInvocations, caps.Limits.MaxComputeWorkGroupSize[0], uint32(mergeColumns*ceilDiv(splits, mergeTogether)))
	return max(mergeColumns, prevPow2(lanes))
}

// flash runs the fused kernel over all row tiles, group by group.
func (r *run) flash(key tiledKey, s *sections) error {
	l, p := s.layout, &s.params
	if key.texels() {
		l.texels(key.variant(), &r.be.caps.Limits)
	}
	narrow, isNarrow := key.(narrowKey)
	if isNarrow {
		key = narrow.general()
		isNarrow = key != narrow
	}
	var pipeline *vk.Pipeline
	var err error
	if !isNarrow {
		if pipeline, err = r.be.pipeline(key); err != nil {
			return err
		}
	}
	splitKeys := r.be.config.SplitKeys
	if l.cached != nil && l.cached.splitKeys > 0 {
		splitKeys = l.cached.splitKeys
	}
	if r.be.caps.DeviceType != "cpu" && !isNarrow && l.op.SeqQ*l.pack > readingRows && r.be.config.Splits == 0 && splitKeys == 0 && !l.cached.recorded() {
		sec, err := s.next(0, 0)
		if err != nil {
			return err
		}
		if sec.end == l.tiles {
			if even := r.evenPlan(key, s, &sec); even != nil && sec.addItems(even, l.limit) {
				return r.flashEven(key, pipeline, s, even, &sec)
			}
		}
	}
	longest := max(l.longest, 1)
	tileRows := key.tileRows()
	// The running state and the partial results of one row tile must fit into half a binding, beside the lists.
	partState := int64(tileRows) * int64(key.stateFloats()) * 4
	most := int(max(1, (l.limit/2-l.align)/partState))
	if n := mergeParts(&r.be.caps); n > 0 {
		most = min(most, n)
	}
	partKeys := ceilDiv(ceilDiv(longest, min(int(p.Splits), most)), key.keys()) * key.keys()
	if splitKeys > 0 {
		partKeys = ceilDiv(splitKeys, key.keys()) * key.keys()
	}
	splits := ceilDiv(longest, partKeys)
	if splits > most {
		return fmt.Errorf("dispatch: parts of %d keys cut %d keys to %d parts, this device joins %d: %w", partKeys, longest, splits, most, vkattn.ErrUnsupported)
	}
	// A fixed part size goes through merge even with a single part, so that all batches take the same path.
	split := splits > 1 || splitKeys > 0
	p.Splits = uint32(splits)
	c := &cutter{layout: l, splits: splits, partKeys: partKeys, fewest: min(parallelTiles(&r.be.caps, key.invocations(), l.op.SeqQ*l.pack), l.tiles)}
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
		lanes := uint32(mergeColumns) // of parts of a fixed size, whose sum may not depend on how many the others have
		if splitKeys == 0 {
			lanes = mergeLanes(&r.be.caps, splits, l.tiles*tileRows)
		}
		if merge, err = r.be.pipeline(mergeKey(key, lanes)); err != nil {
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
		g, err := c.cut(at, budget/l.share)
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
			s.Phase |= l.phase
			s.PartKeys, s.StateBase = int32(partKeys), uint32(stateAt/16)
			b := bindings(wholeWork(work, l), l, &pc.windows)
			keyBindings(key, l, b)
			if split {
				s.Phase |= phasePartial
				s.OutBase, s.LseBase = 0, 0
				b[bindOut], b[bindLSE] = partials, partialState
			}
			if isNarrow {
				if pipeline, err = r.be.pipeline(narrow.forPiece(pc, s.Phase&^phasePartial, split)); err != nil {
					return err
				}
			}
			x, y := r.grid(pc.tiles)
			if err := r.dispatch(pipeline, b, bytesOf(&s), x, y, pc.parts, pc.cost*l.share, budget); err != nil {
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
			s.Phase |= l.phase
			b := bindings(wholeWork(work, l), l, &pc.windows)
			b[bindQ], b[bindK] = partials, partialState
			x, y := r.grid(rows)
			if err := r.dispatch(merge, b, bytesOf(&s), x, y, ceilDiv(int(p.ValueDim), mergeColumns), 0, budget); err != nil {
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

package dispatch

import (
	"fmt"
	"math"
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// Op is what is computed, in canonical form.
func (ch *linearChoice) Op() vkattn.Op { return ch.op }

func (ch *linearChoice) summary() summary {
	return summary{op: ch.op.String(), path: ch.path, kernel: ch.key.Variant, tile: ch.tile(), refused: ch.refused, ladder: true}
}

func (ch *linearChoice) tile() string {
	if k := ch.chunk; k.Chunk > 0 {
		return fmt.Sprintf("%d columns of a state, chunks of %d tokens, %d invocations", k.span(), k.Chunk, k.Invocations)
	}
	k := ch.key
	return fmt.Sprintf("%d columns of a state, %d per %d lanes, %d invocations", k.span(), k.Columns, k.Lanes, k.Invocations)
}

// span is the number of value columns of one workgroup.
func (ch *linearChoice) span() int {
	if ch.chunk.Chunk > 0 {
		return ch.chunk.span()
	}
	return ch.key.span()
}

func (ch *linearChoice) check(args *vkattn.Args) ([]vkattn.Sequence, error) { return ch.op.Check(args) }

func (ch *linearChoice) work(c *call) vkattn.Work { return ch.op.Work(&c.args, c.seqs) }

func (ch *linearChoice) explain(caps *vk.Caps, cfg *Config) vkattn.Explanation {
	op := &ch.op
	e := vkattn.Explanation{Op: op.String(), Backend: "vulkan on " + caps.Name, Path: ch.path, Kernel: ch.key.Variant, Tile: ch.tile(),
		Splits: 1, SharedBytes: ch.shared, Notes: ch.notes, NotTaken: ch.refused}
	shape := op.StateShape(op.Batch)
	state := 4 * int64(shape[0]) * int64(shape[1]) * int64(shape[2]) * int64(shape[3])
	e.Splits = ch.parts(caps, cfg, op.Batch, op.SeqK)
	e.ScratchBytes = linearTableAt + int64(op.Batch)*linearSequenceWords*4
	if !op.Causal || !op.StateOut {
		e.ScratchBytes += state
	}
	if e.Splits > 1 {
		e.ScratchBytes += int64(e.Splits) * (state + 4*int64(shape[0])*int64(shape[1])*int64(shape[2]))
	}
	if ch.featured() {
		e.ScratchBytes += min(2*maxFeatureScratch, 4*int64(op.Batch)*int64(op.FeatureDim())*(int64(op.HeadsQ)*int64(op.SeqQ)+int64(op.HeadsK)*int64(op.SeqK)))
	}
	return e
}

func (ch *linearChoice) pipelineKeys() []pipelineKey {
	keys := []pipelineKey{ch.key}
	if ch.chunk.Chunk > 0 {
		keys[0] = ch.chunk
	}
	for _, s := range []struct {
		need bool
		name string
	}{{ch.featured(), "linear_features"}, {ch.op.Map == vkattn.MapFavor, "linear_favor"}, {ch.op.Norm == vkattn.NormSRMS, "linear_srms"},
		{ch.key.Norm != 0, "linear_entry"}} {
		if s.need {
			keys = append(keys, linearSimpleKey{s.name, linearLanes})
		}
	}
	return keys
}

// Where the params blocks and the table of sequences lie in the work buffer. Uniform buffers start at multiples of
// at most 256 bytes.
const (
	linearParamBytes = (int64(linearParamSize) + 15) / 16 * 16
	linearMainAt     = 0
	linearQueriesAt  = 256
	linearKeysAt     = 512
	linearTableAt    = 768
)

// linearCall is one call on the device.
type linearCall struct {
	r    *run
	ch   *linearChoice
	op   *vkattn.Linear
	args *vkattn.Args
	seqs []vkattn.Sequence

	q, k, v, out, decay, beta, projection view
	state                                 view // where states are carried and left
	stateRows, featureRow, keyHeads       int

	work              *vk.Buffer // params, the table of sequences, and z at the start of a dispatch
	limit, texelLimit int64
	align             int64
	key               linearKey
	pipeline, entry   *vk.Pipeline
	entryAt           int64 // where linear_entry leaves z in the work buffer
	parts             int
	budget            float64

	queryFeatures, keyFeatures, rescale, maxima *vk.Buffer
	keyPeaks                                    *vk.Buffer
}

// run brings the tensors to the device, runs the kernels, and brings the outputs home.
func (ch *linearChoice) run(r *run, call *call) error {
	op := &ch.op
	if len(call.seqs) == 0 {
		return nil
	}
	limits := &r.be.caps.Limits
	c := &linearCall{r: r, ch: ch, op: op, args: &call.args, seqs: call.seqs, key: ch.key,
		limit: int64(min(limits.MaxStorageBufferRange, 1<<62)), align: max(16, int64(limits.MinStorageBufferOffsetAlignment)),
		stateRows: op.StateShape(1)[2], featureRow: ceilDiv(op.FeatureDim(), 4) * 4, keyHeads: op.HeadsK}
	if op.Map == vkattn.MapFavor {
		c.keyHeads = op.States() // each state has a maximum of its own
	}
	if ch.chunk.Chunk == 0 && !call.vectorRows() {
		c.key = c.key.scalar()
	}
	c.texelLimit = c.limit
	if c.key.texels() {
		c.texelLimit = min(c.limit, 16*int64(limits.MaxTexelBufferElements))
		c.align = max(c.align, int64(limits.MinTexelBufferOffsetAlignment))
	}
	homes, err := c.stage(call)
	if err != nil {
		return err
	}
	var key pipelineKey = c.key
	if ch.chunk.Chunk > 0 {
		key = ch.chunk
	}
	if c.pipeline, err = r.be.pipeline(key); err != nil {
		return err
	}
	if ch.key.Norm != 0 {
		if c.entry, err = r.be.pipeline(linearSimpleKey{"linear_entry", linearLanes}); err != nil {
			return err
		}
	}
	_, keys := c.longest()
	c.parts = ch.parts(&r.be.caps, &r.be.config, len(c.seqs), keys)
	// As many sequences as the work buffer has room for.
	perSequence := int64(linearSequenceWords) * 4
	if ch.key.Norm != 0 {
		perSequence += 4 * int64(op.States()) * int64(c.parts) * int64(op.FeatureDim())
	}
	most := int(max(1, (c.limit/2-linearTableAt)/perSequence))
	for at := 0; at < len(call.seqs) && err == nil; at += most {
		c.seqs = call.seqs[at:min(at+most, len(call.seqs))]
		err = c.group(perSequence * int64(len(c.seqs)))
	}
	for _, home := range homes {
		if err == nil && home != nil {
			err = home()
		}
	}
	return err
}

// group runs the call for some of its sequences, whose table and entries take so many bytes.
func (c *linearCall) group(bytes int64) error {
	if bytes+linearTableAt > c.limit {
		return fmt.Errorf("dispatch: the denominators of one sequence take %d bytes, the device binds %d at once: %w", bytes, c.limit, vkattn.ErrUnsupported)
	}
	if err := c.writeWork(bytes); err != nil {
		return err
	}
	c.budget = c.r.be.budgetFLOPs()
	var err error
	if c.op.Causal {
		err = c.causal()
	} else {
		err = c.full()
	}
	if err == nil && c.op.Norm == vkattn.NormSRMS {
		err = c.srms()
	}
	return err
}

// stage brings the inputs to the device, makes room for outputs and states, and returns what brings the outputs home.
func (c *linearCall) stage(call *call) (homes [2]func() error, err error) {
	r, a := c.r, c.args
	for _, in := range []struct {
		v   *view
		t   vkattn.Tensor
		pad int
	}{{&c.q, a.Q, 4}, {&c.k, a.K, 4}, {&c.v, a.V, 4}, {&c.decay, a.Decay, 1}, {&c.beta, a.Beta, 1}, {&c.projection, a.Projection, 1}} {
		if in.t, err = r.spread(in.t); err != nil {
			return homes, err
		}
		if *in.v, err = r.stageIn(in.t, in.pad); err != nil {
			return homes, err
		}
	}
	if c.op.Decay == vkattn.DecayHead {
		c.decay.sb, c.decay.ss = 0, 0
	}
	if c.out, homes[0], err = r.stageOut(call.written(a.Out), 1); err != nil {
		return homes, err
	}
	shape := c.op.StateShape(len(c.seqs))
	dense := vkattn.BHSD(nil, shape[0], shape[1], shape[2], shape[3])
	switch {
	case c.op.StateOut:
		c.state, homes[1], err = r.stageOut(a.StateOut, 1)
		if !isHost(a.StateOut) && a.StateOut == a.StateIn {
			return homes, err // already where it is carried
		}
	default:
		var buf *vk.Buffer
		if buf, err = r.hold(4*int64(dense.Len()), vk.HeapDevice, "scratch"); err == nil {
			p := pack(dense, 1)
			c.state = packedView(buf, dense, &p)
		}
	}
	if err != nil || !c.op.StateIn {
		return homes, err
	}
	in, err := r.spread(a.StateIn)
	if err != nil {
		return homes, err
	}
	from, err := r.stageIn(in, 1)
	if err != nil {
		return homes, err
	}
	// An earlier call of the batch may have computed either.
	commands, err := r.open()
	if err != nil {
		return homes, err
	}
	commands.Barrier(vk.BarrierAll)
	return homes, r.copyRows(from.buf, from.tensor(shape), c.state.buf, c.state.tensor(shape))
}

// tensor is a view as a tensor of a shape, for copies inside the device.
func (v *view) tensor(shape [4]int) vkattn.Tensor {
	return vkattn.Tensor{Type: vkattn.Float32, Shape: shape, Stride: [4]int{v.sb, v.sh, v.ss, 1}, Offset: v.off}
}

// spread is a tensor whose last axis is broadcast, as one in host memory where it is not; others stay as they are.
func (r *run) spread(t vkattn.Tensor) (vkattn.Tensor, error) {
	if !t.Given() || t.Stride[3] != 0 || t.Shape[3] <= 1 || t.Len() == 0 {
		return t, nil
	}
	t, err := r.hostCopy(t)
	if err != nil {
		return t, err
	}
	from := t.Mem.(*vkattn.Host).Float32s()
	wide := vkattn.BHSD(nil, t.Shape[0], t.Shape[1], t.Shape[2], t.Shape[3])
	to := make([]float32, wide.Len())
	for i := range to {
		row := i / t.Shape[3]
		to[i] = from[t.Index(row/(t.Shape[1]*t.Shape[2]), row/t.Shape[2]%t.Shape[1], row%t.Shape[2], 0)]
	}
	wide.Mem = vkattn.Float32s(to)
	return wide, nil
}

// writeWork fills the work buffer: the params of the recurrence, of the features of queries and of those of keys, and the
// table of sequences.
func (c *linearCall) writeWork(bytes int64) error {
	op := c.op
	p := linearParams{Heads: uint32(op.Heads()), HeadsQ: uint32(op.HeadsQ), HeadsK: uint32(op.HeadsK), HeadsV: uint32(op.HeadsV), States: uint32(op.States()),
		Reads: uint32(c.ch.reads), Cyclic: uint32(op.HeadMap), QDim: uint32(c.q.n), KDim: uint32(c.k.n), VDim: uint32(c.v.n),
		Features: uint32(op.FeatureDim()), ValueDim: uint32(op.ValueDim), RawDim: uint32(op.HeadDim), Map: uint32(op.Map),
		Scale: float32(op.Scale.Value), Eps: float32(op.Eps.Value), MapEps: float32(op.MapEps.Value)}
	for _, s := range []struct {
		v          *view
		sb, sh, ss *uint32
	}{
		{&c.q, &p.QBatch, &p.QHead, &p.QRow}, {&c.k, &p.KBatch, &p.KHead, &p.KRow}, {&c.v, &p.VBatch, &p.VHead, &p.VRow},
		{&c.out, &p.OutBatch, &p.OutHead, &p.OutRow}, {&c.decay, &p.DecayBatch, &p.DecayHead, &p.DecayRow}, {&c.beta, &p.BetaBatch, &p.BetaHead, &p.BetaRow},
	} {
		*s.sb, *s.sh, *s.ss = uint32(s.v.sb), uint32(s.v.sh), uint32(s.v.ss)
	}
	if op.Decay != vkattn.DecayNone {
		p.Flags |= linearDecay
	}
	keys := p
	if c.ch.featured() {
		if op.Features > 0 {
			keys.Flags |= linearProject
		}
		row := uint32(c.featureRow)
		keys.OutRow, keys.KRow = row, uint32(c.projection.ss)
		queries := keys
		queries.HeadsK, queries.States = p.HeadsQ, p.HeadsQ
		if op.Norm == vkattn.NormLiteral {
			queries.Flags |= linearStandard
		}
		keys.Flags |= linearKeys
		keys.States = uint32(c.keyHeads)
		keys.QBatch, keys.QHead, keys.QRow = p.KBatch, p.KHead, p.KRow
		// The recurrence finds features of the padded size, and nothing to map.
		p.Flags |= linearFeatured
		p.HeadsK = uint32(c.keyHeads)
		p.QRow, p.KRow, p.QDim, p.KDim = row, row, row, row
		p.Map, p.MapEps = uint32(vkattn.MapIdentity), 0
		if op.Map == vkattn.MapFavor {
			p.Flags |= linearDecay | linearRescaled
			p.DecayRow = 1
		}
		return c.writeBlocks(&p, &queries, &keys, bytes)
	}
	return c.writeBlocks(&p, &p, &p, bytes)
}

func (c *linearCall) writeBlocks(main, queries, keys *linearParams, bytes int64) error {
	words := make([]uint32, linearTableAt/4)
	for at, p := range map[int]*linearParams{linearMainAt: main, linearQueriesAt: queries, linearKeysAt: keys} {
		copy(wordBytes(words)[at:], bytesOf(p))
	}
	words = append(words, linearTable(c.seqs)...)
	var err error
	c.work, c.entryAt, err = c.r.work(&section{words: words}, bytes)
	return err
}

// longest is the most tokens of a sequence, of queries or of keys.
func (c *linearCall) longest() (queries, keys int) {
	for i := range c.seqs {
		queries, keys = max(queries, c.seqs[i].Sq), max(keys, c.seqs[i].Sk)
	}
	return queries, keys
}

// whole is the area of all units, with parts of so many tokens.
func (c *linearCall) whole(parts, partTokens int) linearArea {
	return linearArea{seq1: len(c.seqs), head1: c.op.States(), read1: c.ch.reads, step: c.ch.reads, part1: parts, t1: max(partTokens, 1), partTokens: max(partTokens, 1)}
}

func (c *linearCall) cutter() *linearCutter {
	cut := &linearCutter{linearCall: c, budget: c.budget, grain: max(1, int(c.ch.chunk.Chunk))}
	if c.r.be.caps.DriverID == driverLLVMpipe {
		perToken := 2 + 2*c.ch.reads
		if c.ch.path == "plain" {
			perToken += (c.ch.reads + 1) * 8 * int(c.key.Reads) * int(c.key.Lanes)
		}
		if k := c.ch.chunk; k.Chunk > 0 {
			// All loops of a chunk over features, pairs and what an invocation loads.
			perRead := int(k.Padded + (k.Padded+2)*k.Chunk*k.Chunk/k.Invocations + k.Padded*k.Chunk/k.Invocations)
			perToken = (3*int(k.Padded) + (2+c.ch.reads)*perRead) / int(k.Chunk)
		}
		cut.most = max(16, llvmpipeIterations/perToken)
	}
	return cut
}

// causal streams the tokens by, slice by slice; long sequences of few states in parts at the same time.
func (c *linearCall) causal() error {
	tokens, _ := c.longest()
	if c.parts > 1 {
		return c.segments(tokens)
	}
	s := &linearStage{advance: true, read: true, states: &c.state}
	pieces, err := c.cutter().cut(nil, c.whole(1, tokens), s)
	if err != nil {
		return err
	}
	if err := c.reserve(pieces, pieces); err != nil {
		return err
	}
	for i := range pieces {
		a := &pieces[i]
		phase := uint32(linearAdvance | linearRead)
		if a.t0 > 0 || c.op.StateIn {
			phase |= linearResume
		}
		if a.t1 < tokens || c.op.StateOut {
			phase |= linearSuspend
		}
		if err := c.recur(a, s, phase, 0); err != nil {
			return err
		}
	}
	return nil
}

// segments computes parts of a sequence side by side: the state that each leaves, starting from nothing; the state before
// each; the outputs from there.
func (c *linearCall) segments(tokens int) error {
	partTokens := ceilDiv(tokens, c.parts)
	parts := ceilDiv(tokens, partTokens)
	c.r.report.Splits = max(c.r.report.Splits, parts)
	partial, err := c.partialStates(parts)
	if err != nil {
		return err
	}
	sum := &linearStage{advance: true, states: &partial, part: c.stateRows * partial.ss}
	out := *sum
	out.read = true
	sums, err := c.cutter().cut(nil, c.whole(parts, partTokens), sum)
	if err != nil {
		return err
	}
	outs, err := c.cutter().cut(nil, c.whole(parts, partTokens), &out)
	if err != nil {
		return err
	}
	if err := c.reserve(slices.Concat(sums, outs), outs); err != nil {
		return err
	}
	for i := range sums {
		phase := uint32(linearAdvance | linearSuspend | linearTotal)
		if sums[i].t0 > 0 {
			phase |= linearResume
		}
		if err := c.recur(&sums[i], sum, phase, 0); err != nil {
			return err
		}
	}
	phase := uint32(linearExclusive)
	if c.op.StateIn {
		phase |= linearResume
	}
	if c.op.StateOut {
		phase |= linearSuspend
	}
	if err := c.join(&partial, parts, phase); err != nil {
		return err
	}
	for i := range outs {
		phase := uint32(linearAdvance | linearRead | linearResume)
		if outs[i].t1 < partTokens {
			phase |= linearSuspend
		}
		if err := c.recur(&outs[i], &out, phase, 0); err != nil {
			return err
		}
	}
	return nil
}

// full sums over all keys, in parts where there are few states, and then multiplies the queries by the sum.
func (c *linearCall) full() error {
	queries, keys := c.longest()
	parts := c.parts
	partTokens := max(1, ceilDiv(keys, parts))
	parts = max(1, ceilDiv(keys, partTokens))
	c.r.report.Splits = max(c.r.report.Splits, parts)
	sum := &linearStage{advance: true, states: &c.state}
	partial, err := c.partialStates(parts)
	if err != nil {
		return err
	}
	if parts > 1 {
		sum.states, sum.part = &partial, c.stateRows*partial.ss
	}
	cut := c.cutter()
	keyPieces, err := cut.cut(nil, c.whole(parts, partTokens), sum)
	if err != nil {
		return err
	}
	read := &linearStage{read: true, states: &c.state}
	var queryPieces []linearArea
	if queries > 0 {
		const some = 64 // tokens of a workgroup, which pay for reading the state
		if queryPieces, err = cut.cut(nil, c.whole(ceilDiv(queries, some), some), read); err != nil {
			return err
		}
	}
	if err := c.reserve(keyPieces, queryPieces); err != nil {
		return err
	}
	if c.op.Map == vkattn.MapFavor {
		for i := range keyPieces { // the maximum of all keys comes first
			if err := c.keyMaxima(&keyPieces[i], sum, 0); err != nil {
				return err
			}
		}
	}
	for i := range keyPieces {
		a := &keyPieces[i]
		phase := uint32(linearAdvance | linearSuspend)
		if parts > 1 {
			phase |= linearTotal
		}
		if a.t0 > 0 || parts == 1 && c.op.StateIn {
			phase |= linearResume
		}
		if err := c.recur(a, sum, phase, linearFinal); err != nil {
			return err
		}
	}
	if parts > 1 {
		phase := uint32(linearSuspend)
		if c.op.StateIn {
			phase |= linearResume
		}
		if err := c.join(&partial, parts, phase); err != nil {
			return err
		}
	}
	for i := range queryPieces {
		a := &queryPieces[i]
		if err := c.recur(a, read, linearRead|linearResume, 0); err != nil {
			return err
		}
	}
	return nil
}

// recur runs an area: the features of its tokens, then the recurrence. favor is linearFinal where the maximum of all keys
// is known.
func (c *linearCall) recur(a *linearArea, s *linearStage, phase, favor uint32) error {
	if s.advance {
		if err := c.keysOf(a, s, favor); err != nil {
			return err
		}
	}
	return a.each(s, func(sub *linearArea) error {
		if s.read {
			if err := c.queriesOf(sub, s); err != nil {
				return err
			}
		}
		p := phase
		if sub.read1 < a.read1 && s.advance {
			p &^= linearSuspend // others read the same tokens
		}
		return c.recurrent(sub, s, p)
	})
}

// recurrent dispatches the recurrent kernel over an area.
func (c *linearCall) recurrent(a *linearArea, s *linearStage, phase uint32) error {
	w, _ := c.windows(a, s)
	p := c.slice(a, s, &w, phase)
	b := c.bindings(linearMainAt, s, &w)
	if c.ch.featured() {
		b[bindQ], p.QBase = c.scratch(c.queryFeatures), 0
		b[bindK], p.KBase = c.scratch(c.keyFeatures), 0
		if c.rescale != nil {
			b[bindDecay], p.DecayBase = c.scratch(c.rescale), 0
		}
	}
	if c.key.texels() {
		for _, i := range []int{bindQ, bindK, bindV} {
			b[i].Range, b[i].Format = min(b[i].Range, c.texelLimit), vk.TexelRGBA32F
			if n := bufferSize(b[i].Range); n <= min(b[i].Buffer.Size()-b[i].Offset, c.texelLimit) {
				b[i].Range = n
			}
		}
	}
	if c.entry != nil && phase&linearResume != 0 && phase&linearSuspend != 0 {
		p.Phase |= linearEntry
		p.HomeRow, p.HomeBase = uint32(c.parts), uint32(c.entryAt/4)
		e := c.bindings(linearMainAt, s, &w)
		e[bindHome] = c.scratch(c.work)
		pe := p
		pe.Count = uint32(a.units())
		most := int(c.r.be.caps.Limits.MaxComputeWorkGroupCount[1])
		for first := 0; first < a.units(); first += most {
			pe.UnitFirst = uint32(first)
			if err := c.r.dispatch(c.entry, e, bytesOf(&pe), ceilDiv(c.op.FeatureDim(), linearLanes), min(most, a.units()-first), a.part1-a.part0, 0, c.budget); err != nil {
				return err
			}
		}
	}
	blocks := ceilDiv(c.op.ValueDim, c.ch.span())
	// A grid holds so many workgroups; more units go one grid after the other.
	most := max(1, (1<<30)/blocks)
	for first := 0; first < a.units(); first += most {
		n := min(most, a.units()-first)
		p.UnitFirst, p.Count = uint32(first), uint32(n*blocks)
		x, y := c.r.grid(n * blocks)
		if err := c.r.dispatch(c.pipeline, b, bytesOf(&p), x, y, a.part1-a.part0, c.cost(a, s)*float64(n)/float64(a.units()), c.budget); err != nil {
			return err
		}
		c.r.report.Slices++
	}
	return nil
}

// scratch binds a buffer of the call's own, or the work buffer where there is none.
func (c *linearCall) scratch(b *vk.Buffer) vk.Binding {
	if b == nil {
		b = c.work
	}
	return vk.Binding{Buffer: b, Range: min(b.Size(), c.limit)}
}

// parts is the number of parts of the keys that are computed side by side where states are few: their sums if the call is
// not causal, else segments, which costs the half again. Tokens of the delta rule follow each other, and so do the maxima
// of favor.
func (ch *linearChoice) parts(caps *vk.Caps, cfg *Config, sequences, keys int) int {
	if ch.chunk.Chunk > 0 || ch.op.Rule != vkattn.RuleAdd || ch.op.Map == vkattn.MapFavor || keys == 0 || sequences == 0 {
		return 1
	}
	shape := ch.op.StateShape(1)
	units := float64(sequences) * float64(ch.op.States())
	least := 64
	if ch.op.Causal {
		least = 256
	}
	most := max(1, min(keys/least, 1024))
	if mem := float64(maxState) / (units * float64(shape[2]) * float64(shape[3]+1) * 4); mem < float64(most) {
		most = max(1, int(mem))
	}
	if n := mergeParts(caps); n > 0 {
		most = min(most, n)
	}
	if cfg.Splits > 0 {
		return clamp(cfg.Splits, 1, max(most, min(keys, 16)))
	}
	groups := units * float64(ceilDiv(ch.op.ValueDim, ch.span()))
	n := clamp(int(math.Ceil(float64(parallelTiles(caps, int(ch.key.Invocations), 1<<20))/max(groups, 1))), 1, most)
	if ch.op.Causal && n < 4 {
		return 1
	}
	return n
}

// partialStates makes room for the states of parts: [sequences, states, parts, F, columns + 1].
func (c *linearCall) partialStates(parts int) (view, error) {
	if parts <= 1 {
		return view{}, nil
	}
	shape := c.op.StateShape(len(c.seqs))
	row := shape[3] + 1
	buf, err := c.r.hold(4*int64(shape[0])*int64(shape[1])*int64(parts)*int64(shape[2])*int64(row), vk.HeapDevice, "scratch")
	if err != nil {
		return view{}, err
	}
	v := view{buf: buf, room: buf.Size(), size: 4, ss: row, sh: parts * shape[2] * row, sb: shape[1] * parts * shape[2] * row, n: row}
	v.off = -c.seqs[0].Index * v.sb // strides count from the first sequence of the call
	return v, nil
}

// join adds the states of parts up, in their order.
func (c *linearCall) join(partial *view, parts int, phase uint32) error {
	pipeline, err := c.r.be.pipeline(linearSimpleKey{"linear_join", linearLanes})
	if err != nil {
		return err
	}
	s := &linearStage{states: partial, part: c.stateRows * partial.ss}
	home := &linearStage{states: &c.state}
	cells := c.op.FeatureDim() * c.ch.columns()
	one := linearArea{partTokens: 1, t1: 1, part1: parts}
	for n := range c.seqs {
		for h0 := 0; h0 < c.op.States(); {
			// As many heads of a sequence as can be bound; sequences one by one.
			a := one
			a.seq0, a.seq1, a.head0, a.head1 = n, n+1, h0, min(c.op.States(), h0+1<<15)
			var w, hw [numBindings]window
			for {
				var which, other string
				w, which = c.windows(&a, s)
				b := a
				b.part1 = 1
				hw, other = c.windows(&b, home)
				if which == "" && other == "" {
					break
				}
				if a.units() == 1 {
					return fmt.Errorf("dispatch: the %d parts of one state exceed the %d bytes that the device binds at once: %w", parts, c.limit, vkattn.ErrUnsupported)
				}
				a.head1 = (a.head0 + a.head1) / 2
			}
			p := c.slice(&a, s, &w, phase)
			p.Count, p.PartTokens = uint32(a.units()), uint32(parts)
			p.HomeSeq, p.HomeHead, p.HomeRow, p.HomeBase = uint32(c.state.sb), uint32(c.state.sh), uint32(c.state.ss), hw[bindState].base
			b := c.bindings(linearMainAt, s, &w)
			b[bindHome] = vk.Binding{Buffer: c.state.buf, Offset: hw[bindState].off, Range: hw[bindState].size}
			if err := c.r.dispatch(pipeline, b, bytesOf(&p), ceilDiv(cells, linearLanes), a.units(), 1, float64(parts*cells*a.units()), c.budget); err != nil {
				return err
			}
			h0 = a.head1
		}
	}
	return nil
}

// srms divides each token of out by its root mean square over all heads and values.
func (c *linearCall) srms() error {
	pipeline, err := c.r.be.pipeline(linearSimpleKey{"linear_srms", linearLanes})
	if err != nil {
		return err
	}
	tokens, _ := c.longest()
	if tokens == 0 {
		return nil
	}
	s := &linearStage{read: true}
	cut := &linearCutter{linearCall: c, budget: math.Inf(1), grain: 1}
	dispatch := func(a *linearArea, s *linearStage, phase uint32) error {
		w, _ := c.windows(a, s)
		p := c.slice(a, s, &w, phase)
		n := (a.seq1 - a.seq0) * (a.t1 - a.t0)
		p.Count = uint32(n)
		x, y := c.r.grid(n)
		return c.r.dispatch(pipeline, c.bindings(linearMainAt, s, &w), bytesOf(&p), x, y, 1, 4*float64(n)*float64(c.op.Heads()*c.op.ValueDim), c.budget)
	}
	const some = 1 << 16 // tokens of a dispatch
	for n := 0; n < len(c.seqs); {
		// All sequences at once if they can be bound, else one by one, else collecting over heads.
		all := c.whole(1, tokens)
		all.seq0 = n
		if cut.misfit(all, s) != "" || len(c.seqs)*tokens > some {
			all.seq1 = n + 1
		}
		n = all.seq1
		for t := 0; t < tokens; t += some {
			a := all
			a.t0, a.t1 = t, min(t+some, tokens)
			if cut.misfit(a, s) == "" {
				if err := dispatch(&a, s, linearAdvance|linearRead); err != nil {
					return err
				}
				continue
			}
			if err := c.srmsByHeads(a, cut, dispatch); err != nil {
				return err
			}
		}
	}
	return nil
}

// srmsByHeads is srms where all heads of some tokens of a sequence cannot be bound at once.
func (c *linearCall) srmsByHeads(a linearArea, cut *linearCutter, dispatch func(*linearArea, *linearStage, uint32) error) error {
	size := 8 * int64(a.t1)
	if size > c.limit {
		return fmt.Errorf("dispatch: the sums of %d tokens exceed the %d bytes that the device binds at once: %w", a.t1, c.limit, vkattn.ErrUnsupported)
	}
	buf, err := c.r.hold(size, vk.HeapDevice, "scratch")
	if err != nil {
		return err
	}
	commands, err := c.r.open()
	if err != nil {
		return err
	}
	if err := commands.Fill(buf, 0, size, 0); err != nil {
		return err
	}
	commands.Barrier(vk.BarrierAll)
	pieces, err := cut.cut(nil, a, &linearStage{read: true})
	if err != nil {
		return err
	}
	sums := &linearStage{read: true, states: &view{buf: buf, room: buf.Size(), size: 4}, sums: true}
	for _, phase := range []uint32{linearAdvance, linearRead} {
		for i := range pieces {
			if err := pieces[i].each(sums, func(sub *linearArea) error { return dispatch(sub, sums, phase) }); err != nil {
				return err
			}
		}
	}
	return nil
}

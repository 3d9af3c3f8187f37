package dispatch

import (
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

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
	if _, end := c.r.be.caps.Quirk(vk.EffectLoopsEnd); end {
		perToken := 2 + 2*c.ch.reads
		if c.ch.path == "plain" {
			perToken += (c.ch.reads + 1) * 8 * int(c.key.Reads) * int(c.key.Lanes)
		}
		if k := c.ch.chunk; k.Chunk > 0 {
			// All loops of a chunk over features, pairs and what an invocation loads.
			tiles := k.Span * 4 / k.Chunk
			perRead := int(k.Padded*(1+tiles) + 2*k.Padded*k.Chunk/k.Invocations + tiles*k.Chunk + k.Chunk)
			perToken = ceilDiv((2+c.ch.reads)*perRead, int(k.Chunk))
		}
		cut.most = max(16, vk.MaxLoopIterations/perToken)
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
	grain := max(1, int(c.ch.chunk.Chunk))
	partTokens := ceilDiv(ceilDiv(tokens, c.parts), grain) * grain
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
		t := c.ch.types()
		for i, typ := range map[int]vkattn.Type{bindQ: t.Q, bindK: t.K, bindV: t.V} {
			b[i].Range, b[i].Format = min(b[i].Range, c.texelLimit), texelFormat(linearTexels, typ)
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

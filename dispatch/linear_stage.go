package dispatch

import (
	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

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
	pad := 1
	if c.op.TypeOut != vkattn.Float32 {
		pad = 4 // rows of whole words
	}
	out := call.written(a.Out)
	if c.out, homes[0], err = r.stageOut(out, pad); err != nil {
		return homes, err
	}
	if c.normed = c.out; c.op.Norm == vkattn.NormSRMS && c.op.TypeOut != vkattn.Float32 {
		if c.out, err = r.scratch(out.Shape[0], out.Shape[1], out.Shape[2], out.Shape[3]); err != nil {
			return homes, err
		}
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
	from, size := t.Mem.(*vkattn.Host).Bytes(), t.Type.Size()
	wide := vkattn.BHSD(nil, t.Shape[0], t.Shape[1], t.Shape[2], t.Shape[3]).As(t.Type)
	to := alignedBytes(wide.Len() * size)
	for i := range wide.Len() {
		row := i / t.Shape[3]
		copy(to[i*size:][:size], from[size*t.Index(row/(t.Shape[1]*t.Shape[2]), row/t.Shape[2]%t.Shape[1], row%t.Shape[2], 0):])
	}
	wide.Mem = vkattn.Bytes(to)
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
	norm := *main // reads out and writes normed
	norm.QBatch, norm.QHead, norm.QRow = main.OutBatch, main.OutHead, main.OutRow
	norm.OutBatch, norm.OutHead, norm.OutRow = uint32(c.normed.sb), uint32(c.normed.sh), uint32(c.normed.ss)
	for at, p := range map[int]*linearParams{linearMainAt: main, linearQueriesAt: queries, linearKeysAt: keys, linearNormAt: &norm} {
		copy(wordBytes(words)[at:], bytesOf(p))
	}
	words = append(words, linearTable(c.seqs)...)
	var err error
	c.work, c.entryAt, err = c.r.work(&section{words: words}, bytes)
	return err
}

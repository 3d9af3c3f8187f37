package dispatch

import (
	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// reserve makes room for the features of the largest piece of keys and of queries.
func (c *linearCall) reserve(keys, queries []linearArea) error {
	if !c.ch.featured() {
		return nil
	}
	rows := func(pieces []linearArea, heads int) (n int64) {
		for i := range pieces {
			a := &pieces[i]
			n = max(n, int64(a.seq1-a.seq0)*int64(a.part1-a.part0)*int64(a.t1-a.t0)*int64(heads))
		}
		return n
	}
	keyRows, row := rows(keys, c.keyHeads), int64(c.featureRow)*4
	favor := c.op.Map == vkattn.MapFavor
	for _, b := range []struct {
		buf  **vk.Buffer
		size int64
		need bool
	}{
		{&c.keyFeatures, keyRows * row, true}, {&c.queryFeatures, rows(queries, c.op.HeadsQ) * row, true},
		{&c.keyPeaks, keyRows * 4, favor}, {&c.rescale, keyRows * 4, favor},
		{&c.maxima, 8 * int64(len(c.seqs)) * int64(c.op.States()), favor},
	} {
		if !b.need {
			continue
		}
		var err error
		if *b.buf, err = c.r.hold(max(256, b.size), vk.HeapDevice, "scratch"); err != nil {
			return err
		}
	}
	return nil
}

// keysOf computes the features of the keys of an area, if maps need a whole head.
func (c *linearCall) keysOf(a *linearArea, s *linearStage, phase uint32) error {
	switch {
	case !c.ch.featured():
		return nil
	case c.op.Map != vkattn.MapFavor:
		return c.project(a, s, true, 0)
	}
	if err := c.keyMaxima(a, s, phase); err != nil {
		return err
	}
	return c.project(a, s, true, linearApply)
}

// queriesOf does the same for queries.
func (c *linearCall) queriesOf(a *linearArea, s *linearStage) error {
	if !c.ch.featured() {
		return nil
	}
	return c.project(a, s, false, 0)
}

// project dispatches the features kernel over the queries or keys of an area.
func (c *linearCall) project(a *linearArea, s *linearStage, keys bool, phase uint32) error {
	typ := c.op.TypeQ
	if keys {
		typ = c.op.TypeK
	}
	pipeline, err := c.r.be.pipeline(linearSimpleKey{linearFeatures, linearLanes, typ})
	if err != nil {
		return err
	}
	w, _ := c.windows(a, s)
	p := c.slice(a, s, &w, phase)
	from, at, out := bindQ, int64(linearQueriesAt), c.queryFeatures
	h0, h1 := c.heads(a, c.op.HeadsQ)
	if keys {
		from, at, out = bindK, linearKeysAt, c.keyFeatures
		if h0, h1 = c.heads(a, c.op.HeadsK); c.op.Map == vkattn.MapFavor {
			h0, h1 = a.head0, a.head1
		}
	}
	b := c.bindings(at, s, &w)
	b[bindQ], p.QBase = b[from], w[from].base
	p.KBase, p.OutBase, p.StateBase = 0, 0, 0
	if c.projection.given() {
		start := int64(c.projection.off) * 4 / c.align * c.align
		b[bindK] = vk.Binding{Buffer: c.projection.buf, Offset: start, Range: min(c.projection.buf.Size()-start, c.limit)}
		p.KBase = uint32(c.projection.off) - uint32(start/4)
	}
	b[bindOut], b[bindPeaks] = c.scratch(out), c.scratch(c.keyPeaks)
	p.HeadFirst, p.HeadCount = uint32(h0), uint32(h1-h0)
	n := (a.seq1 - a.seq0) * (h1 - h0) * (a.t1 - a.t0)
	p.Count = uint32(n)
	x, y := c.r.grid(n)
	work := float64(n*(a.part1-a.part0)) * float64(c.op.FeatureDim()*(8+2*min(1, c.op.Features)*c.op.HeadDim))
	return c.r.dispatch(pipeline, b, bytesOf(&p), x, y, a.part1-a.part0, work, c.budget)
}

// keyMaxima computes the logits of favor's keys in an area and the running maximum of each token; with linearFinal all
// tokens take the last maximum.
func (c *linearCall) keyMaxima(a *linearArea, s *linearStage, phase uint32) error {
	if err := c.project(a, s, true, 0); err != nil {
		return err
	}
	pipeline, err := c.r.be.pipeline(linearSimpleKey{"linear_favor", linearLanes, 0})
	if err != nil {
		return err
	}
	if a.t0 == 0 && phase == 0 {
		phase |= linearFirst
	}
	if c.op.StateIn {
		phase |= linearResume
	}
	if c.op.StateOut {
		phase |= linearSuspend
	}
	carried := *s
	carried.states, carried.part = &c.state, 0
	w, _ := c.windows(a, &carried)
	p := c.slice(a, &carried, &w, phase)
	p.HomeRow = uint32(c.ch.columns())
	p.KBase, p.OutBase, p.HomeBase = 0, 0, -uint32(2*c.seqs[0].Index*c.op.States())
	b := c.bindings(linearKeysAt, &carried, &w)
	b[bindQ], b[bindOut], b[bindPeaks] = c.scratch(c.maxima), c.scratch(c.rescale), c.scratch(c.keyPeaks)
	p.Count = uint32(a.units())
	x, y := c.r.grid(a.units())
	return c.r.dispatch(pipeline, b, bytesOf(&p), x, y, 1, float64(a.units()*(a.t1-a.t0))*8, c.budget)
}

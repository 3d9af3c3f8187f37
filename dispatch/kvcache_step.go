package dispatch

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/pages"
)

// kvStep is a step of a KVCache; see vkattn.CacheStep. It is immutable.
type kvStep struct {
	*pages.Step
	cache     *KVCache
	seqs      []vkattn.Sequence
	cuSeq     []int32 // of the new tokens
	positions []int32
	entries   []uint32 // for each token its position and its row of the pool
	recorded  bool     // for later steps, whose rows lie elsewhere
	cached    *cached
}

// Step makes room for new tokens; see vkattn.Cache.
func (c *KVCache) Step(ctx context.Context, tokens []vkattn.CacheTokens) (vkattn.CacheStep, error) {
	s, err := locked(c, func() (*kvStep, error) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b, err := c.book.Step(&c.spec, tokens)
		if err != nil {
			return nil, err
		}
		return c.newStep(b), c.move(ctx, b.Copies, nil)
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// newStep resolves the sequences of a step.
func (c *KVCache) newStep(b *pages.Step) *kvStep {
	s := &kvStep{Step: b, cache: c, cuSeq: []int32{0}, positions: b.Positions(), cached: c.newCached()}
	for i := range b.Parts {
		p := &b.Parts[i]
		s.seqs = append(s.seqs, c.sequence(i, p.First, p.N, p.Len, p.Pages))
		s.cuSeq = append(s.cuSeq, int32(p.First+p.N))
		s.cached.add(p.Pages, p.Parents)
	}
	for i, r := range b.Rows(c.spec.PageTokens()) {
		s.entries = append(s.entries, uint32(s.positions[i]), uint32(c.row(r)))
	}
	return s
}

func (c *KVCache) newCached() *cached {
	return &cached{banks: c.banks, splitKeys: c.spec.SplitKeys, filler: c.filler}
}

// sequence is rows [first, first+n) of the step as the last of a sequence of so many tokens.
func (c *KVCache) sequence(index, first, n, tokens int, table []int32) vkattn.Sequence {
	op := &c.spec.Op
	s := vkattn.Sequence{Index: index, Q0: first, Sq: n, Sk: tokens, Off: tokens - n, Rel: tokens - n, Causal: true, Window: op.Window,
		Chunk: op.Chunk, SinkTokens: -nowhere, Prefix: -nowhere}
	if op.SinkTokens > 0 {
		s.SinkTokens = op.SinkTokens
	}
	if c.page == 0 {
		s.K0 = c.first(table[0])
	}
	return s
}

// nowhere is further away than any token.
const nowhere = 1 << 60

// Tokens is the number of new tokens of all sequences.
func (s *kvStep) Tokens() int { return s.Step.Tokens }

// Positions is the place of each token in its sequence.
func (s *kvStep) Positions() []int32 { return s.positions }

// Record adds a layer to a batch; see vkattn.CacheStep.
func (s *kvStep) Record(batch vkattn.Batch, layer int, args vkattn.CacheArgs) error {
	c := s.cache
	call, err := locked(c, func() (*call, error) {
		if err := c.book.Current(s.Step); err != nil {
			return nil, err
		}
		if err := c.spec.CheckStep(layer, s.Step.Tokens, &args); err != nil {
			return nil, err
		}
		if err := s.fits(&args); err != nil {
			return nil, err
		}
		return s.newCall(layer, args)
	})
	if err != nil {
		return err
	}
	b, ok := batch.(*Batch)
	if !ok || b.be != c.be {
		return &vkattn.ArgError{Arg: "Batch", Reason: "belongs to another backend"}
	}
	if err := b.takes(call); err != nil {
		return err
	}
	b.calls = append(b.calls, call)
	return nil
}

// Run is Record into a fresh batch, Submit and Wait.
func (s *kvStep) Run(ctx context.Context, layer int, args vkattn.CacheArgs) (vkattn.Report, error) {
	b := &Batch{be: s.cache.be}
	if err := s.Record(b, layer, args); err != nil {
		return vkattn.Report{}, err
	}
	return b.run(ctx)
}

// newCall chooses the kernels of a step in a layer.
func (s *kvStep) newCall(layer int, args vkattn.CacheArgs) (*call, error) {
	d := &kvCall{step: s, layer: layer, args: args}
	var err error
	if args.Cascade && args.Q.Given() {
		from, to, why := s.shared()
		if why != "" {
			d.note = "cascade not taken: " + why
		} else if d.cascade, err = s.newCascade(from, to); err == nil {
			d.note = d.cascade.note(s)
		}
	}
	if err == nil {
		d.choice, err = s.cache.planFor(s.Longest, s.Tree, wholePart, s.recorded)
	}
	if err != nil {
		return nil, err
	}
	l := &s.cache.layers[layer]
	more := []*memory{l.k.Mem.(*memory), l.v.Mem.(*memory)}
	if s.cache.angles != nil {
		more = append(more, s.cache.angles)
	}
	return &call{plan: s.cache.be.newPlan(d), seqs: s.seqs, more: more, args: vkattn.Args{Q: args.Q, K: args.K, V: args.V, Out: args.Out,
		LSE: args.LSE, Slopes: args.Slopes, SinkLogits: args.SinkLogits, CuSeqQ: s.cuSeq}}, nil
}

// kvCall is a step in one layer: the decision that runs it.
type kvCall struct {
	*choice
	step    *kvStep
	layer   int
	args    vkattn.CacheArgs
	cascade *cascade // nil: all keys at once
	note    string   // for the report
}

// run appends, and attends what is there then.
func (d *kvCall) run(r *run, c *call) error {
	s := d.step
	r.note(d.note)
	q, err := s.enter(r, d.layer, &d.args)
	if err != nil || !d.args.Q.Given() || s.Step.Tokens == 0 {
		return err
	}
	if d.cascade != nil {
		return d.cascade.run(r, s, d.layer, q, &c.args)
	}
	return d.choice.run(r, s.attention(d.layer, q, &c.args, s.seqs, s.cached))
}

// attention is the call of the attention of a layer.
func (s *kvStep) attention(layer int, q vkattn.Tensor, a *vkattn.Args, seqs []vkattn.Sequence, at *cached) *call {
	l := &s.cache.layers[layer]
	return &call{seqs: seqs, cached: at, args: vkattn.Args{Q: q, K: l.k, V: l.v, Out: a.Out, LSE: a.LSE, Slopes: a.Slopes, SinkLogits: a.SinkLogits, Bias: a.Bias, CuSeqQ: a.CuSeqQ}}
}

func (d *kvCall) work(c *call) vkattn.Work {
	if !d.args.Q.Given() {
		return vkattn.Work{Exact: true}
	}
	return d.choice.work(c)
}

func (d *kvCall) summary() summary {
	s := d.choice.summary()
	s.op = fmt.Sprintf("cache step of %d tokens, %s", d.step.Step.Tokens, s.op)
	return s
}

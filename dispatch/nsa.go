package dispatch

import (
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/sparse"
	"github.com/vkattn/vkattn/vk"
)

// nsaChoice is the planner's decision for one NSA on one device.
type nsaChoice struct {
	op                           vkattn.NSA // canonical
	compressed, selected, window *choice
	own                          []pipelineKey
}

// chooseNSA is choose for NSA.
func (p *planner) chooseNSA(caps *vk.Caps, op vkattn.NSA, kernel string, disabled map[string]string) (*nsaChoice, error) {
	op = op.Canonical()
	if why := needsChooser(caps); why != "" {
		return nil, &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + caps.Name, Reasons: []vkattn.Refusal{{Kernel: selectScores, Reason: why}}}
	}
	if why := chosenTypes(op.Attention); why != "" {
		return nil, &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + caps.Name, Reasons: []vkattn.Refusal{{Kernel: selectPool, Reason: why}}}
	}
	a := &op.Attention
	ch := &nsaChoice{op: op, own: []pipelineKey{selectKeyOf(caps, selectPool, a.TypeK), selectKeyOf(caps, selectScores, a.TypeQ),
		selectKeyOf(caps, selectTop, 0), selectKeyOf(caps, selectGate, a.TypeOut)}}
	if a.TypeV != a.TypeK {
		ch.own = append(ch.own, selectKeyOf(caps, selectPool, a.TypeV))
	}
	compressed, selected, window := sparse.Branches(op)
	for _, b := range []struct {
		op vkattn.Attention
		to **choice
	}{{compressed, &ch.compressed}, {selected, &ch.selected}, {window, &ch.window}} {
		c, err := p.choose(caps, b.op, kernel, disabled)
		if err != nil {
			return nil, err
		}
		*b.to = c
	}
	// Heads that a tile takes together lie as far apart as in the whole call, though a phase has few rows.
	if float64(a.HeadsQ/a.HeadsK)*float64(a.SeqQ)*float64(max(a.HeadDim, a.ValueDim)+4)*4 > float64(caps.Limits.MaxStorageBufferRange)/2 {
		ch.compressed.pack = 1
	}
	return ch, nil
}

// Op is what is computed, in canonical form.
func (ch *nsaChoice) Op() vkattn.Op { return ch.op }

func (ch *nsaChoice) summary() summary {
	s := ch.selected.summary()
	s.op = ch.op.String()
	return s
}

func (ch *nsaChoice) explain(caps *vk.Caps, cfg *Config) vkattn.Explanation {
	e := ch.selected.explain(caps, cfg)
	e.Op = ch.op.String()
	a := &ch.op.Attention
	keys := ch.op.Compressed(a.SeqK)
	rows := choiceRows(a.SeqQ, ch.rowBytes(a.Batch, a.SeqK))
	e.ScratchBytes += int64(float64(rows)*ch.rowBytes(a.Batch, a.SeqK)) + 4*int64(a.Batch)*int64(a.HeadsK)*int64(keys)*int64(a.HeadDim+a.ValueDim)
	e.Notes = append(e.Notes, fmt.Sprintf("three calls of attention: over %d compressed keys, over %d of %d blocks, over a window; tiles of keys that no row of a tile selected are skipped",
		keys, ch.op.TopN, ceilDiv(a.SeqK, ch.op.Select)))
	return e
}

// rowBytes is what a row of all heads and sequences keeps: two branches and an LSE; weights, scores and a mask.
func (ch *nsaChoice) rowBytes(batch, keys int) float64 {
	a := &ch.op.Attention
	branches := 2
	if a.TypeOut != vkattn.Float32 {
		branches = 3
	}
	return float64(batch) * (4*float64(a.HeadsQ)*float64(branches*a.ValueDim+1) + float64(a.HeadsK)*(4*float64(ch.op.Compressed(keys))+5*float64(ceilDiv(keys, ch.op.Select))))
}

func (ch *nsaChoice) pipelineKeys() []pipelineKey {
	keys := append(ch.compressed.pipelineKeys(), ch.selected.pipelineKeys()...)
	return append(append(keys, ch.window.pipelineKeys()...), ch.own...)
}

func (ch *nsaChoice) check(args *vkattn.Args) ([]vkattn.Sequence, error) { return ch.op.Check(args) }

func (ch *nsaChoice) work(c *call) vkattn.Work { return ch.op.Work(&c.args, c.seqs) }

func (ch *nsaChoice) run(r *run, c *call) error {
	a, op := &c.args, &ch.op.Attention
	if a.Q.Len() == 0 {
		return nil
	}
	s, err := r.stageChooser(c, op)
	if err != nil {
		return err
	}
	p := &nsaCall{staged: s, ch: ch, plan: c.plan}
	if p.gates, err = r.stageIn(a.Gates, 1); err != nil {
		return err
	}
	batch, sq, sk := a.Q.Shape[0], a.Q.Shape[2], a.K.Shape[2]
	p.compressed, p.blocks = ch.op.Compressed(sk), ceilDiv(sk, ch.op.Select)
	for _, t := range []struct {
		name    string
		from    view
		columns int
		to      *view
	}{{"k", s.k, op.HeadDim, &p.keys}, {"v", s.v, op.ValueDim, &p.values}} {
		if *t.to, err = s.pool(t.name, t.from, op.HeadsK, t.columns, p.compressed, ch.op.Compress, ch.op.Stride, true); err != nil {
			return err
		}
	}
	step := choiceRows(sq, ch.rowBytes(batch, sk))
	padded := ceilDiv(op.ValueDim, 4) * 4
	branches := []struct {
		to         *view
		heads, row int
	}{{&p.first, op.HeadsQ, padded}, {&p.second, op.HeadsQ, padded}, {&p.lse, op.HeadsQ, 1},
		{&p.weights, op.HeadsK, max(p.compressed, 1)}, {&p.mask, op.HeadsK, max(ceilDiv(p.blocks, 4), 1)}}
	if op.TypeOut != vkattn.Float32 {
		branches = append(branches, branches[0])
		branches[len(branches)-1].to = &p.third
	}
	for _, t := range branches {
		if *t.to, err = s.scratch(batch, t.heads, step, t.row); err != nil {
			return err
		}
	}
	for lo := 0; lo < sq; lo += step {
		if err := p.part(lo, min(step, sq-lo)); err != nil {
			return err
		}
	}
	return s.home()
}

// nsaCall is one call on the device.
type nsaCall struct {
	*staged
	ch   *nsaChoice
	plan *Plan

	compressed, blocks int // keys of the longest sequence, compressed and in blocks to select from
	gates              view
	keys, values       view // compressed
	first, second      view // outputs of the compressed and the selected branch, of the rows of a part
	third              view // of the window, where out is not float32
	lse, weights, mask view
}

// part computes rows [lo, lo+rows) of all sequences.
func (p *nsaCall) part(lo, rows int) error {
	op, n := p.op, &p.ch.op
	batch := len(p.seqs)
	args, seqs := sparse.Rows(p.args, p.seqs, lo, lo+rows)
	branch := func(v view) vkattn.Tensor {
		t := p.asTensor(v, vkattn.Float32, batch, op.HeadsQ, rows)
		t.Shape[3] = args.Out.Shape[3]
		return t
	}
	keys, values := p.asTensor(p.keys, vkattn.Float32, batch, op.HeadsK, max(p.compressed, 1)), p.asTensor(p.values, vkattn.Float32, batch, op.HeadsK, max(p.compressed, 1))
	lse := p.asTensor(p.lse, vkattn.Float32, batch, op.HeadsQ, rows)
	for b := range seqs {
		phases := sparse.Phases(*n, &seqs[b])
		c := &call{plan: p.plan, seqs: phases, args: vkattn.Args{
			Q: sparse.Phased(args.Q, b, n.Stride), Out: sparse.Phased(branch(p.first), b, n.Stride), LSE: sparse.Phased(lse, b, n.Stride),
			K: sparse.Shared(keys, b, len(phases)), V: sparse.Shared(values, b, len(phases))}}
		if err := p.ch.compressed.run(p.r, c); err != nil {
			return err
		}
	}
	if p.blocks > 0 {
		if err := p.scores(p.q, p.keys, p.weights, &p.lse, lo, rows, p.compressed, n.Compress, n.Stride); err != nil {
			return err
		}
		if err := p.top(p.weights, p.mask, op.HeadsK, lo, rows, p.blocks, n.Select, n.TopN, n.Select/n.Stride, n.Compress/n.Stride); err != nil {
			return err
		}
	}
	selected := args
	selected.Out = branch(p.second)
	selected.Mask = maskOf(p.asTensor(p.mask, vkattn.Float32, batch, op.HeadsK, rows), max(p.blocks, 1))
	if err := p.ch.selected.run(p.r, &call{plan: p.plan, args: selected, seqs: seqs, share: chosenShare(p.ch.selected, n.TopN, n.Select, p.args.K.Shape[2])}); err != nil {
		return err
	}
	third := p.out.row(lo)
	if op.TypeOut != vkattn.Float32 {
		third = p.third
		args.Out = branch(third)
	}
	if err := p.ch.window.run(p.r, &call{plan: p.plan, args: args, seqs: sparse.Windowed(seqs, sparse.Window(*n))}); err != nil {
		return err
	}
	return p.gate(p.first, p.second, third, p.gates.row(lo), p.out.row(lo), rows, op.ValueDim)
}

package dispatch

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// cascade attends keys that all sequences of a step share once, with the queries of all of them as the rows of one sequence, so that
// they are read once; then what is before them and behind them, sequence by sequence; and merges the results. The shared keys are those that
// every row sees, so no mask is theirs.
type cascade struct {
	parts  []cascadePart
	merge  *mergeChoice
	from   int // the shared keys
	to     int
	shifts []int // of each row: its position less the one that it has among the rows of all sequences
}

// cascadePart is attention over some of the keys.
type cascadePart struct {
	of   part
	ch   *choice
	seqs []vkattn.Sequence
	at   *cached
}

// shared is the range of keys, in whole pages, that all sequences of a step share and all of their rows see, or says why there is none.
func (s *kvStep) shared() (from, to int, why string) {
	op, page := &s.cache.spec.Op, s.cache.spec.PageTokens()
	switch {
	case len(s.Parts) < 2:
		return 0, 0, "the step has one sequence"
	case s.Common == 0:
		return 0, 0, "the sequences of the step share no page from their start on"
	}
	first, last := s.Parts[0].Len, 0 // positions of rows
	for i := range s.Parts {
		p := &s.Parts[i]
		first, last = min(first, p.Len-p.N), max(last, p.Len-1)
	}
	to = s.Common
	if w := op.Window.Left; w.Set && last-w.N > op.SinkTokens {
		from = last - w.N
	}
	if w := op.Window.Right; w.Set && first+w.N+1 < to {
		to = max(0, first+w.N+1) / page * page
	}
	if op.Chunk > 0 {
		from = max(from, last/op.Chunk*op.Chunk)
	}
	if from = ceilDiv(from, page) * page; from >= to {
		return 0, 0, "no shared page is seen whole by all rows"
	}
	return from, to, ""
}

func (s *kvStep) newCascade(from, to int) (*cascade, error) {
	c := s.cache
	op := &c.spec.Op
	k := &cascade{parts: make([]cascadePart, 0, 3), from: from, to: to}
	page := c.spec.PageTokens()
	add := func(of part, rows int, tree bool) (*cascadePart, error) {
		ch, err := c.planFor(rows, tree, of, false)
		k.parts = append(k.parts, cascadePart{of, ch, nil, c.newCached()})
		return &k.parts[len(k.parts)-1], err
	}
	middle, err := add(sharedPart, s.Step.Tokens, false)
	if err != nil {
		return nil, err
	}
	table := s.Parts[0].Pages[from/page : to/page]
	all := c.sequence(0, 0, s.Step.Tokens, to-from, table)
	all.Off, all.Rel = to-from, to-from // every row stands behind every key
	all.Window, all.Chunk, all.SinkTokens = vkattn.Window{}, 0, -nowhere
	middle.seqs = []vkattn.Sequence{all}
	middle.at.add(table, nil)
	if from > 0 {
		head, err := add(headPart, s.Longest, false)
		if err != nil {
			return nil, err
		}
		for i := range s.Parts {
			p := &s.Parts[i]
			q := c.sequence(i, p.First, p.N, from, p.Pages)
			q.Off, q.Rel = p.Len-p.N, p.Len-p.N
			head.seqs = append(head.seqs, q)
			head.at.add(p.Pages[:from/page], nil)
		}
	}
	tail, err := add(tailPart, s.Longest, s.Tree)
	if err != nil {
		return nil, err
	}
	for i := range s.Parts {
		p := &s.Parts[i]
		rest := p.Pages[to/page:]
		q := c.sequence(i, p.First, p.N, p.Len-to, rest)
		q.KBase = to
		tail.seqs = append(tail.seqs, q)
		tail.at.add(rest, p.Parents)
		for row := range p.N {
			k.shifts = append(k.shifts, p.Len-p.N+row-(to+p.First+row))
		}
	}
	d, err := c.be.decide(context.Background(), vkattn.Merge{Batch: 1, Heads: op.HeadsQ, Seq: op.TotalQ, ValueDim: op.ValueDim, Parts: len(k.parts), LSE: op.With.Has(vkattn.WithLSE)})
	if err != nil {
		return nil, err
	}
	k.merge = d.(*mergeChoice)
	return k, nil
}

// run attends the parts and merges them.
func (k *cascade) run(r *run, s *kvStep, layer int, q vkattn.Tensor, a *vkattn.Args) error {
	op := &s.cache.spec.Op
	scratch := func(last int) (vkattn.Tensor, error) {
		t := vkattn.BHSD(nil, 1, op.HeadsQ, s.Step.Tokens, last)
		buf, err := r.hold(max(16, 4*int64(t.Len())), vk.HeapDevice, "scratch")
		t.Mem = &memory{be: r.be, buf: buf, size: 4 * int64(t.Len())}
		return t, err
	}
	merged := vkattn.Args{Out: a.Out, LSE: a.LSE}
	for i := range k.parts {
		part := &k.parts[i]
		args := *a
		var err error
		if args.Out, err = scratch(op.ValueDim); err != nil {
			return err
		}
		if args.LSE, err = scratch(1); err != nil {
			return err
		}
		if part.of != tailPart {
			args.SinkLogits = vkattn.Tensor{}
		}
		if part.of == sharedPart && op.With.Has(vkattn.WithALiBi) {
			if args.Bias, err = k.bias(r, a.Slopes); err != nil {
				return err
			}
		}
		if err := part.ch.run(r, s.attention(layer, q, &args, part.seqs, part.at)); err != nil {
			return err
		}
		merged.Parts = append(merged.Parts, vkattn.Partial{Out: args.Out, LSE: args.LSE})
	}
	if op.TypeOut == vkattn.Float32 {
		return k.merge.run(r, &call{args: merged})
	}
	var err error
	if merged.Out, err = scratch(op.ValueDim); err != nil {
		return err
	}
	if err := k.merge.run(r, &call{args: merged}); err != nil {
		return err
	}
	return r.convert(a.Out, merged.Out)
}

// bias is what ALiBi misses for the shared keys, the same for all of them: rows of all sequences taken together stand one behind the
// other. It is [1, HeadsQ, rows, keys], one number for the keys of a row.
func (k *cascade) bias(r *run, slopes vkattn.Tensor) (vkattn.Tensor, error) {
	of, err := r.perHead(slopes)
	if err != nil {
		return vkattn.Tensor{}, err
	}
	heads, rows := len(of.values), len(k.shifts)
	var numbers []float32
	for _, slope := range of.values {
		for _, n := range k.shifts {
			numbers = append(numbers, float32(-float64(slope)*float64(n)))
		}
	}
	buf, _, err := r.work(&section{words: appendFloats(nil, numbers)}, 0)
	return vkattn.Tensor{Type: vkattn.Float32, Shape: [4]int{1, heads, rows, k.to - k.from}, Stride: [4]int{heads * rows, rows, 1, 0},
		Mem: &memory{be: r.be, buf: buf, size: 4 * int64(len(numbers))}}, err
}

// note says what became of a cascade.
func (k *cascade) note(s *kvStep) string {
	return fmt.Sprintf("cascade: %d shared tokens are attended once for %d sequences", k.to-k.from, len(s.Parts))
}

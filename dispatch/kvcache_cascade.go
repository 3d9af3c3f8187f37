package dispatch

import (
	"context"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// cascade attends the pages that all sequences of a step share once, with the queries of all of them as the rows of one sequence, so that
// they are read once; then what follows, sequence by sequence; and merges the two.
type cascade struct {
	prefix, suffix         *choice
	prefixSeqs, suffixSeqs []vkattn.Sequence
	prefixAt, suffixAt     *cached
	merge                  *mergeChoice
}

// cascades reports whether there is something to gain, and whether the masks allow it: what goes by positions is off for rows of several
// sequences taken together.
func (s *kvStep) cascades() bool {
	op := &s.cache.spec.Op
	return len(s.Parts) > 1 && s.Common > 0 && op.TypeOut == vkattn.Float32 && !op.Window.Given() && op.Chunk == 0 && !op.With.Has(vkattn.WithALiBi)
}

func (s *kvStep) newCascade() (*cascade, error) {
	c := s.cache
	op := &c.spec.Op
	k := &cascade{prefixAt: c.newCached(), suffixAt: c.newCached()}
	var err error
	if k.prefix, err = c.planFor(s.Step.Tokens, false, prefixPart); err != nil {
		return nil, err
	}
	if k.suffix, err = c.planFor(s.Longest, s.Tree, suffixPart); err != nil {
		return nil, err
	}
	d, err := c.be.decide(context.Background(), vkattn.Merge{Batch: 1, Heads: op.HeadsQ, Seq: op.TotalQ, ValueDim: op.ValueDim, Parts: 2, LSE: op.With.Has(vkattn.WithLSE)})
	if err != nil {
		return nil, err
	}
	k.merge = d.(*mergeChoice)
	shared := s.Common / c.spec.PageTokens()
	table := s.Parts[0].Pages[:shared]
	all := c.sequence(0, 0, s.Step.Tokens, s.Common, table)
	all.Off, all.Rel = s.Common, s.Common // every row stands behind every key
	k.prefixSeqs = []vkattn.Sequence{all}
	k.prefixAt.add(table, nil)
	for i := range s.Parts {
		p := &s.Parts[i]
		k.suffixSeqs = append(k.suffixSeqs, c.sequence(i, p.First, p.N, p.Len-s.Common, p.Pages[shared:]))
		k.suffixAt.add(p.Pages[shared:], p.Parents)
	}
	return k, nil
}

// run attends both parts and merges them.
func (k *cascade) run(r *run, s *kvStep, layer int, q vkattn.Tensor, a *vkattn.Args) error {
	op := &s.cache.spec.Op
	scratch := func(last int) (vkattn.Tensor, error) {
		t := vkattn.BHSD(nil, 1, op.HeadsQ, s.Step.Tokens, last)
		buf, err := r.hold(max(16, 4*int64(t.Len())), vk.HeapDevice, "scratch")
		t.Mem = &memory{be: r.be, buf: buf, size: 4 * int64(t.Len())}
		return t, err
	}
	merged := vkattn.Args{Out: a.Out, LSE: a.LSE}
	for _, part := range []struct {
		ch   *choice
		seqs []vkattn.Sequence
		at   *cached
	}{{k.prefix, k.prefixSeqs, k.prefixAt}, {k.suffix, k.suffixSeqs, k.suffixAt}} {
		args := *a
		var err error
		if args.Out, err = scratch(op.ValueDim); err != nil {
			return err
		}
		if args.LSE, err = scratch(1); err != nil {
			return err
		}
		if part.ch == k.prefix {
			args.SinkLogits = vkattn.Tensor{}
		}
		if err := part.ch.run(r, s.attention(layer, q, &args, part.seqs, part.at)); err != nil {
			return err
		}
		merged.Parts = append(merged.Parts, vkattn.Partial{Out: args.Out, LSE: args.LSE})
	}
	return k.merge.run(r, &call{args: merged})
}

package pages

import (
	"fmt"
	"slices"

	"github.com/vkattn/vkattn"
)

// Step is a step that has found its room: what each of its sequences had before and has now.
type Step struct {
	Names    []vkattn.CacheSeq
	Parts    []Part
	Copies   []Copy // to be done before anything is written
	Tokens   int    // new ones, of all sequences
	Longest  int    // of a sequence
	Tree     bool   // a sequence has a tree
	Common   int    // tokens in pages that all sequences share, from the start; some may have been evicted by some
	versions []uint64
}

// Part is one sequence of a step.
type Part struct {
	First   int // of its new tokens among those of the step
	N       int
	Len     int // tokens, with the new ones
	Pages   []int32
	Parents []int32 // nil: the new tokens follow each other
}

// Step checks the tokens of a step, and makes room for them: if it cannot, nothing changes. spec is canonical.
func (b *Book) Step(spec *vkattn.CacheSpec, tokens []vkattn.CacheTokens) (*Step, error) {
	s := &Step{}
	var counts []int
	for i, t := range tokens {
		if t.N < 1 || t.N > spec.Op.SeqQ {
			return nil, &vkattn.ShapeError{Arg: "N", Axis: fmt.Sprintf("of sequence %d", t.Seq), Got: t.N, Want: fmt.Sprintf("1 to %d, SeqQ", spec.Op.SeqQ)}
		}
		if err := checkTree(spec, &tokens[i]); err != nil {
			return nil, err
		}
		q, err := b.Get(t.Seq)
		if err != nil {
			return nil, err
		}
		if err := b.holds(q, t.Seq, t.N); err != nil {
			return nil, err
		}
		if last := q.Len + deepest(&t); spec.Rope.Given() && last >= spec.Rope.Positions {
			return nil, &vkattn.ArgError{Arg: "N", Reason: fmt.Sprintf("takes sequence %d to position %d, the tables of its rotation have %d", t.Seq, last, spec.Rope.Positions)}
		}
		s.Names, counts = append(s.Names, t.Seq), append(counts, t.N)
		s.Tokens, s.Longest, s.Tree = s.Tokens+t.N, max(s.Longest, t.N), s.Tree || t.Parents != nil
	}
	if s.Tokens > spec.Op.TotalQ {
		return nil, &vkattn.ShapeError{Arg: "N", Axis: "of all sequences", Got: s.Tokens, Want: fmt.Sprintf("at most %d, TotalQ", spec.Op.TotalQ)}
	}
	var err error
	if s.Copies, err = b.Grow(s.Names, counts); err != nil {
		return nil, err
	}
	first := 0
	for _, t := range tokens {
		q := b.seqs[t.Seq]
		s.versions = append(s.versions, q.Version)
		s.Parts = append(s.Parts, Part{first, t.N, q.Len, slices.Clone(q.Pages), slices.Clone(t.Parents)})
		first += t.N
	}
	s.Common = b.common(s)
	return s, nil
}

// checkTree checks the parents of drafts.
func checkTree(spec *vkattn.CacheSpec, t *vkattn.CacheTokens) error {
	if t.Parents == nil {
		return nil
	}
	if spec.Op.Window.Given() || spec.Op.Chunk > 0 || spec.Op.With.Has(vkattn.WithALiBi) {
		return &vkattn.ArgError{Arg: "Parents", Reason: "the cache has a window, a chunk or slopes, which go by places in memory: siblings of a tree share a position"}
	}
	if len(t.Parents) != t.N {
		return &vkattn.ShapeError{Arg: "Parents", Axis: "length", Got: len(t.Parents), Want: fmt.Sprintf("%d, one for each new token", t.N)}
	}
	for i, p := range t.Parents {
		if p < -1 || int(p) >= i {
			return &vkattn.ArgError{Arg: "Parents", Reason: fmt.Sprintf("of token %d is %d, want -1 or a token before it", i, p)}
		}
	}
	return nil
}

// depths are the places of new tokens behind the last one that was there, from 0.
func depths(n int, parents []int32) []int32 {
	d := make([]int32, n)
	for i := range d {
		switch {
		case parents == nil:
			d[i] = int32(i)
		case parents[i] >= 0:
			d[i] = d[parents[i]] + 1
		}
	}
	return d
}

func deepest(t *vkattn.CacheTokens) int { return int(slices.Max(depths(t.N, t.Parents))) }

// Positions is the place of each new token in its sequence.
func (s *Step) Positions() []int32 {
	all := make([]int32, 0, s.Tokens)
	for i := range s.Parts {
		p := &s.Parts[i]
		for _, d := range depths(p.N, p.Parents) {
			all = append(all, int32(p.Len-p.N)+d)
		}
	}
	return all
}

// Rows is the row of the pool that each new token has.
func (s *Step) Rows(page int) []int32 {
	all := make([]int32, 0, s.Tokens)
	for i := range s.Parts {
		p := &s.Parts[i]
		for token := p.Len - p.N; token < p.Len; token++ {
			all = append(all, p.Pages[token/page]*int32(page)+int32(token%page))
		}
	}
	return all
}

// Current is an error if a sequence of the step has changed since.
func (b *Book) Current(s *Step) error {
	for i, name := range s.Names {
		q, err := b.Get(name)
		if err != nil {
			return err
		}
		if q.Version != s.versions[i] {
			return &vkattn.ArgError{Arg: "Step", Reason: fmt.Sprintf("sequence %d has changed since", name)}
		}
	}
	return nil
}

// common is how many tokens from the start lie in pages that all sequences of a step share: whole pages, and old tokens. What one of
// them has evicted none of its new tokens can see.
func (b *Book) common(s *Step) int {
	n := 0
	for i := range s.Parts {
		p := &s.Parts[i]
		old := (p.Len - p.N) / b.page
		if i == 0 {
			n = old
		}
		n = min(n, old)
		for k := range n {
			if a, b := p.Pages[k], s.Parts[0].Pages[k]; a != b && a != Hole && b != Hole {
				n = k
				break
			}
		}
	}
	return n * b.page
}

package vkattn

import (
	"context"
	"errors"
	"fmt"
)

// CacheSpec says what a key-value cache holds and what its steps compute. The zero values of Page, Pages, Rope and SplitKeys
// are the defaults.
type CacheSpec struct {
	// Op is what a step computes in every layer: heads, head sizes, types, scale, softcap, window, sink tokens and the
	// inputs per head of With (LSE, ALiBi, SinkLogits). It is causal, bottom-right and packed whether or not it says so.
	// Batch is the largest number of sequences, SeqQ of new tokens that a sequence has in a step, TotalQ of all new tokens of
	// a step (0: Batch*SeqQ), and SeqK of tokens of a sequence, old and new. TypeK and TypeV are the types that are kept.
	Op     Attention
	Layers int
	// Page is the number of tokens of a page, 1 to 256. 0: each sequence has SeqK tokens of memory that follow each other.
	Page int
	// Pages is how many there are, for all sequences together. 0: enough for Batch sequences of SeqK tokens. Without
	// Page it must be 0.
	Pages int
	Rope  CacheRope
	// SplitKeys is how many keys one part of a split has, rounded up to 32: then the bits of a sequence depend neither on the other
	// sequences of its step nor on how many there are. 0: the backend chooses what is fastest.
	SplitKeys int
}

// CacheRope is the rotary position embedding of a cache: queries and keys are rotated when they enter, by their place in the sequence.
// The zero value rotates nothing. RopeFrequencies makes InvFreq and Attention, scaled as models want it.
type CacheRope struct {
	InvFreq   []float64 // [R/2] radians for a position; the first R columns of a head are rotated
	Attention float64   // factor of cosine and sine; 0: 1
	Layout    RopeLayout
	// Positions is how many positions the tables have: a step beyond is an error. 0: SeqK.
	Positions int
}

// Given reports whether there is anything to rotate.
func (r CacheRope) Given() bool { return len(r.InvFreq) > 0 }

// CacheSeq names a sequence of a cache. Names are not used again while the cache lives.
type CacheSeq int64

// CacheTokens is the part of one sequence in a step.
type CacheTokens struct {
	Seq CacheSeq
	N   int // new tokens, 1 to SeqQ
	// Parents makes a tree of drafts of the new tokens: Parents[i] < i is the token before token i, -1 the last
	// one of the sequence. Token i sees what was there before and its ancestors, and stands behind its parent. nil: they
	// follow each other. Not with a window or a chunk.
	Parents []int32
}

// CacheArgs is the data of a step in one layer. Tensors are packed: [1, heads, tokens, last], tokens being those of all sequences of
// the step, one sequence behind the other.
type CacheArgs struct {
	Q          Tensor // [1, HeadsQ, tokens, HeadDim], before rotation; not given: nothing is attended
	K, V       Tensor // the new keys (before rotation) and values of the tokens, of TypeQ; not given: they are there already
	Out        Tensor // [1, HeadsQ, tokens, ValueDim]
	LSE        Tensor // [1, HeadsQ, tokens, 1], if With names it
	Slopes     Tensor // [1, HeadsQ, 1, 1], if With names it
	SinkLogits Tensor // [1, HeadsQ, 1, 1], if With names it
	// Cascade attends the pages that all sequences of the step share and all of its rows see once, for all of them together, and merges
	// the result with that of the rest. It changes the rounding. Report.Notes says how many tokens that were, or why it was not taken.
	Cascade bool
}

// Cache keeps the keys and values of sequences, layer by layer, in a backend's memory. The host's copy of lengths and page tables is
// the one that counts.
//
// A token enters in two movements: Step says which sequences grow by how many tokens, finds room, and moves their lengths on at once;
// then each layer runs the step with its keys, values and queries. What has not been run in a layer is undefined there.
//
// It is safe for concurrent use. Errors of a call come before any work and leave the cache as it was: *CacheFullError, *ArgError,
// *ShapeError, or those of the backend. A device that fails in the middle of a copy leaves the cache broken, and all
// further calls say so.
type Cache interface {
	// Spec is the cache's, in canonical form.
	Spec() CacheSpec
	// Add starts an empty sequence.
	Add() (CacheSeq, error)
	// Fork is another sequence with the same tokens. They share pages until one of them writes to a page.
	Fork(s CacheSeq) (CacheSeq, error)
	// Adopt is a new sequence of n tokens in pages that others hold, in this order: a prefix found in a table of prefixes,
	// say. A page out of range or that nobody holds is an error.
	Adopt(pages []int32, n int) (CacheSeq, error)
	// Truncate forgets all tokens from n on.
	Truncate(s CacheSeq, n int) error
	// Keep forgets all tokens from from on but those at from+path[0], from+path[1], ... (ascending): the accepted
	// path of a tree of drafts, which then follows the sequence as if it had been appended alone.
	Keep(ctx context.Context, s CacheSeq, from int, path []int) error
	// Evict gives back the pages of a sequence that no later token can see through the window, and returns how many. Lengths and
	// positions stay. Without a window it gives back nothing.
	Evict(s CacheSeq) (pages int, err error)
	// Remove ends a sequence.
	Remove(s CacheSeq) error
	// Len is the number of tokens of a sequence, evicted ones included, or -1 if there is no such sequence.
	Len(s CacheSeq) int
	// Table is the pages of a sequence in the order of its tokens, -1 for those evicted: a copy.
	Table(s CacheSeq) []int32
	Stats() CacheStats
	// Step makes room for new tokens. The same sequence may not be in it twice.
	Step(ctx context.Context, tokens []CacheTokens) (CacheStep, error)
	// Close gives the memory back. It is idempotent.
	Close() error
}

// CacheStep is a step on its way through the layers. It is of use until one of its sequences changes by another call; then Record and
// Run return an *ArgError.
type CacheStep interface {
	// Tokens is the number of new tokens of all sequences.
	Tokens() int
	// Positions is the place of each token in its sequence, as its rotation has it.
	Positions() []int32
	// Record checks args and adds the layer to a batch of the cache's backend: append, then attend. Many layers may go into a batch.
	Record(b Batch, layer int, args CacheArgs) error
	// Run is Record into a fresh batch, Submit and Wait.
	Run(ctx context.Context, layer int, args CacheArgs) (Report, error)
}

// CacheBackend is a Backend that keeps caches.
type CacheBackend interface {
	Backend
	// NewCache allocates a cache. Its memory is that of all pages and layers, taken at once.
	NewCache(ctx context.Context, spec CacheSpec) (Cache, error)
}

// CacheStats is how full a cache is.
type CacheStats struct {
	Sequences int   `json:"sequences"`
	Tokens    int64 `json:"tokens"` // of all sequences, those evicted not counted, shared ones counted in each
	Pages     int   `json:"pages"`  // there are
	Used      int   `json:"used"`   // pages in use
	Shared    int   `json:"shared"` // of them, held by more than one sequence
	Slack     int64 `json:"slack"`  // tokens that have room in used pages
	Copied    int64 `json:"copied"` // pages copied because a sequence wrote to a shared one
	Evicted   int64 `json:"evicted"`
	Bytes     int64 `json:"bytes"` // of memory, whether or not it is in use
}

// ErrCacheFull: there is no room for the tokens of a step. *CacheFullError says how much is missing.
var ErrCacheFull = errors.New("vkattn: cache full")

// CacheFullError says what a cache lacks.
type CacheFullError struct {
	What       string // "pages", "sequences", or "tokens of sequence 7"
	Need, Have int
}

func (e *CacheFullError) Error() string {
	return fmt.Sprintf("vkattn: cache full: needs %d %s, has %d", e.Need, e.What, e.Have)
}

// Is makes errors.Is(err, ErrCacheFull) true.
func (e *CacheFullError) Is(target error) bool { return target == ErrCacheFull }

// Canonical is the spec with its defaults written out.
func (c CacheSpec) Canonical() CacheSpec {
	op := c.Op
	op.Causal, op.Align, op.Packed = true, AlignBottomRight, true
	if op.TotalQ == 0 {
		op.TotalQ = min(op.Batch*op.SeqQ, MaxSequence)
	}
	if c.Page == 0 {
		c.Pages = op.Batch
	} else if c.Pages == 0 {
		c.Pages = op.Batch * ceilDiv(op.SeqK, c.Page)
	}
	op.TotalK = min(c.Rows(), MaxSequence)
	c.Op = op.Canonical()
	if c.Rope.Given() {
		if c.Rope.Attention == 0 {
			c.Rope.Attention = 1
		}
		if c.Rope.Positions == 0 {
			c.Rope.Positions = op.SeqK
		}
	}
	return c
}

// PageTokens is the number of tokens of a page: without pages, those of a sequence.
func (c CacheSpec) PageTokens() int {
	if c.Page == 0 {
		return c.Op.SeqK
	}
	return c.Page
}

// Rows is the number of tokens that the pages of a canonical spec hold.
func (c CacheSpec) Rows() int { return c.Pages * c.PageTokens() }

// maxPage is the most tokens of a page.
const maxPage = 256

// Validate finds what is wrong with a spec whatever the backend: *ShapeError or *ArgError.
func (c CacheSpec) Validate() error {
	for _, f := range []struct {
		name      string
		n, lo, hi int
	}{{"Layers", c.Layers, 1, 1 << 16}, {"Page", c.Page, 0, maxPage}, {"Pages", c.Pages, 0, MaxSequence}, {"SplitKeys", c.SplitKeys, 0, MaxSequence},
		{"Batch", c.Op.Batch, 1, maxBatch}, {"SeqQ", c.Op.SeqQ, 1, MaxSequence}, {"SeqK", c.Op.SeqK, 1, MaxSequence},
		{"Rope.Positions", c.Rope.Positions, 0, MaxSequence}} {
		if err := inRange(f.name, f.n, f.lo, f.hi); err != nil {
			return err
		}
	}
	if c.Page == 0 && c.Pages != 0 {
		return &ArgError{"Pages", "given without Page"}
	}
	if c.Op.Align != AlignBottomRight {
		return &ArgError{"Align", "is not AlignBottomRight: the last new token sees the last key"}
	}
	const taken = WithLSE | WithALiBi | WithSinkLogits
	if x := c.Op.With &^ taken; x != 0 {
		return &ArgError{"With", fmt.Sprintf("names %s, a cache takes %s", x, With(taken))}
	}
	if c.Op.SeqQ > c.Op.SeqK {
		return &ShapeError{"SeqQ", "", c.Op.SeqQ, fmt.Sprintf("at most SeqK %d", c.Op.SeqK)}
	}
	n := c.Canonical()
	if n.Pages > MaxSequence/n.PageTokens() {
		return &ShapeError{"Pages", "", n.Pages, fmt.Sprintf("at most %d pages of %d tokens", MaxSequence/n.PageTokens(), n.PageTokens())}
	}
	if err := n.Op.Validate(); err != nil {
		return err
	}
	return c.Rope.validate(n.Op.HeadDim)
}

func (r CacheRope) validate(headDim int) error {
	if !r.Given() {
		return nil
	}
	if n := 2 * len(r.InvFreq); n > headDim {
		return &ShapeError{"Rope.InvFreq", "length", len(r.InvFreq), fmt.Sprintf("at most half of HeadDim %d", headDim)}
	}
	if r.Layout > RopeInterleaved {
		return &ShapeError{"Rope.Layout", "", uint8(r.Layout), "RopeHalf or RopeInterleaved"}
	}
	if r.Attention != 0 {
		if err := checkPositive("Rope.Attention", r.Attention); err != nil {
			return err
		}
	}
	return nil
}

// Tables are those of a canonical spec's rotation, for all of its positions: see RopeTable.
func (r CacheRope) Tables() (cos, sin Tensor, err error) {
	return RopeTable(r.InvFreq, r.Attention, 0, r.Positions)
}

// CheckStep finds what is wrong with the data of a step of so many tokens in a layer. The spec is canonical. Backends call it.
func (c CacheSpec) CheckStep(layer, tokens int, a *CacheArgs) error {
	if layer < 0 || layer >= c.Layers {
		return &ShapeError{"Layer", "", layer, fmt.Sprintf("0 to %d", c.Layers-1)}
	}
	op := &c.Op
	attends, appends := a.Q.Given(), a.K.Given() || a.V.Given()
	row, head := [4]int{1, op.HeadsQ, tokens, 1}, [4]int{1, op.HeadsQ, 1, 1}
	with := func(h, last int) [4]int { return [4]int{1, h, tokens, last} }
	for _, t := range []struct {
		name  string
		t     Tensor
		typ   Type
		shape [4]int
		write bool
		need  bool
	}{
		{"Q", a.Q, op.TypeQ, with(op.HeadsQ, op.HeadDim), false, attends},
		{"K", a.K, op.TypeQ, with(op.HeadsK, op.HeadDim), false, appends},
		{"V", a.V, op.TypeQ, with(op.HeadsV, op.ValueDim), false, appends},
		{"Out", a.Out, op.TypeOut, with(op.HeadsQ, op.ValueDim), true, attends},
		{"LSE", a.LSE, Float32, row, true, attends && op.With.Has(WithLSE)},
		{"Slopes", a.Slopes, Float32, head, false, attends && op.With.Has(WithALiBi)},
		{"SinkLogits", a.SinkLogits, Float32, head, false, attends && op.With.Has(WithSinkLogits)},
	} {
		if !t.need {
			if t.t.Given() {
				return &ArgError{t.name, "given, but the step does not read or write it"}
			}
			continue
		}
		if err := t.t.check(t.name, t.typ, t.shape, t.write); err != nil {
			return err
		}
	}
	return checkOverlap(&Args{Q: a.Q, K: a.K, V: a.V, Out: a.Out, LSE: a.LSE, Slopes: a.Slopes, SinkLogits: a.SinkLogits})
}

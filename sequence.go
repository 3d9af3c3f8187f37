package vkattn

import (
	"cmp"
	"slices"
	"sort"
)

// Sequence is one sequence of a checked call, with its place in the tensors and every closed-form mask
// resolved. Row i stands at key position i+Rel, counted like the keys j of this call: Rel = QBase + off - KBase.
//
// The closed-form masks are length, causal with its prefix, window with its sink and global tokens, and
// chunk. Boolean, tree, bias and block masks are data, and apply on top.
type Sequence struct {
	Index  int // place in the batch: indexes score-shaped and per-sequence arguments
	Batch  int // batch index into Q, K, V, Out; 0 when packed
	Q0, K0 int // first token on the sequence axis; 0 unless packed
	Sq, Sk int // actual lengths

	Off        int // the diagonal: row i sees keys up to i+Off when causal
	KBase      int // absolute position of key 0
	Rel        int
	Causal     bool
	Prefix     int // absolute: causal never hides keys before it; -1<<62 when there is none
	Window     Window
	SinkTokens int     // absolute: the window never hides keys before it; -1<<62 when there are none
	Global     []int32 // absolute: the window never hides these tokens, as keys or as rows
	Chunk      int
}

// Visible reports whether the closed-form masks let row i see key j.
func (s *Sequence) Visible(i, j int) bool {
	if j < 0 || j >= s.Sk || i < 0 || i >= s.Sq {
		return false
	}
	p := i + s.Rel
	if s.Chunk > 0 && floorDiv(p+s.KBase, s.Chunk) != floorDiv(j+s.KBase, s.Chunk) {
		return false
	}
	if s.Causal && j > p && j+s.KBase >= s.Prefix {
		return false
	}
	w := s.Window
	if !w.Given() || (!w.Left.Set || j >= p-w.Left.N) && (!w.Right.Set || j <= p+w.Right.N) {
		return true
	}
	return j+s.KBase < s.SinkTokens || s.global(p) || s.global(j)
}

// global reports whether the token at local position p is in the list.
func (s *Sequence) global(p int) bool {
	n := s.firstGlobal(p)
	return n < len(s.Global) && int(s.Global[n]) == p+s.KBase
}

// firstGlobal is the index of the first global token at local position p or later.
func (s *Sequence) firstGlobal(p int) int {
	return sort.Search(len(s.Global), func(n int) bool { return int(s.Global[n]) >= p+s.KBase })
}

// Span is a range of keys [Lo, Hi).
type Span struct{ Lo, Hi int }

// Spans appends to dst the ranges of keys that rows [i0, i1) may see, ascending and apart from each
// other. No visible key lies outside of them; ranges of several rows may hold keys that some rows do not see.
func (s *Sequence) Spans(dst []Span, i0, i1 int) []Span {
	i0, i1 = max(i0, 0), min(i1, s.Sq)
	if i0 >= i1 {
		return dst
	}
	p0, p1 := i0+s.Rel, i1-1+s.Rel // first and last position
	lo, hi := 0, s.Sk
	if s.Chunk > 0 {
		lo = max(lo, floorDiv(p0+s.KBase, s.Chunk)*s.Chunk-s.KBase)
		hi = min(hi, (floorDiv(p1+s.KBase, s.Chunk)+1)*s.Chunk-s.KBase)
	}
	if s.Causal {
		hi = min(hi, max(p1+1, s.Prefix-s.KBase))
	}
	if lo >= hi {
		return dst
	}
	w := s.Window
	rowGlobal := false
	if n := s.firstGlobal(p0); n < len(s.Global) && int(s.Global[n])-s.KBase <= p1 {
		rowGlobal = true
	}
	if !w.Given() || rowGlobal {
		return append(dst, Span{lo, hi})
	}
	base := len(dst)
	add := func(a, b int) {
		a, b = max(a, lo), min(b, hi)
		if a >= b {
			return
		}
		dst = append(dst, Span{a, b})
	}
	add(0, s.SinkTokens-s.KBase)
	wlo, whi := lo, hi
	if w.Left.Set && w.Right.Set && w.Left.N+w.Right.N < 0 {
		whi = wlo // an empty window, whatever the rows
	}
	if w.Left.Set {
		wlo = p0 - w.Left.N
	}
	if w.Right.Set {
		whi = min(whi, p1+w.Right.N+1)
	}
	add(wlo, whi)
	for n := s.firstGlobal(lo); n < len(s.Global); n++ {
		g := int(s.Global[n]) - s.KBase
		if g >= hi {
			break
		}
		add(g, g+1)
	}
	return mergeSpans(dst, base)
}

// mergeSpans sorts dst[base:] and joins ranges that touch.
func mergeSpans(dst []Span, base int) []Span {
	part := dst[base:]
	slices.SortFunc(part, func(a, b Span) int { return cmp.Compare(a.Lo, b.Lo) })
	n := 0
	for _, s := range part {
		if n > 0 && s.Lo <= part[n-1].Hi {
			part[n-1].Hi = max(part[n-1].Hi, s.Hi)
		} else {
			part[n] = s
			n++
		}
	}
	return dst[:base+n]
}

// FullyVisible reports whether every row of [i0, i1) sees every key of [j0, j1), as far as cheap
// arithmetic can tell: true is certain, false may be too careful.
func (s *Sequence) FullyVisible(i0, i1, j0, j1 int) bool {
	if i0 < 0 || i1 > s.Sq || j0 < 0 || j1 > s.Sk {
		return false
	}
	p0, p1 := i0+s.Rel, i1-1+s.Rel
	if s.Chunk > 0 {
		c := floorDiv(p0+s.KBase, s.Chunk)
		if floorDiv(p1+s.KBase, s.Chunk) != c || floorDiv(j0+s.KBase, s.Chunk) != c || floorDiv(j1-1+s.KBase, s.Chunk) != c {
			return false
		}
	}
	if s.Causal && j1-1 > p0 && j1+s.KBase > s.Prefix {
		return false
	}
	w := s.Window
	return (!w.Left.Set || j0 >= p1-w.Left.N) && (!w.Right.Set || j1-1 <= p0+w.Right.N) || w.Given() && j1+s.KBase <= s.SinkTokens
}

// Pairs is the exact number of (i, j) that the closed-form masks keep.
func (s *Sequence) Pairs() int64 {
	if !s.Causal && !s.Window.Given() && s.Chunk == 0 {
		return int64(s.Sq) * int64(s.Sk)
	}
	var n int64
	var spans []Span
	for i := range s.Sq {
		// The spans of a single row are exact: causal with its prefix is an interval from key 0, and
		// window, sink tokens and global tokens are a union of intervals.
		spans = s.Spans(spans[:0], i, i+1)
		for _, sp := range spans {
			n += int64(sp.Hi - sp.Lo)
		}
	}
	return n
}

func floorDiv(a, b int) int {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

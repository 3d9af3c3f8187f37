// Package pages keeps the books of a key-value cache: which pages a sequence has, who shares them, and what has to be copied
// before a shared page is written to. It moves no data; every backend's cache does what it says.
//
// A cache without pages is one whose pages hold a whole sequence each.
package pages

import (
	"fmt"
	"slices"

	"github.com/vkattn/vkattn"
)

// Hole stands in a table for a page that was evicted.
const Hole = -1

// Book is not safe for concurrent use.
type Book struct {
	page      int // tokens of one
	bank      int // pages of a bank
	sequences int // at most
	longest   int // tokens of a sequence, at most
	window    int // how far back a token sees, -1: everything
	sinks     int // first tokens that every token sees

	free [][]int32 // by bank; last in, first out
	left int       // of all banks
	refs []int32   // by page
	seqs map[vkattn.CacheSeq]*Sequence
	next vkattn.CacheSeq

	copied, evicted int64
}

// Sequence is one entry. Others read it and leave it alone.
type Sequence struct {
	Len     int
	Pages   []int32
	Version uint64 // changes with every change
	evicted int    // tokens before it may be gone, but for sinks
}

// Copy is the first Rows tokens of a page, to be copied to another in every layer.
type Copy struct {
	From, To int32
	Rows     int
}

// New makes the books of a valid spec, whose pages lie in banks of so many, 0: all in one. The pages of a sequence come from few banks.
func New(spec vkattn.CacheSpec, bank int) *Book {
	spec = spec.Canonical()
	if bank == 0 {
		bank = max(1, spec.Pages)
	}
	b := &Book{page: spec.PageTokens(), bank: bank, sequences: spec.Op.Batch, longest: spec.Op.SeqK, window: -1,
		free: make([][]int32, max(1, ceilDiv(spec.Pages, bank))), left: spec.Pages, refs: make([]int32, spec.Pages), seqs: map[vkattn.CacheSeq]*Sequence{}}
	if w := spec.Op.Window.Left; w.Set {
		b.window, b.sinks = max(w.N, 0), spec.Op.SinkTokens
	}
	for p := spec.Pages - 1; p >= 0; p-- {
		b.free[p/bank] = append(b.free[p/bank], int32(p))
	}
	return b
}

// Get is a sequence, or an error that names it.
func (b *Book) Get(s vkattn.CacheSeq) (*Sequence, error) {
	if q := b.seqs[s]; q != nil {
		return q, nil
	}
	return nil, &vkattn.ArgError{Arg: "Seq", Reason: fmt.Sprintf("there is no sequence %d", s)}
}

func (b *Book) add(q *Sequence) (vkattn.CacheSeq, error) {
	if len(b.seqs) >= b.sequences {
		return 0, &vkattn.CacheFullError{What: "sequences", Need: len(b.seqs) + 1, Have: b.sequences}
	}
	for _, p := range q.Pages {
		b.hold(p)
	}
	b.next++
	b.seqs[b.next] = q
	return b.next, nil
}

func (b *Book) hold(p int32) {
	if p != Hole {
		b.refs[p]++
	}
}

func (b *Book) drop(p int32) {
	if p == Hole {
		return
	}
	if b.refs[p]--; b.refs[p] == 0 {
		b.free[int(p)/b.bank] = append(b.free[int(p)/b.bank], p)
		b.left++
	}
}

// take is a free page: of the bank of another one, if that has any, else of the bank that has most.
func (b *Book) take(near int32) int32 {
	at := 0
	if near != Hole {
		at = int(near) / b.bank
	}
	if near == Hole || len(b.free[at]) == 0 {
		for i := range b.free {
			if len(b.free[i]) > len(b.free[at]) {
				at = i
			}
		}
	}
	n := len(b.free[at]) - 1
	p := b.free[at][n]
	b.free[at] = b.free[at][:n]
	b.left--
	b.refs[p]++
	return p
}

// end is the last page of a sequence, or Hole.
func (q *Sequence) end() int32 {
	if len(q.Pages) == 0 {
		return Hole
	}
	return q.Pages[len(q.Pages)-1]
}

// Add starts an empty sequence.
func (b *Book) Add() (vkattn.CacheSeq, error) { return b.add(&Sequence{}) }

// Fork is another sequence with the same pages.
func (b *Book) Fork(s vkattn.CacheSeq) (vkattn.CacheSeq, error) {
	q, err := b.Get(s)
	if err != nil {
		return 0, err
	}
	return b.add(&Sequence{Len: q.Len, Pages: slices.Clone(q.Pages), evicted: q.evicted})
}

// Adopt is a new sequence of n tokens in pages that others hold.
func (b *Book) Adopt(pages []int32, n int) (vkattn.CacheSeq, error) {
	if n < 0 || n > b.longest {
		return 0, &vkattn.ShapeError{Arg: "n", Got: n, Want: fmt.Sprintf("0 to %d tokens", b.longest)}
	}
	if want := ceilDiv(n, b.page); len(pages) != want {
		return 0, &vkattn.ShapeError{Arg: "Pages", Axis: "length", Got: len(pages), Want: fmt.Sprintf("%d for %d tokens", want, n)}
	}
	for i, p := range pages {
		if p < 0 || int(p) >= len(b.refs) {
			return 0, &vkattn.ArgError{Arg: "Pages", Reason: fmt.Sprintf("entry %d is %d, the cache has %d pages", i, p, len(b.refs))}
		}
		if b.refs[p] == 0 {
			return 0, &vkattn.ArgError{Arg: "Pages", Reason: fmt.Sprintf("entry %d is page %d, which nobody holds", i, p)}
		}
		if slices.Contains(pages[:i], p) {
			return 0, &vkattn.ArgError{Arg: "Pages", Reason: fmt.Sprintf("page %d is in it twice", p)}
		}
	}
	return b.add(&Sequence{Len: n, Pages: slices.Clone(pages)})
}

// Truncate forgets all tokens from n on.
func (b *Book) Truncate(s vkattn.CacheSeq, n int) error {
	q, err := b.Get(s)
	if err != nil {
		return err
	}
	if n < 0 || n > q.Len {
		return &vkattn.ShapeError{Arg: "n", Got: n, Want: fmt.Sprintf("0 to %d, the tokens of sequence %d", q.Len, s)}
	}
	if err := b.mayEndAt(q, s, n); err != nil {
		return err
	}
	b.cut(q, n)
	return nil
}

// mayEndAt refuses to bring back what was evicted: a token behind n would see it.
func (b *Book) mayEndAt(q *Sequence, s vkattn.CacheSeq, n int) error {
	if n < q.Len && q.evicted > 0 && n-b.window < q.evicted {
		return &vkattn.ArgError{Arg: "n", Reason: fmt.Sprintf("is %d, but tokens before %d of sequence %d were evicted, and the next token would see %d of them", n, q.evicted, s, q.evicted-max(n-b.window, 0))}
	}
	return nil
}

func (b *Book) cut(q *Sequence, n int) {
	keep := ceilDiv(n, b.page)
	for _, p := range q.Pages[keep:] {
		b.drop(p)
	}
	q.Pages = slices.Clip(q.Pages[:keep])
	q.Len = n
	q.Version++
}

// Move is one token's row that goes to an earlier place of its sequence.
type Move struct{ From, To int32 }

// Keep forgets all tokens from from on but those of path. It returns what has to be copied first, and then moved, rows of the pool
// both; call it once the copies have room.
func (b *Book) Keep(s vkattn.CacheSeq, from int, path []int) (copies []Copy, moves []Move, err error) {
	q, err := b.Get(s)
	if err != nil {
		return nil, nil, err
	}
	if from < 0 || from > q.Len {
		return nil, nil, &vkattn.ShapeError{Arg: "from", Got: from, Want: fmt.Sprintf("0 to %d, the tokens of sequence %d", q.Len, s)}
	}
	for i, p := range path {
		if p < 0 || from+p >= q.Len || i > 0 && p <= path[i-1] {
			return nil, nil, &vkattn.ArgError{Arg: "path", Reason: fmt.Sprintf("entry %d is %d, want ascending numbers from 0 to %d", i, p, q.Len-from-1)}
		}
	}
	if err := b.mayEndAt(q, s, from+len(path)); err != nil {
		return nil, nil, err
	}
	first := 0 // of path that moves
	for first < len(path) && path[first] == first {
		first++
	}
	if first < len(path) {
		lo, hi := (from+first)/b.page, ceilDiv(from+len(path), b.page)
		if n := b.shared(q, lo, hi, nil); n > b.left {
			return nil, nil, &vkattn.CacheFullError{What: "pages", Need: n, Have: b.left}
		}
		source := make([]int32, len(path)) // before shared pages are left behind: those still hold the tokens
		for i := first; i < len(path); i++ {
			source[i] = b.row(q, from+path[i])
		}
		copies = b.own(q, lo, hi, from+len(path))
		for i := first; i < len(path); i++ {
			moves = append(moves, Move{source[i], b.row(q, from+i)})
		}
	}
	b.cut(q, from+len(path))
	return copies, moves, nil
}

// row is the place of a token in the pool.
func (b *Book) row(q *Sequence, token int) int32 {
	return q.Pages[token/b.page]*int32(b.page) + int32(token%b.page)
}

// shared counts the pages [lo, hi) of a table that would have to be copied before they are written to, after those
// that left counts have been left by others.
func (b *Book) shared(q *Sequence, lo, hi int, left map[int32]int32) int {
	n := 0
	for _, p := range q.Pages[lo:min(hi, len(q.Pages))] {
		if p != Hole && b.refs[p]-left[p] > 1 {
			n++
			if left != nil {
				left[p]++
			}
		}
	}
	return n
}

// own gives a sequence pages of its own for [lo, hi) of its table, of which tokens before end count.
func (b *Book) own(q *Sequence, lo, hi, end int) (copies []Copy) {
	for i := lo; i < min(hi, len(q.Pages)); i++ {
		p := q.Pages[i]
		if p == Hole || b.refs[p] == 1 {
			continue
		}
		to := b.take(p)
		b.drop(p)
		q.Pages[i] = to
		if rows := min(b.page, end-i*b.page); rows > 0 {
			copies = append(copies, Copy{p, to, rows})
		}
		b.copied++
	}
	return copies
}

// Evict gives back what no later token can see, and returns how many pages that is.
func (b *Book) Evict(s vkattn.CacheSeq) (int, error) {
	q, err := b.Get(s)
	if err != nil || b.window < 0 {
		return 0, err
	}
	n := 0
	for i := ceilDiv(b.sinks, b.page); (i+1)*b.page <= q.Len-b.window; i++ {
		if q.Pages[i] != Hole {
			b.drop(q.Pages[i])
			q.Pages[i] = Hole
			q.evicted = (i + 1) * b.page
			n++
		}
	}
	if n > 0 {
		q.Version++
		b.evicted += int64(n)
	}
	return n, nil
}

// Remove ends a sequence.
func (b *Book) Remove(s vkattn.CacheSeq) error {
	q, err := b.Get(s)
	if err != nil {
		return err
	}
	b.cut(q, 0)
	delete(b.seqs, s)
	return nil
}

// Grow makes room for n[i] more tokens of sequence s[i] and moves its length on. It returns what has to be copied before
// anything is written, or, if there is no room for all of them, an error and changes nothing.
func (b *Book) Grow(s []vkattn.CacheSeq, n []int) ([]Copy, error) {
	need, left := 0, map[int32]int32{}
	for i, name := range s {
		q, err := b.Get(name)
		if err != nil {
			return nil, err
		}
		if slices.Contains(s[:i], name) {
			return nil, &vkattn.ArgError{Arg: "Seq", Reason: fmt.Sprintf("sequence %d is in the step twice", name)}
		}
		if err := b.holds(q, name, n[i]); err != nil {
			return nil, err
		}
		need += ceilDiv(q.Len+n[i], b.page) - len(q.Pages) + b.shared(q, q.Len/b.page, len(q.Pages), left)
	}
	if need > b.left {
		return nil, &vkattn.CacheFullError{What: "pages", Need: need, Have: b.left}
	}
	var copies []Copy
	for i, name := range s {
		q := b.seqs[name]
		copies = append(copies, b.own(q, q.Len/b.page, len(q.Pages), q.Len)...)
		q.Len += n[i]
		for len(q.Pages) < ceilDiv(q.Len, b.page) {
			q.Pages = append(q.Pages, b.take(q.end()))
		}
		q.Version++
	}
	return copies, nil
}

// holds refuses more tokens than a sequence may have.
func (b *Book) holds(q *Sequence, s vkattn.CacheSeq, n int) error {
	if n > b.longest-q.Len {
		return &vkattn.CacheFullError{What: fmt.Sprintf("tokens of sequence %d", s), Need: q.Len + n, Have: b.longest}
	}
	return nil
}

// Stats is how full the pages are; Bytes is the backend's to fill in.
func (b *Book) Stats() vkattn.CacheStats {
	st := vkattn.CacheStats{Sequences: len(b.seqs), Pages: len(b.refs), Used: len(b.refs) - b.left, Copied: b.copied, Evicted: b.evicted}
	room := make([]int, len(b.refs)) // tokens in a page, of whoever has most there
	for _, q := range b.seqs {
		for i, p := range q.Pages {
			if p == Hole {
				continue
			}
			n := min(b.page, q.Len-i*b.page)
			st.Tokens += int64(n)
			room[p] = max(room[p], n)
		}
	}
	for p, n := range b.refs {
		if n > 0 {
			st.Slack += int64(b.page - room[p])
		}
		if n > 1 {
			st.Shared++
		}
	}
	return st
}

func ceilDiv(a, b int) int { return (a + b - 1) / b }

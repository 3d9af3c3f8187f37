package vkattn

import "math"

// pattern is a mask of one sequence and head that knows without looking at every pair where its keys lie.
type pattern interface {
	// Spans appends the ranges of keys that rows [i0, i1) may see, ascending, apart from each other and inside of
	// the grid. Those of a single row are exact; those of several may hold keys that some of the rows do not see.
	Spans(dst []Span, i0, i1 int) []Span
	// FullyVisible reports whether every row of [i0, i1) sees every key of [j0, j1): true is certain.
	FullyVisible(i0, i1, j0, j1 int) bool
	// repeats says which blocks of rows x keys have equal pairs: those inside of the grid with equal keys. ok is
	// false for a block that must be looked at.
	repeats(i0, j0, rows, keys int) (key blockKey, ok bool)
}

// blockKey is whatever the pairs of a block depend on, as a comparable value.
type blockKey any

// unlike is for patterns whose blocks are not known to repeat.
type unlike struct{}

func (unlike) repeats(_, _, _, _ int) (key blockKey, ok bool) { return nil, false }

// far stands in a key for a block whose pairs no longer depend on its distance from the diagonal.
const far = math.MinInt

// addPattern appends all lists of one pattern.
func (a *blockAssembler) addPattern(p pattern) error {
	words, err := a.newTile()
	if err != nil {
		return err
	}
	f := patternFiller{a: a, p: p, words: words, known: map[blockKey]blockPairs{}}
	for r := range a.m.RowBlocks {
		f.row(r)
		if err := a.endRow(); err != nil {
			return err
		}
	}
	return nil
}

// patternFiller turns a pattern into lists, one row block after the other.
type patternFiller struct {
	a     *blockAssembler
	p     pattern
	words []uint32
	known map[blockKey]blockPairs // blocks that were looked at

	spans  []Span
	fresh  bool     // rows are those of another row block
	rows   [][]Span // what each row sees
	cursor []int    // by row: the first span that does not end before the block
}

// row lists row block r.
func (f *patternFiller) row(r int) {
	m := f.a.m
	i0, i1 := r*m.BlockQ, min((r+1)*m.BlockQ, f.a.sq)
	f.spans = f.p.Spans(f.spans[:0], i0, i1)
	f.fresh = true
	next := 0
	for _, s := range f.spans {
		for c := max(next, s.Lo/m.BlockK); c*m.BlockK < s.Hi; c++ {
			f.a.add(r, c, f.pairs(r, c, i0, i1))
			next = c + 1
		}
	}
}

// pairs is what block (r, c) keeps.
func (f *patternFiller) pairs(r, c, i0, i1 int) blockPairs {
	m := f.a.m
	j0, j1 := c*m.BlockK, min((c+1)*m.BlockK, f.a.sk)
	if f.p.FullyVisible(i0, i1, j0, j1) {
		return keepsAll
	}
	inside := i1-i0 == m.BlockQ && j1-j0 == m.BlockK
	if !inside {
		return f.look(r, c, i0, i1, j0, j1)
	}
	key, ok := f.p.repeats(i0, j0, m.BlockQ, m.BlockK)
	if !ok {
		return f.look(r, c, i0, i1, j0, j1)
	}
	pairs, known := f.known[key]
	if !known {
		pairs = f.look(r, c, i0, i1, j0, j1)
		f.known[key] = pairs
	}
	return pairs
}

// look asks for the keys of every row of a block. Blocks of a row block come in ascending order.
func (f *patternFiller) look(r, c, i0, i1, j0, j1 int) blockPairs {
	if f.fresh {
		f.fresh = false
		f.rows = growTo(f.rows, i1-i0)
		f.cursor = growTo(f.cursor, i1-i0)
		for i := range f.rows {
			f.rows[i] = f.p.Spans(f.rows[i][:0], i0+i, i0+i+1)
		}
		clear(f.cursor)
	}
	clear(f.words)
	words := f.a.m.RowWords()
	for i, spans := range f.rows {
		at := f.cursor[i]
		for at < len(spans) && spans[at].Hi <= j0 {
			at++
		}
		f.cursor[i] = at
		row := f.words[i*words : (i+1)*words]
		for ; at < len(spans) && spans[at].Lo < j1; at++ {
			setBits(row, max(spans[at].Lo, j0)-j0, min(spans[at].Hi, j1)-j0)
		}
	}
	return f.a.pairs(r, c, f.words)
}

// growTo is s with n elements. Elements that are there keep their memory.
func growTo[T any](s []T, n int) []T {
	for cap(s) < n {
		s = append(s[:cap(s)], *new(T))
	}
	return s[:n]
}

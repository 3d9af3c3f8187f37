package vkattn

// either is the union of two patterns.
type either struct{ a, b pattern }

func (e either) Spans(dst []Span, i0, i1 int) []Span {
	base := len(dst)
	return mergeSpans(e.b.Spans(e.a.Spans(dst, i0, i1), i0, i1), base)
}

func (e either) FullyVisible(i0, i1, j0, j1 int) bool {
	return e.a.FullyVisible(i0, i1, j0, j1) || e.b.FullyVisible(i0, i1, j0, j1)
}

func (e either) repeats(i0, j0, rows, keys int) (key blockKey, ok bool) {
	a, okA := e.a.repeats(i0, j0, rows, keys)
	b, okB := e.b.repeats(i0, j0, rows, keys)
	return [2]blockKey{a, b}, okA && okB
}

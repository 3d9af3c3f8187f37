package vkattn

import "fmt"

// Documents keeps the keys of the row's own document, and with causal those up to the diagonal:
//
//	docQ[b][i] == docK[b][j]  and  (not causal or j <= i+off)
//
// docQ and docK have one list for each sequence of the batch, of SeqQ and of SeqK ids; one list serves all
// sequences. nil for docK means docQ. Ids are any numbers and need not be sorted, though documents that lie in one
// piece are what blocks are good at. The mask has as many sequences as there are lists, whatever g.Batch says.
func (g MaskGrid) Documents(docQ, docK [][]int32, causal bool) (*BlockMask, error) {
	if docK == nil {
		docK = docQ
	}
	if len(docQ) == 0 || len(docK) != len(docQ) && len(docK) != 1 && len(docQ) != 1 {
		return nil, &ShapeError{"docK", "lists", len(docK), fmt.Sprintf("1 or as many as docQ, which has %d", len(docQ))}
	}
	g.Batch, g.Heads = max(len(docQ), len(docK)), 1
	return g.perHead(func(g MaskGrid, b, _ int) (pattern, error) {
		q, k := docQ[min(b, len(docQ)-1)], docK[min(b, len(docK)-1)]
		if len(q) != g.SeqQ {
			return nil, &ShapeError{"docQ", fmt.Sprintf("list %d", b), len(q), fmt.Sprint(g.SeqQ)}
		}
		if len(k) != g.SeqK {
			return nil, &ShapeError{"docK", fmt.Sprintf("list %d", b), len(k), fmt.Sprint(g.SeqK)}
		}
		return newDocumentPattern(q, k, g.off(), causal), nil
	})
}

// documentPattern knows where each document's keys lie.
type documentPattern struct {
	unlike
	q, k   []int32
	runs   map[int32][]Span // by id, ascending
	keyEnd []int            // by key: the end of its run
	rowEnd []int            // by row: the end of its run
	off    int
	causal bool
	seen   map[int32]bool // of one call of Spans
}

func newDocumentPattern(q, k []int32, off int, causal bool) *documentPattern {
	d := &documentPattern{q: q, k: k, runs: map[int32][]Span{}, keyEnd: runEnds(k), rowEnd: runEnds(q), off: off, causal: causal, seen: map[int32]bool{}}
	for j := 0; j < len(k); j = d.keyEnd[j] {
		d.runs[k[j]] = append(d.runs[k[j]], Span{j, d.keyEnd[j]})
	}
	return d
}

// runEnds is, for each element, the end of the run of equal elements that it is in.
func runEnds(ids []int32) []int {
	ends := make([]int, len(ids))
	for i := len(ids) - 1; i >= 0; i-- {
		if ends[i] = i + 1; i+1 < len(ids) && ids[i] == ids[i+1] {
			ends[i] = ends[i+1]
		}
	}
	return ends
}

func (d *documentPattern) Spans(dst []Span, i0, i1 int) []Span {
	base := len(dst)
	end := len(d.k)
	if d.causal {
		end = min(end, i1+d.off)
	}
	clear(d.seen)
	for i := i0; i < i1; i = d.rowEnd[i] {
		if d.seen[d.q[i]] {
			continue
		}
		d.seen[d.q[i]] = true
		for _, r := range d.runs[d.q[i]] {
			if r.Lo >= end {
				break
			}
			dst = append(dst, Span{r.Lo, min(r.Hi, end)})
		}
	}
	return mergeSpans(dst, base)
}

func (d *documentPattern) FullyVisible(i0, i1, j0, j1 int) bool {
	return d.rowEnd[i0] >= i1 && d.keyEnd[j0] >= j1 && d.q[i0] == d.k[j0] && (!d.causal || j1-1 <= i0+d.off)
}

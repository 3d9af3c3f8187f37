package vkattn

import "slices"

// groupedPattern gives each group of rows a list of groups of keys. With causal a row also sees no key behind the
// diagonal.
type groupedPattern struct {
	unlike
	rows, keys int      // size of a group
	lists      [][]Span // by group of rows: ranges of groups of keys, ascending and apart
	sk, off    int
	causal     bool
}

func (p *groupedPattern) Spans(dst []Span, i0, i1 int) []Span {
	base := len(dst)
	end := p.sk
	if p.causal {
		end = min(end, i1+p.off)
	}
	for g := i0 / p.rows; g*p.rows < i1; g++ {
		for _, s := range p.lists[g] {
			if lo, hi := s.Lo*p.keys, min(s.Hi*p.keys, end); lo < hi {
				dst = append(dst, Span{lo, hi})
			}
		}
	}
	return mergeSpans(dst, base)
}

func (p *groupedPattern) FullyVisible(i0, i1, j0, j1 int) bool {
	if p.causal && j1-1 > i0+p.off {
		return false
	}
	lo, hi := j0/p.keys, (j1-1)/p.keys+1
	for g := i0 / p.rows; g*p.rows < i1; g++ {
		list := p.lists[g]
		n, _ := slices.BinarySearchFunc(list, lo, func(s Span, lo int) int { return s.Hi - lo - 1 })
		if n == len(list) || list[n].Lo > lo || list[n].Hi < hi {
			return false
		}
	}
	return true
}

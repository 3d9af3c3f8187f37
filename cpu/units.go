package cpu

import (
	"sync/atomic"

	"github.com/vkattn/vkattn"
)

// unit is a piece of a call that one worker does alone: rows [i0, i1) of some heads that share their key
// and value head, over all their keys, or over one part of them.
type unit struct {
	seq    *vkattn.Sequence
	heads  []int
	i0, i1 int
	part   int   // the part of the keys, if join is given
	join   *join // what the units of the other parts and this one leave behind
}

func (u *unit) rows() int { return len(u.heads) * (u.i1 - u.i0) }

// join collects the states of the parts of one row tile; the worker that brings the last one merges them.
type join struct {
	parts []state
	left  atomic.Int32
}

// rowsOf is how many rows of one head a tile takes, and how many heads it stacks.
func (c *call) rowsOf(s *vkattn.Sequence, group, tileRows int) (rows, heads int) {
	rows = min(tileRows, s.Sq)
	m := c.args.Blocks
	if m != nil {
		rows = min(rows, m.BlockQ)
	}
	if m != nil && m.Heads > 1 || rows == 0 {
		return rows, 1
	}
	return rows, min(tileRows/rows, group)
}

// units cuts the call into pieces of at most tileRows rows, late rows first: under a causal mask those have
// the most keys.
func (c *call) units(tileRows int) []unit {
	var units []unit
	for n := range c.seqs {
		s := &c.seqs[n]
		block := s.Sq
		if m := c.args.Blocks; m != nil {
			block = m.BlockQ
		}
		for _, group := range c.groups {
			rows, heads := c.rowsOf(s, len(group), tileRows)
			for h := 0; h < len(group); h += heads {
				stack := group[h:min(h+heads, len(group))]
				for i1 := s.Sq; i1 > 0; {
					start := (i1 - 1) / block * block // of the row block
					i0 := start + (i1-1-start)/rows*rows
					units = append(units, unit{seq: s, heads: stack, i0: i0, i1: i1})
					i1 = i0
				}
			}
		}
	}
	return units
}

// unitsPerWorker keeps all workers busy to the end, even if some of them are slowed down.
const unitsPerWorker = 8

// split cuts units that are longer than that by keys as well, and puts them first: all when there are few units, else
// those of the few rows that a sparse mask lets see everything. parts is how many parts a unit has at most. The bits do
// not depend on it: a unit that is not cut merges the same parts in the same order.
func (c *call) split(units []unit, workers int) (cut []unit, parts int) {
	if workers == 1 {
		return units, 1
	}
	pairs, share := make([]float64, len(units)), 0.0
	var w worker
	for i := range units {
		pairs[i] = w.visits(c, &units[i])
		share += pairs[i] / float64(unitsPerWorker*workers)
	}
	parts = 1
	var rest []unit
	for i, u := range units {
		if pairs[i] <= share {
			rest = append(rest, u)
			continue
		}
		n := roundUp(u.seq.Sk, partKeys) / partKeys
		if n == 1 {
			cut = append(cut, u)
			continue
		}
		parts = max(parts, n)
		u.join = &join{parts: make([]state, n)}
		u.join.left.Store(int32(n))
		for p := range n {
			u.part = p
			cut = append(cut, u)
		}
	}
	return append(cut, rest...), parts
}

// visits is how many pairs of rows and keys the unit visits.
func (w *worker) visits(c *call, u *unit) float64 {
	w.find(c, u)
	keys := 0
	for _, r := range w.ranges {
		keys += r.hi - r.lo
	}
	return float64(keys) * float64(u.rows())
}

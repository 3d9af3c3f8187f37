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

// split cuts units by keys as well, when there are too few of them to keep all workers busy. The bits do
// not depend on it: a unit that is not cut merges the same parts in the same order.
func (c *call) split(units []unit, workers int) []unit {
	if workers == 1 || len(units) >= unitsPerWorker*workers {
		return units
	}
	var cut []unit
	for _, u := range units {
		parts := (u.seq.Sk + partKeys - 1) / partKeys
		if parts < 2 {
			cut = append(cut, u)
			continue
		}
		u.join = &join{parts: make([]state, parts)}
		u.join.left.Store(int32(parts))
		for p := range parts {
			u.part = p
			cut = append(cut, u)
		}
	}
	return cut
}

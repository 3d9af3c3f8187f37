package dispatch

import "github.com/vkattn/vkattn"

// cached says where the keys and values of a call lie that are those of a cache. The keys of sequence i are rows of the pool: from
// its K0 on, or in the pages of its table.
type cached struct {
	page, pages int       // tokens of a page, and pages of the pool; page 0: none
	tables      [][]int32 // by sequence
	common      []int32   // in place of tables: that of all sequences
	stride      int       // entries of the longest
	trees       [][]uint32
	tree        bool   // of them, some are there
	treeWords   int    // of the longest
	splitKeys   int    // 0: as the backend's Config says
	filler      uint32 // what stands in a table behind the pages of a sequence
	capacity    int    // tokens that a sequence of a recorded call may come to have, 0: as many as it has
}

// add is a sequence with its table and its tree, if it has one.
func (c *cached) add(table, parents []int32) {
	if c.page > 0 {
		c.tables, c.stride = append(c.tables, table), max(c.stride, len(table))
	}
	var bits []uint32
	if parents != nil {
		bits = treeBits(parents)
		c.treeWords, c.tree = max(c.treeWords, len(bits)), true
	}
	c.trees = append(c.trees, bits)
}

// paged is PAGED of shaders/lib/keys.glsl.
func paged(page int) uint32 {
	switch {
	case page == 0:
		return 0
	case page%keyTile == 0:
		return keyTile
	case page%4 == 0:
		return 4
	}
	return 1
}

// rows bounds the rows of the pool that keys [key0, key1) of some sequences lie in.
func (c *cached) rows(seqs []vkattn.Sequence, key0, key1 int) (lo, hi int) {
	if c.page > 0 {
		return 0, c.page * c.pages
	}
	if c.capacity > 0 {
		key0, key1 = 0, c.capacity
	}
	lo = seqs[0].K0 + key0
	for i := range seqs {
		lo, hi = min(lo, seqs[i].K0+key0), max(hi, seqs[i].K0+key1)
	}
	return lo, hi
}

// words is what the lists of one sequence take.
func (c *cached) words() int {
	if c == nil {
		return 0
	}
	return c.stride + 1 + c.treeWords
}

// commonWords is what the lists of all sequences take together.
func (c *cached) commonWords() int {
	if c == nil {
		return 0
	}
	return len(c.common)
}

// append lays out the page tables and trees of n sequences from first on.
func (c *cached) append(s *section, first, n int) {
	if c == nil {
		return
	}
	p := &s.params
	if c.page > 0 {
		p.PageTokens, p.PageCount, p.PageStride = uint32(c.page), uint32(c.pages), uint32(c.stride)
		p.PageList = uint32(len(s.words) - first*c.stride)
		for _, page := range c.common {
			s.words = append(s.words, uint32(page))
		}
		for _, table := range c.tables[min(first, len(c.tables)):min(first+n, len(c.tables))] {
			for _, page := range table {
				s.words = append(s.words, uint32(page))
			}
			for range c.stride - len(table) {
				s.words = append(s.words, c.filler)
			}
		}
	}
	if !c.tree {
		return
	}
	p.Flags |= flagTree
	at := len(s.words)
	p.TreeList = uint32(at - first)
	s.words = append(s.words, make([]uint32, n)...)
	for i, tree := range c.trees[first : first+n] {
		if len(tree) > 0 {
			s.words[at+i] = uint32(len(s.words))
			s.words = append(s.words, tree...)
		}
	}
}

// treeBits are the rows of a tree of drafts: bit j of row i says that draft i sees draft j.
func treeBits(parents []int32) []uint32 {
	words := ceilDiv(len(parents), 32)
	bits := make([]uint32, words*len(parents))
	for i, parent := range parents {
		row := bits[i*words : (i+1)*words]
		if parent >= 0 {
			copy(row, bits[int(parent)*words:])
		}
		row[i/32] |= 1 << (i % 32)
	}
	return bits
}

// recorded reports whether the call is recorded for sequences that grow.
func (c *cached) recorded() bool { return c != nil && c.capacity > 0 }

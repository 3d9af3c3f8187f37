package dispatch

import "github.com/vkattn/vkattn"

// cached says where the keys and values of a call lie that are those of a cache. The keys of sequence i are rows of the pool: from
// its K0 on, or in the pages of its table.
type cached struct {
	banks               // page 0: no pages
	tables    [][]int32 // by sequence
	runs      [][]bankRun
	common    []int32 // in place of tables: that of all sequences
	stride    int     // entries of the longest
	trees     [][]uint32
	tree      bool   // of them, some are there
	treeWords int    // of the longest
	splitKeys int    // 0: as the backend's Config says
	filler    uint32 // what stands in a table behind the pages of a sequence
	capacity  int    // tokens that a sequence of a recorded call may come to have, 0: as many as it has
}

// add is a sequence with its table and its tree, if it has one.
func (c *cached) add(table, parents []int32) {
	if c.page > 0 {
		c.tables, c.stride = append(c.tables, table), max(c.stride, len(table))
		if c.count() > 1 {
			c.runs = append(c.runs, c.banks.runs(table))
		}
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
	if page == 0 {
		return 0
	}
	keys := uint32(keyTile)
	for keys > 1 && (page%int(keys) != 0 || keys == 2) {
		keys /= 2
	}
	return keys
}

// keyRows bounds the rows of the pool that keys [key0, key1) of sequences [seq0, seq1) lie in.
func (c *cached) keyRows(seqs []vkattn.Sequence, seq0, seq1, key0, key1 int) (lo, hi int) {
	if c.page > 0 {
		return c.span(c.runs[min(seq0, len(c.runs)):min(seq1, len(c.runs))], key0, key1)
	}
	if c.capacity > 0 {
		key0, key1 = 0, c.capacity
	}
	lo = seqs[seq0].K0 + key0
	for _, s := range seqs[seq0:seq1] {
		lo, hi = min(lo, s.K0+key0), max(hi, s.K0+key1)
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
		p.PageTokens, p.PageCount, p.PageStride = uint32(c.page), uint32(c.slots()), uint32(c.stride)
		p.PageList = uint32(len(s.words) - first*c.stride)
		s.words = c.appendTable(s.words, c.common)
		for _, table := range c.tables[min(first, len(c.tables)):min(first+n, len(c.tables))] {
			s.words = c.appendTable(s.words, table)
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

package cpu

import (
	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/sparse"
)

// call is one recorded attention call: checked, with every tensor resolved to a slice.
type call struct {
	op     vkattn.Attention // canonical
	args   vkattn.Args
	seqs   []vkattn.Sequence
	groups [][]int // query heads that read the same key head and the same value head

	q, k, v, out                 numbers
	lse, bias                    []float32
	slopes, sinks, relative      []float32
	descaleQ, descaleK, descaleV []float32
	mask, tree                   []byte
	scale                        float32
	panels                       *blockPanels // of a block mask whose blocks have pairs of their own

	formed        *sparse.Formed // how the call goes by the form of its block mask, or nil
	listed        *sparse.Listed // how it goes by the lists of its rows, or nil
	note          string         // that it does, or why it does not
	lists         [][]int32      // by sequence: of its key j, the row of K and V
	columns       []int32        // of all sequences: key j is row columns[j/page]*page + j%page, if page is over 0
	page          int
	leaves, joins *rest // the results are not written but left there; what the rows join
}

// bind checks args and resolves them.
func bind(op vkattn.Attention, groups [][]int, args vkattn.Args) (*call, error) {
	seqs, err := op.Check(&args)
	if err != nil {
		return nil, err
	}
	c := &call{op: op, args: args, seqs: seqs, groups: groups, scale: float32(op.Scale.Value)}
	if args.Blocks != nil {
		c.byStructure()
	}
	return c, resolve([]argument{
		c.q.argument("Q", args.Q), c.k.argument("K", args.K), c.v.argument("V", args.V), c.out.argument("Out", args.Out),
		{"LSE", args.LSE, &c.lse, nil}, {"Bias", args.Bias, &c.bias, nil}, {"Mask", args.Mask, nil, &c.mask},
		{"Tree", args.Tree, nil, &c.tree}, {"Slopes", args.Slopes, &c.slopes, nil},
		{"SinkLogits", args.SinkLogits, &c.sinks, nil}, {"Relative", args.Relative, &c.relative, nil},
		{"DescaleQ", args.DescaleQ, &c.descaleQ, nil}, {"DescaleK", args.DescaleK, &c.descaleK, nil}, {"DescaleV", args.DescaleV, &c.descaleV, nil},
	})
}

// byStructure says how the call goes by what is known of its block mask beside its blocks.
func (c *call) byStructure() {
	if c.formed, c.note = sparse.ByForm(c.op, &c.args, c.seqs); c.formed != nil {
		c.note = c.formed.String()
		return
	}
	why := c.note
	if c.listed, c.note = sparse.ByLists(c.op, &c.args, c.seqs); c.listed != nil {
		c.note = c.listed.String()
		return
	}
	c.note += why // one of them at most
	c.panels = newBlockPanels(c.args.Blocks)
}

// gathers reports whether keys and values do not follow each other.
func (c *call) gathers() bool { return c.lists != nil || c.page > 0 }

// keyRow is the row of K and V that holds key j of a sequence.
func (c *call) keyRow(s *vkattn.Sequence, j int) int {
	switch {
	case c.lists != nil:
		return int(c.lists[s.Index][j])
	case c.page > 0:
		return int(c.columns[j/c.page])*c.page + j%c.page
	}
	return s.K0 + j
}

// headGroups lists the query heads by the key and value head that they read.
func headGroups(op vkattn.Attention) [][]int {
	var groups [][]int
	place := map[[2]int]int{}
	for h := range op.HeadsQ {
		kv := [2]int{op.HeadMap.Map(h, op.HeadsQ, op.HeadsK), op.HeadMap.Map(h, op.HeadsQ, op.HeadsV)}
		g, ok := place[kv]
		if !ok {
			g = len(groups)
			place[kv] = g
			groups = append(groups, nil)
		}
		groups[g] = append(groups[g], h)
	}
	return groups
}

// maskAt is where the mask has a column of row i of head h. A mask of fewer heads than the queries have is shared as keys are.
func (c *call) maskAt(s *vkattn.Sequence, h, i, column int) int {
	t := &c.args.Mask
	if n := t.Shape[1]; n != c.op.HeadsQ {
		h = c.op.HeadMap.Map(h, c.op.HeadsQ, n)
	}
	return t.Index(s.Index, h, i, column)
}

// sees reports whether row i of head h sees key j, all masks taken together. It is for the few places
// that ask about single pairs; tiles are masked row by row.
func (c *call) sees(s *vkattn.Sequence, h, i, j int) bool {
	a := &c.args
	return s.Visible(i, j) &&
		(c.mask == nil || c.mask[c.maskAt(s, h, i, c.op.MaskColumn(j))] != 0) &&
		(c.tree == nil || c.tree[a.Tree.Index(s.Index, 0, i, j)] != 0) &&
		(c.bias == nil || c.bias[a.Bias.Index(s.Index, h, i, j)] != negInf) &&
		(c.relative == nil || c.relative[a.Relative.HeadIndex(s.Index, h)+vkattn.RelativeIndex(j-i-s.Rel, a.Relative.Shape[3]/2)] != negInf) &&
		(a.Blocks == nil || a.Blocks.Listed(s.Index, h, i, j))
}

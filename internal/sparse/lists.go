package sparse

import (
	"fmt"
	"sort"

	"github.com/vkattn/vkattn"
)

// Listed is attention whose rows have lists of keys (vkattn.RowLists), as calls in which each row is a sequence of its own: the
// heads that share keys, values and list take its keys together.
type Listed struct {
	Op    vkattn.Attention // canonical, of one such group of heads
	lists *vkattn.RowLists
	calls int // groups of heads
}

// ListCall is a call of attention: key j of sequence i is row Lists[i][j] of its keys.
type ListCall struct {
	Call
	Lists [][]int32
}

// ByLists says how a checked call of a canonical op goes by its mask's lists, or nil and why not, as ByForm.
func ByLists(op vkattn.Attention, args *vkattn.Args, seqs []vkattn.Sequence) (l *Listed, why string) {
	rows := args.Blocks.RowLists()
	if rows == nil || len(seqs) == 0 || args.Q.Len() == 0 {
		return nil, ""
	}
	calls := max(rows.Groups, op.HeadsK)
	switch {
	case op.HeadsV != op.HeadsK || op.HeadMap != vkattn.HeadBlock || calls%op.HeadsK != 0 || calls%rows.Groups != 0:
		why = "heads that share keys do not share lists"
	case op.Causal && op.With.Has(vkattn.WithPrefix):
		why = "a prefix on top"
	default:
		why = beyond(op)
	}
	if why != "" {
		return nil, "the mask's blocks are visited, not its rows' lists: " + why
	}
	group := op.HeadsQ / calls
	longest := 0
	for n := range len(rows.Start) - 1 {
		longest = max(longest, rows.Start[n+1]-rows.Start[n])
	}
	// A tile has up to 8 rows, and here no others than those of a row's heads.
	const tile = 8
	m := args.Blocks
	byLists := float64(len(rows.Keys))/float64(rows.Groups*rows.Batch)*float64(tile/min(group, tile)) + float64(2*rowKeys*args.Q.Shape[2])
	if byLists >= float64(len(m.Keys))/float64(m.Heads*m.Batch)*float64(m.BlockQ)*float64(m.BlockK) {
		return nil, ""
	}
	one := op
	one.Batch, one.HeadsQ, one.HeadsK, one.HeadsV, one.SeqQ, one.SeqK = args.Q.Shape[2], group, 1, 1, 1, max(512, longest)
	one.Causal, one.Align, one.With = false, vkattn.AlignOffset, one.With&^(vkattn.WithBlocks|vkattn.WithKeyLengths)
	return &Listed{one.Canonical(), rows, calls}, ""
}

// beyond is what a call has that calls by another way than blocks do not.
func beyond(op vkattn.Attention) string {
	const plain = vkattn.WithLSE | vkattn.WithSinkLogits | vkattn.WithBlocks | vkattn.WithKeyLengths
	switch {
	case op.Packed:
		return "packed sequences"
	case op.Window.Given() || op.Chunk > 0:
		return "a window or chunks on top"
	case op.With&^plain != 0:
		return fmt.Sprintf("inputs by position on top (%s)", op.With&^plain)
	}
	return ""
}

// String says what runs, for reports.
func (l *Listed) String() string {
	return fmt.Sprintf("rows gather the keys of their lists, %d heads at once", l.Op.HeadsQ)
}

// Calls are the calls, which share no row of a head.
func (l *Listed) Calls(args vkattn.Args, seqs []vkattn.Sequence, causal bool) []ListCall {
	args = withoutMask(args)
	var calls []ListCall
	for b := range seqs {
		s := &seqs[b]
		for g := range l.calls {
			c := ListCall{Call: Call{Args: args}}
			q0 := g * l.Op.HeadsQ
			k := g / (l.calls / args.K.Shape[1])
			for _, t := range []*vkattn.Tensor{&c.Args.Q, &c.Args.Out, &c.Args.LSE} {
				if t.Given() {
					*t = t.Slice(0, s.Batch, s.Batch+1).Slice(1, q0, q0+l.Op.HeadsQ)
				}
			}
			for _, t := range []*vkattn.Tensor{&c.Args.K, &c.Args.V} {
				*t = t.Slice(0, s.Batch, s.Batch+1).Slice(1, k, k+1)
			}
			if t := &c.Args.SinkLogits; t.Given() {
				*t = Shared(t.Slice(1, q0, q0+l.Op.HeadsQ), min(s.Index, t.Shape[0]-1), s.Sq)
			}
			for i := range s.Sq {
				list := l.lists.List(min(s.Index, l.lists.Batch-1), g/(l.calls/l.lists.Groups), i)
				end := s.Sk
				if causal {
					end = min(end, i+s.Rel+1)
				}
				list = list[:sort.Search(len(list), func(n int) bool { return int(list[n]) >= end })]
				c.Lists = append(c.Lists, list)
				c.Seqs = append(c.Seqs, vkattn.Sequence{Index: i, Q0: i, Sq: 1, Sk: len(list), Off: len(list) - 1, Rel: len(list) - 1, SinkTokens: s.SinkTokens, Prefix: s.Prefix})
			}
			calls = append(calls, c)
		}
	}
	return calls
}

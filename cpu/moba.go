package cpu

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/sparse"
)

// mobaName is what reports call the algorithm of MoBA.
const mobaName = "moba-cpu"

// moba is the operation of vkattn.MoBA.
type moba struct {
	op     vkattn.MoBA // canonical
	chosen *attention  // over the blocks that the rows chose, or over all
}

func newMoBA(op vkattn.MoBA) *moba {
	op = op.Canonical()
	m := &moba{op: op, chosen: newAttention(op.Attention)}
	if !op.All() {
		m.chosen = newAttention(sparse.Chosen(op))
	}
	return m
}

func (*moba) kernel() string                { return mobaName }
func (m *moba) tile(k kernel) string        { return m.chosen.tile(k) }
func (m *moba) scratchBytes(k kernel) int64 { return m.chosen.scratchBytes(k) }
func (m *moba) note(workers int) string {
	if m.op.All() {
		return fmt.Sprintf("%d workers; rows see all blocks: causal attention", workers)
	}
	return fmt.Sprintf("%d workers; rows choose, then attention skips what no row of a tile chose", workers)
}

func (m *moba) bind(args vkattn.Args) (job, error) {
	seqs, err := m.op.Check(&args)
	if err != nil {
		return nil, err
	}
	inner := *m.chosen
	inner.op = m.op.Attention
	c, err := bind(inner.op, inner.groups, args)
	if err != nil {
		return nil, err
	}
	return &mobaCall{m, c, seqs}, nil
}

// mobaCall is one recorded call of MoBA.
type mobaCall struct {
	*moba
	c    *call // without the choice
	seqs []vkattn.Sequence
}

func (m *mobaCall) work() vkattn.Work { return m.op.Work(&m.c.args, m.seqs) }

func (m *mobaCall) blocks(s *vkattn.Sequence) int { return (s.Sk + m.op.Block - 1) / m.op.Block }

func (m *mobaCall) run(ctx context.Context, b *Backend) (splits int, err error) {
	a := &m.c.args
	sq, sk := a.Q.Shape[2], a.K.Shape[2]
	if m.op.All() || a.Q.Len() == 0 || sk == 0 {
		return m.c.run(ctx, b)
	}
	blocks := (sk + m.op.Block - 1) / m.op.Block
	means, err := newPooled(a.K, blocks)
	if err != nil {
		return 0, err
	}
	if err := means.pool(b, a.K, m.c.k.f32, m.seqs, m.op.Block, m.op.Block, m.blocks); err != nil {
		return 0, err
	}
	step := choiceRows(sq, float64(a.Q.Shape[0])*float64(m.op.Attention.HeadsQ)*float64(blocks))
	if err := tooMuch("the choice of a row", float64(a.Q.Shape[0])*float64(m.op.Attention.HeadsQ)*float64(step)*float64(blocks)); err != nil {
		return 0, err
	}
	mask := make([]byte, a.Q.Shape[0]*m.op.Attention.HeadsQ*step*blocks)
	for lo := 0; lo < sq; lo += step {
		part := *m.c
		part.op = m.chosen.op
		part.args, part.seqs = sparse.Rows(*a, m.seqs, lo, min(lo+step, sq))
		rows := part.args.Q.Shape[2]
		part.mask = mask[:a.Q.Shape[0]*m.op.Attention.HeadsQ*rows*blocks]
		part.args.Mask = vkattn.BHSD(vkattn.Bytes(part.mask), a.Q.Shape[0], m.op.Attention.HeadsQ, rows, blocks).As(vkattn.Bool)
		if err := m.choose(ctx, b, &part, &means); err != nil {
			return 0, err
		}
		if splits, err = part.run(ctx, b); err != nil {
			return 0, err
		}
	}
	return splits, nil
}

// choose fills in the mask of a part.
func (m *mobaCall) choose(ctx context.Context, back *Backend, c *call, means *pooled) error {
	clear(c.mask)
	heads := m.op.Attention.HeadsQ
	return back.spread(len(c.seqs)*heads, func(_ *worker, n int) error {
		s, h := &c.seqs[n/heads], n%heads
		kv, blocks := c.op.HeadMap.Map(h, heads, c.op.HeadsK), m.blocks(s)
		top := chooser{scores: make([]float32, blocks)}
		for i := range s.Sq {
			own := floorDiv(i+s.Off, m.op.Block)
			row := c.mask[c.args.Mask.Index(s.Index, h, i, 0):]
			left, past := m.op.TopK, max(0, min(own, blocks))
			if own >= 0 && own < blocks {
				row[own] = 1
				left--
			}
			if left == 0 || past == 0 {
				continue
			}
			if past > left {
				products(top.scores, means.matrix(s.Batch, kv, past), c.q.f32[c.args.Q.Index(s.Batch, h, i, 0):][:c.op.HeadDim])
			}
			for _, b := range top.top(past, left) {
				row[b] = 1
			}
		}
		return ctx.Err()
	})
}

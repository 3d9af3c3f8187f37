package cpu

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
)

// attention is the operation of vkattn.Attention.
type attention struct {
	op     vkattn.Attention // canonical
	groups [][]int          // query heads that read the same key head and the same value head
}

func newAttention(op vkattn.Attention) *attention {
	op = op.Canonical()
	return &attention{op, headGroups(op)}
}

func (*attention) kernel() string { return kernelName }

func (*attention) tile(k kernel) string {
	rows, keys := k.tile()
	return fmt.Sprintf("%d rows x %d keys, %s", rows, keys, k.name())
}

func (a *attention) scratchBytes(k kernel) int64 {
	bytes := scratchBytes(k, a.op.HeadDim, a.op.ValueDim)
	_, keys := k.tile()
	for _, rows := range []struct {
		t vkattn.Type
		d int
	}{{a.op.TypeK, a.op.HeadDim}, {a.op.TypeV, a.op.ValueDim}} {
		if rows.t != vkattn.Float32 {
			bytes += 4 * int64(keys*rowStride(rows.d))
		}
	}
	return bytes
}

func (*attention) note(workers int) string {
	return fmt.Sprintf("%d workers; keys are merged in parts of %d, which may run on several workers", workers, partKeys)
}

func (a *attention) bind(args vkattn.Args) (job, error) { return bind(a.op, a.groups, args) }

func (c *call) work() vkattn.Work { return c.op.Work(&c.args, c.seqs, false) }

func (c *call) run(ctx context.Context, b *Backend) (splits int, err error) {
	if c.formed != nil {
		return c.runFormed(ctx, b)
	}
	if c.listed != nil {
		return c.runListed(ctx, b)
	}
	rows, _ := b.kernel.tile()
	units, parts := c.split(c.units(rows), len(b.workers))
	if err := b.spread(len(units), func(w *worker, i int) error { return w.attend(ctx, c, &units[i]) }); err != nil {
		return 0, err
	}
	return parts, nil
}

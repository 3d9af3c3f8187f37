package cpu

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
)

// attention is the routine of vkattn.Attention.
type attention struct {
	op     vkattn.Attention // canonical
	groups [][]int
}

func (a attention) kernel(b *Backend, workers int) (name, tile string, scratch int64) {
	return kernelName, tileText(b.kernel), int64(workers) * scratchBytes(b.kernel, a.op.HeadDim, a.op.ValueDim)
}

func (attention) notes(workers int) []string {
	return []string{fmt.Sprintf("%d workers; keys are merged in parts of %d, which may run on several workers", workers, partKeys)}
}

func (a attention) bind(args vkattn.Args) (task, error) {
	c, err := bind(a.op, a.groups, args)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func tileText(k kernel) string {
	rows, keys := k.tile()
	return fmt.Sprintf("%d rows x %d keys, %s", rows, keys, k.name())
}

func (c *call) run(ctx context.Context, b *Backend) (splits int, err error) {
	rows, _ := b.kernel.tile()
	units := c.units(rows)
	whole := len(units)
	units = c.split(units, len(b.workers))
	err = b.parallel(len(units), func(w *worker, i int) error { return w.attend(ctx, c, &units[i]) })
	if err != nil {
		return 0, err
	}
	return (len(units) + whole - 1) / max(whole, 1), nil
}

func (c *call) work() vkattn.Work { return c.op.Work(&c.args, c.seqs, false) }

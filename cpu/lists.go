package cpu

import "context"

// runListed computes the call by the lists that the rows of its block mask have.
func (c *call) runListed(ctx context.Context, b *Backend) (splits int, err error) {
	l := c.listed
	for _, x := range l.Calls(c.args, c.seqs, c.op.Causal) {
		p := *c
		p.listed, p.op, p.args, p.seqs, p.lists = nil, l.Op, x.Args, x.Seqs, x.Lists
		p.groups = headGroups(l.Op)
		n, err := p.run(ctx, b)
		if err != nil {
			return 0, err
		}
		splits = max(splits, n)
	}
	return splits, nil
}

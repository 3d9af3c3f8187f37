package cpu

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
)

// linearKernelName is what reports call the algorithm, whatever its inner loops run on.
const linearKernelName = "linear-cpu"

// A chunk of tokens is computed as products of matrices. With a decay of channels the weight of a pair is a sum
// over features that each decay by themselves, so that chunks are short. Calls of fewer tokens are one chunk.
const (
	linearChunk        = 64
	linearChannelChunk = 16
)

// linear is the operation of vkattn.Linear.
type linear struct {
	op    vkattn.Linear // canonical
	heads []stateHead
	chunk int // tokens
}

// stateHead is a head that has a state: what it reads, and the heads of the output that read it.
type stateHead struct {
	index, key, value int
	queries, outputs  []int
}

func newLinear(op vkattn.Linear) *linear {
	l := &linear{op: op.Canonical(), chunk: linearChunk}
	if l.op.Decay == vkattn.DecayChannel {
		l.chunk = linearChannelChunk
	}
	heads, states := l.op.Heads(), l.op.States()
	for n := range states {
		l.heads = append(l.heads, stateHead{index: n, key: l.op.HeadMap.Map(n, states, l.op.HeadsK), value: l.op.HeadMap.Map(n, states, l.op.HeadsV)})
	}
	for h := range heads {
		n := &l.heads[l.op.HeadMap.Map(h, heads, states)]
		n.outputs = append(n.outputs, h)
		n.queries = append(n.queries, l.op.HeadMap.Map(h, heads, l.op.HeadsQ))
	}
	return l
}

func (*linear) kernel() string { return linearKernelName }

func (l *linear) tile(k kernel) string {
	return fmt.Sprintf("chunks of %d tokens, %s", l.chunk, k.name())
}

func (l *linear) scratchBytes(k kernel) int64 {
	var s linearScratch
	return s.fit(l, panelsOf(l.op.ValueDim), false)
}

func (l *linear) note(workers int) string {
	return fmt.Sprintf("%d workers share sequences, heads and columns of values", workers)
}

// hasZ says that the state has a column for the denominator.
func (l *linear) hasZ() bool {
	return l.op.Norm == vkattn.NormSum || l.op.Norm == vkattn.NormLiteral
}

// channels says that each feature decays by itself.
func (l *linear) channels() bool { return l.op.Decay == vkattn.DecayChannel }

// linearCall is one recorded call: checked, with every tensor resolved to a slice.
type linearCall struct {
	*linear
	args vkattn.Args
	seqs []vkattn.Sequence

	q, k, v, out, projection, decay, beta, stateIn, stateOut []float32

	// entry has z and c of every state before the first token, read before any worker writes StateOut, which may
	// be StateIn.
	entry []linearEntry
}

// linearEntry is the part of a state that does not belong to a column of values.
type linearEntry struct {
	z []float64
	c float32
}

func (l *linear) bind(args vkattn.Args) (job, error) {
	seqs, err := l.op.Check(&args)
	if err != nil {
		return nil, err
	}
	c := &linearCall{linear: l, args: args, seqs: seqs}
	return c, resolve([]argument{
		{"Q", args.Q, &c.q, nil}, {"K", args.K, &c.k, nil}, {"V", args.V, &c.v, nil}, {"Out", args.Out, &c.out, nil},
		{"Projection", args.Projection, &c.projection, nil}, {"Decay", args.Decay, &c.decay, nil}, {"Beta", args.Beta, &c.beta, nil},
		{"StateIn", args.StateIn, &c.stateIn, nil}, {"StateOut", args.StateOut, &c.stateOut, nil},
	})
}

func (c *linearCall) work() vkattn.Work { return c.op.Work(&c.args, c.seqs) }

// linearUnit is a piece of a call that one worker does alone: some panels of the value columns of one state.
type linearUnit struct {
	seq    *vkattn.Sequence
	head   *stateHead
	p0, p1 int // panels of panelCols columns
}

// linearPanels is the fewest panels of a unit: what all units of a state compute again would cost more than the rest.
const linearPanels = 2

func (c *linearCall) units(workers int) []linearUnit {
	states, panels := len(c.seqs)*len(c.heads), panelsOf(c.op.ValueDim)
	parts := 1
	if states > 0 && states < 2*workers && workers > 1 {
		parts = max(1, min(2*workers/states, panels/linearPanels))
	}
	var units []linearUnit
	for n := range c.seqs {
		for h := range c.heads {
			for part := range parts {
				units = append(units, linearUnit{&c.seqs[n], &c.heads[h], part * panels / parts, (part + 1) * panels / parts})
			}
		}
	}
	return units
}

func (c *linearCall) run(ctx context.Context, b *Backend) (splits int, err error) {
	c.entry = c.entries()
	units := c.units(len(b.workers))
	if err := b.spread(len(units), func(w *worker, i int) error { return w.linear.attend(ctx, c, &units[i], w.kernel) }); err != nil {
		return 0, err
	}
	if c.op.Norm == vkattn.NormSRMS {
		return 1, c.srms(ctx, b)
	}
	return 1, nil
}

// panelsOf is how many panels n columns take.
func panelsOf(n int) int { return roundUp(n, panelCols) / panelCols }

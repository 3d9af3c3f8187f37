package dispatch

import (
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// parts is the number of parts of the keys that are computed side by side where states are few: their sums if the call is
// not causal, else segments, which costs the half again. Tokens of the delta rule follow each other, and so do the maxima
// of favor. How many states there are must not show where SplitKeys promises that.
func (ch *linearChoice) parts(caps *vk.Caps, cfg *Config, sequences, keys int) int {
	if cfg.SplitKeys > 0 || ch.op.Rule != vkattn.RuleAdd || ch.op.Map == vkattn.MapFavor || keys == 0 || sequences == 0 {
		return 1
	}
	shape := ch.op.StateShape(1)
	units := float64(sequences) * float64(ch.op.States())
	least := 64
	if ch.op.Causal {
		least = 256
	}
	most := max(1, min(keys/least, 1024))
	if mem := float64(maxState) / (units * float64(shape[2]) * float64(shape[3]+1) * 4); mem < float64(most) {
		most = max(1, int(mem))
	}
	if n := mergeParts(caps); n > 0 {
		most = min(most, n)
	}
	most = min(most, ch.boundParts(caps))
	if cfg.Splits > 0 {
		return clamp(cfg.Splits, 1, max(most, min(keys, 16)))
	}
	groups := units * float64(ceilDiv(ch.op.ValueDim, ch.span()))
	invocations := int(ch.key.Invocations)
	if k := ch.chunk; k.Chunk > 0 {
		invocations = min(invocations, 64) // they have more to do, and wait for each other
		if most = min(most, keys/int(2*k.Chunk)); most < 1 {
			return 1
		}
	}
	n := clamp(int(math.Ceil(float64(parallelTiles(caps, invocations, 1<<20))/max(groups, 1))), 1, most)
	if ch.op.Causal && n < 4 {
		return 1
	}
	return n
}

// boundParts is the most parts whose states of one head, and denominators of one sequence, can be bound at once, or 1.
func (ch *linearChoice) boundParts(caps *vk.Caps) int {
	limit, align := int64(min(caps.Limits.MaxStorageBufferRange, 1<<40)), max(16, int64(caps.Limits.MinStorageBufferOffsetAlignment))
	shape := ch.op.StateShape(1)
	most := (limit - align - 16) / max(1, 4*int64(shape[2])*int64(shape[3]+1))
	if ch.key.Norm != 0 {
		most = min(most, (limit-linearTableAt-4*linearSequenceWords)/max(1, 4*int64(ch.op.States())*int64(ch.op.FeatureDim())))
	}
	return int(max(1, min(most, 1<<30)))
}

// partialStates makes room for the states of parts: [sequences, states, parts, F, columns + 1].
func (c *linearCall) partialStates(parts int) (view, error) {
	if parts <= 1 {
		return view{}, nil
	}
	shape := c.op.StateShape(len(c.seqs))
	row := shape[3] + 1
	buf, err := c.r.hold(4*int64(shape[0])*int64(shape[1])*int64(parts)*int64(shape[2])*int64(row), vk.HeapDevice, "scratch")
	if err != nil {
		return view{}, err
	}
	v := view{buf: buf, room: buf.Size(), ss: row, sh: parts * shape[2] * row, sb: shape[1] * parts * shape[2] * row, n: row}
	v.off = -c.seqs[0].Index * v.sb // strides count from the first sequence of the call
	return v, nil
}

// join adds the states of parts up, in their order.
func (c *linearCall) join(partial *view, parts int, phase uint32) error {
	pipeline, err := c.r.be.pipeline(linearSimpleKey{"linear_join", linearLanes, 0})
	if err != nil {
		return err
	}
	s := &linearStage{states: partial, part: c.stateRows * partial.ss}
	home := &linearStage{states: &c.state}
	cells := c.op.FeatureDim() * c.ch.columns()
	one := linearArea{partTokens: 1, t1: 1, part1: parts}
	for n := range c.seqs {
		for h0 := 0; h0 < c.op.States(); {
			// As many heads of a sequence as can be bound; sequences one by one.
			a := one
			a.seq0, a.seq1, a.head0, a.head1 = n, n+1, h0, min(c.op.States(), h0+1<<15)
			var w, hw [numBindings]window
			for {
				var which, other string
				w, which = c.windows(&a, s)
				b := a
				b.part1 = 1
				hw, other = c.windows(&b, home)
				if which == "" && other == "" {
					break
				}
				if a.units() == 1 {
					return fmt.Errorf("dispatch: the %d parts of one state exceed the %d bytes that the device binds at once: %w", parts, c.limit, vkattn.ErrUnsupported)
				}
				a.head1 = (a.head0 + a.head1) / 2
			}
			p := c.slice(&a, s, &w, phase)
			p.Count, p.PartTokens = uint32(a.units()), uint32(parts)
			p.HomeSeq, p.HomeHead, p.HomeRow, p.HomeBase = uint32(c.state.sb), uint32(c.state.sh), uint32(c.state.ss), hw[bindState].base
			b := c.bindings(linearMainAt, s, &w)
			b[bindHome] = vk.Binding{Buffer: c.state.buf, Offset: hw[bindState].off, Range: hw[bindState].size}
			if err := c.r.dispatch(pipeline, b, bytesOf(&p), ceilDiv(cells, linearLanes), a.units(), 1, float64(parts*cells*a.units()), c.budget); err != nil {
				return err
			}
			h0 = a.head1
		}
	}
	return nil
}

package dispatch

import (
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// linearArea is what one dispatch of a linear kernel touches: sequences, state heads, of the heads that read each state
// those in [read0, read1), step in a dispatch, and of each part of the tokens, partTokens of them, those in [t0, t1). All are half-open.
type linearArea struct {
	seq0, seq1, head0, head1, read0, read1, part0, part1, t0, t1 int
	step, partTokens                                             int
}

func (a *linearArea) units() int { return (a.seq1 - a.seq0) * (a.head1 - a.head0) }

// tokens is the range of tokens that a sequence of a length has in the area.
func (a *linearArea) tokens(length int) (lo, hi int) {
	return min(a.part0*a.partTokens+a.t0, length), min((a.part1-1)*a.partTokens+a.t1, length)
}

// linearStage is what a dispatch does with its area.
type linearStage struct {
	advance, read bool
	states        *view // binding 5: strides are of sequences, heads and rows
	part          int   // its stride of parts
	sums          bool  // it is no state, and bound whole
}

// each calls f for the dispatches of an area, those of step heads that read a state.
func (a *linearArea) each(s *linearStage, f func(sub *linearArea) error) error {
	if !s.read {
		return f(a)
	}
	sub := *a
	for ; sub.read0 < a.read1; sub.read0 = sub.read1 {
		sub.read1 = min(sub.read0+a.step, a.read1)
		if err := f(&sub); err != nil {
			return err
		}
	}
	return nil
}

// linearCutter cuts areas so that what they touch can be bound and their work fits into a submit.
type linearCutter struct {
	*linearCall
	budget float64
	most   int // tokens of a part that a dispatch may visit, 0: no such bound
	grain  int // slices are multiples of so many tokens
}

// cut appends the pieces of an area, in an order in which each unit's tokens follow each other. How an area is cut
// does not show in the bits, for states are carried in memory as they are in registers.
func (c *linearCutter) cut(pieces []linearArea, a linearArea, s *linearStage) ([]linearArea, error) {
	n := a.t1 - a.t0
	which := c.misfit(a, s)
	heavy := c.cost(&a, s) > c.budget
	if which == "" && !heavy && (c.most == 0 || n <= max(c.most, c.grain)) {
		return append(pieces, a), nil
	}
	one := a
	one.t1 = min(a.t0+c.grain, a.t1)
	// Fewer tokens, as long as that helps and leaves enough for the start of a dispatch to be worth while; else fewer
	// units; else parts.
	lo, hi := a, a
	switch {
	case n > c.grain && c.misfit(one, s) == "" && (which != "" || n > 64 || c.most > 0 && n > max(c.most, c.grain) || a.units() == 1 && a.part1-a.part0 == 1):
		lo.t1 = a.t0 + ceilDiv(n/2, c.grain)*c.grain
		hi.t0 = lo.t1
	case a.seq1-a.seq0 > 1:
		lo.seq1 = (a.seq0 + a.seq1) / 2
		hi.seq0 = lo.seq1
	case a.head1-a.head0 > 1:
		lo.head1 = (a.head0 + a.head1) / 2
		hi.head0 = lo.head1
	case a.part1-a.part0 > 1:
		lo.part1 = (a.part0 + a.part1) / 2
		hi.part0 = lo.part1
	case which != "" && s.read && a.step > 1:
		// The state advances anew for every dispatch of the same tokens, so this is the last resort.
		a.step = ceilDiv(a.step, 2)
		return c.cut(pieces, a, s)
	case which != "":
		return nil, fmt.Errorf("dispatch: one token of %s spans more than the %d bytes that the device binds at once: %w", which, c.limit, vkattn.ErrUnsupported)
	default:
		return append(pieces, a), nil
	}
	pieces, err := c.cut(pieces, lo, s)
	if err != nil {
		return nil, err
	}
	return c.cut(pieces, hi, s)
}

// maxFeatureScratch bounds what the features of a dispatch take, in bytes.
const maxFeatureScratch = 64 << 20

// misfit names what cannot be bound for an area, or is "".
func (c *linearCutter) misfit(a linearArea, s *linearStage) string {
	if c.ch.featured() {
		rows := int64(a.seq1-a.seq0) * int64(a.part1-a.part0) * int64(a.t1-a.t0) * int64(max(c.keyHeads, c.op.HeadsQ))
		if rows*int64(c.featureRow)*4 > min(c.limit-c.align, maxFeatureScratch) {
			return "features"
		}
	}
	if z := int(c.r.be.caps.Limits.MaxComputeWorkGroupCount[2]); a.part1-a.part0 > z {
		return "parts"
	}
	which := ""
	a.each(s, func(sub *linearArea) error {
		if _, w := c.windows(sub, s); w != "" {
			which = w
		}
		return nil
	})
	return which
}

// cost predicts the FLOPs of an area.
func (c *linearCall) cost(a *linearArea, s *linearStage) float64 {
	tokens := 0
	for i := a.seq0; i < a.seq1; i++ {
		length := c.seqs[i].Sq
		if s.advance {
			length = c.seqs[i].Sk
		}
		for p := a.part0; p < a.part1; p++ {
			at := p * a.partTokens
			if at >= length {
				break
			}
			tokens += max(0, min(at+a.t1, length)-min(at+a.t0, length))
		}
	}
	f, columns := float64(c.op.FeatureDim()), float64(c.ch.columns())
	cells := 0.0
	if s.advance {
		cells += 4
	}
	if s.read {
		cells += 2 * float64(c.ch.reads)
	}
	per := f * columns * cells
	if c.op.Features > 0 {
		per += 2 * f * float64(c.op.HeadDim) * cells / 4
	}
	return float64(tokens+1) * float64(a.head1-a.head0) * per
}

// heads is the range of count heads that the state heads of an area read, or that read them.
func (c *linearCall) heads(a *linearArea, count int) (lo, hi int) {
	states := c.op.States()
	one, cyclic := a.head1-a.head0 == 1, c.op.HeadMap == vkattn.HeadCyclic
	switch group := count / states; {
	case count > states && cyclic:
		return a.head0 + a.read0*states, a.head1 + (a.read1-1)*states
	case count > states && one:
		return a.head0*group + a.read0, a.head0*group + a.read1
	case count > states:
		return a.head0 * group, a.head1 * group
	case cyclic && one:
		return a.head0 % count, a.head0%count + 1
	case cyclic:
		return 0, count
	}
	return a.head0 / (states / count), (a.head1-1)/(states/count) + 1
}

// windows computes what each tensor binding must show for an area. which names one that exceeds the device's limit.
func (c *linearCall) windows(a *linearArea, s *linearStage) (w [numBindings]window, which string) {
	span := func(v *view, count int, keys bool) (lo, hi int) {
		h0, h1 := c.heads(a, count)
		lo, hi = -1, 0
		for i := a.seq0; i < a.seq1; i++ {
			seq := &c.seqs[i]
			first, length := seq.Q0, seq.Sq
			if keys {
				first, length = seq.K0, seq.Sk
			}
			t0, t1 := a.tokens(length)
			if t0 >= t1 {
				continue
			}
			from, to := seq.Batch*v.sb+(first+t0)*v.ss, seq.Batch*v.sb+(first+t1-1)*v.ss
			if lo < 0 || from < lo {
				lo = from
			}
			hi = max(hi, to)
		}
		if lo < 0 {
			return 0, 0
		}
		return v.off + h0*v.sh + lo, v.off + (h1-1)*v.sh + hi + v.n
	}
	place := func(binding int, name string, v *view, lo, hi int) {
		if !v.given() || lo >= hi {
			return
		}
		w[binding] = v.window(lo, hi, c.align)
		limit := c.limit
		if binding == bindQ || binding == bindK || binding == bindV {
			limit = c.texelLimit
		}
		if w[binding].size > limit && which == "" {
			which = name
		}
	}
	put := func(binding int, name string, v *view, count int, keys bool) {
		lo, hi := span(v, count, keys)
		place(binding, name, v, lo, hi)
	}
	if s.advance {
		put(bindK, "k", &c.k, c.op.HeadsK, true)
		put(bindV, "v", &c.v, c.op.HeadsV, true)
		put(bindDecay, "decay", &c.decay, c.op.States(), true)
		put(bindBeta, "beta", &c.beta, c.op.States(), true)
	}
	if s.read {
		put(bindQ, "q", &c.q, c.queryHeads, false)
		put(bindOut, "out", &c.out, c.op.Heads(), false)
	}
	if v := s.states; s.sums {
		w[bindState] = window{0, min(v.room, c.limit), 0}
	} else if v != nil && v.given() {
		first, last := c.seqs[a.seq0].Index, c.seqs[a.seq1-1].Index
		lo := v.off + first*v.sb + a.head0*v.sh + a.part0*s.part
		place(bindState, "the states", v, lo, v.off+last*v.sb+(a.head1-1)*v.sh+(a.part1-1)*s.part+(c.stateRows-1)*v.ss+v.n)
	}
	return w, which
}

// slice is the push constant block of an area.
func (c *linearCall) slice(a *linearArea, s *linearStage, w *[numBindings]window, phase uint32) linearSlice {
	p := linearSlice{SeqFirst: uint32(a.seq0), HeadFirst: uint32(a.head0), HeadCount: uint32(a.head1 - a.head0),
		ReadFirst: uint32(a.read0), ReadEnd: uint32(a.read1), PartFirst: uint32(a.part0), PartTokens: uint32(a.partTokens), TokenFirst: int32(a.t0), TokenEnd: int32(a.t1), Phase: phase,
		StateBase: w[bindState].base, QBase: w[bindQ].base, KBase: w[bindK].base, VBase: w[bindV].base, OutBase: w[bindOut].base,
		DecayBase: w[bindDecay].base, BetaBase: w[bindBeta].base, ListBase: linearTableAt / 4}
	if s.states != nil {
		p.StateSeq, p.StateHead, p.StatePart, p.StateRow = uint32(s.states.sb), uint32(s.states.sh), uint32(s.part), uint32(s.states.ss)
	}
	return p
}

// bindings are those of a dispatch with one of the call's params blocks; what a kernel does not use shows the work buffer.
func (c *linearCall) bindings(params int64, s *linearStage, w *[numBindings]window) []vk.Binding {
	b := make([]vk.Binding, numBindings)
	b[bindParams] = vk.Binding{Buffer: c.work, Offset: params, Range: linearParamBytes}
	views := [numStorage]*view{bindQ: &c.q, bindK: &c.k, bindV: &c.v, bindOut: &c.out, bindState: s.states, bindDecay: &c.decay, bindBeta: &c.beta}
	for i, v := range views {
		if v != nil && v.given() && w[i].size > 0 {
			b[i] = vk.Binding{Buffer: v.buf, Offset: w[i].off, Range: w[i].size}
		} else {
			b[i] = vk.Binding{Buffer: c.work, Range: min(c.work.Size(), c.limit)}
		}
	}
	return b
}

package dispatch

import (
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// srms divides each token by its root mean square over all heads and values, on the way from out to normed.
func (c *linearCall) srms() error {
	pipeline, err := c.r.be.pipeline(linearSimpleKey{linearSRMS, linearLanes, c.op.TypeOut})
	if err != nil {
		return err
	}
	tokens, _ := c.longest()
	if tokens == 0 {
		return nil
	}
	s := &linearStage{read: true}
	cut := &linearCutter{linearCall: c, budget: math.Inf(1), grain: 1}
	dispatch := func(a *linearArea, s *linearStage, phase uint32) error {
		w, _ := c.windows(a, s)
		p := c.slice(a, s, &w, phase)
		n := (a.seq1 - a.seq0) * (a.t1 - a.t0)
		p.Count = uint32(n)
		x, y := c.r.grid(n)
		return c.r.dispatch(pipeline, c.bindings(linearNormAt, s, &w), bytesOf(&p), x, y, 1, 4*float64(n)*float64(c.op.Heads()*c.op.ValueDim), c.budget)
	}
	const some = 1 << 16 // tokens of a dispatch
	for n := 0; n < len(c.seqs); {
		// All sequences at once if they can be bound, else one by one, else collecting over heads.
		all := c.whole(1, tokens)
		all.seq0 = n
		if cut.misfit(all, s) != "" || len(c.seqs)*tokens > some {
			all.seq1 = n + 1
		}
		n = all.seq1
		for t := 0; t < tokens; t += some {
			a := all
			a.t0, a.t1 = t, min(t+some, tokens)
			if cut.misfit(a, s) == "" {
				if err := dispatch(&a, s, linearAdvance|linearRead); err != nil {
					return err
				}
				continue
			}
			if err := c.srmsByHeads(a, cut, dispatch); err != nil {
				return err
			}
		}
	}
	return nil
}

// srmsByHeads is srms where all heads of some tokens of a sequence cannot be bound at once.
func (c *linearCall) srmsByHeads(a linearArea, cut *linearCutter, dispatch func(*linearArea, *linearStage, uint32) error) error {
	size := 8 * int64(a.t1)
	if size > c.limit {
		return fmt.Errorf("dispatch: the sums of %d tokens exceed the %d bytes that the device binds at once: %w", a.t1, c.limit, vkattn.ErrUnsupported)
	}
	buf, err := c.r.hold(size, vk.HeapDevice, "scratch")
	if err != nil {
		return err
	}
	commands, err := c.r.open()
	if err != nil {
		return err
	}
	if err := commands.Fill(buf, 0, size, 0); err != nil {
		return err
	}
	commands.Barrier(vk.BarrierAll)
	pieces, err := cut.cut(nil, a, &linearStage{read: true})
	if err != nil {
		return err
	}
	sums := &linearStage{read: true, states: &view{buf: buf, room: buf.Size()}, sums: true}
	for _, phase := range []uint32{linearAdvance, linearRead} {
		for i := range pieces {
			if err := pieces[i].each(sums, func(sub *linearArea) error { return dispatch(sub, sums, phase) }); err != nil {
				return err
			}
		}
	}
	return nil
}

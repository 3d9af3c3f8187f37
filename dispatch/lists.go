package dispatch

import (
	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/sparse"
)

// listed is how the calls of a choice go by the lists that the rows of their block mask have: as over a cache whose pages are
// single keys, each row a sequence with a table of its own.
type listed struct {
	*sparse.Listed
	choice *choice
}

// listsOf says how a call goes by its rows' lists, or nil.
func (ch *choice) listsOf(r *run, c *call) (*listed, error) {
	if !ch.op.With.Has(vkattn.WithBlocks) {
		return nil, nil
	}
	l, why := sparse.ByLists(ch.op, &c.args, c.seqs)
	if l != nil && ch.standard {
		l, why = nil, "the mask's blocks are visited, not its rows' lists: the unfused baseline"
	}
	if l != nil && !ch.bindsKeys(r, c) {
		l, why = nil, "the mask's blocks are visited, not its rows' lists: the device does not bind all keys at once"
	}
	if l != nil {
		why = l.String()
	}
	r.note(why)
	if l == nil {
		return nil, nil
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if ch.listed == nil || ch.listed.op != l.Op {
		one, err := r.be.planner.choose(&r.be.caps, l.Op, "", withoutMatrix(withoutDot(r.be.disabled, "not for lists")))
		if err != nil {
			return nil, err
		}
		one.key.Paged = paged(1)
		ch.listed = one
	}
	return &listed{l, ch.listed}, nil
}

// bindsKeys reports whether keys and values of a head fit into a binding, wherever rows gather them from.
func (ch *choice) bindsKeys(r *run, c *call) bool {
	limits := &r.be.caps.Limits
	for _, t := range []vkattn.Tensor{c.args.K, c.args.V} {
		limit := float64(limits.MaxStorageBufferRange)
		if ch.key.texels() {
			limit = min(limit, float64(texelFormat(ch.key.Variant, t.Type).Bytes())*float64(limits.MaxTexelBufferElements))
		}
		row := t.Stride[2]
		if isHost(t) {
			row = ceilDiv(t.Shape[3], 4) * 4
		}
		if elements, bytes := t.Type.Block(); float64(t.Shape[2]+1)*float64(row)*float64(bytes)/float64(elements) > limit/2 {
			return false
		}
	}
	return true
}

// runLists runs a call by its rows' lists.
func (ch *choice) runLists(r *run, c *call, l *listed) error {
	s, err := r.reside(c)
	if err != nil {
		return err
	}
	for _, x := range l.Calls(s.args, c.seqs, ch.op.Causal) {
		keys := &cached{banks: onePool(1, x.Args.K.Shape[2])}
		for _, list := range x.Lists {
			keys.add(list, nil)
		}
		if err := l.choice.run(r, &call{plan: c.plan, args: x.Args, seqs: x.Seqs, cached: keys}); err != nil {
			return err
		}
	}
	return s.home()
}

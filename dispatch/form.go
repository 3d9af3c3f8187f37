package dispatch

import (
	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/sparse"
)

// form is how the calls of a choice go by the form of their block mask: the same kernel without block lists, for each part.
type form struct {
	*sparse.Formed
	far, near *choice
}

// formOf says how a call goes by the form of its block mask, or nil.
func (ch *choice) formOf(r *run, c *call) *form {
	if !ch.op.With.Has(vkattn.WithBlocks) {
		return nil
	}
	f, why := sparse.ByForm(ch.op, &c.args, c.seqs)
	if f != nil && ch.standard {
		f, why = nil, "the mask's blocks are visited, not its form: the unfused baseline"
	}
	if f != nil && ch.matrix != nil {
		f, why = nil, "the mask's blocks are visited, not its form: matrix units do that"
	}
	if f != nil && f.Page > 0 && !ch.bindsKeys(r, c) {
		f, why = nil, "the mask's blocks are visited, not its form: the device does not bind all keys at once"
	}
	if f != nil {
		why = f.String()
	}
	r.note(why)
	if f == nil {
		return nil
	}
	ch.mu.Lock()
	defer ch.mu.Unlock()
	if last := ch.form; last == nil || *last.Formed != *f {
		part := func(op vkattn.Attention) *choice {
			return &choice{op: op, path: ch.path, key: ch.key, pack: 1, shared: ch.shared}
		}
		ch.form = &form{f, part(f.Far), part(f.Near)}
		ch.form.far.key.Paged = paged(f.Page)
		if f.Joined { // what is left for the near part
			ch.form.far.op.TypeOut, ch.form.far.key.Types.Out = vkattn.Float32, vkattn.Float32
		}
	}
	return ch.form
}

// runForm runs a call by the form of its block mask. The tensors come to the device once, for all parts.
func (ch *choice) runForm(r *run, c *call, f *form) error {
	s, err := r.reside(c)
	if err != nil {
		return err
	}
	var state vkattn.Tensor
	if f.Joined {
		b, h, rows := c.args.Q.Shape[0], c.args.Q.Shape[1], c.args.Q.Shape[2]
		v, err := r.scratch(b, h, rows, 2)
		if err != nil {
			return err
		}
		state = r.asTensor(v, vkattn.Float32, b, h, rows)
	}
	args := s.args
	if f.Joined && args.Out.Type != vkattn.Float32 {
		shape := args.Out.Shape
		v, err := r.scratch(shape[0], shape[1], shape[2], ceilDiv(shape[3], 4)*4)
		if err != nil {
			return err
		}
		args.Out = r.asTensor(v, vkattn.Float32, shape[0], shape[1], shape[2])
		args.Out.Shape[3] = shape[3]
	}
	for _, x := range f.FarCalls(args, c.seqs, state) {
		sub := &call{plan: c.plan, args: x.Args, seqs: x.Seqs, leaves: f.Joined}
		if f.Page > 0 {
			sub.cached = &cached{banks: onePool(f.Page, x.Args.K.Shape[2]/f.Page), common: x.Columns}
		}
		if err := f.far.run(r, sub); err != nil {
			return err
		}
	}
	if f.Joined {
		x := f.NearCall(s.args, c.seqs)
		if err := f.near.run(r, &call{plan: c.plan, args: x.Args, seqs: x.Seqs, joins: state, joinsOut: args.Out}); err != nil {
			return err
		}
	}
	return s.home()
}

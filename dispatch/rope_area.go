package dispatch

import (
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// The axes of an area: sequences, heads, tokens, and rows of the tables, where positions name them.
const (
	axisBatch = iota
	axisHead
	axisToken
	axisRow
)

// ropeArea is what a dispatch has: of each axis the half-open range [lo, hi).
type ropeArea struct{ lo, hi [4]int }

func (a *ropeArea) n(axis int) int { return a.hi[axis] - a.lo[axis] }

// ropeTensor is a tensor of a call and its strides along the axes of an area.
type ropeTensor struct {
	view
	name   string
	stride [4]int
}

// ropeCall is one call on the device.
type ropeCall struct {
	r         *run
	op        *vkattn.Rope
	positions []int32
	tokens    int // of a sequence
	rows      int // of the tables that positions name, from the first to the last

	tensors      [numStorage]ropeTensor // by binding
	inPlace      bool
	pipeline     *vk.Pipeline
	slice        ropeSlice // but for what an area changes
	unitsOfARow  int
	limit, align int64
	budget       float64
	pairCost     float64
}

// stage brings the inputs to the device, of the tables rows [row0, row1), makes room for the output, and returns what
// brings it home.
func (c *ropeCall) stage(a *vkattn.Args, row0, row1 int) (home func() error, err error) {
	cos, sin := a.Cos, a.Sin
	if c.op.Positions {
		cos, sin = cos.Slice(2, row0, row1), sin.Slice(2, row0, row1)
	}
	for _, in := range []struct {
		binding int
		name    string
		t       vkattn.Tensor
	}{{bindQ, "q", a.Q}, {bindCos, "cos", cos}, {bindSin, "sin", sin}} {
		v, err := c.r.stageIn(in.t, 1)
		if err != nil {
			return nil, err
		}
		if in.t.Shape[0] == 1 {
			v.sb = 0 // all sequences read it
		}
		c.tensors[in.binding] = ropeTensor{v, in.name, [4]int{v.sb, v.sh, v.ss, 0}}
	}
	for _, i := range []int{bindCos, bindSin} {
		t := &c.tensors[i]
		t.stride[axisHead] = 0
		if c.op.Positions {
			t.stride[axisToken], t.stride[axisRow] = 0, t.ss
			t.off -= row0 * t.ss
		}
	}
	if c.inPlace = inPlace(a); c.inPlace {
		c.tensors[bindOut] = c.tensors[bindQ]
		c.tensors[bindQ] = ropeTensor{}
		if isHost(a.Q) {
			p := pack(a.Q, 1)
			home = func() error { return c.r.download(a.Q, &p, c.tensors[bindOut].buf) }
		}
	} else {
		var v view
		if v, home, err = c.r.stageOut(a.Out, 1); err != nil {
			return nil, err
		}
		c.tensors[bindOut] = ropeTensor{v, "out", [4]int{v.sb, v.sh, v.ss, 0}}
	}
	if !c.op.Positions {
		return home, nil
	}
	list := vkattn.BHSD(vkattn.Bytes(wordBytes(a.Positions)), len(a.Positions)/c.tokens, 1, 1, c.tokens)
	v, err := c.r.stageIn(list, 1)
	if err != nil {
		return nil, err
	}
	if list.Shape[0] == 1 {
		v.sb = 0
	}
	v.n = 1
	c.tensors[bindPositions] = ropeTensor{v, "positions", [4]int{v.sb, 0, 1, 0}}
	return home, nil
}

// aligned reports whether all rows start at multiples of four elements.
func (c *ropeCall) aligned() bool {
	for _, i := range []int{bindQ, bindCos, bindSin, bindOut} {
		v := &c.tensors[i]
		if v.off%4 != 0 || v.sb%4 != 0 || v.sh%4 != 0 || v.ss%4 != 0 {
			return false
		}
	}
	return true
}

// units fills in what the slices of a call share: how a row is cut to what one invocation does, and strides.
func (c *ropeCall) units(vector bool) {
	s, pairs, behind := &c.slice, c.op.RotaryDim/2, c.op.HeadDim-c.op.RotaryDim
	s.Pairs, s.Columns = uint32(pairs), uint32(c.op.HeadDim)
	s.PairStep, s.PairBeside = 1, uint32(pairs)
	if c.op.Layout == vkattn.RopeInterleaved {
		s.PairStep, s.PairBeside = 2, 1
	}
	if c.op.Inverse {
		s.Flip = 1 << 31
	}
	some := 1
	if vector {
		some = 4
	}
	c.unitsOfARow = pairs / some
	s.Turned = uint32(c.unitsOfARow)
	if !c.inPlace {
		c.unitsOfARow += ceilDiv(behind, 2*some)
	}
	s.Units = uint32(c.unitsOfARow)
	q, out, cos, sin := &c.tensors[bindQ], &c.tensors[bindOut], &c.tensors[bindCos], &c.tensors[bindSin]
	s.QBatch, s.QHead, s.QRow = uint32(q.sb), uint32(q.sh), uint32(q.ss)
	s.OutBatch, s.OutHead, s.OutRow = uint32(out.sb), uint32(out.sh), uint32(out.ss)
	s.CosBatch, s.CosRow, s.SinBatch, s.SinRow = uint32(cos.sb), uint32(cos.ss), uint32(sin.sb), uint32(sin.ss)
	s.PositionBatch = uint32(c.tensors[bindPositions].sb)
}

// fewPairs are not cut further for the sake of a budget: a submit of its own would cost more.
const fewPairs = 1 << 15

// cut dispatches an area, in parts if it has to be. How it is cut does not show in the bits.
func (c *ropeCall) cut(a ropeArea) error {
	axis, err := c.across(&a)
	if err != nil {
		return err
	}
	if axis < 0 {
		return c.dispatch(&a)
	}
	lo, hi := a, a
	middle := (a.lo[axis] + a.hi[axis]) / 2
	lo.hi[axis], hi.lo[axis] = middle, middle
	if err := c.cut(lo); err != nil {
		return err
	}
	return c.cut(hi)
}

// across is the axis that an area has to be cut across, or -1 if a dispatch can have it: every tensor must fit into a
// binding, the workgroups into a grid and the work into a submit.
func (c *ropeCall) across(a *ropeArea) (int, error) {
	for i := range c.tensors {
		t := &c.tensors[i]
		if !t.given() || t.window(a, c.align).size <= c.limit {
			continue
		}
		axis := -1
		for x, stride := range t.stride { // the one that spans most
			if span := (a.n(x) - 1) * stride; span > 0 && (axis < 0 || span > (a.n(axis)-1)*t.stride[axis]) {
				axis = x
			}
		}
		if axis < 0 {
			return 0, fmt.Errorf("dispatch: one row of %s exceeds the %d bytes that the device binds at once: %w", t.name, c.limit, vkattn.ErrUnsupported)
		}
		return axis, nil
	}
	most := &c.r.be.caps.Limits.MaxComputeWorkGroupCount
	switch {
	case a.n(axisBatch) > int(most[2]):
		return axisBatch, nil
	case a.n(axisHead) > int(most[1]):
		return axisHead, nil
	case c.groups(a) > int(min(most[0], 1<<20)) && a.n(axisToken) > 1:
		return axisToken, nil
	}
	if c.cost(a) > c.budget && c.cost(a) > fewPairs*c.pairCost {
		for _, x := range []int{axisBatch, axisHead, axisToken} {
			if a.n(x) > 1 {
				return x, nil
			}
		}
	}
	return -1, nil
}

// groups is the number of workgroups in x.
func (c *ropeCall) groups(a *ropeArea) int { return ceilDiv(a.n(axisToken)*c.unitsOfARow, ropeLanes) }

func (c *ropeCall) cost(a *ropeArea) float64 {
	return c.pairCost / 2 * float64(a.n(axisBatch)) * float64(a.n(axisHead)) * float64(a.n(axisToken)) * float64(c.op.HeadDim)
}

// window is what a binding must show of a tensor for an area, with the offset of the area's first element from its start.
func (t *ropeTensor) window(a *ropeArea, align int64) window {
	first, last := t.off, t.off
	for x, stride := range t.stride {
		first += a.lo[x] * stride
		last += (a.hi[x] - 1) * stride
	}
	size := int64(t.typ.Size())
	start := int64(first) * size / align * align
	end := min((int64(last+t.n)*size+15)/16*16, t.room)
	return window{start, end - start, uint32(int64(first) - start/size)}
}

// dispatch records the dispatch of an area.
func (c *ropeCall) dispatch(a *ropeArea) error {
	s := c.slice
	if c.op.Positions {
		if a.n(axisRow) < c.rows && !c.reads(a) {
			return nil
		}
		s.RowFirst, s.RowCount = uint32(a.lo[axisRow]), uint32(a.n(axisRow))
	}
	b := make([]vk.Binding, numBindings)
	for i := range b {
		b[i] = vk.Binding{Buffer: c.r.be.dummy, Range: c.r.be.dummy.Size()}
	}
	bases := [numStorage]*uint32{bindPositions: &s.PositionBase, bindQ: &s.QBase, bindCos: &s.CosBase, bindSin: &s.SinBase, bindOut: &s.OutBase}
	for i, base := range bases {
		if t := &c.tensors[i]; t.given() {
			w := t.window(a, c.align)
			b[i] = vk.Binding{Buffer: t.buf, Offset: w.off, Range: w.size}
			*base = w.base
		}
	}
	s.Count = uint32(a.n(axisToken) * c.unitsOfARow)
	c.r.report.Slices++
	return c.r.dispatch(c.pipeline, b, bytesOf(&s), c.groups(a), a.n(axisHead), a.n(axisBatch), c.cost(a), c.budget)
}

// reads reports whether a token of the area reads a row of it.
func (c *ropeCall) reads(a *ropeArea) bool {
	for b := a.lo[axisBatch]; b < a.hi[axisBatch]; b++ {
		at := b * c.tokens % len(c.positions)
		for _, p := range c.positions[at+a.lo[axisToken] : at+a.hi[axisToken]] {
			if int(p) >= a.lo[axisRow] && int(p) < a.hi[axisRow] {
				return true
			}
		}
	}
	return false
}

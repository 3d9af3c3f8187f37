package dispatch

import (
	"fmt"
	"slices"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// The axes of what the kernels of select_*.comp compute: sequences, key heads or query heads, rows, blocks of keys, and the query
// heads of a key head.
const (
	selectBatch = iota
	selectHead
	selectRow
	selectBlock
	selectMember
	selectAxes
)

// selectArea is what a dispatch has: of each axis the half-open range [lo, hi).
type selectArea struct{ lo, hi [selectAxes]int }

func (a *selectArea) n(axis int) int { return a.hi[axis] - a.lo[axis] }

// selectTensor is a tensor, its strides along the axes, and how many elements of it an element of the area touches from its first on.
type selectTensor struct {
	view
	name    string
	binding int
	stride  [selectAxes]int
	words   int
}

// window is what a binding must show of the tensor for an area, with the offset of the area's first element from its start.
func (t *selectTensor) window(a *selectArea, align int64) window {
	first, last := t.off, t.off
	for x, stride := range t.stride {
		first += a.lo[x] * stride
		last += (a.hi[x] - 1) * stride
	}
	w := t.view.window(first, last+t.words, align)
	w.base += uint32(first - t.off)
	return w
}

// selectJob is a kernel of select_*.comp and its tensors. How it is cut does not show in the bits.
type selectJob struct {
	r        *run
	name     string
	key      pipelineKey // nil: that of a kernel which chooses
	tensors  []selectTensor
	list     *vk.Buffer                             // of sequences
	groups   func(a *selectArea) [3]int             // workgroups
	axes     [3][]int                               // the axes that they count, those to cut first ahead
	cost     func(a *selectArea) float64            // in FLOPs of attention
	push     func(a *selectArea, b []uint32) []byte // with the bases of the tensors
	pipeline *vk.Pipeline
	align    int64
	limit    int64
	budget   float64
}

// fewFLOPs are not cut further for the sake of a budget.
const fewFLOPs = 1 << 22

// run computes an area.
func (j *selectJob) run(whole selectArea) error {
	for x := range whole.hi {
		if whole.n(x) <= 0 {
			return nil
		}
	}
	limits := &j.r.be.caps.Limits
	j.limit, j.align = int64(min(limits.MaxStorageBufferRange, 1<<62)), max(16, int64(limits.MinStorageBufferOffsetAlignment))
	j.budget = j.r.be.budgetFLOPs()
	var err error
	if j.key == nil {
		j.key = selectKeyOf(&j.r.be.caps, j.name, vkattn.Float32)
	}
	if j.pipeline, err = j.r.be.pipeline(j.key); err != nil {
		return err
	}
	return j.cut(whole)
}

func (j *selectJob) cut(a selectArea) error {
	axis, err := j.across(&a)
	if err != nil {
		return err
	}
	if axis < 0 {
		return j.dispatch(&a)
	}
	lo, hi := a, a
	middle := (a.lo[axis] + a.hi[axis]) / 2
	lo.hi[axis], hi.lo[axis] = middle, middle
	if err := j.cut(lo); err != nil {
		return err
	}
	return j.cut(hi)
}

// across is the axis that an area has to be cut across, or -1 if a dispatch can have it: every tensor must fit into a
// binding, the workgroups into a grid and the work into a submit.
func (j *selectJob) across(a *selectArea) (int, error) {
	for i := range j.tensors {
		t := &j.tensors[i]
		if t.window(a, j.align).size <= j.limit {
			continue
		}
		axis := -1
		for x, stride := range t.stride { // the one that spans most
			if span := (a.n(x) - 1) * stride; span > 0 && (axis < 0 || span > (a.n(axis)-1)*t.stride[axis]) {
				axis = x
			}
		}
		if axis < 0 {
			return 0, fmt.Errorf("dispatch: %s: what one row or block takes of %s exceeds the %d bytes that the device binds at once: %w", j.name, t.name, j.limit, vkattn.ErrUnsupported)
		}
		return axis, nil
	}
	for dim, n := range j.groups(a) {
		if n <= int(min(j.r.be.caps.Limits.MaxComputeWorkGroupCount[dim], 1<<20)) {
			continue
		}
		for _, x := range j.axes[dim] {
			if a.n(x) > 1 {
				return x, nil
			}
		}
	}
	if c := j.cost(a); c > j.budget && c > fewFLOPs {
		for _, x := range []int{selectBatch, selectHead, selectMember, selectRow, selectBlock} {
			if a.n(x) > 1 {
				return x, nil
			}
		}
	}
	return -1, nil
}

func (j *selectJob) dispatch(a *selectArea) error {
	b := make([]vk.Binding, numBindings)
	for i := range b {
		b[i] = vk.Binding{Buffer: j.r.be.dummy, Range: j.r.be.dummy.Size()}
	}
	if j.list != nil {
		b[bindWork] = vk.Binding{Buffer: j.list, Range: min(j.list.Size(), j.limit)}
	}
	bases := make([]uint32, len(j.tensors))
	for i := range j.tensors {
		t := &j.tensors[i]
		w := t.window(a, j.align)
		b[t.binding] = vk.Binding{Buffer: t.buf, Offset: w.off, Range: w.size}
		bases[i] = w.base
	}
	g := j.groups(a)
	j.r.report.Slices++
	return j.r.dispatch(j.pipeline, b, slices.Clone(j.push(a, bases)), g[0], g[1], g[2], j.cost(a), j.budget)
}

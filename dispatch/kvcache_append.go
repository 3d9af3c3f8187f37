package dispatch

import (
	"fmt"
	"slices"
	"unsafe"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

const (
	appendVariant = "cache_append"
	appendLanes   = 64 // its workgroup
)

// appendPipeline is everything that an append pipeline is specialised on.
type appendPipeline struct {
	Invocations uint32
	Key, Value  vkattn.Type // of the pools
}

func (k appendPipeline) pipelineSpec() vk.PipelineSpec {
	return vk.PipelineSpec{Name: appendVariant, PushBytes: int(unsafe.Sizeof(appendSlice{})),
		Spec: []vk.SpecConstant{{ID: 0, Value: k.Invocations}, {ID: 1, Value: uint32(k.Key)}, {ID: 2, Value: uint32(k.Value)}}}
}

// unit is the columns of a row of a pool that fill whole words.
func unit(t vkattn.Type) int {
	if n, _ := t.Block(); n > 1 {
		return 2 * n
	}
	return 4 / t.Size()
}

// appendSlice is the push constant block of cache_append.comp; a test compares the two by name and offset.
type appendSlice struct {
	First, Tokens, Units                  uint32
	HeadsQ, HeadsK, HeadsV                uint32
	Dim, ValueDim                         uint32
	Pairs, PairStep                       uint32
	Positions, Rows                       uint32
	QHead, QRow, KHead, KRow, VHead, VRow uint32
	KeyHead, KeyRow, ValueHead, ValueRow  uint32
	TurnedHead                            uint32
	QBase, KBase, VBase                   uint32
	KeyBase, ValueBase                    uint32
}

// The bindings of cache_append.comp where they differ from attention's.
const (
	bindEntries = bindWork
	bindKeys    = bindOut
	bindValues  = bindLSE
	bindTurned  = bindBias
	bindAngles  = bindMask
)

// fits refuses rows of which the device does not bind all at once.
func (s *kvStep) fits(args *vkattn.CacheArgs) error {
	c := s.cache
	q := args.Q
	if c.angles == nil { // it does not pass through an append
		q = vkattn.Tensor{}
	}
	limit := c.be.caps.Limits.MaxStorageBufferRange
	for _, x := range []struct {
		name string
		t    vkattn.Tensor
	}{{"Q", q}, {"K", args.K}, {"V", args.V}} {
		n := x.t.Len()
		if lo, hi, ok := x.t.Extent(); ok && !isHost(x.t) {
			n = max(n, hi-lo)
		}
		if x.t.Given() && 4*uint64(n) > limit {
			return fmt.Errorf("dispatch: %s of %d tokens spans %d bytes, the device binds %d at once: take fewer in a step: %w", x.name, s.Step.Tokens, 4*n, limit, vkattn.ErrUnsupported)
		}
	}
	return nil
}

// enter writes the keys and values of a step to a layer's pools, and returns its queries as the kernel reads them.
func (s *kvStep) enter(r *run, layer int, args *vkattn.CacheArgs) (q vkattn.Tensor, err error) {
	c := s.cache
	turned := args.Q.Given() && c.angles != nil
	if !turned && !args.K.Given() || s.Step.Tokens == 0 {
		return args.Q, nil
	}
	op := &c.spec.Op
	keyRow, valueRow := c.rowBytes(op.TypeK, op.HeadDim)/4, c.rowBytes(op.TypeV, op.ValueDim)/4
	p := appendSlice{Dim: uint32(op.HeadDim), ValueDim: uint32(op.ValueDim), PairStep: 1, Rows: uint32(c.stride()),
		Units:  uint32(max(ceilDiv(op.HeadDim, unit(op.TypeK)), ceilDiv(op.ValueDim, unit(op.TypeV)))),
		KeyRow: uint32(keyRow), KeyHead: uint32(c.stride() * keyRow), ValueRow: uint32(valueRow), ValueHead: uint32(c.stride() * valueRow)}
	if c.page == 0 {
		p.Rows *= uint32(op.Batch * c.heads)
	} else {
		p.Rows = uint32(c.slots() * c.page)
	}
	b := make([]vk.Binding, numBindings)
	for i := range b {
		b[i] = vk.Binding{Buffer: r.be.dummy, Range: r.be.dummy.Size()}
	}
	if c.angles != nil {
		rope := &c.spec.Rope
		p.Pairs, p.Positions = uint32(len(rope.InvFreq)), uint32(rope.Positions)
		if rope.Layout == vkattn.RopeInterleaved {
			p.PairStep = 2
		}
		b[bindAngles] = vk.Binding{Buffer: c.angles.buf, Range: c.angles.size}
	}
	limit := int64(min(r.be.caps.Limits.MaxStorageBufferRange, 1<<62))
	align := max(16, int64(r.be.caps.Limits.MinStorageBufferOffsetAlignment))
	input := func(name string, binding int, t vkattn.Tensor, head, row, base *uint32) error {
		v, err := r.stageIn(t, 1)
		if err != nil {
			return err
		}
		whole := ropeTensor{v, name, [4]int{0, v.sh, v.ss, 0}}
		w := whole.window(&ropeArea{hi: [4]int{1, t.Shape[1], t.Shape[2], 1}}, align)
		if w.size > limit {
			return fmt.Errorf("dispatch: %s spans %d bytes, the device binds %d at once: %w", name, w.size, limit, vkattn.ErrUnsupported)
		}
		*head, *row, *base = uint32(v.sh), uint32(v.ss), w.base
		b[binding] = vk.Binding{Buffer: v.buf, Offset: w.off, Range: w.size}
		return nil
	}
	q = args.Q
	queries, pools := 0, 0
	if turned {
		queries, p.Units = op.HeadsQ, max(p.Units, p.Dim)
		if err := input("Q", bindQ, args.Q, &p.QHead, &p.QRow, &p.QBase); err != nil {
			return q, err
		}
		q = vkattn.BHSD(nil, 1, op.HeadsQ, s.Step.Tokens, op.HeadDim)
		buf, err := r.hold(4*int64(q.Len()), vk.HeapDevice, "scratch")
		if err != nil {
			return q, err
		}
		p.TurnedHead = uint32(q.Stride[1])
		b[bindTurned] = vk.Binding{Buffer: buf, Range: 4 * int64(q.Len())}
		q.Mem = &memory{be: r.be, buf: buf, size: buf.Size()}
	}
	if args.K.Given() {
		pools = c.heads
		if err := input("K", bindK, args.K, &p.KHead, &p.KRow, &p.KBase); err != nil {
			return q, err
		}
		if err := input("V", bindV, args.V, &p.VHead, &p.VRow, &p.VBase); err != nil {
			return q, err
		}
	}
	entries, _, err := r.work(&section{words: s.entries}, 0)
	if err != nil {
		return q, err
	}
	b[bindEntries] = vk.Binding{Buffer: entries, Range: 4 * int64(len(s.entries))}
	return q, s.enterTokens(r, layer, p, b, queries, pools, limit, align, 0, s.Step.Tokens)
}

// span is where the row of a token may lie, among those of a pool's first head: anywhere in its bank, if the step is recorded for others.
func (s *kvStep) span(token int) (lo, hi int) {
	c := s.cache
	row := int(s.entries[2*token+1])
	switch {
	case !s.recorded:
		return row, row + 1
	case c.page > 0:
		return c.rows(c.bankOf(row))
	}
	first := c.first(int32(row / (c.stride() * c.heads)))
	return first, first + c.stride()
}

// enterTokens dispatches an append of tokens [t0, t1), half of them at a time where their rows are further apart than the device binds.
func (s *kvStep) enterTokens(r *run, layer int, p appendSlice, b []vk.Binding, queries, pools int, limit, align int64, t0, t1 int) error {
	l := &s.cache.layers[layer]
	lo, hi := s.span(t0)
	for t := t0 + 1; t < t1; t++ {
		a, z := s.span(t)
		lo, hi = min(lo, a), max(hi, z)
	}
	for _, pool := range []*vkattn.Tensor{&l.k, &l.v} {
		if from, to := s.cache.window(pool, lo, hi, 0, 1, align); pools > 0 && to-from > limit && t1-t0 > 1 {
			middle := (t0 + t1) / 2
			if err := s.enterTokens(r, layer, p, slices.Clone(b), queries, pools, limit, align, t0, middle); err != nil {
				return err
			}
			return s.enterTokens(r, layer, p, slices.Clone(b), queries, pools, limit, align, middle, t1)
		}
	}
	p.First, p.Tokens = uint32(t0), uint32(t1-t0)
	return s.enterHeads(r, layer, &p, b, queries, pools, limit, align, lo, hi)
}

// enterHeads dispatches an append to rows [lo, hi), so many heads at once as the device binds of the pools.
func (s *kvStep) enterHeads(r *run, layer int, p *appendSlice, b []vk.Binding, queries, pools int, limit, align int64, lo, hi int) error {
	c := s.cache
	op := &c.spec.Op
	k, v := &c.layers[layer].k, &c.layers[layer].v
	tokens := int(p.Tokens)
	x := ceilDiv(tokens*int(p.Units), appendLanes)
	if most := int(r.be.caps.Limits.MaxComputeWorkGroupCount[0]); x > most {
		return fmt.Errorf("dispatch: %d tokens of %d units are more than one dispatch takes: %w", tokens, p.Units, vkattn.ErrUnsupported)
	}
	for head := 0; head < max(pools, 1); {
		n := pools - head
		for ; n > 1; n-- {
			if a, z := c.window(k, lo, hi, head, n, align); z-a <= limit {
				if a, z = c.window(v, lo, hi, head, n, align); z-a <= limit {
					break
				}
			}
		}
		p.HeadsQ, p.HeadsK, p.HeadsV = 0, uint32(clamp(op.HeadsK-head, 0, n)), uint32(clamp(op.HeadsV-head, 0, n))
		if head == 0 {
			p.HeadsQ = uint32(queries)
		}
		slice := *p
		slice.KBase += uint32(head) * p.KHead
		slice.VBase += uint32(head) * p.VHead
		if n > 0 {
			for _, w := range []struct {
				t       *vkattn.Tensor
				binding int
				base    *uint32
			}{{k, bindKeys, &slice.KeyBase}, {v, bindValues, &slice.ValueBase}} {
				a, z := c.window(w.t, lo, hi, head, n, align)
				if z-a > limit {
					return fmt.Errorf("dispatch: the rows of a step span %d bytes of a head, the device binds %d at once: %w", z-a, limit, vkattn.ErrUnsupported)
				}
				b[w.binding] = vk.Binding{Buffer: w.t.Mem.(*memory).buf, Offset: a, Range: z - a}
				*w.base = uint32((int64(head*c.stride())*rowBytes(w.t) - a) / 4)
			}
		}
		cost := 16 * float64(tokens) * float64(p.Units) * float64(slice.HeadsQ+slice.HeadsK+slice.HeadsV)
		if err := r.dispatch(c.append, b, bytesOf(&slice), x, int(slice.HeadsQ+slice.HeadsK+slice.HeadsV), 1, cost, r.be.budgetFLOPs()); err != nil {
			return err
		}
		head += max(n, 1)
	}
	return nil
}

// window is what must be bound of a pool, in bytes, for rows [lo, hi) of so many heads.
func (c *KVCache) window(t *vkattn.Tensor, lo, hi, head, heads int, align int64) (from, to int64) {
	row := rowBytes(t)
	from = int64(lo+head*c.stride()) * row / align * align
	to = (int64(hi+(head+heads-1)*c.stride())*row + 15) / 16 * 16
	return from, min(to, t.Mem.(*memory).buf.Size())
}

// rowBytes is a row of a pool, with what fills its last word.
func rowBytes(t *vkattn.Tensor) int64 { return int64(t.Type.Bytes(t.Stride[2])) }

func (c *KVCache) rowBytes(t vkattn.Type, last int) int {
	return t.Bytes(ceilDiv(last, unit(t)) * unit(t))
}

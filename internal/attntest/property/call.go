// Package property checks what must hold between attention calls, on any backend: linearity in the
// values, independence of key order, of layouts, of batch order; parts that merge to the whole. Nothing
// here needs the oracle, but for one property that draws random cases of package attntest.
package property

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/vkattn/vkattn"
	"pgregory.net/rapid"
)

// call is a problem with its data in plain contiguous slices, easy to permute, cut and repeat.
type call struct {
	op      vkattn.Attention // masks, softcap, scale; sizes and With come from what follows
	b       int
	sq, sk  int
	q, k, v []float32 // [b, heads, s, d]

	bias   []float32 // [b, hq, sq, sk], or nil
	mask   []bool    // [b, hq, sq, sk], or nil
	blocks *vkattn.BlockMask
	slopes []float32 // [hq]
	sinks  []float32 // [hq]
	keyLen []int32
	offset []int
	prefix []int32
	global []int32
	qb, kb int
}

// finish returns the op and the arguments of the call, with new memory for the outputs.
func (c *call) finish() (vkattn.Attention, vkattn.Args) {
	op := c.op.Canonical()
	op.Batch, op.SeqQ, op.SeqK = c.b, c.sq, c.sk
	op.With = vkattn.WithLSE
	tensor := func(data []float32, h, s, d int) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(data), c.b, h, s, d)
	}
	args := vkattn.Args{
		Q: tensor(c.q, op.HeadsQ, c.sq, op.HeadDim), K: tensor(c.k, op.HeadsK, c.sk, op.HeadDim), V: tensor(c.v, op.HeadsV, c.sk, op.ValueDim),
		Out: tensor(nans(c.b*op.HeadsQ*c.sq*op.ValueDim), op.HeadsQ, c.sq, op.ValueDim), LSE: tensor(nans(c.b*op.HeadsQ*c.sq), op.HeadsQ, c.sq, 1),
		QBase: c.qb, KBase: c.kb,
	}
	give := func(on bool, w vkattn.With, f func()) {
		if on {
			op.With |= w
			f()
		}
	}
	give(c.bias != nil, vkattn.WithBias, func() { args.Bias = tensor(c.bias, op.HeadsQ, c.sq, c.sk) })
	give(c.mask != nil, vkattn.WithMask, func() {
		args.Mask = vkattn.BHSD(vkattn.Bools(c.mask), c.b, op.HeadsQ, c.sq, c.sk).As(vkattn.Bool)
	})
	give(c.blocks != nil, vkattn.WithBlocks, func() { args.Blocks = c.blocks })
	give(c.slopes != nil, vkattn.WithALiBi, func() { args.Slopes = vkattn.Vector(vkattn.Float32s(c.slopes), op.HeadsQ) })
	give(c.sinks != nil, vkattn.WithSinkLogits, func() { args.SinkLogits = vkattn.Vector(vkattn.Float32s(c.sinks), op.HeadsQ) })
	give(c.keyLen != nil, vkattn.WithKeyLengths, func() { args.KeyLengths = c.keyLen })
	give(c.prefix != nil && op.Causal, vkattn.WithPrefix, func() { args.Prefix = c.prefix })
	give(c.global != nil && op.Window.Given(), vkattn.WithGlobal, func() { args.Global = c.global })
	if op.Align == vkattn.AlignOffset {
		args.Offset = c.offset
	}
	return op, args
}

func nans(n int) []float32 { return slices.Repeat([]float32{float32(math.NaN())}, n) }

// harness runs calls on one backend.
type harness struct {
	b vkattn.Backend
}

// answer is what a call wrote.
type answer struct{ out, lse []float32 }

// run computes c; it ends the check when the backend refuses.
func (h harness) run(t *rapid.T, c *call) answer {
	op, args := c.finish()
	return h.runArgs(t, op, args)
}

func (h harness) runArgs(t *rapid.T, op vkattn.Attention, args vkattn.Args) answer {
	t.Helper()
	plan := h.plan(t, op)
	defer plan.Close()
	return h.runPlan(t, plan, args)
}

func (h harness) plan(t *rapid.T, op vkattn.Attention) vkattn.Plan {
	t.Helper()
	plan, err := h.b.Plan(context.Background(), op)
	if err != nil {
		t.Fatalf("%s: %v", op, err)
	}
	return plan
}

func (h harness) runPlan(t *rapid.T, plan vkattn.Plan, args vkattn.Args) answer {
	t.Helper()
	if _, err := plan.Run(context.Background(), args); err != nil {
		t.Fatalf("%s: %v", plan.Op(), err)
	}
	return read(args)
}

// read copies the outputs into contiguous slices.
func read(args vkattn.Args) answer {
	return answer{elements(args.Out), elements(args.LSE)}
}

// elements are the elements of a host tensor in order.
func elements(t vkattn.Tensor) []float32 {
	f := t.Mem.(*vkattn.Host).Float32s()
	out := make([]float32, 0, t.Len())
	for b := range t.Shape[0] {
		for h := range t.Shape[1] {
			for s := range t.Shape[2] {
				for d := range t.Shape[3] {
					out = append(out, f[t.Index(b, h, s, d)])
				}
			}
		}
	}
	return out
}

// limits says what draw may put into a call.
type limits struct {
	closed bool // causal, window, chunk, prefix, offsets: masks by position
	tables bool // mask and bias
	extras bool // softcap, ALiBi, sink logits, scale
	groups bool // fewer key heads than query heads
}

// draw draws a call. Head sizes stay within two buckets, so that few pipelines are built.
func draw(t *rapid.T, l limits) *call {
	c := &call{b: rapid.IntRange(1, 3).Draw(t, "batch"), sq: length(t, "rows", 80), sk: length(t, "keys", 150)}
	c.op.HeadsQ = rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "heads")
	c.op.HeadsK, c.op.HeadsV = c.op.HeadsQ, c.op.HeadsQ
	if l.groups && c.op.HeadsQ == 4 {
		c.op.HeadsK, c.op.HeadsV = rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "key heads"), rapid.SampledFrom([]int{1, 2, 4}).Draw(t, "value heads")
		c.op.HeadMap = rapid.SampledFrom([]vkattn.HeadMap{vkattn.HeadBlock, vkattn.HeadCyclic}).Draw(t, "head map")
	}
	c.op.HeadDim = rapid.SampledFrom([]int{8, 32, 40, 64, 13}).Draw(t, "head size")
	c.op.ValueDim = c.op.HeadDim
	r := random(t)
	c.q, c.k, c.v = normals(r, c.b*c.op.HeadsQ*c.sq*c.op.HeadDim), normals(r, c.b*c.op.HeadsK*c.sk*c.op.HeadDim), normals(r, c.b*c.op.HeadsV*c.sk*c.op.ValueDim)
	if l.closed {
		c.drawClosed(t)
	}
	coin := func(name string) bool { return rapid.IntRange(0, 2).Draw(t, name) == 2 }
	if l.tables && coin("mask") {
		c.mask = make([]bool, c.b*c.op.HeadsQ*c.sq*c.sk)
		for i := range c.mask {
			c.mask[i] = r.IntN(4) != 0
		}
	}
	if l.tables && coin("bias") {
		c.bias = normals(r, c.b*c.op.HeadsQ*c.sq*c.sk)
		for i := range c.bias {
			if r.IntN(8) == 0 {
				c.bias[i] = float32(math.Inf(-1))
			}
		}
	}
	if l.extras {
		if coin("softcap") {
			c.op.Softcap = rapid.Float64Range(0.5, 20).Draw(t, "cap")
		}
		if coin("alibi") {
			c.slopes = normals(r, c.op.HeadsQ)
			for i := range c.slopes {
				c.slopes[i] /= 8
			}
		}
		if coin("sinks") {
			c.sinks = normals(r, c.op.HeadsQ)
		}
		if coin("scale") {
			c.op.Scale = vkattn.Num(rapid.Float64Range(-0.3, 0.3).Draw(t, "factor"))
		}
	}
	return c
}

// drawClosed draws masks by position around a diagonal that does not depend on the lengths.
func (c *call) drawClosed(t *rapid.T) {
	coin := func(name string) bool { return rapid.Bool().Draw(t, name) }
	c.op.Align = vkattn.AlignOffset
	c.offset = []int{rapid.IntRange(-20, 120).Draw(t, "offset")}
	if c.op.Causal = coin("causal"); c.op.Causal && coin("prefix") {
		c.prefix = []int32{int32(rapid.IntRange(0, 100).Draw(t, "prefix length"))}
	}
	if coin("window") {
		if coin("left") {
			c.op.Window.Left = vkattn.Tokens(rapid.IntRange(-3, 70).Draw(t, "left tokens"))
		}
		if coin("right") {
			c.op.Window.Right = vkattn.Tokens(rapid.IntRange(-3, 70).Draw(t, "right tokens"))
		}
		if c.op.Window.Given() && coin("sink tokens") {
			c.op.SinkTokens = rapid.IntRange(1, 9).Draw(t, "sink tokens")
		}
		if c.op.Window.Given() && coin("global") {
			c.global = []int32{int32(rapid.IntRange(0, 60).Draw(t, "global token"))}
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "chunk") == 0 {
		c.op.Chunk = rapid.IntRange(1, 90).Draw(t, "chunk tokens")
	}
}

// length draws a length, often one beside a tile's edge.
func length(t *rapid.T, name string, most int) int {
	return rapid.OneOf(rapid.IntRange(1, most), rapid.SampledFrom([]int{1, 15, 16, 17, 31, 32, 33, 63, 64, 65})).Draw(t, name)
}

// random is a source for data, which need not shrink.
func random(t *rapid.T) *rand.Rand {
	return rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "data"), 1))
}

func normals(r *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64())
	}
	return out
}

// near compares rows of d elements: the L2 distance may be tol of the larger of the row's norm and a
// tenth of the root mean square norm. Infinite elements must be equal.
func near(t *rapid.T, what string, got, want []float32, d int, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	total := 0.0
	for _, w := range want {
		if w-w == 0 {
			total += float64(w) * float64(w)
		}
	}
	floor := 0.1 * math.Sqrt(total/max(1, float64(len(want)/d)))
	for at := 0; at < len(want); at += d {
		e, norm := 0.0, 0.0
		for n := at; n < at+d; n++ {
			if got[n] == want[n] {
				norm += float64(want[n]) * float64(want[n])
				continue
			}
			diff := float64(got[n]) - float64(want[n])
			e += diff * diff
			norm += float64(want[n]) * float64(want[n])
		}
		if !(math.Sqrt(e) <= tol*max(math.Sqrt(norm), floor)) {
			t.Fatalf("%s: row %d differs by %.3g: %v, want %v", what, at/d, math.Sqrt(e)/max(math.Sqrt(norm), floor), got[at:at+min(d, 4)], want[at:at+min(d, 4)])
		}
	}
}

// nearLSE compares log-sum-exps: absolute up to 1, relative beyond.
func nearLSE(t *rapid.T, what string, got, want []float32, tol float64) {
	t.Helper()
	for i := range want {
		if got[i] == want[i] {
			continue
		}
		if e := math.Abs(float64(got[i]) - float64(want[i])); !(e <= tol*max(1, math.Abs(float64(want[i])))) {
			t.Fatalf("%s: LSE of row %d is %v, want %v", what, i, got[i], want[i])
		}
	}
}

// same compares bit by bit; two NaNs are the same.
func same(t *rapid.T, what string, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d elements, want %d", what, len(got), len(want))
	}
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && (got[i] == got[i] || want[i] == want[i]) {
			t.Fatalf("%s: element %d is %v, want the same bits as %v", what, i, got[i], want[i])
		}
	}
}

func sameAnswer(t *rapid.T, what string, got, want answer) {
	t.Helper()
	same(t, what+": Out", got.out, want.out)
	same(t, what+": LSE", got.lse, want.lse)
}

func nearAnswer(t *rapid.T, what string, got, want answer, d int) {
	t.Helper()
	near(t, what, got.out, want.out, d, 2e-5)
	nearLSE(t, what, got.lse, want.lse, 2e-5)
}

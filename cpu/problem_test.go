package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
)

// run is one call with its outputs in reach: everything in BHSD unless a test says otherwise.
type run struct {
	op       vkattn.Attention
	args     vkattn.Args
	out, lse []float32
}

func normal(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
	return x
}

// strided is a tensor of random numbers in one of several layouts, inside memory that is NaN around it.
func strided(rng *rand.Rand, b, h, s, d int) vkattn.Tensor {
	gap, lead := rng.IntN(3), rng.IntN(4)
	x := make([]float32, lead+b*h*s*(d+gap)+5)
	for i := range x {
		x[i] = float32(math.NaN())
	}
	var t vkattn.Tensor
	if rng.IntN(2) == 0 {
		t = vkattn.BHSD(vkattn.Float32s(x), b, h, s, d+gap)
	} else {
		t = vkattn.BSHD(vkattn.Float32s(x), b, s, h, d+gap)
	}
	t.Shape[3], t.Offset = d, lead
	each(t, func(at int) { x[at] = float32(rng.NormFloat64()) })
	return t
}

// each calls f with the place of every element.
func each(t vkattn.Tensor, f func(at int)) {
	for b := range t.Shape[0] {
		for h := range t.Shape[1] {
			for s := range t.Shape[2] {
				for d := range t.Shape[3] {
					f(t.Index(b, h, s, d))
				}
			}
		}
	}
}

func floats32(t vkattn.Tensor) []float32 { return t.Mem.(*vkattn.Host).Float32s() }

func bools(rng *rand.Rand, n int, density float64) []bool {
	x := make([]bool, n)
	for i := range x {
		x[i] = rng.Float64() < density
	}
	return x
}

// score is a score-shaped tensor that broadcasts over some axes.
func score(rng *rand.Rand, mem func(n int) vkattn.Memory, b, h, sq, sk int) vkattn.Tensor {
	shape := [4]int{b, h, sq, sk}
	for axis := range 3 {
		if rng.IntN(3) == 0 {
			shape[axis] = 1
		}
	}
	n := shape[0] * shape[1] * shape[2] * shape[3]
	return vkattn.BHSD(mem(n), shape[0], shape[1], shape[2], shape[3]).Broadcast(b, h, sq, sk)
}

// newRun fills in the data that op asks for, at full capacity. Sequence lengths of packed ops and key
// lengths are random.
func newRun(rng *rand.Rand, op vkattn.Attention) *run {
	c := op.Canonical()
	b, sq, sk := c.Batch, c.SeqQ, c.SeqK
	tb, tq, tk := b, sq, sk
	r := &run{op: op}
	a := &r.args
	if c.Packed {
		a.CuSeqQ, a.CuSeqK = prefixSums(rng, b, sq, c.TotalQ), prefixSums(rng, b, sk, c.TotalK)
		tb, tq, tk = 1, c.TotalQ, c.TotalK
	}
	a.Q, a.K, a.V = strided(rng, tb, c.HeadsQ, tq, c.HeadDim), strided(rng, tb, c.HeadsK, tk, c.HeadDim), strided(rng, tb, c.HeadsV, tk, c.ValueDim)
	r.out, r.lse = make([]float32, tb*c.HeadsQ*tq*c.ValueDim), make([]float32, tb*c.HeadsQ*tq)
	a.Out = vkattn.BHSD(vkattn.Float32s(r.out), tb, c.HeadsQ, tq, c.ValueDim)
	with := c.With
	if with.Has(vkattn.WithLSE) {
		a.LSE = vkattn.BHSD(vkattn.Float32s(r.lse), tb, c.HeadsQ, tq, 1)
	}
	floats := func(n int) vkattn.Memory { return vkattn.Float32s(normal(rng, n)) }
	if with.Has(vkattn.WithBias) {
		a.Bias = score(rng, func(n int) vkattn.Memory {
			x := normal(rng, n)
			for i := range x {
				if rng.IntN(4) == 0 {
					x[i] = float32(math.Inf(-1))
				}
			}
			return vkattn.Float32s(x)
		}, b, c.HeadsQ, sq, sk)
	}
	if with.Has(vkattn.WithMask) {
		a.Mask = score(rng, func(n int) vkattn.Memory { return vkattn.Bools(bools(rng, n, 0.6)) }, b, c.HeadsQ, sq, sk).As(vkattn.Bool)
	}
	if with.Has(vkattn.WithTree) {
		a.Tree = score(rng, func(n int) vkattn.Memory { return vkattn.Bools(bools(rng, n, 0.7)) }, b, 1, sq, sk).As(vkattn.Bool)
	}
	if with.Has(vkattn.WithALiBi) {
		a.Slopes = vkattn.Vector(floats(c.HeadsQ), c.HeadsQ)
		for i, x := range floats32(a.Slopes) {
			floats32(a.Slopes)[i] = float32(math.Abs(float64(x))) / 8
		}
	}
	if with.Has(vkattn.WithSinkLogits) {
		a.SinkLogits = vkattn.Vector(floats(c.HeadsQ), c.HeadsQ)
	}
	if with.Has(vkattn.WithKeyLengths) {
		a.KeyLengths = int32s(rng, b, sk+1)
	}
	if c.Align == vkattn.AlignOffset {
		for range b {
			a.Offset = append(a.Offset, rng.IntN(2*sk+1)-sk)
		}
	}
	if with.Has(vkattn.WithPrefix) {
		a.Prefix = int32s(rng, b, sk+1)
	}
	if with.Has(vkattn.WithGlobal) {
		a.Global = slices.Compact(slices.Sorted(slices.Values(int32s(rng, 4, sk+1))))
	}
	if with.Has(vkattn.WithBlocks) {
		heads, batch := 1, 1
		if rng.IntN(2) == 0 {
			heads = c.HeadsQ
		}
		if rng.IntN(2) == 0 {
			batch = b
		}
		sizes := []int{1, 7, 16, 100}
		var err error
		a.Blocks, err = vkattn.NewBlockMask(batch, heads, sq, sk, sizes[rng.IntN(4)], sizes[rng.IntN(4)], func(b, h, row, key int) (bool, bool) {
			return rng.IntN(2) == 0, a.Mask.Mem == nil && a.Tree.Mem == nil && rng.IntN(2) == 0
		})
		if err == nil && rng.IntN(2) == 0 { // blocks with pairs of their own
			m := a.Blocks
			var some *vkattn.BlockMask
			some, err = vkattn.MaskGrid{SeqQ: sq, SeqK: sk, BlockQ: m.BlockQ, BlockK: m.BlockK, Batch: batch, Heads: heads}.Predicate(func(_, _, _, _ int) bool { return rng.IntN(3) > 0 }, nil)
			if err == nil {
				a.Blocks, err = m.Intersect(some)
			}
		}
		if err != nil {
			panic(err)
		}
	}
	return r
}

func int32s(rng *rand.Rand, n, below int) []int32 {
	x := make([]int32, n)
	for i := range x {
		x[i] = rng.Int32N(int32(below))
	}
	return x
}

func prefixSums(rng *rand.Rand, n, longest, total int) []int32 {
	sums := []int32{0}
	for range n {
		last := int(sums[len(sums)-1])
		sums = append(sums, int32(last+rng.IntN(min(longest, total-last)+1)))
	}
	return sums
}

// do plans and runs r on b.
func (r *run) do(t testing.TB, b *Backend) vkattn.Report {
	t.Helper()
	return runOp(t, b, r.op, r.args)
}

func runOp(t testing.TB, b *Backend, op vkattn.Op, args vkattn.Args) vkattn.Report {
	t.Helper()
	p, err := b.Plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	report, err := p.Run(t.Context(), args)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// finish submits a batch and waits for it.
func finish(t testing.TB, batch vkattn.Batch) vkattn.Report {
	t.Helper()
	pending, err := batch.Submit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	report, err := pending.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// check compares the outputs with the oracle: each row within 1e-5 relative L2, the LSE within 1e-5.
func (r *run) check(t testing.TB) {
	t.Helper()
	want, err := Oracle(r.op, &r.args)
	if err != nil {
		t.Fatal(err)
	}
	if err := compare(r.out, r.lse, want, r.op.With.Has(vkattn.WithLSE)); err != nil {
		t.Errorf("%s: %v", r.op, err)
	}
}

func compare(out, lse []float32, want *Result, withLSE bool) error {
	if len(want.LSE) == 0 {
		return nil
	}
	dv := len(want.Out) / len(want.LSE)
	for n := range want.LSE {
		var diff, norm float64
		for d := range dv {
			x, y := float64(out[n*dv+d]), want.Out[n*dv+d]
			if math.IsNaN(x) != math.IsNaN(y) || math.IsInf(y, 0) && x != y {
				return fmt.Errorf("row %d column %d is %v, want %v", n, d, x, y)
			}
			if !math.IsNaN(y) && x != y {
				diff += (x - y) * (x - y)
				norm += y * y
			}
		}
		if diff > 1e-10*(norm+0.01*float64(dv)) { // the floor is for sums of few values that cancel
			return fmt.Errorf("row %d is %.3g off relatively", n, math.Sqrt(diff/norm))
		}
		if !withLSE {
			continue
		}
		x, y := float64(lse[n]), want.LSE[n]
		if x != y && !(math.IsNaN(x) && math.IsNaN(y)) && !(math.Abs(x-y) <= 1e-5*max(1, math.Abs(y))) {
			return fmt.Errorf("LSE %d is %v, want %v", n, x, y)
		}
	}
	return nil
}

func newRand(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

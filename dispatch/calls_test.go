package dispatch_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
)

// namedCall is a problem for tests that compare ways of running it.
type namedCall struct {
	name   string
	op     vkattn.Attention
	layout string // bhsd or bshd; packed ops are thd
	lens   [][2]int
	splits int  // Config.Splits
	long   bool // minutes on SwiftShader: left out with -short
}

// args makes random arguments in host memory.
func (c *namedCall) args(seed uint64) vkattn.Args {
	op := c.op.Canonical()
	rng := rand.New(rand.NewPCG(seed, uint64(len(c.name))))
	tensor := func(heads, seq, total, last int) vkattn.Tensor {
		switch {
		case op.Packed:
			return vkattn.THD(vkattn.Float32s(normal(rng, total*heads*last)), total, heads, last)
		case c.layout == "bshd":
			return vkattn.BSHD(vkattn.Float32s(normal(rng, op.Batch*heads*seq*last)), op.Batch, seq, heads, last)
		}
		return vkattn.BHSD(vkattn.Float32s(normal(rng, op.Batch*heads*seq*last)), op.Batch, heads, seq, last)
	}
	a := vkattn.Args{Q: tensor(op.HeadsQ, op.SeqQ, op.TotalQ, op.HeadDim), K: tensor(op.HeadsK, op.SeqK, op.TotalK, op.HeadDim),
		V: tensor(op.HeadsV, op.SeqK, op.TotalK, op.ValueDim), Out: tensor(op.HeadsQ, op.SeqQ, op.TotalQ, op.ValueDim)}
	if op.With.Has(vkattn.WithLSE) {
		a.LSE = tensor(op.HeadsQ, op.SeqQ, op.TotalQ, 1)
	}
	if op.Packed {
		a.CuSeqQ, a.CuSeqK = []int32{0}, []int32{0}
		for i, l := range c.lens {
			a.CuSeqQ, a.CuSeqK = append(a.CuSeqQ, a.CuSeqQ[i]+int32(l[0])), append(a.CuSeqK, a.CuSeqK[i]+int32(l[1]))
		}
	}
	bools := func(heads int) vkattn.Tensor {
		b := make([]bool, op.Batch*heads*op.SeqQ*op.SeqK)
		for i := range b {
			b[i] = rng.IntN(4) != 0
		}
		return vkattn.BHSD(vkattn.Bools(b), op.Batch, heads, op.SeqQ, op.SeqK).As(vkattn.Bool)
	}
	if op.With.Has(vkattn.WithBias) {
		a.Bias = vkattn.BHSD(vkattn.Float32s(normal(rng, op.Batch*op.HeadsQ*op.SeqQ*op.SeqK)), op.Batch, op.HeadsQ, op.SeqQ, op.SeqK)
	}
	if op.With.Has(vkattn.WithMask) {
		a.Mask = bools(op.HeadsQ)
	}
	if op.With.Has(vkattn.WithTree) {
		a.Tree = bools(1)
	}
	if op.With.Has(vkattn.WithALiBi) {
		slopes := normal(rng, op.HeadsQ)
		for h := range slopes {
			slopes[h] /= 1000
		}
		a.Slopes = vkattn.Vector(vkattn.Float32s(slopes), op.HeadsQ)
	}
	if op.With.Has(vkattn.WithSinkLogits) {
		a.SinkLogits = vkattn.Vector(vkattn.Float32s(normal(rng, op.HeadsQ)), op.HeadsQ)
	}
	if op.With.Has(vkattn.WithKeyLengths) {
		for b := range op.Batch {
			a.KeyLengths = append(a.KeyLengths, int32(op.SeqK-b*op.SeqK/3))
		}
	}
	if op.With.Has(vkattn.WithBlocks) {
		m, err := vkattn.NewBlockMask(op.Batch, op.HeadsQ, op.SeqQ, op.SeqK, 24, 100, func(_, _, row, key int) (bool, bool) { return rng.IntN(3) == 0, rng.IntN(2) == 0 })
		if err != nil {
			panic(err)
		}
		if a.Mask.Given() || a.Tree.Given() {
			clear(m.Full)
		}
		a.Blocks = m
	}
	blank(&a)
	return a
}

// blank fills the outputs with NaN, so that a row that is not written is noticed.
func blank(a *vkattn.Args) {
	for _, t := range []vkattn.Tensor{a.Out, a.LSE} {
		if h, ok := t.Mem.(*vkattn.Host); ok {
			for i := range h.Float32s() {
				h.Float32s()[i] = float32(math.NaN())
			}
		}
	}
}

// run plans and runs a call.
func run(t *testing.T, b *dispatch.Backend, op vkattn.Op, args vkattn.Args) vkattn.Report {
	t.Helper()
	p, err := b.Plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	r, err := p.Run(t.Context(), args)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// finish submits a batch and waits for it.
func finish(t *testing.T, batch vkattn.Batch) vkattn.Report {
	t.Helper()
	pending, err := batch.Submit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r, err := pending.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// results is a copy of the outputs of a call in host memory.
func results(a *vkattn.Args) [2][]float32 {
	var r [2][]float32
	for i, t := range []vkattn.Tensor{a.Out, a.LSE} {
		if h, ok := t.Mem.(*vkattn.Host); ok {
			r[i] = append([]float32(nil), h.Float32s()...)
		}
	}
	return r
}

// sameBits compares results bit by bit. A NaN was never written.
func sameBits(got, want [2][]float32) error {
	for i, name := range []string{"out", "lse"} {
		if len(got[i]) != len(want[i]) {
			return fmt.Errorf("%s has %d elements, want %d", name, len(got[i]), len(want[i]))
		}
		for k, w := range want[i] {
			if g := got[i][k]; math.Float32bits(g) != math.Float32bits(w) || g != g {
				return fmt.Errorf("%s[%d] is %g (%#08x), want %g (%#08x)", name, k, g, math.Float32bits(g), w, math.Float32bits(w))
			}
		}
	}
	return nil
}

// checkRows holds n rows of every sequence and head, the first and the last among them, against the oracle.
func checkRows(t *testing.T, op vkattn.Attention, args *vkattn.Args, n int) {
	t.Helper()
	op = op.Canonical()
	seqs, err := op.Check(args)
	if err != nil {
		t.Fatal(err)
	}
	var rows []cpu.Row
	for s := range seqs {
		for h := range op.HeadsQ {
			for k := range min(n, seqs[s].Sq) {
				rows = append(rows, cpu.Row{Sequence: s, Head: h, I: k * (seqs[s].Sq - 1) / max(1, min(n, seqs[s].Sq)-1)})
			}
		}
	}
	checkSome(t, op, args, rows)
}

// checkSome holds some rows of a call in host memory against the oracle.
func checkSome(t *testing.T, op vkattn.Attention, args *vkattn.Args, rows []cpu.Row) {
	t.Helper()
	op = op.Canonical()
	seqs, err := op.Check(args)
	if err != nil {
		t.Fatal(err)
	}
	want, err := cpu.OracleRows(op, args, rows)
	if err != nil {
		t.Fatal(err)
	}
	out, lse := args.Out.Mem.(*vkattn.Host).Float32s(), []float32(nil)
	if args.LSE.Given() {
		lse = args.LSE.Mem.(*vkattn.Host).Float32s()
	}
	// Rows much smaller than the others, by cancellation, count against a tenth of the root mean square.
	square, nonzero := 0.0, 1e-300
	for k := range rows {
		row := 0.0
		for _, w := range want.Out[k*op.ValueDim : (k+1)*op.ValueDim] {
			row += w * w
		}
		if square += row; row > 0 {
			nonzero++
		}
	}
	floor := max(1e-6, 0.1*math.Sqrt(square/nonzero))
	var worst float64
	for k, r := range rows {
		s := &seqs[r.Sequence]
		var off, norm float64
		for d := range op.ValueDim {
			w := want.Out[k*op.ValueDim+d]
			e := float64(out[args.Out.Index(s.Batch, r.Head, s.Q0+r.I, d)]) - w
			off, norm = off+e*e, norm+w*w
		}
		if e := math.Sqrt(off) / max(math.Sqrt(norm), floor); !(e <= worst) {
			worst = e
		}
		if w := want.LSE[k]; lse != nil {
			if got := float64(lse[args.LSE.Index(s.Batch, r.Head, s.Q0+r.I, 0)]); got != w && !(math.Abs(got-w) <= 1e-5*max(1, math.Abs(w))) {
				t.Errorf("lse of %+v is %g, want %g", r, got, w)
			}
		}
	}
	if !(worst <= 1e-5) {
		t.Errorf("a row is off by %g of its norm", worst)
	}
}

package cpu

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
)

// newRope is a call of op at full capacity, with tables of rows rows of random angles.
func newRope(rng *rand.Rand, op vkattn.Rope, tables, rows int) vkattn.Args {
	c := op.Canonical()
	a := vkattn.Args{Q: strided(rng, c.Batch, c.Heads, c.Seq, c.HeadDim), Out: strided(rng, c.Batch, c.Heads, c.Seq, c.HeadDim),
		Cos: strided(rng, tables, 1, rows, c.RotaryDim/2), Sin: strided(rng, tables, 1, rows, c.RotaryDim/2)}
	for b := range tables {
		for s := range rows {
			for i := range c.RotaryDim / 2 {
				sin, cos := math.Sincos(rng.NormFloat64() * 10)
				floats32(a.Cos)[a.Cos.Index(b, 0, s, i)], floats32(a.Sin)[a.Sin.Index(b, 0, s, i)] = float32(cos), float32(sin)
			}
		}
	}
	return a
}

// elements is a copy of a tensor in the order of its axes.
func elements(t vkattn.Tensor) []float32 {
	x := make([]float32, 0, t.Len())
	each(t, func(at int) { x = append(x, floats32(t)[at]) })
	return x
}

// checkRope compares with the oracle: each number is the oracle's, rounded, or its neighbour.
func checkRope(t testing.TB, op vkattn.Rope, want []float64, got []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d numbers, want %d", op, len(got), len(want))
	}
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= 0.501*0x1p-23*math.Abs(w)+1e-38) && !(got[i] != got[i] && w != w) {
			t.Fatalf("%s: element %d is %v, want %v", op, i, got[i], w)
		}
	}
}

func TestRope(t *testing.T) {
	b := New(Config{Workers: 3})
	defer b.Close()
	for seed := range uint64(200) {
		rng := newRand(seed)
		op := vkattn.Rope{Batch: rng.IntN(4), Heads: 1 + rng.IntN(3), Seq: []int{0, 1, 17, 63, 65, 257}[rng.IntN(6)], HeadDim: []int{2, 3, 8, 59, 80, 128, 576}[rng.IntN(7)],
			Layout: vkattn.RopeLayout(rng.IntN(2)), Inverse: rng.IntN(2) == 0, Positions: rng.IntN(2) == 0}
		if op.RotaryDim = 2 * rng.IntN(op.HeadDim/2+1); op.RotaryDim == 0 && op.HeadDim%2 == 1 {
			op.RotaryDim = 2
		}
		tables, rows := 1, op.Seq
		if rng.IntN(2) == 0 {
			tables = op.Batch
		}
		if op.Positions {
			rows = 1 + rng.IntN(300)
		}
		args := newRope(rng, op, tables, rows)
		if op.Positions {
			args.Positions = int32s(rng, op.Seq*[]int{1, op.Batch}[rng.IntN(2)], rows)
		}
		if op.Seq > 1 && rng.IntN(3) == 0 && op.Batch > 0 && !op.Positions { // fewer tokens than the capacity
			args.Q, args.Out = args.Q.Slice(2, 1, op.Seq), args.Out.Slice(2, 0, op.Seq-1)
			args.Cos, args.Sin = args.Cos.Slice(2, 0, op.Seq-1), args.Sin.Slice(2, 1, op.Seq)
		}
		want, err := OracleRope(op, &args)
		if err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		before, beside := elements(args.Q), slices.Clone(floats32(args.Out))
		each(args.Out, func(at int) { beside[at] = float32(math.NaN()) }) // what lies between the rows is NaN
		report := runOp(t, b, op, args)
		checkRope(t, op, want, elements(args.Out))
		if !slices.Equal(before, elements(args.Q)) {
			t.Fatalf("%s: the input was written", op)
		}
		each(args.Out, func(at int) { floats32(args.Out)[at] = float32(math.NaN()) })
		if !sameBits(beside, floats32(args.Out)) {
			t.Fatalf("%s: memory beside the output was written", op)
		}
		if report.Kernel != ropeName || report.Op != op.String() || report.Work != op.Work(&args) || report.Calls != 1 {
			t.Errorf("%s: report %+v", op, report)
		}

		each(args.Out, func(at int) { floats32(args.Out)[at] = 0 })
		args.Out = args.Q // and in place
		runOp(t, b, op, args)
		checkRope(t, op, want, elements(args.Out))
	}
}

// TestRopeInverse turns back: the rotation is orthogonal, so that is the transpose too.
func TestRopeInverse(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	for _, layout := range []vkattn.RopeLayout{vkattn.RopeHalf, vkattn.RopeInterleaved} {
		rng := newRand(3)
		op := vkattn.Rope{Batch: 2, Heads: 3, Seq: 65, HeadDim: 40, RotaryDim: 24, Layout: layout}
		back := op
		back.Inverse = true
		args := newRope(rng, op, 1, 65)
		before := elements(args.Q)
		args.Out = args.Q
		runOp(t, b, op, args)
		turned := elements(args.Q)
		runOp(t, b, back, args)
		for i, x := range elements(args.Q) {
			if math.Abs(float64(x-before[i])) > 1e-6 {
				t.Fatalf("%s: element %d comes back as %v, was %v", layout, i, x, before[i])
			}
		}
		for n := 0; n < len(before); n += 40 {
			var x, y float64
			for d := range 40 {
				x, y = x+float64(before[n+d])*float64(before[n+d]), y+float64(turned[n+d])*float64(turned[n+d])
			}
			if math.Abs(x-y) > 1e-5*x {
				t.Fatalf("%s: the norm of row %d goes from %v to %v", layout, n/40, x, y)
			}
			if !slices.Equal(before[n+24:n+40], turned[n+24:n+40]) {
				t.Fatalf("%s: columns past R change", layout)
			}
		}
	}
}

// TestRopeShift: scores depend on the distance of the positions alone, also a million tokens on, and are the
// same in both layouts when the columns of q and k are permuted alike.
func TestRopeShift(t *testing.T) {
	const d, n = 32, 9
	b := New(Config{})
	defer b.Close()
	inv, a, err := vkattn.RopeFrequencies(d, 1e4, nil)
	if err != nil {
		t.Fatal(err)
	}
	rng := newRand(5)
	q, k := normal(rng, n*d), normal(rng, n*d)
	scores := func(layout vkattn.RopeLayout, base int) (s [n * n]float64) {
		cos, sin, err := vkattn.RopeTable(inv, a, base, n)
		if err != nil {
			t.Fatal(err)
		}
		var turned [2][]float32
		for i, x := range [][]float32{q, k} {
			in := slices.Clone(x)
			if layout == vkattn.RopeInterleaved {
				for r := range n {
					for c := range d / 2 {
						in[r*d+2*c], in[r*d+2*c+1] = x[r*d+c], x[r*d+c+d/2]
					}
				}
			}
			m := vkattn.BHSD(vkattn.Float32s(in), 1, 1, n, d)
			runOp(t, b, vkattn.Rope{Batch: 1, Heads: 1, Seq: n, HeadDim: d, Layout: layout}, vkattn.Args{Q: m, Out: m, Cos: cos, Sin: sin})
			turned[i] = in
		}
		for i := range n {
			for j := range n {
				for c := range d {
					s[i*n+j] += float64(turned[0][i*d+c]) * float64(turned[1][j*d+c])
				}
			}
		}
		return s
	}
	want := scores(vkattn.RopeHalf, 0)
	for i := range n { // R(0) is the identity
		var plain float64
		for c := range d {
			plain += float64(q[c]) * float64(k[c])
		}
		if i == 0 && math.Abs(want[0]-plain) > 1e-6 {
			t.Errorf("at position 0 the score is %v, want %v", want[0], plain)
		}
	}
	for _, base := range []int{1, 1000, 1 << 20, 1 << 30} {
		for _, layout := range []vkattn.RopeLayout{vkattn.RopeHalf, vkattn.RopeInterleaved} {
			for i, s := range scores(layout, base) {
				if math.Abs(s-want[i]) > 1e-5 {
					t.Errorf("%s from position %d: score %d is %v, want %v", layout, base, i, s, want[i])
				}
			}
		}
	}
}

// TestRopePoison: a NaN in one pair reaches that pair alone, in the columns that are copied it keeps its
// bits, and table rows that no position names reach nothing.
func TestRopePoison(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	op := vkattn.Rope{Batch: 1, Heads: 2, Seq: 3, HeadDim: 8, RotaryDim: 4, Positions: true}
	args := newRope(newRand(1), op, 1, 4)
	args.Positions = []int32{3, 1, 3}
	for i := range 2 {
		for _, row := range []int{0, 2} {
			floats32(args.Cos)[args.Cos.Index(0, 0, row, i)] = float32(math.NaN())
		}
	}
	payload := math.Float32frombits(0x7fc12345)
	floats32(args.Q)[args.Q.Index(0, 1, 2, 1)] = payload // of pair (1, 3)
	floats32(args.Q)[args.Q.Index(0, 1, 2, 6)] = payload
	runOp(t, b, op, args)
	for h := range 2 {
		for s := range 3 {
			for d := range 8 {
				x := floats32(args.Out)[args.Out.Index(0, h, s, d)]
				if want := h == 1 && s == 2 && (d == 1 || d == 3 || d == 6); (x != x) != want {
					t.Errorf("head %d, token %d, column %d is %v", h, s, d, x)
				}
			}
		}
	}
	if got := math.Float32bits(floats32(args.Out)[args.Out.Index(0, 1, 2, 6)]); got != 0x7fc12345 {
		t.Errorf("a copied NaN becomes %x", got)
	}
}

// TestRopeThenAttention records both in one batch, the rotation in place.
func TestRopeThenAttention(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	att := newRun(newRand(2), vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 33, SeqK: 33, HeadDim: 16, Causal: true})
	rot := vkattn.Rope{Batch: 2, Heads: 4, Seq: 33, HeadDim: 16}
	args := newRope(newRand(3), rot, 1, 33)
	args.Q, args.Out = att.args.Q, att.args.Q
	turned, err := OracleRope(rot, &args)
	if err != nil {
		t.Fatal(err)
	}
	first, err := b.Plan(t.Context(), rot)
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.Plan(t.Context(), att.op)
	if err != nil {
		t.Fatal(err)
	}
	batch := b.NewBatch()
	if err := errors.Join(first.Record(batch, args), second.Record(batch, att.args)); err != nil {
		t.Fatal(err)
	}
	report := finish(t, batch)
	if report.Calls != 2 || report.Kernel != kernelName || report.Work.FLOPs != rot.Work(&args).FLOPs+4*float64(report.Work.Pairs)*16 {
		t.Errorf("report: %+v", report)
	}
	checkRope(t, rot, turned, elements(att.args.Q))
	att.check(t)
}

func TestRopeRefuses(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	op := vkattn.Rope{Batch: 1, Heads: 1, Seq: 4, HeadDim: 4}
	half, bad := op, op
	half.TypeOut, bad.HeadDim = vkattn.Float16, 5
	for _, c := range []struct {
		op   vkattn.Op
		want error
	}{{op, nil}, {half, nil}, {bad, vkattn.ErrInvalid}} {
		if err := b.Supports(c.op); !errors.Is(err, c.want) {
			t.Errorf("Supports(%v) = %v, want %v", c.op, err, c.want)
		}
	}
	p, err := b.Plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	args := newRope(newRand(1), op, 1, 4)
	for name, edit := range map[string]func(*vkattn.Args){
		"Cos": func(a *vkattn.Args) { a.Cos.Mem = alien{} }, "Q": func(a *vkattn.Args) { a.Q.Mem = alien{} },
	} {
		wrong := args
		edit(&wrong)
		var arg *vkattn.ArgError
		if err := p.Record(b.NewBatch(), wrong); !errors.As(err, &arg) || arg.Arg != name {
			t.Errorf("%s of another backend: %v", name, err)
		}
		if _, err := OracleRope(op, &wrong); !errors.As(err, &arg) || arg.Arg != name {
			t.Errorf("oracle, %s of another backend: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := p.Run(ctx, args); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled run: %v", err)
	}
	if e := p.Explain(); e.Kernel != ropeName || e.Op != op.String() || e.ScratchBytes != 0 {
		t.Errorf("%s", e)
	}
}

// TestRopeMemory: a call allocates nothing that grows with its tensors.
func TestRopeMemory(t *testing.T) {
	b := New(Config{Workers: 1})
	defer b.Close()
	op := vkattn.Rope{Batch: 1, Heads: 64, Seq: 1000, HeadDim: 64}
	args := newRope(newRand(1), op, 1, 1000)
	runOp(t, b, op, args)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	runOp(t, b, op, args)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("a run allocates %d bytes", got)
	}
}

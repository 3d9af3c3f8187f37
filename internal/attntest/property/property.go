package property

import (
	"context"
	"flag"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/attntest"
	"pgregory.net/rapid"
)

// Check runs every property on b as a subtest of t, with 30 draws each unless the flag -rapid.checks says
// otherwise.
func Check(t *testing.T, b vkattn.Backend) {
	setDefault(t, "rapid.checks", "30")
	setDefault(t, "rapid.nofailfile", "true")
	h := harness{b}
	for _, p := range []struct {
		name  string
		check func(*rapid.T)
	}{
		{"linear-in-values", h.linearInValues}, {"key-order", h.keyOrder}, {"logit-shift", h.logitShift},
		{"split-and-merge", h.splitAndMerge}, {"varlen-is-per-sequence", h.varlen}, {"groups-are-repeated-heads", h.repeatedHeads},
		{"block-mask-is-dense-mask", h.blockMask}, {"closed-masks-are-dense-masks", h.closedMasks}, {"random-case", h.randomCase},
		{"batch-order", h.batchOrder}, {"layout", h.layout}, {"bases", h.bases}, {"capacity", h.capacity},
		{"resident-tensors", h.resident}, {"recorded-batch", h.recorded}, {"concurrent-runs", h.concurrent},
	} {
		t.Run(p.name, func(t *testing.T) { rapid.Check(t, p.check) })
	}
}

// setDefault changes a flag that the command line does not set, while t runs.
func setDefault(t *testing.T, name, value string) {
	f := flag.Lookup(name)
	given := false
	flag.Visit(func(v *flag.Flag) { given = given || v.Name == name })
	if f == nil || given {
		return
	}
	old := f.Value.String()
	if err := f.Value.Set(value); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Value.Set(old) })
}

// linearInValues: O(x V1 + y V2) = x O(V1) + y O(V2), and the log-sum-exp does not look at V.
func (h harness) linearInValues(t *rapid.T) {
	c := draw(t, limits{closed: true, tables: true, extras: true, groups: true})
	x, y := rapid.Float32Range(-2, 2).Draw(t, "x"), rapid.Float32Range(-2, 2).Draw(t, "y")
	v1, v2 := c.v, normals(random(t), len(c.v))
	a1 := h.run(t, c)
	c.v = v2
	a2 := h.run(t, c)
	c.v = make([]float32, len(v1))
	for i := range c.v {
		c.v[i] = x*v1[i] + y*v2[i]
	}
	got := h.run(t, c)
	same(t, "LSE of other values", a2.lse, a1.lse)
	same(t, "LSE of other values", got.lse, a1.lse)
	d := c.op.ValueDim
	floor := 0.0
	for _, o := range a1.out {
		floor += float64(o) * float64(o)
	}
	floor = 0.1 * math.Sqrt(floor/max(1, float64(len(a1.out)/d)))
	for at := 0; at < len(got.out); at += d {
		e, norm := 0.0, 0.0
		for n := at; n < at+d; n++ {
			p1, p2 := float64(x)*float64(a1.out[n]), float64(y)*float64(a2.out[n])
			e += (float64(got.out[n]) - p1 - p2) * (float64(got.out[n]) - p1 - p2)
			norm += p1*p1 + p2*p2
		}
		if !(math.Sqrt(e) <= 2e-5*max(math.Sqrt(norm), floor)) {
			t.Fatalf("row %d: not linear in the values by %.3g of %.3g", at/d, math.Sqrt(e), math.Sqrt(norm))
		}
	}
}

// keyOrder: without masks by position the order of the keys does not matter.
func (h harness) keyOrder(t *rapid.T) {
	c := draw(t, limits{tables: true, extras: true, groups: true})
	c.slopes = nil
	want := h.run(t, c)
	order := random(t).Perm(c.sk)
	op := c.op
	c.k = permuteRows(c.k, op.HeadDim, c.sk, order)
	c.v = permuteRows(c.v, op.ValueDim, c.sk, order)
	c.bias = permuteRows(c.bias, 1, c.sk, order)
	c.mask = permuteRows(c.mask, 1, c.sk, order)
	nearAnswer(t, "keys in another order", h.run(t, c), want, op.ValueDim)
}

// permuteRows reorders rows of d elements within each group of n rows.
func permuteRows[T any](x []T, d, n int, order []int) []T {
	if x == nil {
		return nil
	}
	out := make([]T, len(x))
	for at := 0; at < len(x); at += n * d {
		for to, from := range order {
			copy(out[at+to*d:at+(to+1)*d], x[at+from*d:])
		}
	}
	return out
}

// logitShift: a constant added to all scores of a row changes its log-sum-exp by that constant alone.
func (h harness) logitShift(t *rapid.T) {
	c := draw(t, limits{closed: true, tables: true, extras: true, groups: true})
	c.sinks = nil
	want := h.run(t, c)
	shift := float32(rapid.IntRange(-8, 8).Draw(t, "shift")) // an integer, for its exact sums
	bias := make([]float32, c.b*c.op.HeadsQ*c.sq*c.sk)
	for i := range bias {
		bias[i] = shift
		if c.bias != nil {
			bias[i] += c.bias[i]
		}
	}
	c.bias = bias
	got := h.run(t, c)
	near(t, "shifted scores", got.out, want.out, c.op.ValueDim, 2e-5)
	for i := range want.lse {
		want.lse[i] += shift
	}
	nearLSE(t, "shifted scores", got.lse, want.lse, 2e-5)
}

// splitAndMerge: two calls over the two halves of the keys merge into the call over all of them.
func (h harness) splitAndMerge(t *rapid.T) {
	c := draw(t, limits{closed: true, tables: true, extras: true, groups: true})
	if c.op.Align != vkattn.AlignOffset {
		c.op.Align, c.offset = vkattn.AlignOffset, []int{0}
	}
	want := h.run(t, c)
	at := rapid.IntRange(0, c.sk).Draw(t, "split")
	op, args := c.finish()
	part := func(lo, hi int, sinks bool) answer {
		op, a := op, args
		a.K, a.V = a.K.Slice(2, lo, hi), a.V.Slice(2, lo, hi)
		if a.Bias.Given() {
			a.Bias = a.Bias.Slice(3, lo, hi)
		}
		if a.Mask.Given() {
			a.Mask = a.Mask.Slice(3, lo, hi)
		}
		if !sinks {
			op.With &^= vkattn.WithSinkLogits
			a.SinkLogits = vkattn.Tensor{}
		}
		a.KBase += lo
		a.Out.Mem, a.LSE.Mem = vkattn.Float32s(nans(len(want.out))), vkattn.Float32s(nans(len(want.lse)))
		return h.runArgs(t, op, a)
	}
	nearAnswer(t, "merged halves", merge(part(0, at, true), part(at, c.sk, false), c.op.ValueDim), want, c.op.ValueDim)
}

// merge is SEMANTICS.md's formula for partial results.
func merge(a, b answer, d int) answer {
	out := answer{make([]float32, len(a.out)), make([]float32, len(a.lse))}
	for i := range a.lse {
		la, lb := float64(a.lse[i]), float64(b.lse[i])
		m := max(la, lb)
		if math.IsInf(m, -1) {
			out.lse[i] = float32(m)
			continue
		}
		wa, wb := math.Exp(la-m), math.Exp(lb-m)
		out.lse[i] = float32(m + math.Log(wa+wb))
		for n := i * d; n < (i+1)*d; n++ {
			out.out[n] = float32((wa*float64(a.out[n]) + wb*float64(b.out[n])) / (wa + wb))
		}
	}
	return out
}

// varlen: packed sequences answer as each of them alone.
func (h harness) varlen(t *rapid.T) {
	var lensQ, lensK []int
	for range rapid.IntRange(0, 5).Draw(t, "sequences") {
		lensQ = append(lensQ, rapid.IntRange(0, 70).Draw(t, "rows"))
		lensK = append(lensK, rapid.IntRange(0, 90).Draw(t, "keys"))
	}
	op := vkattn.Attention{HeadsQ: 4, HeadsK: 2, HeadDim: 32, Causal: rapid.Bool().Draw(t, "causal"), Align: rapid.SampledFrom([]vkattn.Align{vkattn.AlignBottomRight, vkattn.AlignTopLeft}).Draw(t, "align")}
	if rapid.Bool().Draw(t, "window") {
		op.Window = vkattn.Window{Left: vkattn.Tokens(11), Right: vkattn.Tokens(4)}
	}
	r := random(t)
	cuQ, cuK := []int32{0}, []int32{0}
	for n := range lensQ {
		cuQ, cuK = append(cuQ, cuQ[n]+int32(lensQ[n])), append(cuK, cuK[n]+int32(lensK[n]))
	}
	tq, tk := int(cuQ[len(cuQ)-1]), int(cuK[len(cuK)-1])
	tensor := func(t, h, d int, data []float32) vkattn.Tensor { return vkattn.THD(vkattn.Float32s(data), t, h, d) }
	sinks := vkattn.Vector(vkattn.Float32s(normals(r, 4)), 4)
	args := vkattn.Args{Q: tensor(tq, 4, 32, normals(r, tq*128)), K: tensor(tk, 2, 32, normals(r, tk*64)), V: tensor(tk, 2, 32, normals(r, tk*64)),
		Out: tensor(tq, 4, 32, nans(tq*128)), LSE: tensor(tq, 4, 1, nans(tq*4)), SinkLogits: sinks}
	op.With = vkattn.WithLSE | vkattn.WithSinkLogits
	whole := op
	whole.Packed, whole.Batch, whole.TotalQ, whole.TotalK = true, len(lensQ), tq, tk
	whole.SeqQ, whole.SeqK = slices.Max(append(lensQ, 0)), slices.Max(append(lensK, 0))
	packed := args
	packed.CuSeqQ, packed.CuSeqK = cuQ, cuK
	h.runArgs(t, whole, packed)
	for n := range lensQ {
		one := op
		one.Batch, one.SeqQ, one.SeqK = 1, lensQ[n], lensK[n]
		a := args
		for _, x := range []*vkattn.Tensor{&a.Q, &a.Out, &a.LSE} {
			*x = x.Slice(2, int(cuQ[n]), int(cuQ[n+1]))
		}
		for _, x := range []*vkattn.Tensor{&a.K, &a.V} {
			*x = x.Slice(2, int(cuK[n]), int(cuK[n+1]))
		}
		got := read(a)
		a.Out, a.LSE = vkattn.BHSD(vkattn.Float32s(nans(lensQ[n]*128)), 1, 4, lensQ[n], 32), vkattn.BHSD(vkattn.Float32s(nans(lensQ[n]*4)), 1, 4, lensQ[n], 1)
		nearAnswer(t, "packed sequence", got, h.runArgs(t, one, a), 32)
	}
}

// repeatedHeads: key and value heads that are shared by a group answer as copies of them, one per query head.
func (h harness) repeatedHeads(t *rapid.T) {
	c := draw(t, limits{closed: true, tables: true, extras: true, groups: true})
	want := h.run(t, c)
	repeat := func(x []float32, heads, d int) []float32 {
		var out []float32
		for b := range c.b {
			for hq := range c.op.HeadsQ {
				from := hq * heads / c.op.HeadsQ
				if c.op.HeadMap == vkattn.HeadCyclic {
					from = hq % heads
				}
				at := (b*heads + from) * c.sk * d
				out = append(out, x[at:at+c.sk*d]...)
			}
		}
		return out
	}
	c.k, c.v = repeat(c.k, c.op.HeadsK, c.op.HeadDim), repeat(c.v, c.op.HeadsV, c.op.ValueDim)
	c.op.HeadsK, c.op.HeadsV, c.op.HeadMap = c.op.HeadsQ, c.op.HeadsQ, vkattn.HeadBlock
	nearAnswer(t, "repeated heads", h.run(t, c), want, c.op.ValueDim)
}

// blockMask: a block mask answers as the boolean mask with the same pairs.
func (h harness) blockMask(t *rapid.T) {
	c := draw(t, limits{closed: true, extras: true, groups: true})
	r := random(t)
	bq, bk := rapid.SampledFrom([]int{7, 16, 32, 64, 100}).Draw(t, "row block"), rapid.SampledFrom([]int{7, 16, 32, 64, 100}).Draw(t, "key block")
	heads, batch := rapid.SampledFrom([]int{1, c.op.HeadsQ}).Draw(t, "heads of the mask"), rapid.SampledFrom([]int{1, c.b}).Draw(t, "batch of the mask")
	var err error
	c.blocks, err = vkattn.NewBlockMask(batch, heads, c.sq, c.sk, bq, bk, func(_, _, _, _ int) (bool, bool) { return r.IntN(3) != 0, r.IntN(2) == 0 })
	if err != nil {
		t.Fatal(err)
	}
	got := h.run(t, c)
	for b := range c.b {
		for hq := range c.op.HeadsQ {
			for i := range c.sq {
				for j := range c.sk {
					c.mask = append(c.mask, c.blocks.Listed(b, hq, i, j))
				}
			}
		}
	}
	c.blocks = nil
	nearAnswer(t, "block mask", got, h.run(t, c), c.op.ValueDim)
}

// closedMasks: masks by position answer as the boolean mask with the same pairs.
func (h harness) closedMasks(t *rapid.T) {
	c := draw(t, limits{closed: true})
	op, args := c.finish()
	got := h.runArgs(t, op, args)
	seqs, err := op.Check(&args)
	if err != nil {
		t.Fatal(err)
	}
	for b := range c.b {
		for range c.op.HeadsQ {
			for i := range c.sq {
				for j := range c.sk {
					c.mask = append(c.mask, seqs[b].Visible(i, j))
				}
			}
		}
	}
	c.op = vkattn.Attention{HeadsQ: c.op.HeadsQ, HeadDim: c.op.HeadDim}
	nearAnswer(t, "masks by position", got, h.run(t, c), c.op.HeadDim)
}

// randomCase: combinations beyond the table, against the oracle and with poison in hidden memory.
func (h harness) randomCase(t *rapid.T) {
	c := attntest.RandomCase(rapid.Uint64().Draw(t, "case"))
	if r := attntest.VerifyCase(context.Background(), h.b, c, attntest.Options{}); r.Status == attntest.Failed {
		t.Fatalf("%s: %s", r.Op, r)
	}
}

// batchOrder: the same plan gives each sequence the same bits wherever it stands in the batch.
func (h harness) batchOrder(t *rapid.T) {
	c := draw(t, limits{closed: true, tables: true, extras: true, groups: true})
	c.b = 3
	r := random(t)
	op := c.op
	c.q, c.k, c.v = normals(r, 3*op.HeadsQ*c.sq*op.HeadDim), normals(r, 3*op.HeadsK*c.sk*op.HeadDim), normals(r, 3*op.HeadsV*c.sk*op.ValueDim)
	c.mask, c.bias = nil, nil
	for range 3 {
		c.keyLen = append(c.keyLen, int32(r.IntN(c.sk+1)))
	}
	want := h.run(t, c)
	order := r.Perm(3)
	c.q, c.k, c.v = permuteRows(c.q, len(c.q)/3, 3, order), permuteRows(c.k, len(c.k)/3, 3, order), permuteRows(c.v, len(c.v)/3, 3, order)
	c.keyLen = permuteRows(c.keyLen, 1, 3, order)
	got := h.run(t, c)
	want.out, want.lse = permuteRows(want.out, len(want.out)/3, 3, order), permuteRows(want.lse, len(want.lse)/3, 3, order)
	sameAnswer(t, "another batch order", got, want)
}

// layout: strides that keep rows aligned change no bit; others stay within the tolerance.
func (h harness) layout(t *rapid.T) {
	c := draw(t, limits{closed: true, tables: true, extras: true, groups: true})
	op, args := c.finish()
	plan := h.plan(t, op)
	defer plan.Close()
	want := h.runPlan(t, plan, args)
	aligned := op.HeadDim%4 == 0
	for _, v := range []struct {
		name  string
		order [3]int // axes from the outermost inwards
		pad   int
		exact bool
	}{
		{"bshd", [3]int{0, 2, 1}, 0, aligned}, {"sbhd", [3]int{2, 0, 1}, 0, aligned}, {"padded rows", [3]int{0, 1, 2}, 8, aligned},
		{"odd rows", [3]int{0, 2, 1}, 1, false},
	} {
		a := args
		for _, x := range []*vkattn.Tensor{&a.Q, &a.K, &a.V, &a.Out, &a.LSE} {
			*x = moved(*x, v.order, v.pad)
		}
		got := h.runPlan(t, plan, a)
		if v.exact {
			sameAnswer(t, v.name, got, want)
		} else {
			nearAnswer(t, v.name, got, want, op.ValueDim)
		}
	}
}

// moved is a copy of x with another order of axes and pad elements behind each row.
func moved(x vkattn.Tensor, order [3]int, pad int) vkattn.Tensor {
	y := x
	step := x.Shape[3] + pad
	for n := 2; n >= 0; n-- {
		y.Stride[order[n]] = step
		step *= x.Shape[order[n]]
	}
	data := nans(step)
	from := x.Mem.(*vkattn.Host).Float32s()
	y.Offset, y.Mem = 0, vkattn.Float32s(data)
	for b := range x.Shape[0] {
		for h := range x.Shape[1] {
			for s := range x.Shape[2] {
				copy(data[y.Index(b, h, s, 0):][:x.Shape[3]], from[x.Index(b, h, s, 0):])
			}
		}
	}
	return y
}

// bases: moving rows and keys alike along the positions changes no bit when nothing is tied to a position.
func (h harness) bases(t *rapid.T) {
	c := draw(t, limits{closed: true, tables: true, extras: true})
	c.prefix, c.global, c.op.SinkTokens, c.op.Chunk = nil, nil, 0, 0
	want := h.run(t, c)
	by := rapid.OneOf(rapid.IntRange(-100, 100), rapid.SampledFrom([]int{1 << 31, 1 << 32, 1 << 40, 1<<40 + 1, -1 << 40})).Draw(t, "by")
	c.qb, c.kb = by, by
	sameAnswer(t, "moved positions", h.run(t, c), want)
}

// capacity: a plan with room to spare gives the same answer.
func (h harness) capacity(t *rapid.T) {
	c := draw(t, limits{closed: true, tables: true, extras: true, groups: true})
	op, args := c.finish()
	want := h.runArgs(t, op, args)
	op.Batch += rapid.IntRange(0, 3).Draw(t, "more sequences")
	op.SeqQ += rapid.IntRange(0, 300).Draw(t, "more rows")
	op.SeqK += rapid.IntRange(0, 1000).Draw(t, "more keys")
	nearAnswer(t, "plan with room to spare", h.runArgs(t, op, args), want, op.ValueDim)
}

// resident: tensors in the backend's own memory give the bits of those in host memory, also when one call
// reads what another wrote.
func (h harness) resident(t *rapid.T) {
	c := draw(t, limits{closed: true, tables: true, extras: true, groups: true})
	op, args := c.finish()
	plan := h.plan(t, op)
	defer plan.Close()
	want := h.runPlan(t, plan, args)
	own := args
	for _, x := range []*vkattn.Tensor{&own.Q, &own.K, &own.V, &own.Out, &own.LSE, &own.Bias, &own.Mask, &own.Slopes, &own.SinkLogits} {
		if !x.Given() {
			continue
		}
		y, err := h.b.NewTensor(x.Type, x.Shape)
		if err != nil {
			t.Fatal(err)
		}
		defer y.Mem.Close()
		if err := h.b.Copy(context.Background(), y, *x); err != nil {
			t.Fatal(err)
		}
		*x = y
	}
	if _, err := plan.Run(context.Background(), own); err != nil {
		t.Fatal(err)
	}
	args.Out.Mem, args.LSE.Mem = vkattn.Float32s(nans(len(want.out))), vkattn.Float32s(nans(len(want.lse)))
	for _, x := range [][2]vkattn.Tensor{{args.Out, own.Out}, {args.LSE, own.LSE}} {
		if err := h.b.Copy(context.Background(), x[0], x[1]); err != nil {
			t.Fatal(err)
		}
	}
	sameAnswer(t, "tensors in the backend's memory", read(args), want)
}

// recorded: calls in one batch give the bits of calls run one by one, and each sees what those before it wrote.
func (h harness) recorded(t *rapid.T) {
	ctx := context.Background()
	c := draw(t, limits{closed: true, extras: true})
	c.sk, c.b = c.sq, 1
	n := c.op.HeadsQ * c.sq * c.op.HeadDim
	r := random(t)
	c.q, c.k, c.v = normals(r, n), normals(r, n), normals(r, n)
	op, first := c.finish()
	second, third := first, first
	second.Q, second.K = first.Out, first.Q // reads what the first wrote
	fresh := func(a *vkattn.Args) {
		a.Out.Mem, a.LSE.Mem = vkattn.Float32s(nans(n)), vkattn.Float32s(nans(c.op.HeadsQ*c.sq))
	}
	fresh(&second)
	fresh(&third)
	third.V = second.Out
	plan := h.plan(t, op)
	defer plan.Close()
	calls := []vkattn.Args{first, second, third}
	var want []answer
	for _, a := range calls {
		want = append(want, h.runPlan(t, plan, a))
	}
	for _, a := range calls {
		for _, x := range []vkattn.Tensor{a.Out, a.LSE} {
			copy(x.Mem.(*vkattn.Host).Float32s(), nans(x.Len()))
		}
	}
	batch := h.b.NewBatch()
	for _, a := range calls {
		if err := plan.Record(batch, a); err != nil {
			t.Fatal(err)
		}
	}
	pending, err := batch.Submit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	report, err := pending.Wait(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if report.Calls != 3 {
		t.Errorf("Report counts %d calls, want 3", report.Calls)
	}
	for i, a := range calls {
		sameAnswer(t, "recorded call", read(a), want[i])
	}
}

// concurrent: runs of one plan from several goroutines do not disturb each other.
func (h harness) concurrent(t *rapid.T) {
	c := draw(t, limits{closed: true, tables: true, extras: true, groups: true})
	op, args := c.finish()
	plan := h.plan(t, op)
	defer plan.Close()
	want := h.runPlan(t, plan, args)
	const workers = 4
	var group sync.WaitGroup
	var answers [workers]answer
	var errs [workers]error
	for n := range workers {
		a := args
		a.Out.Mem, a.LSE.Mem = vkattn.Float32s(nans(len(want.out))), vkattn.Float32s(nans(len(want.lse)))
		group.Go(func() {
			_, errs[n] = plan.Run(context.Background(), a)
			answers[n] = read(a)
		})
	}
	group.Wait()
	for n := range workers {
		if errs[n] != nil {
			t.Fatal(errs[n])
		}
		sameAnswer(t, "concurrent run", answers[n], want)
	}
}

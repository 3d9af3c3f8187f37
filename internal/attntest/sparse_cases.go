package attntest

import (
	"fmt"
	"math"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// SparseCase is one entry of the table of MoBA and NSA: ops whose rows choose blocks of keys for themselves.
type SparseCase struct {
	Name string
	Op   vkattn.Op // vkattn.MoBA or vkattn.NSA
	spec sparseSpec

	types typeSet
}

// sparseSpec is a call without its data. moba or nsa has the sizes of the call, op of the plan.
type sparseSpec struct {
	op       vkattn.Attention // of the call
	moba     *vkattn.MoBA
	nsa      *vkattn.NSA
	keyLen   []int32
	offset   []int
	lse      bool
	integers bool // products are exact, and so are ties
	ties     bool // all queries are 0: every score is the same
	spare    int  // capacity of the plan beyond the call
	layouts  map[string]layout
}

type sparseMod func(*sparseSpec)

// SparseTypeCases are calls in other types than float32, the same in every run.
func SparseTypeCases() []SparseCase {
	var all []SparseCase
	f32, f16, bf16 := vkattn.Float32, vkattn.Float16, vkattn.BFloat16
	for n, t := range []typeSet{{f16, f16, f16, f16}, {bf16, bf16, bf16, bf16}, {f16, f32, bf16, f32}, {f32, f16, f16, bf16}} {
		for m, c := range SparseCases() {
			if n >= 2 && m%4 != n {
				continue
			}
			set := func(a *vkattn.Attention) { a.TypeQ, a.TypeK, a.TypeV, a.TypeOut = t[0], t[1], t[2], t[3] }
			switch op := c.Op.(type) {
			case vkattn.MoBA:
				set(&op.Attention)
				c.Op = op
			case vkattn.NSA:
				set(&op.Attention)
				c.Op = op
			}
			c.Name, c.types = fmt.Sprintf("types/%s/%s", t, c.Name), t
			all = append(all, c)
		}
	}
	return all
}

// SparseCases is the whole table in float32, the same in every run.
func SparseCases() []SparseCase {
	var all []SparseCase
	add := func(name string, mods ...sparseMod) {
		s := sparseSpec{op: vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 65, SeqK: 65, HeadDim: 40, Causal: true}}
		for _, m := range mods {
			m(&s)
		}
		plan := s.op
		if s.keyLen != nil {
			plan.With |= vkattn.WithKeyLengths
		}
		if s.lse {
			plan.With |= vkattn.WithLSE
		}
		s.op.With = plan.With
		plan.Batch, plan.SeqQ, plan.SeqK = plan.Batch+s.spare, plan.SeqQ+s.spare, plan.SeqK+s.spare
		c := SparseCase{Name: name, spec: s}
		if s.moba != nil {
			c.Op = vkattn.MoBA{Attention: plan, Block: s.moba.Block, TopK: s.moba.TopK}
		} else {
			n := *s.nsa
			n.Attention = plan
			c.Op = n
		}
		c.Name = fmt.Sprintf("%s_h%d-%d_q%d_k%d_d%d", c.Name, s.op.HeadsQ, s.op.HeadsK, s.op.SeqQ, s.op.SeqK, s.op.HeadDim)
		all = append(all, c)
	}
	sizes := func(b, sq, sk int) sparseMod {
		return func(s *sparseSpec) { s.op.Batch, s.op.SeqQ, s.op.SeqK = b, sq, sk }
	}
	heads := func(q, k, d int) sparseMod {
		return func(s *sparseSpec) { s.op.HeadsQ, s.op.HeadsK, s.op.HeadDim = q, k, d }
	}
	values := func(dv int) sparseMod { return func(s *sparseSpec) { s.op.ValueDim = dv } }
	lens := func(n ...int32) sparseMod { return func(s *sparseSpec) { s.keyLen = n } }
	at := func(n ...int) sparseMod {
		return func(s *sparseSpec) { s.op.Align, s.offset = vkattn.AlignOffset, n }
	}
	topLeft := func(s *sparseSpec) { s.op.Align = vkattn.AlignTopLeft }
	cyclic := func(s *sparseSpec) { s.op.HeadMap = vkattn.HeadCyclic }
	spare := func(s *sparseSpec) { s.spare = 70 }
	exact := func(s *sparseSpec) { s.integers = true }
	ties := func(s *sparseSpec) { s.ties = true }
	scaled := func(x float64) sparseMod { return func(s *sparseSpec) { s.op.Scale = vkattn.Num(x) } }
	place := func(l layout, names ...string) sparseMod {
		return func(s *sparseSpec) {
			s.layouts = map[string]layout{}
			for _, n := range names {
				s.layouts[n] = l
			}
		}
	}
	moba := func(block, top int) sparseMod {
		return func(s *sparseSpec) { s.moba, s.lse = &vkattn.MoBA{Block: block, TopK: top}, true }
	}
	nsa := func(compress, stride, sel, top, window int) sparseMod {
		return func(s *sparseSpec) {
			s.nsa = &vkattn.NSA{Compress: compress, Stride: stride, Select: sel, TopN: top, Window: window}
		}
	}
	odd := layout{order: "bsh", pad: [3]int{3, 1, 5}, offset: 1}
	for _, op := range []struct {
		name              string
		usual, few, small sparseMod
	}{{"moba", moba(16, 3), moba(32, 2), moba(7, 3)}, {"nsa", nsa(8, 4, 16, 4, 20), nsa(32, 16, 64, 2, 40), nsa(6, 2, 6, 5, 7)}} {
		for _, n := range []int{1, 17, 63, 65, 257} {
			add(fmt.Sprintf("%s/tokens/%d", op.name, n), op.usual, sizes(1, n, n))
			add(fmt.Sprintf("%s/tokens/%d-few", op.name, n), op.few, sizes(2, n, n), heads(7, 1, 59))
			add(fmt.Sprintf("%s/tokens/%d-small", op.name, n), op.small, sizes(1, n, n), heads(8, 2, 80))
		}
		for _, q := range []int{1, 3, 33} {
			add(fmt.Sprintf("%s/decode/%d", op.name, q), op.usual, sizes(2, q, 600), heads(8, 2, 40))
			add(fmt.Sprintf("%s/decode/%d-sevens", op.name, q), op.usual, sizes(1, q, 257), heads(14, 2, 59))
		}
		add(op.name+"/values", op.usual, sizes(1, 65, 130), values(24))
		add(op.name+"/more-rows", op.usual, sizes(1, 130, 65))
		add(op.name+"/more-rows-top-left", op.usual, sizes(1, 130, 65), topLeft)
		add(op.name+"/top-left", op.usual, sizes(1, 65, 130), topLeft)
		add(op.name+"/offsets", op.usual, sizes(2, 65, 130), at(-20, 90))
		add(op.name+"/far-offsets", op.usual, sizes(2, 33, 130), at(1<<40, -(1<<40)))
		add(op.name+"/key-lengths", op.usual, sizes(3, 33, 200), lens(200, 31, 0))
		add(op.name+"/cyclic", op.usual, sizes(1, 65, 130), heads(8, 2, 40), cyclic)
		add(op.name+"/spare", op.usual, spare)
		add(op.name+"/exact", op.usual, sizes(2, 100, 130), exact)
		add(op.name+"/ties", op.usual, sizes(1, 100, 130), ties)
		add(op.name+"/scale", op.usual, scaled(0.7))
		add(op.name+"/strided", op.usual, sizes(2, 65, 100), place(odd, "Q", "K", "V", "Out", "LSE", "Gates"))
		add(op.name+"/bshd", op.usual, sizes(2, 65, 100), place(bshd, "Q", "K", "V", "Out", "LSE", "Gates"))
		add(op.name+"/empty/no-batch", op.usual, sizes(0, 17, 17))
		add(op.name+"/empty/no-rows", op.usual, sizes(2, 0, 17))
		add(op.name+"/empty/no-keys", op.usual, sizes(2, 17, 0))
	}
	add("moba/top/1", moba(16, 1), sizes(1, 100, 130))
	add("moba/top/all", moba(16, 9), sizes(1, 100, 130))
	add("moba/top/all-of-more", moba(16, 9), sizes(1, 100, 130), spare)
	add("moba/block/1", moba(1, 5), sizes(1, 65, 65))
	add("moba/block/1000", moba(1000, 1), sizes(1, 65, 65))
	add("moba/block/48", moba(48, 2), sizes(1, 257, 257), exact)
	add("moba/many-blocks", moba(2, 40), sizes(1, 30, 600), heads(2, 1, 32))
	add("nsa/top/1", nsa(8, 4, 16, 1, 20), sizes(1, 100, 130))
	add("nsa/top/all", nsa(8, 4, 16, 9, 20), sizes(1, 100, 130))
	add("nsa/window/0", nsa(8, 4, 16, 4, 0), sizes(1, 65, 65))
	add("nsa/window/all", nsa(8, 4, 16, 4, 1000), sizes(1, 65, 65))
	add("nsa/stride/1", nsa(1, 1, 1, 6, 3), sizes(1, 33, 65), heads(4, 2, 32))
	add("nsa/stride/compress", nsa(16, 16, 16, 3, 16), sizes(1, 65, 130))
	add("nsa/paper", nsa(32, 16, 64, 16, 512), sizes(1, 257, 1100), heads(4, 1, 32))
	add("nsa/many-blocks", nsa(4, 2, 2, 40, 9), sizes(1, 30, 600), heads(2, 1, 32))
	return all
}

// SparseProblem is one call of MoBA or NSA with its data, in memory like that of Problem.
type SparseProblem struct {
	Case SparseCase
	Args vkattn.Args // in float32

	narrow   vkattn.Args // in the types of the case: what is run
	raw      []*rawStore // of its inputs
	res      *rawStore   // of its output, which comes to out
	inputs   []*store
	out, lse *store
	means    map[[4]int][]float64 // of keys: sequence, head, first, end
	scores   map[[3]int][]float64 // of blocks: sequence, group, row
}

// Build makes the data of the case. The same seed makes the same data.
func (c SparseCase) Build(seed uint64) *SparseProblem {
	rng, s := rng(c.Name, seed), &c.spec
	op := s.op.Canonical()
	p := &SparseProblem{Case: c, means: map[[4]int][]float64{}, scores: map[[3]int][]float64{}}
	placed := func(name string) layout {
		if l, ok := s.layouts[name]; ok {
			return l
		}
		return bhsd
	}
	in := func(name string, shape [4]int, f func() float64) (vkattn.Tensor, *store) {
		t, st := placeFloats(shape, placed(name))
		each(t, func(_, _, _, _, at int) { st.f[at] = float32(f()) })
		p.inputs = append(p.inputs, st)
		return t, st
	}
	number := rng.NormFloat64
	if s.integers {
		number = func() float64 { return float64(rng.IntN(5) - 2) }
	}
	query := number
	if s.ties {
		query = func() float64 { return 0 }
	}
	q := [4]int{op.Batch, op.HeadsQ, op.SeqQ, op.HeadDim}
	a := &p.Args
	var qs, ks, vs, gs *store
	a.Q, qs = in("Q", q, query)
	a.K, ks = in("K", [4]int{op.Batch, op.HeadsK, op.SeqK, op.HeadDim}, number)
	a.V, vs = in("V", [4]int{op.Batch, op.HeadsV, op.SeqK, op.ValueDim}, rng.NormFloat64)
	if s.nsa != nil {
		a.Gates, gs = in("Gates", [4]int{q[0], q[1], q[2], 3}, rng.Float64)
	}
	a.Out, p.out = placeFloats([4]int{q[0], q[1], q[2], op.ValueDim}, placed("Out"))
	if s.lse {
		a.LSE, p.lse = placeFloats([4]int{q[0], q[1], q[2], 1}, placed("LSE"))
	}
	a.KeyLengths, a.Offset = s.keyLen, s.offset
	for b := range op.Batch {
		for h := range op.HeadsQ {
			for i := range op.SeqQ {
				if gs != nil {
					gs.markRow(a.Gates, b, h, i)
				}
				if p.position(b, i) >= 0 && p.keys(b) > 0 {
					qs.markRow(a.Q, b, h, i)
				}
			}
		}
		for h := range op.HeadsK {
			for j := range min(p.keys(b), p.position(b, op.SeqQ-1)+1) {
				ks.markRow(a.K, b, h, j)
				vs.markRow(a.V, b, h, j)
			}
		}
	}
	p.narrow = p.Args
	for i, t := range []struct {
		t *vkattn.Tensor
		s *store
	}{{&p.narrow.Q, qs}, {&p.narrow.K, ks}, {&p.narrow.V, vs}, {&p.narrow.Out, p.out}} {
		typ := c.types[i]
		if typ == vkattn.Float32 {
			continue
		}
		r := narrowed(t.s, typ)
		t.t.Type, t.t.Mem = typ, r.host
		if t.s == p.out {
			p.res = r
			continue
		}
		p.raw = append(p.raw, r)
		if err := typ.Decode(t.s.f, r.b); err != nil { // the oracle has the rounded numbers
			panic(err) // the room is right
		}
	}
	return p
}

// keys is the number of keys of sequence b.
func (p *SparseProblem) keys(b int) int {
	if p.Args.KeyLengths != nil {
		return int(p.Args.KeyLengths[b])
	}
	return p.Args.K.Shape[2]
}

// position is that of row i of sequence b.
func (p *SparseProblem) position(b, i int) int {
	switch p.Case.spec.op.Align {
	case vkattn.AlignTopLeft:
		return i
	case vkattn.AlignOffset:
		return i + p.Args.Offset[min(b, len(p.Args.Offset)-1)]
	}
	return i + p.keys(b) - p.Args.Q.Shape[2]
}

// answer is what the oracle says: Out, LSE where the op has one, and which blocks each row sees.
type answer struct {
	out, lse []float64
	choice   []int32
	width    int
}

func (p *SparseProblem) answer() (answer, error) {
	s := &p.Case.spec
	if m := s.moba; m != nil {
		r, err := (cpu.MoBA{Block: m.Block, TopK: m.TopK}).Oracle(s.op, &p.Args)
		if err != nil {
			return answer{}, err
		}
		return answer{r.Out, r.LSE, r.Choice, m.TopK}, nil
	}
	n, heads, sq := s.nsa, p.Args.Q.Shape[1], p.Args.Q.Shape[2]
	g := make([][]float64, 3)
	for k := range g {
		for b := range p.Args.Q.Shape[0] {
			for h := range heads {
				for i := range sq {
					g[k] = append(g[k], float64(p.Args.Gates.Mem.(*vkattn.Host).Float32s()[p.Args.Gates.Index(b, h, i, k)]))
				}
			}
		}
	}
	args := p.Args
	args.Gates = vkattn.Tensor{}
	r, err := (cpu.NSA{Compress: n.Compress, Stride: n.Stride, Select: n.Select, TopN: n.TopN, Window: n.Window}).Oracle(s.op, &args,
		cpu.NSAGates{Compress: g[0], Select: g[1], Window: g[2]})
	if err != nil {
		return answer{}, err
	}
	return answer{out: r.Out, choice: r.Choice, width: n.TopN}, nil
}

// float reads an element of an input.
func float(t vkattn.Tensor, b, h, s, d int) float64 {
	return float64(t.Mem.(*vkattn.Host).Float32s()[t.Index(b, h, s, d)])
}

// dot is the product of row i of query head h with the mean of keys [lo, hi).
func (p *SparseProblem) dot(b, h, i, lo, hi int) (sum float64) {
	a := &p.Args
	kv := h * a.K.Shape[1] / a.Q.Shape[1]
	if p.Case.spec.op.HeadMap == vkattn.HeadCyclic {
		kv = h % a.K.Shape[1]
	}
	mean, known := p.means[[4]int{b, kv, lo, hi}]
	if !known {
		mean = make([]float64, a.Q.Shape[3])
		for j := lo; j < hi; j++ {
			for d := range mean {
				mean[d] += float(a.K, b, kv, j, d)
			}
		}
		p.means[[4]int{b, kv, lo, hi}] = mean
	}
	q := a.Q.Mem.(*vkattn.Host).Float32s()[a.Q.Index(b, h, i, 0):]
	for d, x := range mean {
		sum += float64(q[d]) * x
	}
	return sum / float64(hi-lo)
}

// unsure reports whether the choice of row i of head h hangs on scores that differ by no more than float32 rounds: one of
// a block that is seen and one of a block that is not. Such a row may see another block. Scores that the data makes exactly
// equal, in float32 as well, are no matter of rounding: the lowest block wins.
func (p *SparseProblem) unsure(a *answer, b, h, i int) bool {
	s, t, sk := &p.Case.spec, p.position(b, i), p.keys(b)
	if t < 0 || sk == 0 {
		return false
	}
	var scores []float64
	row, block, exact := 0, 0, false
	size := func(x float64) float64 { return math.Abs(x) }
	if m := s.moba; m != nil {
		row, block = (b*p.Args.Q.Shape[1]+h)*p.Args.Q.Shape[2]+i, m.Block
		exact = s.ties || s.integers && m.Block&(m.Block-1) == 0
		for j := 0; j*block < sk && j < t/block; j++ {
			scores = append(scores, p.dot(b, h, i, j*block, min((j+1)*block, sk)))
		}
		size = func(x float64) float64 { return 4 + math.Abs(x) }
	} else {
		n, groups := s.nsa, p.Args.K.Shape[1]
		g := h * groups / p.Args.Q.Shape[1]
		if s.op.HeadMap == vkattn.HeadCyclic {
			g = h % groups
		}
		row, block = (b*groups+g)*p.Args.Q.Shape[2]+i, n.Select
		exact = s.ties
		scores = p.weights(b, g, i)
	}
	chosen := map[int]bool{}
	for _, c := range a.choice[row*a.width : (row+1)*a.width] {
		chosen[int(c)] = true
	}
	last, first := math.Inf(1), math.Inf(-1) // the smallest that is seen, the largest that is not
	for j, x := range scores {
		own := min(t/block, (sk+block-1)/block)
		switch {
		case !chosen[j]:
			first = max(first, x)
		case s.nsa != nil && (j == 0 || j == own || j == own-1):
		default:
			last = min(last, x)
		}
	}
	if math.IsInf(last, 0) || math.IsInf(first, 0) {
		return false
	}
	return last-first <= 1e-5*size(first) && !(exact && last == first)
}

// weights are the scores of the blocks of row i of a group: of every weight of a compressed key, a share for each piece of
// Stride keys that it has in common with the block.
func (p *SparseProblem) weights(b, g, i int) []float64 {
	if known, ok := p.scores[[3]int{b, g, i}]; ok {
		return known
	}
	n, t, sk := p.Case.spec.nsa, p.position(b, i), p.keys(b)
	scale := p.Case.spec.op.Canonical().Scale.Value
	scores := make([]float64, 0)
	for j := 0; j*n.Select < sk && j <= t/n.Select; j++ {
		scores = append(scores, 0)
	}
	for h := range p.Args.Q.Shape[1] {
		if of := h * p.Args.K.Shape[1] / p.Args.Q.Shape[1]; p.Case.spec.op.HeadMap == vkattn.HeadBlock && of != g ||
			p.Case.spec.op.HeadMap == vkattn.HeadCyclic && h%p.Args.K.Shape[1] != g {
			continue
		}
		var w []float64
		sum := 0.0
		for lo := 0; lo+n.Compress <= min(sk, t+1); lo += n.Stride {
			w = append(w, math.Exp(scale*p.dot(b, h, i, lo, lo+n.Compress)))
			sum += w[len(w)-1]
		}
		for c, x := range w {
			for piece := c * n.Stride; piece < c*n.Stride+n.Compress; piece += n.Stride {
				if j := piece / n.Select; j < len(scores) {
					scores[j] += x / sum
				}
			}
		}
	}
	p.scores[[3]int{b, g, i}] = scores
	return scores
}

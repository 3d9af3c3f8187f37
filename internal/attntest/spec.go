package attntest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/vkattn/vkattn"
)

// spec is a problem without its data: what a case says about itself in one line. Everything random
// about its data comes from the case's name and a seed.
type spec struct {
	op        vkattn.Attention // heads, head sizes, masks; sizes and With are filled in by finish
	b, sq, sk int
	lensQ     []int // packed: lengths of the sequences
	lensK     []int
	slack     int    // packed: tokens behind the last sequence
	spare     [3]int // capacity of the plan beyond the call: batch, Sq, Sk

	keyLen     []int32
	offset     []int
	prefix     []int32
	global     []int32
	qbase      int
	kbase      int
	hasGlobal  bool
	lse        bool
	alibi      slopeKind
	sinks      sinkKind
	relative   int // > 0: a bias by distance, of so many numbers; odd
	mask       *table
	tree       *table
	bias       *table
	blocks     *blockSpec
	layouts    map[string]layout // by tensor: Q, K, V, Out, LSE, Bias, Mask, Tree
	data       dataKind
	shared     string // "kv": V is the front of K's memory; "qkv": one memory holds all three
	nan        string // "q", "k", "v", "bias": one live NaN there
	pinned     bool   // a table of cases must not change the sizes
	pinnedHead bool
	pinnedDim  bool
}

type dataKind uint8

const (
	normal   dataKind = iota // q, k, v ~ N(0,1)
	integers                 // small sparse integers: products and sums are exact
)

type slopeKind uint8

const (
	noSlopes       slopeKind = iota
	standardSlopes           // the paper's, for any number of heads
	batchSlopes              // of any sign, one set per sequence
)

type sinkKind uint8

const (
	noSinks     sinkKind = iota
	normalSinks          // around 0, where they matter
	largeSinks           // far above every score
	smallSinks           // far below every score
	batchSinks           // one set per sequence
)

// table is a score-shaped input: mask, tree or bias.
type table struct {
	zero  string // broadcast axes, of "bhsd"
	pad   int    // elements between rows
	shift int    // moves the first element off its alignment
	kind  string // how it is filled
}

type blockSpec struct {
	q, k              int
	perBatch, perHead bool
	density           float64 // of listed blocks
	pairs             float64 // chance of a pair in a block that is not full; 0: all of them
	pattern           *Pattern
}

type mod func(*spec)

func newSpec(mods ...mod) *spec {
	s := &spec{b: 2, sq: 65, sk: 100, lse: true, layouts: map[string]layout{}}
	s.op.HeadsQ, s.op.HeadDim = 4, 32
	for _, m := range mods {
		m(s)
	}
	return s
}

func size(b, sq, sk int) mod {
	return func(s *spec) { s.b, s.sq, s.sk, s.pinned = b, sq, sk, true }
}

func heads(q, k, v int) mod {
	return func(s *spec) { s.op.HeadsQ, s.op.HeadsK, s.op.HeadsV, s.pinnedHead = q, k, v, true }
}

func dims(d, dv int) mod {
	return func(s *spec) { s.op.HeadDim, s.op.ValueDim, s.pinnedDim = d, dv, true }
}

func causal(s *spec)            { s.op.Causal = true }
func topLeft(s *spec)           { s.op.Align = vkattn.AlignTopLeft }
func cyclic(s *spec)            { s.op.HeadMap = vkattn.HeadCyclic }
func noLSE(s *spec)             { s.lse = false }
func scale(v float64) mod       { return func(s *spec) { s.op.Scale = vkattn.Num(v) } }
func softcap(c float64) mod     { return func(s *spec) { s.op.Softcap = c } }
func chunk(c int) mod           { return func(s *spec) { s.op.Chunk = c } }
func sinkTokens(n int) mod      { return func(s *spec) { s.op.SinkTokens = n } }
func prefix(n ...int32) mod     { return func(s *spec) { s.prefix = n } }
func keyLengths(n ...int32) mod { return func(s *spec) { s.keyLen = n } }
func bases(q, k int) mod        { return func(s *spec) { s.qbase, s.kbase = q, k } }
func alibi(k slopeKind) mod     { return func(s *spec) { s.alibi = k } }
func sinks(k sinkKind) mod      { return func(s *spec) { s.sinks = k } }
func relative(n int) mod        { return func(s *spec) { s.relative = n } }
func data(k dataKind) mod       { return func(s *spec) { s.data = k } }
func shared(what string) mod    { return func(s *spec) { s.shared = what } }
func liveNaN(where string) mod  { return func(s *spec) { s.nan = where } }

func offset(n ...int) mod {
	return func(s *spec) { s.op.Align, s.offset = vkattn.AlignOffset, n }
}

func global(n ...int32) mod {
	return func(s *spec) { s.global, s.hasGlobal = n, true }
}

func window(left, right vkattn.Bound) mod {
	return func(s *spec) { s.op.Window = vkattn.Window{Left: left, Right: right} }
}

func capacity(b, sq, sk int) mod { return func(s *spec) { s.spare = [3]int{b, sq, sk} } }

func packed(lensQ, lensK []int, slack int) mod {
	return func(s *spec) { s.lensQ, s.lensK, s.slack, s.op.Packed, s.pinned = lensQ, lensK, slack, true, true }
}

func boolMask(zero, kind string, pad, shift int) mod {
	return func(s *spec) { s.mask = &table{zero, pad, shift, kind} }
}

// maskBlock has an element of the mask say about so many keys.
func maskBlock(keys int) mod { return func(s *spec) { s.op.MaskBlock = keys } }

func treeMask(zero, kind string, pad, shift int) mod {
	return func(s *spec) { s.tree = &table{zero, pad, shift, kind} }
}

func biasTable(zero, kind string, pad, shift int) mod {
	return func(s *spec) { s.bias = &table{zero, pad, shift, kind} }
}

func blocks(q, k int, perBatch, perHead bool, density float64) mod {
	return func(s *spec) {
		s.blocks = &blockSpec{q: q, k: k, perBatch: perBatch, perHead: perHead, density: density}
	}
}

// pairs gives the blocks that are not full pairs of their own.
func pairs(chance float64) mod { return func(s *spec) { s.blocks.pairs = chance } }

// sparse is the block mask of a pattern, with as many sequences and heads as it has.
func sparse(p Pattern, q, k int) mod {
	return func(s *spec) { s.blocks = &blockSpec{q: q, k: k, pattern: &p} }
}

// place gives the named tensors ("Q K V Out LSE") a layout.
func place(l layout, tensors string) mod {
	return func(s *spec) {
		for _, t := range strings.Fields(tensors) {
			s.layouts[t] = l
		}
	}
}

func (s *spec) layout(tensor string) layout {
	if l, ok := s.layouts[tensor]; ok {
		return l
	}
	if s.op.Packed {
		return bshd
	}
	return bhsd
}

func sum(list []int) (n int) {
	for _, v := range list {
		n += v
	}
	return n
}

// finish fills in what follows from the rest of the spec and returns the op.
func (s *spec) finish() vkattn.Attention {
	if s.op.Packed {
		s.b = len(s.lensQ)
		s.sq, s.sk = sum(s.lensQ)+s.slack, sum(s.lensK)+s.slack
	}
	op := s.op
	op.Batch, op.SeqQ, op.SeqK = s.b+s.spare[0], s.sq+s.spare[1], s.sk+s.spare[2]
	if op.Packed {
		op.SeqQ, op.SeqK = slices.Max(append([]int{0}, s.lensQ...))+s.spare[1], slices.Max(append([]int{0}, s.lensK...))+s.spare[2]
		op.TotalQ, op.TotalK = s.sq+s.spare[1], s.sk+s.spare[2]
	}
	for _, w := range []struct {
		on   bool
		with vkattn.With
	}{{s.lse, vkattn.WithLSE}, {s.bias != nil, vkattn.WithBias}, {s.mask != nil, vkattn.WithMask},
		{s.tree != nil, vkattn.WithTree}, {s.alibi != noSlopes, vkattn.WithALiBi}, {s.sinks != noSinks, vkattn.WithSinkLogits},
		{s.relative > 0, vkattn.WithRelative},
		{s.keyLen != nil, vkattn.WithKeyLengths}, {s.prefix != nil, vkattn.WithPrefix},
		{s.hasGlobal, vkattn.WithGlobal}, {s.blocks != nil, vkattn.WithBlocks}} {
		if w.on {
			op.With |= w.with
		}
	}
	return op
}

// build makes the problem's data.
func (s *spec) build(name string, seed uint64) *Problem {
	r := rng(name, seed)
	p := &Problem{Op: s.finish(), NonFinite: s.nan == "k" || s.nan == "v"}
	c := p.Op.Canonical()
	args := &p.Args
	tb := s.b
	if c.Packed {
		tb = 1
		args.CuSeqQ, args.CuSeqK = cumulative(s.lensQ), cumulative(s.lensK)
	}
	args.KeyLengths, args.Offset, args.Prefix, args.Global = s.keyLen, s.offset, s.prefix, s.global
	args.QBase, args.KBase = s.qbase, s.kbase

	shapeQ, shapeK, shapeV := [4]int{tb, c.HeadsQ, s.sq, c.HeadDim}, [4]int{tb, c.HeadsK, s.sk, c.HeadDim}, [4]int{tb, c.HeadsV, s.sk, c.ValueDim}
	input := func(arg string, shape [4]int) vkattn.Tensor {
		t, st := p.floats(shape, s.layout(arg))
		p.inputs = append(p.inputs, st)
		return t
	}
	switch s.shared {
	case "kv": // latent attention: the values are the front of the keys
		args.Q, args.K = input("Q", shapeQ), input("K", shapeK)
		args.V = args.K.Slice(3, 0, c.ValueDim)
	case "qkv": // one projection wrote all three, token by token
		all := input("Q", [4]int{tb, c.HeadsQ + c.HeadsK + c.HeadsV, s.sq, c.HeadDim})
		args.Q, args.K, args.V = all.Slice(1, 0, c.HeadsQ), all.Slice(1, c.HeadsQ, c.HeadsQ+c.HeadsK), all.Slice(1, c.HeadsQ+c.HeadsK, all.Shape[1])
	default:
		args.Q, args.K, args.V = input("Q", shapeQ), input("K", shapeK), input("V", shapeV)
	}
	for _, t := range []vkattn.Tensor{args.Q, args.K, args.V} {
		f := p.store(t).f
		each(t, func(_, _, _, _, at int) { f[at] = s.number(r) })
	}
	args.Out, p.out = p.floats([4]int{tb, c.HeadsQ, s.sq, c.ValueDim}, s.layout("Out"))
	if s.lse {
		args.LSE, p.lse = p.floats([4]int{tb, c.HeadsQ, s.sq, 1}, s.layout("LSE"))
	}

	score := [4]int{s.b, c.HeadsQ, s.sq, s.sk}
	if c.Packed {
		score[2], score[3] = c.SeqQ, c.SeqK
	}
	if s.mask != nil {
		shape, block := score, max(s.op.MaskBlock, 1)
		shape[3] = (shape[3] + block - 1) / block
		args.Mask = s.boolTable(p, s.mask, shape, r)
	}
	if s.tree != nil {
		args.Tree = s.boolTable(p, s.tree, [4]int{score[0], 1, score[2], score[3]}, r)
	}
	if s.bias != nil {
		s.fillBias(p, score, r)
	}
	s.perHead(p, r)
	if s.blocks != nil {
		args.Blocks = s.blockMask(p, score, r)
	}
	p.mark()
	s.plantNaN(p)
	return p
}

func cumulative(lens []int) []int32 {
	cu := []int32{0}
	for _, n := range lens {
		cu = append(cu, cu[len(cu)-1]+int32(n))
	}
	return cu
}

func (s *spec) number(r *rand.Rand) float32 {
	if s.data == integers {
		if r.IntN(10) < 7 {
			return 0
		}
		return float32(r.IntN(5) - 2)
	}
	return float32(r.NormFloat64())
}

func (t *table) place(shape [4]int) (reduced [4]int, l layout) {
	for i, c := range "bhsd" {
		if strings.ContainsRune(t.zero, c) {
			shape[i] = 1
		}
	}
	return shape, layout{order: "bhs", pad: [3]int{t.pad}, offset: t.shift}
}

func (s *spec) boolTable(p *Problem, t *table, shape [4]int, r *rand.Rand) vkattn.Tensor {
	reduced, l := t.place(shape)
	out, st := p.bools(reduced, l)
	p.inputs = append(p.inputs, st)
	context := shape[3] - shape[2]
	ancestors := make([][]bool, reduced[2])
	for i := range ancestors {
		ancestors[i] = make([]bool, reduced[2])
		if i > 0 {
			copy(ancestors[i], ancestors[r.IntN(i)])
		}
		ancestors[i][i] = true
	}
	each(out, func(b, h, i, j, at int) {
		keep := r.IntN(2) == 0
		switch t.kind {
		case "sparse":
			keep = r.IntN(16) == 0
		case "dense":
			keep = r.IntN(16) != 0
		case "rows": // whole rows hidden
			keep = keep && (i+b)%3 != 0
		case "late": // the first tiles hidden
			keep = keep && j >= 64
		case "none":
			keep = false
		case "all":
			keep = true
		case "blocky": // mostly true in whole blocks
			keep = (i/16+j/16+h)%2 == 0 || r.IntN(24) != 0
		case "ancestors": // a token tree behind a common context
			keep = j < context || j-context < len(ancestors) && j >= context && ancestors[i][j-context]
		}
		if keep {
			st.raw[at] = byte(1 + r.IntN(255))
		}
	})
	return out.Broadcast(shape[0], shape[1], shape[2], shape[3])
}

func (s *spec) fillBias(p *Problem, shape [4]int, r *rand.Rand) {
	reduced, l := s.bias.place(shape)
	t, st := p.floats(reduced, l)
	p.inputs = append(p.inputs, st)
	inf := float32(math.Inf(-1))
	hidden := s.bias.kind == "inf" || s.bias.kind == "rows"
	each(t, func(b, _, i, j, at int) {
		st.f[at] = float32(r.NormFloat64())
		switch {
		case hidden && r.IntN(3) == 0, s.bias.kind == "rows" && (i+b)%3 == 0, s.bias.kind == "late" && j < 64:
			st.f[at] = inf
		case s.bias.kind == "finite" && (i%3 == 0 || i%3 == 1 && j%2 == 0):
			st.f[at] = -1e9
		case s.bias.kind == "wide":
			st.f[at] *= 10
		case s.bias.kind == "exact":
			st.f[at] = float32(r.IntN(9) - 4)
		}
	})
	p.Args.Bias = t.Broadcast(shape[0], shape[1], shape[2], shape[3])
	if s.bias.kind == "finite" {
		// Adding -1e9 in float32 swallows a score. Rows of nothing else have scores of 0, so that uniform is
		// the answer in any precision.
		q := p.store(p.Args.Q)
		each(p.Args.Q, func(_, _, i, _, at int) {
			if i%3 == 0 {
				q.f[at] = 0
			}
		})
	}
}

// perHead fills slopes and sink logits.
func (s *spec) perHead(p *Problem, r *rand.Rand) {
	heads := s.op.HeadsQ
	vector := func(batch int, f func(h int) float64) vkattn.Tensor {
		t, st := p.floats([4]int{batch, heads, 1, 1}, layout{order: "bhs", pad: [3]int{0, 0, 3}})
		p.inputs = append(p.inputs, st)
		each(t, func(_, h, _, _, at int) { st.f[at] = float32(f(h)) })
		return t
	}
	switch s.alibi {
	case standardSlopes:
		slopes, err := vkattn.ALiBiSlopes(heads)
		if err != nil {
			panic(err) // every case has heads
		}
		p.Args.Slopes = vector(1, func(h int) float64 { return float64(slopes[h]) })
	case batchSlopes:
		p.Args.Slopes = vector(s.b, func(int) float64 { return r.NormFloat64() / 8 })
	}
	if s.relative > 0 {
		batch := 1 + (s.b-1)*(s.relative%4/3) // widths of 3 and 7 and so on differ between sequences
		t, st := p.floats([4]int{max(batch, 1), heads, 1, s.relative}, layout{order: "bhs", pad: [3]int{0, 3, 0}})
		p.inputs = append(p.inputs, st)
		each(t, func(_, _, _, d, at int) {
			if st.f[at] = float32(r.NormFloat64()); r.IntN(8) == 0 && d != s.relative/2 {
				st.f[at] = float32(math.Inf(-1))
			}
		})
		p.Args.Relative = t
	}
	switch s.sinks {
	case normalSinks:
		p.Args.SinkLogits = vector(1, func(int) float64 { return 2 + 2*r.NormFloat64() })
	case largeSinks:
		p.Args.SinkLogits = vector(1, func(int) float64 { return 20 + r.NormFloat64() })
	case smallSinks:
		p.Args.SinkLogits = vector(1, func(int) float64 { return -1e4 - 100*r.Float64() })
	case batchSinks:
		p.Args.SinkLogits = vector(s.b, func(int) float64 { return 3 * r.NormFloat64() })
	}
}

func (s *spec) blockMask(p *Problem, score [4]int, r *rand.Rand) *vkattn.BlockMask {
	if c := s.blocks.pattern; c != nil {
		m, err := c.Build(vkattn.MaskGrid{SeqQ: score[2], SeqK: score[3], BlockQ: s.blocks.q, BlockK: s.blocks.k, Batch: c.Batch, Heads: c.Heads})
		if err != nil {
			panic(err)
		}
		return m
	}
	b, h := 1, 1
	if s.blocks.perBatch {
		b = score[0]
	}
	if s.blocks.perHead {
		h = score[1]
	}
	full := func(bi, hi, row, key int) bool {
		for bb := range score[0] {
			for hh := range score[1] {
				if b > 1 && bb != bi || h > 1 && hh != hi {
					continue
				}
				for i := row * s.blocks.q; i < min((row+1)*s.blocks.q, score[2]); i++ {
					for j := key * s.blocks.k; j < min((key+1)*s.blocks.k, score[3]); j++ {
						if s.mask != nil && !p.byteAt(p.Args.Mask, bb, hh, i, p.maskColumn(j)) || s.tree != nil && !p.byteAt(p.Args.Tree, bb, 0, i, j) {
							return false
						}
					}
				}
			}
		}
		return true
	}
	m, err := vkattn.NewBlockMask(b, h, score[2], score[3], s.blocks.q, s.blocks.k, func(b, h, row, key int) (listed, isFull bool) {
		if row%5 == 3 || r.Float64() >= s.blocks.density {
			return false, false
		}
		return true, r.IntN(4) != 0 && full(b, h, row, key)
	})
	if err == nil && s.blocks.pairs > 0 {
		m, err = s.thin(m, score, r)
	}
	if err != nil {
		panic(err)
	}
	return m
}

// thin leaves some pairs in the blocks that are not full.
func (s *spec) thin(m *vkattn.BlockMask, score [4]int, r *rand.Rand) (*vkattn.BlockMask, error) {
	g := vkattn.MaskGrid{SeqQ: score[2], SeqK: score[3], BlockQ: m.BlockQ, BlockK: m.BlockK, Batch: m.Batch, Heads: m.Heads}
	some, err := g.Predicate(func(_, _, _, _ int) bool { return r.Float64() < s.blocks.pairs }, func(b, h, i0, _, j0, _ int) vkattn.BlockKind {
		keys, full := m.List(b, h, i0/m.BlockQ)
		switch e := slices.Index(keys, int32(j0/m.BlockK)); {
		case e < 0:
			return vkattn.BlockHidden
		case full[e] || r.IntN(4) == 0:
			return vkattn.BlockFull
		}
		return vkattn.BlockMixed
	})
	if err != nil {
		return nil, err
	}
	return m.Intersect(some)
}

// plantNaN puts one NaN where some row sees it: in the last live row of the tensor.
func (s *spec) plantNaN(p *Problem) {
	var t vkattn.Tensor
	switch s.nan {
	case "":
		return
	case "q":
		t = p.Args.Q
	case "k":
		t = p.Args.K
	case "v":
		t = p.Args.V
	case "bias":
		t = p.Args.Bias
	}
	st := p.store(t)
	for i := len(st.live) - 1; i >= 0; i-- {
		if st.live[i] {
			st.f[i] = float32(math.NaN())
			return
		}
	}
}

// dense is the work of the case with no mask at all, in floating-point operations.
func (s *spec) dense() float64 {
	c := s.op.Canonical()
	pairs := float64(s.b) * float64(s.sq) * float64(s.sk)
	if c.Packed {
		pairs = 0
		for b := range s.lensQ {
			pairs += float64(s.lensQ[b]) * float64(s.lensK[b])
		}
	}
	return 2 * pairs * float64(c.HeadsQ) * float64(c.HeadDim+c.ValueDim)
}

func (s *spec) dimText() string {
	c := s.op.Canonical()
	var b strings.Builder
	fmt.Fprintf(&b, "h%d", c.HeadsQ)
	if c.HeadsK != c.HeadsQ || c.HeadsV != c.HeadsQ {
		fmt.Fprintf(&b, "-%d", c.HeadsK)
	}
	if c.HeadsV != c.HeadsK {
		fmt.Fprintf(&b, "-%d", c.HeadsV)
	}
	fmt.Fprintf(&b, "_q%d_k%d_d%d", s.sq, s.sk, c.HeadDim)
	if c.ValueDim != c.HeadDim {
		fmt.Fprintf(&b, "-%d", c.ValueDim)
	}
	return b.String()
}

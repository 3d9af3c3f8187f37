package attntest

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sort"

	"github.com/vkattn/vkattn"
)

// numCombinations is the number of generated cases that combine several masks and extras.
const numCombinations = 190

// ingredient is one feature that a combination may contain.
type ingredient struct {
	tag   string
	needs string // another feature that it has no meaning without
	not   []string
	apply func(r *rand.Rand, s *spec)
}

var aligns = []string{"causal-br", "causal-tl", "offset"}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// ingredients are applied in this order.
var ingredients = []ingredient{
	{"varlen", "", []string{"keylen"}, func(r *rand.Rand, s *spec) {
		s.op.Packed, s.slack = true, pick(r, 0, 0, 3)
		lens := []int{s.sq, 0, 1 + r.IntN(40), 1 + r.IntN(70)}
		r.Shuffle(len(lens), func(i, j int) { lens[i], lens[j] = lens[j], lens[i] })
		for _, n := range lens[:2+r.IntN(3)] {
			s.lensQ = append(s.lensQ, n)
			s.lensK = append(s.lensK, pick(r, n, n, n+r.IntN(40), max(0, n-7)))
		}
		s.b = len(s.lensQ)
	}},
	{"keylen", "", []string{"varlen"}, func(r *rand.Rand, s *spec) {
		for b := range s.b {
			s.keyLen = append(s.keyLen, int32(pick(r, s.sk, s.sk/2, s.sk-1-b, min(s.sk, 64), r.IntN(s.sk+1))))
		}
	}},
	{"causal-br", "", []string{"causal-tl", "offset"}, func(_ *rand.Rand, s *spec) { s.op.Causal = true }},
	{"causal-tl", "", []string{"causal-br", "offset"}, func(_ *rand.Rand, s *spec) { s.op.Causal, s.op.Align = true, vkattn.AlignTopLeft }},
	{"offset", "", []string{"causal-br", "causal-tl"}, func(r *rand.Rand, s *spec) {
		s.op.Causal, s.op.Align = true, vkattn.AlignOffset
		for range pick(r, 1, s.b) {
			s.offset = append(s.offset, r.IntN(90)-20)
		}
	}},
	{"window", "", nil, func(r *rand.Rand, s *spec) {
		s.op.Window = pick(r, vkattn.Window{Left: tok(10), Right: tok(0)}, vkattn.Window{Left: tok(7), Right: tok(7)}, vkattn.Window{Left: tok(31)},
			vkattn.Window{Left: tok(33), Right: tok(-2)}, vkattn.Window{Right: tok(5)}, vkattn.Window{Left: tok(64), Right: tok(16)})
	}},
	{"sinktokens", "window", nil, func(r *rand.Rand, s *spec) { s.op.SinkTokens = pick(r, 1, 4, 20) }},
	{"global", "window", nil, func(r *rand.Rand, s *spec) {
		s.hasGlobal, s.global = true, pick(r, []int32{0}, []int32{0, 17, 40}, []int32{30, 31, 64}, []int32{5})
	}},
	{"chunk", "", nil, func(r *rand.Rand, s *spec) { s.op.Chunk = pick(r, 16, 24, 33, 64) }},
	{"prefix", "causal", nil, func(r *rand.Rand, s *spec) {
		for range pick(r, 1, s.b) {
			s.prefix = append(s.prefix, int32(r.IntN(70)))
		}
	}},
	{"base", "", nil, func(r *rand.Rand, s *spec) {
		// Sink tokens, global tokens and prefixes are absolute: far away there are none of them.
		far := 0
		if s.op.SinkTokens == 0 && !s.hasGlobal && s.prefix == nil {
			far = pick(r, 0, 1<<40, 1<<33+5, -1<<40)
		}
		s.qbase, s.kbase = far+pick(r, 0, 3, 17), far+pick(r, 0, 5, 11)
		if s.qbase == 0 && s.kbase == 0 {
			s.qbase = 2
		}
	}},
	{"mask", "", nil, func(r *rand.Rand, s *spec) {
		kind := pick(r, "half", "dense", "dense", "rows", "blocky")
		s.mask = &table{pick(r, "", "h", "bh", "b", "h", "s"), pick(r, 0, 0, 3), pick(r, 0, 0, 1), kind}
		s.op.MaskBlock = pick(r, 0, 0, 0, 16, 50, 64)
	}},
	{"tree", "", nil, func(r *rand.Rand, s *spec) {
		s.tree = &table{pick(r, "", "b"), pick(r, 0, 0, 5), pick(r, 0, 0, 3), pick(r, "ancestors", "dense", "blocky")}
	}},
	{"bias", "", nil, func(r *rand.Rand, s *spec) {
		s.bias = &table{pick(r, "", "h", "bh", "b", "s", "d"), pick(r, 0, 0, 3), pick(r, 0, 0, 1), pick(r, "normal", "inf", "rows", "normal")}
	}},
	{"alibi", "", nil, func(r *rand.Rand, s *spec) { s.alibi = pick(r, standardSlopes, standardSlopes, batchSlopes) }},
	{"relative", "", nil, func(r *rand.Rand, s *spec) { s.relative = pick(r, 1, 7, 33, 129) }},
	{"softcap", "", nil, func(r *rand.Rand, s *spec) { s.op.Softcap = pick(r, 1.0, 3, 20) }},
	{"sinklogits", "", nil, func(r *rand.Rand, s *spec) { s.sinks = pick(r, normalSinks, normalSinks, batchSinks, largeSinks) }},
	{"scale", "", nil, func(r *rand.Rand, s *spec) { s.op.Scale = vkattn.Num(pick(r, 0.1, -0.25, 0, 0.3)) }},
	{"blocks", "", nil, func(r *rand.Rand, s *spec) {
		size := pick(r, [2]int{16, 16}, [2]int{32, 32}, [2]int{48, 48}, [2]int{7, 7}, [2]int{64, 64}, [2]int{128, 128}, [2]int{64, 16})
		s.blocks = &blockSpec{q: size[0], k: size[1], perBatch: r.IntN(2) == 0, perHead: r.IntN(2) == 0, density: 0.7, pairs: pick(r, 0, 0.6)}
	}},
	{"strided", "", nil, func(r *rand.Rand, s *spec) {
		l := pick(r, bshd, layout{order: "sbh"}, layout{order: "bsh", pad: [3]int{4, 8, 4}}, layout{order: "bhs", pad: [3]int{1, 0, 2}}, layout{order: "bhs", offset: 1})
		if s.op.Packed {
			l = pick(r, layout{order: "bhs"}, layout{order: "bsh", pad: [3]int{4, 4, 0}}, layout{order: "bsh", offset: 3})
		}
		if s.op.HeadDim > 64 || s.op.ValueDim > 64 {
			l.offset, l.pad = 0, [3]int{8, 4, 0}
		}
		for _, t := range pick(r, []string{"Q", "K", "V", "Out", "LSE"}, []string{"K", "V"}, []string{"Q", "Out"}) {
			s.layouts[t] = l
		}
	}},
}

var combinationHeads = [][3]int{{4, 4, 4}, {4, 2, 2}, {8, 1, 1}, {7, 1, 1}, {6, 2, 2}, {8, 2, 2}, {14, 2, 2}, {4, 2, 1}, {6, 2, 3}, {4, 1, 4}, {3, 3, 3}, {4, 1, 1}}

var combinationDims = [][2]int{{64, 64}, {32, 32}, {16, 16}, {59, 59}, {40, 64}, {8, 16}, {64, 64}, {32, 24}, {128, 128}, {64, 32},
	{3, 3}, {64, 48}, {96, 80}, {32, 32}, {128, 112}, {40, 40}, {64, 64}, {256, 256}, {8, 8}, {192, 128}}

var combinationLengths = [][2]int{{65, 100}, {17, 65}, {64, 64}, {1, 200}, {33, 130}, {100, 63}, {63, 65}, {2, 100}, {40, 257}, {100, 100}}

// combinations makes cases of three to seven features, the rarest first, so that every feature ends up
// about equally often beside every other.
func combinations(counts map[string]int) []Case {
	var cases []Case
	together := map[[2]string]int{}
	for n := range numCombinations {
		name := fmt.Sprintf("combination/%03d", n)
		c := combine(name, n, rng(name, 0), counts, together)
		for _, t := range c.Tags {
			counts[t]++
		}
		eachPair(c.Tags, func(p [2]string) { together[p]++ })
		cases = append(cases, c)
	}
	return cases
}

// RandomCase is a combination beyond the table. The same seed makes the same case.
func RandomCase(seed uint64) Case {
	r := rng("random", seed)
	return combine(fmt.Sprintf("random/%#x", seed), r.IntN(1000), r, map[string]int{}, map[[2]string]int{})
}

func combine(name string, n int, r *rand.Rand, counts map[string]int, together map[[2]string]int) Case {
	s := newSpec()
	l := combinationLengths[n%len(combinationLengths)]
	s.sq, s.sk = l[0], l[1]
	s.b = 1 + r.IntN(3)
	s.op.HeadDim, s.op.ValueDim = combinationDims[n%len(combinationDims)][0], combinationDims[n%len(combinationDims)][1]
	h := combinationHeads[r.IntN(len(combinationHeads))]
	s.op.HeadsQ, s.op.HeadsK, s.op.HeadsV = h[0], h[1], h[2]
	if (h[1] != h[0] || h[2] != h[0]) && r.IntN(3) == 0 {
		s.op.HeadMap = vkattn.HeadCyclic
	}
	for s.dense() > 24e6 && s.b > 1 {
		s.b--
	}
	for s.dense() > 24e6 {
		s.sq, s.sk = s.sq/2, s.sk*2/3
	}
	s.lse = r.IntN(5) != 0
	if r.IntN(4) == 0 {
		s.spare = [3]int{r.IntN(3), r.IntN(50), r.IntN(100)}
	}
	for _, in := range choose(r, 3+r.IntN(5), counts, together, s) {
		in.apply(r, s)
	}
	return makeCase(name, s)
}

// choose picks n features that go together: the first by its count, the rest by how rarely they have
// met those chosen before.
func choose(r *rand.Rand, n int, counts map[string]int, together map[[2]string]int, s *spec) []ingredient {
	var chosen []string
	has := func(tag string) bool { return slices.Contains(chosen, tag) }
	allowed := func(in ingredient) bool {
		if has(in.tag) {
			return false
		}
		for _, tag := range in.not {
			if has(tag) {
				return false
			}
		}
		// The other head buckets meet block masks in no pipeline but these.
		return in.tag != "blocks" || max(bucketOf(s.op.HeadDim), bucketOf(s.op.ValueDim)) <= 64 || s.op.HeadDim == 128 && s.op.ValueDim > 64
	}
	for len(chosen) < n {
		type scored struct {
			in    ingredient
			score float64
		}
		var list []scored
		for _, in := range ingredients {
			if !allowed(in) {
				continue
			}
			score := float64(counts[in.tag])/200 + r.Float64()*0.6
			for _, tag := range chosen {
				score += float64(together[pairOf(tag, in.tag)]) * 0.5
			}
			list = append(list, scored{in, score})
		}
		if len(list) == 0 {
			break
		}
		sort.SliceStable(list, func(i, j int) bool { return list[i].score < list[j].score })
		in := list[0].in
		chosen = append(chosen, in.tag)
		switch {
		case in.needs == "causal" && !has(aligns[0]) && !has(aligns[1]) && !has(aligns[2]):
			chosen = append(chosen, pick(r, aligns...))
		case in.needs == "window" && !has("window"):
			chosen = append(chosen, "window")
		}
	}
	var out []ingredient
	for _, in := range ingredients {
		if has(in.tag) {
			out = append(out, in)
		}
	}
	return out
}

// pairOf orders two tags as eachPair does.
func pairOf(a, b string) [2]string {
	if slices.Index(Features, a) > slices.Index(Features, b) {
		a, b = b, a
	}
	return [2]string{a, b}
}

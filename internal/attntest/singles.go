package attntest

import (
	"fmt"
	"strings"

	"github.com/vkattn/vkattn"
)

// table of sizes that singles walk through in turn when a case does not say its own: lengths on both
// sides of tile edges, one row, more rows than keys.
var (
	lengthCycle = [][2]int{{65, 100}, {17, 63}, {100, 65}, {64, 64}, {1, 257}, {63, 65}, {100, 100}, {2, 17}, {65, 257}, {64, 1}, {257, 64}}
	dimCycle    = [][2]int{{32, 32}, {64, 64}, {16, 16}, {40, 40}, {64, 64}, {8, 8}, {59, 59}, {64, 64}, {3, 3}, {32, 32}, {40, 64}, {64, 64}, {24, 32}}
	headCycle   = [][3]int{{4, 4, 4}, {4, 2, 2}, {3, 3, 3}, {6, 2, 2}, {4, 1, 1}, {5, 5, 5}, {6, 6, 6}}
)

// lister collects singles.
type lister struct{ cases []Case }

// add appends a case; sizes that it does not pin come from the cycles.
func (l *lister) add(family, variant string, mods ...mod) {
	n := len(l.cases)
	s := newSpec(mods...)
	if !s.pinned {
		s.sq, s.sk = lengthCycle[n%len(lengthCycle)][0], lengthCycle[n%len(lengthCycle)][1]
		s.b = 2 - n%2
		if len(s.keyLen) > 0 {
			s.b = len(s.keyLen)
		}
	}
	if n := max(len(s.offset), len(s.prefix)); n > 1 && !s.op.Packed {
		s.b = n
	}
	if !s.pinnedDim {
		s.op.HeadDim, s.op.ValueDim = dimCycle[n%len(dimCycle)][0], dimCycle[n%len(dimCycle)][1]
	}
	if !s.pinnedHead {
		h := headCycle[n%len(headCycle)]
		s.op.HeadsQ, s.op.HeadsK, s.op.HeadsV = h[0], h[1], h[2]
	}
	l.cases = append(l.cases, makeCase(family+"/"+variant, s))
}

func unbounded() vkattn.Bound { return vkattn.Bound{} }

func tok(n int) vkattn.Bound { return vkattn.Tokens(n) }

// list names a list of numbers.
func list(n []int32) string {
	if len(n) == 0 {
		return "none"
	}
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(n), " ", ","), "[]")
}

func singles() []Case {
	l := &lister{}
	l.shapes()
	l.headSizes()
	l.diagonals()
	l.windows()
	l.lengths()
	l.tables()
	l.scores()
	l.headMaps()
	l.blockMasks()
	l.forms()
	l.places()
	l.extremes()
	return l.cases
}

func (l *lister) shapes() {
	for _, n := range []int{1, 2, 17, 63, 64, 65, 100, 257} {
		l.add("plain", fmt.Sprintf("square%d", n), size(1, n, n), dims(64, 64))
	}
	for _, q := range [][2]int{{1, 257}, {257, 1}, {2, 520}, {300, 17}, {64, 320}, {1, 1}} {
		l.add("plain", fmt.Sprintf("q%dk%d", q[0], q[1]), size(2, q[0], q[1]), dims(32, 32))
	}
	l.add("plain", "long", size(1, 300, 515), dims(64, 64), heads(1, 1, 1))
	l.add("plain", "no-lse", size(2, 65, 100), dims(64, 64), noLSE)
	l.add("plain", "batch9-heads6", size(9, 17, 33), dims(32, 32), heads(6, 6, 6))
	l.add("plain", "spare-capacity", size(2, 33, 70), dims(32, 32), capacity(3, 40, 190))
	l.add("plain", "integers", size(2, 65, 100), dims(64, 64), data(integers))
	for _, e := range []struct {
		name      string
		b, sq, sk int
	}{{"no-keys", 2, 17, 0}, {"no-rows", 2, 0, 17}, {"no-batch", 0, 17, 17}, {"nothing", 0, 0, 0}} {
		l.add("empty", e.name, size(e.b, e.sq, e.sk), dims(32, 32))
		l.add("empty", e.name+"-causal", size(e.b, e.sq, e.sk), dims(32, 32), causal, capacity(1, 3, 5))
		l.add("empty", e.name+"-sinks", size(e.b, e.sq, e.sk), dims(32, 32), sinks(normalSinks))
	}
}

// headSizes has two cases for every head size, so that each bucket meets closed masks and tables.
func (l *lister) headSizes() {
	for _, d := range []int{1, 3, 8, 16, 32, 40, 59, 64, 72, 80, 96, 111, 112, 128, 160, 192, 256, 320, 512, 576} {
		h, sq := 4, 65
		if d > 128 {
			h, sq = 2, 40
		}
		l.add("headsize", "causal", dims(d, d), heads(h, h/2, h/2), size(1, sq, 100), causal)
		if d != 111 {
			l.add("headsize", "bias", dims(d, d), heads(h, h, h), size(1, 33, 65), biasTable("h", "normal", 0, 0))
		}
	}
	for _, d := range []int{1, 16, 64, 128, 256} {
		l.add("headsize", "decode", dims(d, d), heads(8, 1, 1), size(2, 1, 257), keyLengths(257, 100))
	}
	for _, d := range [][2]int{{192, 128}, {576, 512}} {
		l.add("headsize", "latent-causal", dims(d[0], d[1]), heads(4, 1, 1), size(1, 20, 65), causal)
		l.add("headsize", "latent-decode", dims(d[0], d[1]), heads(8, 1, 1), size(1, 1, 200), causal)
		l.add("headsize", "latent-bias", dims(d[0], d[1]), heads(2, 1, 1), size(1, 20, 65), biasTable("bh", "inf", 0, 0))
	}
	l.add("headsize", "latent-shared", dims(576, 512), heads(4, 1, 1), size(1, 17, 65), shared("kv"), causal)
	for _, d := range [][2]int{{1, 3}, {3, 1}, {8, 16}, {40, 64}, {59, 40}, {64, 48}, {64, 32}, {32, 16}, {64, 8}, {72, 80}, {112, 128}, {5, 31}, {96, 72}, {33, 64}} {
		l.add("dv", "causal", dims(d[0], d[1]), causal)
		if d[0] < 64 {
			l.add("dv", "plain", dims(d[0], d[1]))
		}
	}
}

func (l *lister) diagonals() {
	for _, n := range [][2]int{{1, 1}, {1, 100}, {2, 17}, {63, 64}, {64, 63}, {65, 65}, {100, 17}, {17, 257}, {257, 100}, {128, 128}} {
		l.add("causal-br", "edge", size(1, n[0], n[1]), causal)
		l.add("causal-tl", "edge", size(1, n[0], n[1]), causal, topLeft)
	}
	l.add("causal-br", "long", size(1, 260, 400), dims(64, 64), heads(2, 1, 1), causal)
	l.add("causal-tl", "long", size(1, 400, 260), dims(64, 64), heads(2, 1, 1), causal, topLeft)
	for _, o := range []int{0, 1, -1, 5, -5, 63, 64, -64, 35, -1000, 1000} {
		l.add("offset", fmt.Sprint(o), causal, offset(o))
	}
	l.add("offset", "per-batch", size(3, 65, 65), causal, offset(3, -7, 40))
	l.add("offset", "per-batch-empty", size(3, 64, 33), causal, offset(-64, 0, -63))
	l.add("offset", "window-only", size(2, 65, 100), offset(20, -20), window(tok(9), tok(3)))
	l.add("offset", "top-left-beyond", size(1, 100, 30), causal, topLeft)
	for _, n := range [][]int32{{0}, {1}, {5}, {64}, {1000}, {-3}, {17, 60}} {
		l.add("prefix", list(n), causal, prefix(n...))
	}
	l.add("prefix", "top-left", size(2, 65, 100), causal, topLeft, prefix(70, 3))
	l.add("prefix", "empty-rows", size(1, 100, 33), causal, prefix(1))
	l.add("prefix", "negative-offset", size(1, 65, 65), causal, offset(-40), prefix(20))
	l.add("prefix", "per-batch", size(3, 40, 70), causal, topLeft, prefix(0, 33, 70))
	for _, c := range []int{1, 2, 7, 16, 64, 100, 1000} {
		l.add("chunk", fmt.Sprint(c), chunk(c))
		l.add("chunk", fmt.Sprintf("%d-causal", c), chunk(c), causal)
	}
	l.add("chunk", "negative-rows", size(1, 100, 65), chunk(16), causal)
	l.add("chunk", "offset-odd", size(2, 65, 100), chunk(16), offset(5, -9))
	l.add("chunk", "top-left", size(1, 100, 257), chunk(48), topLeft)
	l.add("chunk", "beyond-keys", size(1, 65, 65), chunk(8), causal, offset(200))
}

func (l *lister) windows() {
	for _, w := range []struct {
		name        string
		left, right vkattn.Bound
	}{
		{"0:0", tok(0), tok(0)}, {"3:0", tok(3), tok(0)}, {"0:3", tok(0), tok(3)}, {"16:16", tok(16), tok(16)},
		{"left4", tok(4), unbounded()}, {"right4", unbounded(), tok(4)}, {"63:0", tok(63), tok(0)}, {"64:1", tok(64), tok(1)},
		{"1000:1000", tok(1000), tok(1000)}, {"shifted-left", tok(12), tok(-3)}, {"shifted-right", tok(-3), tok(12)},
		{"empty", tok(-5), tok(2)}, {"one-behind", tok(-1), tok(1)}, {"right-far-negative", unbounded(), tok(-30)},
		{"left-far-negative", tok(-30), unbounded()},
	} {
		l.add("window", w.name, window(w.left, w.right))
		l.add("window", w.name+"-causal", window(w.left, w.right), causal)
	}
	l.add("window", "top-left", size(1, 65, 257), window(tok(10), tok(5)), topLeft)
	l.add("window", "long", size(1, 300, 500), dims(64, 64), heads(1, 1, 1), window(tok(32), tok(0)), causal)
	l.add("window", "wider-than-rows", size(1, 300, 64), window(tok(8), tok(8)))
	for _, n := range []int{1, 4, 17, 64, 200} {
		l.add("sinktokens", fmt.Sprint(n), window(tok(10), tok(0)), sinkTokens(n))
		l.add("sinktokens", fmt.Sprintf("%d-causal", n), window(tok(10), unbounded()), sinkTokens(n), causal)
	}
	l.add("sinktokens", "empty-window", window(tok(-1), tok(0)), sinkTokens(3))
	l.add("sinktokens", "top-left", size(1, 65, 100), window(tok(5), tok(5)), sinkTokens(80), causal, topLeft)
	for _, g := range [][]int32{{}, {0}, {0, 5, 33}, {64}, {63, 64, 65}, {-2, 1 << 20}, {7, 99, 100}} {
		l.add("global", list(g), window(tok(6), tok(6)), global(g...))
		l.add("global", list(g)+"-causal", window(tok(6), tok(0)), global(g...), causal)
	}
	l.add("global", "longformer", size(1, 100, 100), window(tok(8), tok(8)), global(0, 1, 50), topLeft)
	l.add("global", "empty-window", size(1, 65, 65), window(tok(-4), tok(0)), global(3, 40))
	l.add("global", "sinktokens", size(1, 100, 100), window(tok(4), tok(0)), global(70), sinkTokens(2), causal)
}

func (l *lister) lengths() {
	for _, v := range []struct {
		name string
		q, k []int
	}{
		{"two", []int{17, 63}, []int{17, 63}}, {"uneven", []int{1, 64, 30}, []int{65, 3, 100}}, {"one", []int{65}, []int{65}},
		{"zero-first", []int{0, 33}, []int{0, 33}}, {"zero-last", []int{33, 0}, []int{33, 0}}, {"zero-middle", []int{20, 0, 20}, []int{20, 0, 20}},
		{"zero-keys", []int{20, 9, 20}, []int{20, 0, 64}}, {"zero-rows", []int{20, 0, 20}, []int{20, 31, 20}}, {"all-zero", []int{0, 0}, []int{0, 0}},
		{"ones", []int{1, 1, 1, 1, 1, 1, 1}, []int{1, 2, 3, 64, 5, 65, 7}}, {"tiles", []int{64, 64}, []int{64, 128}},
		{"many", []int{3, 5, 7, 2, 0, 9, 1, 4, 6}, []int{3, 5, 7, 2, 0, 9, 1, 4, 6}}, {"no-sequences", nil, nil},
	} {
		l.add("varlen", v.name, packed(v.q, v.k, 0), heads(4, 2, 2))
		l.add("varlen", v.name+"-causal", packed(v.q, v.k, 5), causal)
	}
	l.add("varlen", "documents-window", packed([]int{40, 17, 60}, []int{40, 17, 60}, 0), causal, window(tok(9), tok(0)))
	l.add("varlen", "spare-capacity", packed([]int{40, 17}, []int{50, 17}, 9), causal, capacity(2, 30, 70))
	l.add("varlen", "sinks", packed([]int{9, 0, 20}, []int{12, 7, 0}, 3), sinks(normalSinks))
	l.add("varlen", "bias", packed([]int{9, 0, 20}, []int{12, 7, 33}, 0), biasTable("", "inf", 0, 0), capacity(1, 7, 4))
	l.add("varlen", "head-major", packed([]int{9, 33}, []int{12, 33}, 2), causal, place(layout{order: "bhs"}, "Q K V Out LSE"))
	l.add("varlen", "offsets", packed([]int{30, 30, 30}, []int{30, 40, 20}, 0), causal, offset(5, -5, 0))
	for _, n := range [][]int32{{100, 50}, {0, 64}, {1, 65}, {63, 100}, {0, 0}, {17}, {100}} {
		l.add("keylen", list(n), size(len(n), 65, 100), keyLengths(n...))
		l.add("keylen", list(n)+"-causal", size(len(n), 17, 100), keyLengths(n...), causal)
	}
	l.add("keylen", "decode", size(4, 1, 300), dims(64, 64), heads(8, 2, 2), keyLengths(300, 1, 64, 129), causal)
	l.add("keylen", "top-left", size(2, 65, 100), keyLengths(40, 80), causal, topLeft)
	l.add("keylen", "window", size(2, 33, 257), keyLengths(40, 200), window(tok(20), tok(0)))
	l.add("keylen", "spare-capacity", size(2, 5, 64), keyLengths(33, 64), causal, capacity(2, 3, 400))
}

func (l *lister) tables() {
	for _, zero := range []string{"", "b", "h", "bh", "s", "d", "bhs", "bhd", "bhsd"} {
		l.add("mask", "broadcast-"+zero, size(2, 65, 100), boolMask(zero, "half", 0, 0))
		l.add("bias", "broadcast-"+zero, size(2, 65, 100), biasTable(zero, "normal", 0, 0))
	}
	for _, kind := range []string{"sparse", "dense", "rows", "late", "none", "all", "blocky"} {
		l.add("mask", kind, size(2, 65, 130), boolMask("h", kind, 0, 0))
	}
	l.add("mask", "odd-strides", size(2, 33, 67), boolMask("", "rows", 5, 3))
	l.add("mask", "causal", boolMask("", "half", 0, 1), causal)
	l.add("mask", "one-row", size(2, 1, 257), boolMask("h", "half", 0, 0))
	for _, n := range []int{1, 2, 16, 32, 33, 48, 64, 512} {
		l.add("mask", fmt.Sprintf("block-%d", n), size(2, 65, 257), boolMask("", "half", 0, 0), maskBlock(n))
		l.add("mask", fmt.Sprintf("block-%d-causal", n), size(2, 65, 257), dims(64, 64), heads(4, 2, 2), boolMask("", "half", 3, 1), maskBlock(n), causal)
	}
	l.add("mask", "block-rows-window", size(1, 100, 300), boolMask("b", "rows", 0, 0), maskBlock(40), window(tok(90), tok(5)))
	l.add("mask", "block-none", size(1, 33, 200), boolMask("", "none", 0, 0), maskBlock(64), sinks(normalSinks))
	l.add("mask", "block-all", size(1, 33, 200), boolMask("", "all", 0, 0), maskBlock(64), causal)
	l.add("mask", "block-one-row", size(2, 1, 600), heads(8, 2, 2), boolMask("", "sparse", 0, 0), maskBlock(32), causal)
	l.add("mask", "block-tree", size(2, 33, 97), boolMask("h", "half", 0, 0), maskBlock(16), treeMask("b", "ancestors", 0, 0))
	l.add("mask", "block-varlen", packed([]int{40, 0, 70}, []int{64, 10, 170}, 3), boolMask("", "half", 0, 0), maskBlock(32), causal)
	l.add("mask", "block-keylen", size(2, 33, 330), boolMask("", "half", 0, 0), maskBlock(64), keyLengths(300, 31))
	l.add("mask", "block-lists", size(1, 65, 260), heads(2, 2, 2), boolMask("b", "blocky", 0, 0), maskBlock(32), blocks(16, 32, false, true, 0.6))
	l.add("mask", "block-bias", size(1, 33, 130), boolMask("", "half", 0, 0), maskBlock(32), biasTable("", "inf", 0, 0), alibi(standardSlopes))
	for _, kind := range []string{"inf", "rows", "late", "finite", "wide"} {
		l.add("bias", kind, size(2, 65, 130), biasTable("h", kind, 0, 0))
	}
	l.add("bias", "finite-one-row", size(2, 1, 65), biasTable("bh", "finite", 0, 0))
	l.add("bias", "inf-softcap", size(2, 33, 65), biasTable("", "inf", 0, 0), softcap(2))
	l.add("bias", "odd-strides", size(2, 33, 67), biasTable("", "rows", 5, 3))
	l.add("bias", "causal", biasTable("", "normal", 0, 1), causal)
	for _, kind := range []string{"ancestors", "half", "sparse", "rows", "none"} {
		l.add("tree", kind, size(2, 33, 80), treeMask("", kind, 0, 0))
		l.add("tree", kind+"-shared", size(2, 17, 65), treeMask("b", kind, 0, 0))
	}
	for _, n := range [][2]int{{1, 64}, {7, 7}, {31, 95}, {64, 64}, {65, 257}} {
		l.add("tree", "speculative", size(1, n[0], n[1]), treeMask("", "ancestors", 0, 0), heads(8, 2, 2))
	}
	l.add("tree", "odd-strides", size(2, 33, 67), treeMask("", "ancestors", 5, 3))
	l.add("tree", "with-mask", size(2, 33, 67), treeMask("", "ancestors", 0, 0), boolMask("", "dense", 0, 0))
}

func (l *lister) scores() {
	for _, v := range []float64{0, -0.3, 1, 0.05, 0.125, -1, 1e-8} {
		l.add("scale", fmt.Sprint(v), scale(v))
		l.add("scale", fmt.Sprint(v, "-causal"), scale(v), causal)
	}
	l.add("scale", "huge-scores", size(2, 65, 100), dims(64, 64), scale(1024), data(integers))
	l.add("scale", "huge-negative", size(2, 65, 100), dims(32, 32), scale(-4096), data(integers), causal)
	for _, c := range []float64{0.5, 1, 5, 30, 50, 1e4} {
		l.add("softcap", fmt.Sprint(c), softcap(c), scale(0.5))
		l.add("softcap", fmt.Sprint(c, "-causal"), softcap(c), causal)
	}
	l.add("softcap", "saturated", size(1, 65, 100), dims(64, 64), softcap(20), scale(256), data(integers))
	l.add("softcap", "negative-scale", size(1, 65, 100), softcap(3), scale(-1))
	for _, h := range []int{1, 2, 3, 5, 6, 8, 12} {
		l.add("alibi", fmt.Sprintf("heads%d", h), size(1, 33, 70), heads(h, h, h), alibi(standardSlopes))
		l.add("alibi", fmt.Sprintf("heads%d-causal", h), size(1, 33, 70), heads(h, h, h), alibi(standardSlopes), causal)
	}
	l.add("alibi", "more-rows-than-keys", size(1, 100, 33), alibi(standardSlopes))
	l.add("alibi", "top-left", size(1, 33, 100), alibi(standardSlopes), topLeft)
	l.add("alibi", "offset", size(2, 40, 65), alibi(standardSlopes), offset(9, -30))
	l.add("alibi", "any-sign", size(3, 33, 65), alibi(batchSlopes))
	for _, n := range []int{1, 3, 31, 255} {
		l.add("relative", fmt.Sprint(n), size(2, 33, 70), relative(n))
		l.add("relative", fmt.Sprint(n, "-causal"), size(2, 33, 70), relative(n), causal)
	}
	l.add("relative", "more-rows-than-keys", size(1, 100, 33), relative(31))
	l.add("relative", "top-left", size(1, 33, 100), relative(31), topLeft)
	l.add("relative", "offset", size(2, 40, 65), relative(7), offset(9, -30))
	l.add("relative", "alibi-bias-softcap", size(1, 33, 65), relative(31), alibi(standardSlopes), softcap(2))
	l.add("relative", "few-rows", size(1, 2, 600), heads(8, 2, 2), relative(63))
	l.add("alibi", "softcap", size(1, 33, 65), alibi(standardSlopes), softcap(2))
	for _, k := range []struct {
		name string
		kind sinkKind
	}{{"normal", normalSinks}, {"large", largeSinks}, {"small", smallSinks}, {"per-batch", batchSinks}} {
		l.add("sinklogits", k.name, sinks(k.kind))
		l.add("sinklogits", k.name+"-causal", sinks(k.kind), causal)
		l.add("sinklogits", k.name+"-empty-rows", size(2, 100, 33), sinks(k.kind), causal)
		l.add("sinklogits", k.name+"-window", size(2, 33, 257), sinks(k.kind), window(tok(20), tok(0)))
	}
	l.add("sinklogits", "decode", size(2, 1, 500), dims(64, 64), heads(8, 1, 1), sinks(normalSinks), causal)
	l.add("sinklogits", "softcap-scale", size(2, 17, 65), sinks(normalSinks), softcap(1), scale(0.3))
}

func (l *lister) headMaps() {
	for _, h := range [][3]int{{8, 1, 1}, {7, 1, 1}, {14, 2, 2}, {8, 2, 2}, {16, 2, 2}, {6, 3, 3}, {12, 4, 4}} {
		l.add("gqa", "rows", size(1, 33, 65), heads(h[0], h[1], h[2]))
		l.add("gqa", "decode", size(2, 1, 200), heads(h[0], h[1], h[2]), causal)
		l.add("cyclic", "rows", size(1, 33, 65), heads(h[0], h[1], h[2]), cyclic)
		l.add("cyclic", "causal", size(1, 17, 100), heads(h[0], h[1], h[2]), cyclic, causal)
	}
	for _, h := range [][3]int{{4, 2, 1}, {6, 2, 3}, {8, 1, 4}, {4, 4, 2}, {6, 6, 1}, {4, 1, 4}, {12, 3, 4}, {14, 2, 7}} {
		l.add("kvheads", "rows", size(2, 33, 65), heads(h[0], h[1], h[2]))
		l.add("kvheads", "causal", size(1, 20, 100), heads(h[0], h[1], h[2]), causal)
		l.add("kvheads", "cyclic", size(1, 20, 70), heads(h[0], h[1], h[2]), cyclic)
	}
}

func (l *lister) blockMasks() {
	for _, b := range [][2]int{{16, 16}, {32, 32}, {48, 48}, {64, 64}, {7, 7}, {128, 128}, {64, 16}, {16, 128}, {1, 64}, {5, 3}, {300, 300}} {
		l.add("blocks", fmt.Sprintf("%dx%d", b[0], b[1]), size(1, 130, 200), dims(32, 32), heads(2, 1, 1), blocks(b[0], b[1], false, false, 0.5))
		l.add("blocks", fmt.Sprintf("%dx%d-mask", b[0], b[1]), size(1, 100, 130), heads(2, 2, 2), blocks(b[0], b[1], false, true, 0.6), boolMask("b", "blocky", 0, 0))
	}
	for _, b := range [][2]int{{16, 16}, {64, 64}, {7, 33}, {1, 64}, {48, 100}, {128, 32}} {
		l.add("blocks", fmt.Sprintf("%dx%d-pairs", b[0], b[1]), size(1, 130, 200), dims(32, 32), heads(2, 1, 1), blocks(b[0], b[1], false, false, 0.6), pairs(0.5))
	}
	l.add("blocks", "pairs-per-head-and-batch", size(2, 65, 100), dims(32, 32), heads(4, 2, 2), blocks(16, 24, true, true, 0.6), pairs(0.1))
	l.add("blocks", "pairs-mask", size(2, 65, 100), dims(32, 32), heads(2, 2, 2), blocks(16, 16, false, true, 0.6), pairs(0.5), boolMask("b", "blocky", 0, 0))
	l.add("blocks", "pairs-causal", size(1, 100, 130), dims(64, 64), heads(2, 1, 1), blocks(32, 32, false, true, 0.6), pairs(0.4), causal)
	l.add("blocks", "pairs-decode", size(2, 1, 400), dims(64, 64), heads(8, 2, 2), blocks(64, 64, true, false, 0.5), pairs(0.2))
	l.add("blocks", "pairs-varlen", packed([]int{40, 0, 70}, []int{64, 10, 70}, 3), dims(32, 32), blocks(16, 16, true, false, 0.6), pairs(0.5))
	l.add("blocks", "pairs-keylen", size(2, 33, 130), dims(32, 32), blocks(16, 32, false, false, 0.6), pairs(0.5), keyLengths(100, 31))
	for n, p := range Patterns() {
		sk := [2]int{65, 100}[n%2]
		if p.Self {
			sk = 65
		}
		l.add("blocks", "pattern "+p.Name, size(max(p.Batch, 1), 65, sk), dims(32, 32), heads(max(p.Heads, 1), max(p.Heads, 1), 1), sparse(p, []int{16, 64, 24}[n%3], []int{16, 32, 64}[n%3]))
	}
	l.add("blocks", "per-head-and-batch", size(2, 65, 100), dims(32, 32), heads(4, 2, 2), blocks(16, 16, true, true, 0.5))
	l.add("blocks", "none-listed", size(1, 65, 100), dims(32, 32), blocks(16, 16, false, false, 0))
	l.add("blocks", "all-listed", size(1, 65, 100), dims(32, 32), blocks(32, 32, false, false, 1))
	l.add("blocks", "causal", size(1, 100, 130), dims(64, 64), heads(2, 1, 1), blocks(32, 32, false, true, 0.6), causal)
	l.add("blocks", "decode", size(2, 1, 400), dims(64, 64), heads(8, 2, 2), blocks(64, 64, true, false, 0.5))
	l.add("blocks", "tree", size(1, 64, 128), dims(32, 32), blocks(16, 16, false, false, 0.8), treeMask("", "blocky", 0, 0))
	l.add("blocks", "varlen", packed([]int{40, 0, 70}, []int{64, 10, 70}, 3), dims(32, 32), blocks(16, 16, true, false, 0.6))
	l.add("blocks", "keylen", size(2, 33, 130), dims(32, 32), blocks(16, 32, false, false, 0.6), keyLengths(100, 31))
}

// forms has block masks that are computed by their form, and some that what comes on top keeps from it.
func (l *lister) forms() {
	grid := func(name string, build func(g vkattn.MaskGrid) (*vkattn.BlockMask, error)) Pattern {
		return Pattern{Name: name, Build: build}
	}
	strided := func(s int, part vkattn.Part, off int) mod {
		return sparse(grid(fmt.Sprint("strided ", s), func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			if off != 0 {
				g.Align, g.Offset = vkattn.AlignOffset, off
			}
			return g.Strided(s, part)
		}), 64, 64)
	}
	dilated := func(left, right vkattn.Bound, d int) mod {
		return sparse(grid(fmt.Sprint("dilated ", d), func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.Window(vkattn.Window{Left: left, Right: right}, d)
		}), 64, 64)
	}
	l.add("form", "strided-11-gqa", size(2, 150, 310), dims(32, 32), heads(4, 2, 1), strided(11, vkattn.Merged, 0))
	l.add("form", "strided-16-sinks", size(2, 200, 200), dims(40, 64), heads(2, 1, 1), strided(16, vkattn.Merged, 0), sinks(normalSinks), softcap(2))
	l.add("form", "strided-13-offset", size(1, 200, 170), dims(32, 32), heads(2, 2, 2), strided(13, vkattn.Merged, -40), sinks(batchSinks), noLSE)
	l.add("form", "strided-7-ahead", size(2, 120, 260), dims(64, 64), heads(2, 2, 2), strided(7, vkattn.Merged, 201), causalAt(201))
	l.add("form", "strided-9-distant-keylen", size(3, 150, 310), dims(32, 32), heads(2, 1, 1), strided(9, vkattn.Distant, 0), keyLengths(310, 160, 0), sinks(batchSinks))
	l.add("form", "strided-9-keylen", size(3, 150, 310), dims(24, 32), heads(2, 1, 1), strided(9, vkattn.Merged, 0), keyLengths(310, 160, 3), place(bshd, "Q K V Out LSE"))
	l.add("form", "strided-20-decode", size(2, 1, 700), dims(64, 64), heads(8, 2, 2), strided(20, vkattn.Merged, 0))
	l.add("form", "strided-20-few-rows", size(2, 5, 700), dims(64, 64), heads(4, 4, 4), strided(20, vkattn.Merged, 0), place(bshd, "Q K V Out"))
	l.add("form", "strided-8-long", size(1, 40, 5000), dims(32, 32), heads(1, 1, 1), strided(8, vkattn.Merged, 0))
	l.add("form", "strided-unaligned", size(2, 150, 310), dims(59, 59), heads(2, 1, 1), strided(12, vkattn.Merged, 0), place(layout{order: "bhs", pad: [3]int{3}, offset: 1}, "Q K V Out LSE"))
	l.add("form", "dilated-3", size(2, 150, 310), dims(32, 32), heads(4, 2, 2), dilated(tok(20), tok(11), 3), sinks(smallSinks))
	l.add("form", "dilated-4-causal", size(2, 200, 310), dims(64, 64), heads(2, 1, 1), dilated(tok(30), tok(11), 4), causal)
	l.add("form", "dilated-5-behind", size(1, 200, 310), dims(32, 32), heads(2, 1, 1), dilated(unbounded(), tok(-2), 5))
	l.add("form", "dilated-2-empty", size(1, 200, 310), dims(32, 32), heads(2, 1, 1), dilated(tok(-3), tok(1), 2))
	fixed := func(s, c int, part vkattn.Part) mod {
		return sparse(grid(fmt.Sprint("fixed ", s), func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) { return g.Fixed(s, c, 1, part) }), 64, 64)
	}
	l.add("form", "fixed-32-gqa", size(2, 150, 310), dims(32, 32), heads(4, 2, 1), fixed(32, 3, vkattn.Merged), sinks(normalSinks))
	l.add("form", "fixed-32-pages", size(2, 200, 320), dims(64, 64), heads(2, 1, 1), fixed(32, 4, vkattn.Merged), causal, softcap(2))
	l.add("form", "fixed-24-keylen", size(3, 150, 310), dims(24, 32), heads(2, 1, 1), fixed(24, 2, vkattn.Merged), keyLengths(310, 160, 3), place(bshd, "Q K V Out LSE"))
	l.add("form", "fixed-24-distant", size(2, 150, 312), dims(32, 32), heads(4, 1, 1), fixed(24, 4, vkattn.Distant), sinks(batchSinks))
	l.add("form", "fixed-24-distant-single", size(2, 150, 310), dims(32, 32), heads(4, 4, 4), fixed(24, 1, vkattn.Distant))
	// Rows that choose keys for each group of heads, some of them twice, some none.
	listed := func(batch, heads, groups, width int) mod {
		return sparse(Pattern{Name: "selected", Batch: batch, Heads: heads, Build: func(g vkattn.MaskGrid) (*vkattn.BlockMask, error) {
			return g.SelectedKeys(chosenBlocks(batch, groups, g.SeqQ, width, g.SeqK), width)
		}}, 64, 64)
	}
	l.add("form", "lists-mqa", size(2, 40, 310), dims(32, 32), heads(8, 1, 1), listed(2, 8, 1, 9), sinks(normalSinks))
	l.add("form", "lists-gqa", size(2, 40, 310), dims(64, 64), heads(6, 2, 2), listed(1, 6, 2, 40), causal, softcap(3))
	l.add("form", "lists-shared", size(2, 40, 310), dims(32, 32), heads(4, 2, 2), listed(2, 4, 1, 11), keyLengths(310, 90), place(bshd, "Q K V Out LSE"))
	l.add("form", "lists-per-head", size(1, 40, 310), dims(40, 24), heads(4, 1, 1), listed(1, 4, 4, 7), sinks(batchSinks), noLSE)
	l.add("form", "lists-window", size(1, 40, 310), dims(32, 32), heads(4, 1, 1), listed(1, 4, 4, 7), window(tok(100), tok(100)))
	l.add("form", "strided-8-chunk", size(1, 150, 310), dims(32, 32), heads(2, 1, 1), strided(8, vkattn.Merged, 0), chunk(64))
	l.add("form", "strided-8-top-left", size(1, 150, 310), dims(32, 32), heads(2, 1, 1), strided(8, vkattn.Merged, 0), causal, topLeft)
	l.add("form", "strided-8-alibi", size(1, 150, 310), dims(32, 32), heads(2, 1, 1), strided(8, vkattn.Merged, 0), alibi(standardSlopes))
	l.add("form", "strided-8-nan", size(1, 150, 310), dims(32, 32), heads(2, 1, 1), strided(8, vkattn.Merged, 0), liveNaN("k"))
	l.add("form", "strided-8-huge-scores", size(1, 150, 310), dims(32, 32), heads(2, 1, 1), strided(8, vkattn.Merged, 0), scale(3e8))
}

// causalAt is causal by a diagonal of its own.
func causalAt(off int) mod {
	return func(s *spec) {
		causal(s)
		offset(off)(s)
	}
}

// places has tensors of every memory order, with gaps, odd offsets, broadcasts and shared memory. The
// answers may not depend on any of it.
func (l *lister) places() {
	for _, v := range []struct {
		name string
		l    layout
		on   string
	}{
		{"bshd", bshd, "Q K V Out LSE"}, {"sbhd", layout{order: "sbh"}, "Q K V Out LSE"}, {"hbsd", layout{order: "hbs"}, "Q K V Out LSE"},
		{"mixed", bshd, "K Out"}, {"padded-rows", layout{order: "bhs", pad: [3]int{8, 0, 0}}, "Q K V Out LSE"},
		{"padded-all", layout{order: "bsh", pad: [3]int{4, 12, 20}}, "Q K V Out LSE"},
		{"odd-rows", layout{order: "bhs", pad: [3]int{1, 0, 0}}, "Q K V Out LSE"}, {"odd-all", layout{order: "bsh", pad: [3]int{3, 1, 5}}, "Q K V Out LSE"},
		{"odd-offset", layout{order: "bhs", offset: 1}, "Q K V Out LSE"}, {"odd-offset-k", layout{order: "bhs", offset: 3}, "K"},
		{"odd-offset-v", layout{order: "bhs", offset: 2}, "V"}, {"odd-offset-out", layout{order: "bhs", offset: 7}, "Out"},
		{"offset4", layout{order: "bhs", offset: 4}, "Q K V Out LSE"}, {"wild", layout{order: "bhs", wild: true}, "Q K V Out LSE"},
	} {
		l.add("strided", v.name, size(2, 33, 70), dims(32, 32), heads(4, 2, 2), place(v.l, v.on))
		l.add("strided", v.name+"-causal", size(1, 65, 100), dims(64, 64), heads(4, 1, 1), place(v.l, v.on), causal)
	}
	for _, zero := range []string{"b", "h", "s", "bh", "bhs"} {
		l.add("strided", "broadcast-kv-"+zero, size(2, 17, 65), dims(32, 32), heads(4, 4, 4), place(layout{order: "bhs", zero: zero}, "K V"))
	}
	l.add("strided", "broadcast-q-b", size(3, 17, 65), dims(32, 32), place(layout{order: "bhs", zero: "b"}, "Q"), causal)
	l.add("strided", "broadcast-q-h", size(1, 17, 65), dims(32, 32), place(layout{order: "bsh", zero: "h"}, "Q"))
	l.add("strided", "one-memory", size(2, 40, 40), dims(32, 32), heads(4, 2, 2), shared("qkv"), place(bshd, "Q"), causal)
	l.add("strided", "one-memory-packed", packed([]int{20, 30}, []int{20, 30}, 2), dims(32, 32), heads(4, 4, 4), shared("qkv"))
	l.add("strided", "values-in-keys", size(1, 40, 65), dims(64, 48), heads(4, 1, 1), shared("kv"), causal)
}

func (l *lister) extremes() {
	const far = 1 << 40
	for _, v := range []struct {
		name string
		q, k int
	}{{"rows5", 5, 0}, {"keys7", 0, 7}, {"both-far", far + 13, far}, {"keys-ahead", 3, 40}, {"negative", -9, -20}, {"far-negative", -far, -far - 30}} {
		l.add("base", v.name+"-causal", size(1, 65, 100), bases(v.q, v.k), causal, topLeft)
		l.add("base", v.name+"-window", size(1, 40, 100), bases(v.q, v.k), window(tok(20), tok(3)), topLeft)
		l.add("base", v.name+"-chunk", size(2, 33, 100), bases(v.q, v.k), chunk(24), topLeft)
		l.add("base", v.name+"-alibi", size(1, 33, 65), bases(v.q, v.k), alibi(standardSlopes))
	}
	l.add("base", "shard-sinktokens", size(1, 40, 65), bases(0, 30), window(tok(8), tok(0)), sinkTokens(40), offset(60))
	l.add("base", "shard-global", size(1, 40, 65), bases(0, 30), window(tok(8), tok(8)), global(31, 60, 94), offset(50))
	l.add("base", "shard-prefix", size(1, 40, 65), bases(0, 30), causal, prefix(45), offset(10))
	l.add("base", "far-keys-hidden", size(1, 40, 65), bases(0, far), causal)
	l.add("base", "far-rows-see-all", size(1, 40, 65), bases(far, 0), causal)
	l.add("base", "varlen", packed([]int{20, 30}, []int{25, 30}, 0), bases(far, far), causal)
	for _, where := range []string{"q", "k", "v"} {
		l.add("nan", "live-"+where, size(1, 33, 130), dims(32, 32), liveNaN(where), causal)
		l.add("nan", "live-"+where+"-decode", size(2, 1, 130), dims(64, 64), liveNaN(where), causal)
	}
	l.add("nan", "live-bias", size(1, 33, 130), dims(32, 32), liveNaN("bias"), biasTable("h", "inf", 0, 0))
}

package dispatch

import (
	"fmt"
	"math"
	"slices"
	"sort"
	"sync"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// view is a tensor in device memory: where element (b, h, s, j) lies, in elements of the buffer.
type view struct {
	buf            *vk.Buffer
	room           int64 // bytes of buf
	typ            vkattn.Type
	off            int
	sb, sh, ss, sj int // strides of batch, heads, sequence, last
	n              int // elements of the last axis that a row touches; for scores set by the area
}

func (v *view) given() bool { return v.buf != nil }

// window is the part of a buffer that a dispatch binds, and the element offset of the tensor's first
// element from its start, modulo 2^32.
type window struct {
	off, size int64
	base      uint32
}

// window shows elements [lo, hi) of the buffer, of block types whole blocks. It starts at a multiple of align, a power of
// two, and at an element.
func (v *view) window(lo, hi int, align int64) window {
	elements, bytes := v.typ.Block()
	step := align
	for step%int64(bytes) != 0 { // blocks have an odd multiple of 2 bytes
		step += align
	}
	start := int64(lo/elements) * int64(bytes) / step * step
	end := min((int64(ceilDiv(hi, elements))*int64(bytes)+15)/16*16, v.room)
	return window{start, end - start, uint32(v.off) - uint32(start/int64(bytes)*int64(elements))}
}

// area bounds what a dispatch touches: sequences, packs of query heads, rows (pack for each row of a sequence)
// and keys, each half-open.
type area struct {
	seq0, seq1, head0, head1, row0, row1, key0, key1 int
}

// geometry is what the masks and lengths of a call make of it, whatever its tensors are: sequences cut to row
// tiles, and what each costs. It is immutable, so that a plan keeps it for calls of the same lengths.
type geometry struct {
	op       vkattn.Attention
	seqs     []vkattn.Sequence
	tileRows int
	keys     int         // of a tile of the kernel, whole numbers of which slices have
	pack     int         // query heads whose rows a tile takes together
	heads    int         // packs of them
	tiles    int         // flat row tiles: over sequences, packs of heads and tiles
	first    []int       // flat index of each sequence's first tile, and the end
	costs    [][]float64 // per sequence: predicted FLOPs of row tiles [0, t) of one pack of heads
	visits   [][]int     // per sequence: keys that each row tile visits
	before   []float64   // predicted FLOPs of all sequences before each one, and of all
	longest  int         // most keys of a sequence
	widest   int         // most keys that a row tile visits

	evenOnce sync.Once
	even     *evenPlan // of calls without a block mask
}

func newGeometry(op vkattn.Attention, seqs []vkattn.Sequence, tileRows, tileKeys, pack int) *geometry {
	g := &geometry{op: op, seqs: seqs, tileRows: tileRows, keys: tileKeys, pack: pack, heads: op.HeadsQ / pack, first: make([]int, len(seqs)+1),
		costs: make([][]float64, len(seqs)), visits: make([][]int, len(seqs)), before: make([]float64, len(seqs)+1)}
	var spans []vkattn.Span
	perPair := 2 * float64(op.HeadDim+op.ValueDim)
	for i := range seqs {
		s := &seqs[i]
		n := ceilDiv(s.Sq*pack, tileRows)
		g.first[i+1] = g.first[i] + n*g.heads
		g.longest = max(g.longest, s.Sk)
		g.costs[i], g.visits[i] = make([]float64, n+1), make([]int, n)
		for t := range n {
			keys := 0
			spans = s.Spans(spans[:0], t*tileRows/pack, ceilDiv((t+1)*tileRows, pack))
			for _, sp := range spans {
				keys += (ceilDiv(sp.Hi, tileKeys) - sp.Lo/tileKeys) * tileKeys
			}
			g.visits[i][t], g.widest = keys, max(g.widest, keys)
			// A tile that visits nothing still costs something.
			g.costs[i][t+1] = g.costs[i][t] + float64(keys+4)*float64(tileRows)*perPair
		}
		g.before[i+1] = g.before[i] + g.costs[i][n]*float64(g.heads)
	}
	g.tiles = g.first[len(seqs)]
	return g
}

// sameSequences reports whether two calls have the same lengths and masks.
func sameSequences(a, b []vkattn.Sequence) bool {
	return slices.EqualFunc(a, b, func(x, y vkattn.Sequence) bool {
		return x.Index == y.Index && x.Batch == y.Batch && x.Q0 == y.Q0 && x.K0 == y.K0 && x.Sq == y.Sq && x.Sk == y.Sk &&
			x.Off == y.Off && x.KBase == y.KBase && x.Rel == y.Rel && x.Causal == y.Causal && x.Prefix == y.Prefix &&
			x.Window == y.Window && x.SinkTokens == y.SinkTokens && x.Chunk == y.Chunk && slices.Equal(x.Global, y.Global)
	})
}

// layout is one call on the device: its geometry, its tensors, and limits.
type layout struct {
	*geometry
	q, k, v, out, lse, bias, mask view
	limit, align                  int64
	keyLimit, valueLimit          int64   // of the bindings of k and v
	allKeys                       bool    // areas show all keys, also those that the masks hide
	share                         float64 // of the predicted work that is done, see call
	maskHeads, maskBlock          int     // heads that the mask has, and keys that one of its bytes is for
	cached                        *cached // keys and values lie in the pool of a cache
	phase                         uint32  // of all dispatches: phaseLeave, phaseJoin, and then bias and mask are what the rows join
}

func newLayout(g *geometry, limits *vk.Limits) *layout {
	limit := int64(min(limits.MaxStorageBufferRange, 1<<62))
	return &layout{geometry: g, share: 1, maskHeads: g.op.HeadsQ, maskBlock: 1, limit: limit, keyLimit: limit, valueLimit: limit, align: max(16, int64(limits.MinStorageBufferOffsetAlignment))}
}

// texels tightens the limits to those of texel buffers, which a build of the kernel binds k and v as.
func (l *layout) texels(variant string, limits *vk.Limits) {
	most := int64(limits.MaxTexelBufferElements)
	l.keyLimit = min(l.limit, texelFormat(variant, l.k.typ).Bytes()*most)
	l.valueLimit = min(l.limit, texelFormat(variant, l.v.typ).Bytes()*most)
	l.align = max(l.align, int64(limits.MinTexelBufferOffsetAlignment))
}

// limitOf is the most bytes that a binding may show.
func (l *layout) limitOf(binding int) int64 {
	switch binding {
	case bindK:
		return l.keyLimit
	case bindV:
		return l.valueLimit
	}
	return l.limit
}

// locate returns the sequence, pack of heads and row tile of a flat index below tiles.
func (l *layout) locate(flat int) (seq, head, tile int) {
	seq = sort.Search(len(l.seqs), func(i int) bool { return l.first[i+1] > flat })
	n := len(l.costs[seq]) - 1
	rest := flat - l.first[seq]
	return seq, rest / n, rest % n
}

// costBefore predicts the FLOPs of flat tiles [0, flat).
func (l *layout) costBefore(flat int) float64 {
	if flat >= l.tiles {
		return l.before[len(l.seqs)]
	}
	seq, head, tile := l.locate(flat)
	c := l.costs[seq]
	return l.before[seq] + c[len(c)-1]*float64(head) + c[tile]
}

func (l *layout) cost(a, b int) float64 { return l.costBefore(b) - l.costBefore(a) }

// area bounds flat tiles [a, b), and the keys that their masks leave.
func (l *layout) area(a, b int) area {
	s0, h0, t0 := l.locate(a)
	s1, h1, t1 := l.locate(b - 1)
	r := area{seq0: s0, seq1: s1 + 1, head1: l.heads}
	if s0 != s1 {
		for _, s := range l.seqs[s0 : s1+1] {
			r.row1, r.key1 = max(r.row1, s.Sq*l.pack), max(r.key1, s.Sk)
		}
		return r
	}
	var few [8]vkattn.Span
	s := &l.seqs[s0]
	r.head0, r.head1, r.row1 = h0, h1+1, s.Sq*l.pack
	if h0 == h1 {
		r.row0, r.row1 = t0*l.tileRows, min((t1+1)*l.tileRows, s.Sq*l.pack)
	}
	if l.allKeys {
		r.key1 = s.Sk
	} else if spans := s.Spans(few[:0], r.row0/l.pack, ceilDiv(r.row1, l.pack)); len(spans) > 0 {
		r.key0 = spans[0].Lo / l.keys * l.keys
		r.key1 = min(s.Sk, ceilDiv(spans[len(spans)-1].Hi, l.keys)*l.keys)
	}
	return r
}

// misfit is a tensor of which more bytes would have to be shown than a binding may.
type misfit struct {
	name  string
	limit int64
}

// windows computes what each tensor binding must show for an area. ok is false when one exceeds the
// device's limit; which is that one.
func (l *layout) windows(a area) (w [numBindings]window, ok bool, which misfit) {
	s0, s1 := &l.seqs[a.seq0], &l.seqs[a.seq1-1]
	pack0, pack1 := a.head0, a.head1
	// The query heads and rows behind packs and packed rows.
	a.row0, a.row1 = a.row0/l.pack, ceilDiv(a.row1, l.pack)
	if l.op.HeadMap == vkattn.HeadCyclic {
		a.head1 += (l.pack - 1) * l.heads
	} else {
		a.head0, a.head1 = a.head0*l.pack, a.head1*l.pack
	}
	kHead := func(heads int) (int, int) {
		if l.op.HeadMap == vkattn.HeadCyclic {
			// All heads of a pack read the same one, for the packs are a multiple of them.
			if h0, n := pack0%heads, pack1-pack0; h0+n <= heads {
				return h0, h0 + n
			}
			return 0, heads
		}
		g := l.op.HeadsQ / heads
		return a.head0 / g, (a.head1-1)/g + 1
	}
	k0, k1 := kHead(l.op.HeadsK)
	v0, v1 := kHead(l.op.HeadsV)
	keys := func(v *view, h0, h1 int) (lo, hi int) {
		if a.key0 >= a.key1 {
			return 0, 0
		}
		if l.cached != nil {
			row0, row1 := l.cached.keyRows(l.seqs, a.seq0, a.seq1, a.key0, a.key1)
			return v.off + h0*v.sh + row0*v.ss, v.off + (h1-1)*v.sh + (row1-1)*v.ss + v.n
		}
		return v.off + s0.Batch*v.sb + h0*v.sh + (s0.K0+a.key0)*v.ss, v.off + s1.Batch*v.sb + (h1-1)*v.sh + (s1.K0+a.key1-1)*v.ss + v.n
	}
	rows := func(v *view) (lo, hi int) {
		return v.off + s0.Batch*v.sb + a.head0*v.sh + (s0.Q0+a.row0)*v.ss, v.off + s1.Batch*v.sb + (a.head1-1)*v.sh + (s1.Q0+a.row1-1)*v.ss + v.n
	}
	scores := func(v *view, h0, h1, keys int) (lo, hi int) {
		if a.key0 >= a.key1 {
			return 0, 0
		}
		return v.off + s0.Index*v.sb + h0*v.sh + a.row0*v.ss + a.key0/keys*v.sj,
			v.off + s1.Index*v.sb + (h1-1)*v.sh + (a.row1-1)*v.ss + (a.key1-1)/keys*v.sj + 1
	}
	ok = true
	place := func(binding int, name string, v *view, lo, hi int) {
		if !v.given() || lo >= hi {
			return
		}
		w[binding] = v.window(lo, hi, l.align)
		if limit := l.limitOf(binding); w[binding].size > limit {
			ok, which = false, misfit{name, limit}
		}
	}
	lo, hi := rows(&l.q)
	place(bindQ, "q", &l.q, lo, hi)
	lo, hi = keys(&l.k, k0, k1)
	place(bindK, "k", &l.k, lo, hi)
	lo, hi = keys(&l.v, v0, v1)
	place(bindV, "v", &l.v, lo, hi)
	lo, hi = rows(&l.out)
	place(bindOut, "out", &l.out, lo, hi)
	if l.lse.given() {
		lo, hi = rows(&l.lse)
		place(bindLSE, "lse", &l.lse, lo, hi)
	}
	if l.phase&phaseJoin != 0 {
		lo, hi = rows(&l.bias)
		place(bindBias, "the state that rows join", &l.bias, lo, hi)
		lo, hi = rows(&l.mask)
		place(bindMask, "the results that rows join", &l.mask, lo, hi)
		return w, ok, which
	}
	if l.bias.given() {
		lo, hi = scores(&l.bias, a.head0, a.head1, 1)
		place(bindBias, "bias", &l.bias, lo, hi)
	}
	if l.mask.given() {
		m0, m1 := a.head0, a.head1
		if l.maskHeads != l.op.HeadsQ {
			m0, m1 = kHead(l.maskHeads)
		}
		lo, hi = scores(&l.mask, m0, m1, l.maskBlock)
		place(bindMask, "mask", &l.mask, lo, hi)
	}
	return w, ok, which
}

// piece is one dispatch of the main kernel: flat tiles [tile, tile+tiles) with those of their rows that are in
// [row0, row1) of their sequence, parts [part, part+parts) of the split, and of each part the keys [key0, key1).
type piece struct {
	tile, tiles     int
	row0, row1      int
	part, parts     int
	key0, key1      int
	resume, suspend bool
	windows         [numBindings]window
	cost            float64
}

// group is consecutive row tiles whose results are complete after its pieces have run.
type group struct {
	tile, tiles int
	pieces      []piece
}

// allRows is the row1 of a piece that leaves no row out.
const allRows = math.MaxInt32

// maxGroupScratch bounds what a group takes for partial results or scores, in bytes.
const maxGroupScratch = 256 << 20

// maxState bounds the running state of a group that slices its keys, in bytes, where one row tile takes less.
const maxState = 64 << 20

// cutter says how groups may be cut.
type cutter struct {
	*layout
	splits, partKeys int
	rowBytes         int64 // bytes per row of scratch that must stay within the limit (partial results)
	maxTiles         int   // most row tiles of a group, 0: no such bound
	mostKeys         int   // keys that a row tile may visit in one dispatch, 0: no such bound
	fewest           int   // row tiles that fill the device: a group that slices its keys has as many, and the running state has room for them
	end              int   // of the row tiles that the work buffer describes
}

// tooLong reports whether a row tile visits more keys, of one part, than a dispatch may.
func (c *cutter) tooLong(flat int) bool {
	seq, _, tile := c.locate(flat)
	keys := c.visits[seq][tile]
	if c.allKeys {
		keys = c.seqs[seq].Sk
	}
	return c.mostKeys > 0 && min(keys, c.partKeys) > c.mostKeys
}

// cut makes the group that starts at flat tile a: as many row tiles as budget (FLOPs) and windows
// allow, and where even few of them are too much, the keys cut to slices that carry the running state, and
// where even a few keys of one row tile span too much, its rows.
func (c *cutter) cut(a int, budget float64) (group, error) {
	rest := c.end - a
	if c.maxTiles > 0 {
		rest = min(rest, c.maxTiles)
	}
	fits := func(n, key0, key1 int) bool {
		ar := c.area(a, a+n)
		if key1 >= 0 {
			ar.key0, ar.key1 = max(ar.key0, key0), min(ar.key1, key1)
		}
		_, ok, _ := c.windows(ar)
		return ok && int64(n*c.tileRows)*c.rowBytes+c.align <= min(c.limit, maxGroupScratch)
	}
	most := sort.Search(rest, func(n int) bool { return c.cost(a, a+n+1) > budget }) // tiles within the budget
	least := min(max(1, c.fewest), rest)
	n := clamp(most, least, rest)
	n = sort.Search(n, func(m int) bool { return !fits(m+1, 0, -1) })
	whole := n // tiles that one dispatch may run
	for m := 0; c.mostKeys > 0 && m < whole; m++ {
		if c.tooLong(a + m) {
			whole = m
		}
	}
	if whole > 0 && c.cost(a, a+whole) <= budget {
		w, _, _ := c.windows(c.area(a, a+whole))
		return group{a, whole, []piece{{tile: a, tiles: whole, row1: allRows, parts: c.splits, key1: c.partKeys, windows: w, cost: c.cost(a, a+whole)}}}, nil
	}
	// Slice the keys. With windows in the way each part goes on its own, otherwise all parts together.
	together := n > 0
	n = min(max(n, 1), least)
	if !together {
		_, head, _ := c.locate(a)
		n = sort.Search(least, func(m int) bool {
			_, h, _ := c.locate(a + m)
			ar := c.area(a, a+m+1)
			// Windows of several heads show fewer keys, but for banks, which show all heads or none.
			return h != head && c.cached == nil || ar.seq1-ar.seq0 > 1 || !fits(m+1, ar.key0, ar.key0+c.keys)
		})
	}
	ar := c.area(a, a+max(n, 1))
	rows := ar.row1 - ar.row0
	if n == 0 {
		n, rows = 1, c.rowsInWindow(ar)
	}
	g := group{tile: a, tiles: n}
	groupCost := c.cost(a, a+n)
	span := max(ar.key1-ar.key0, 1)
	step := func(keys int) int { // keys of a slice, by the budget and by what a dispatch may visit
		n := max(c.keys, int(float64(keys)*budget/max(groupCost, 1))/c.keys*c.keys)
		if c.mostKeys > 0 {
			n = max(c.keys, min(n, c.mostKeys)/c.keys*c.keys)
		}
		return n
	}
	if together {
		w, _, _ := c.windows(ar)
		lo, hi := 0, c.partKeys
		if c.splits == 1 {
			lo, hi = ar.key0/c.keys*c.keys, max(ar.key1, ar.key0+1)
		}
		chunk := step(span / c.splits)
		for k := lo; k < hi; k += chunk {
			end := min(k+chunk, hi)
			g.pieces = append(g.pieces, piece{tile: a, tiles: n, row1: allRows, parts: c.splits, key0: k, key1: end, resume: k > lo, suspend: end < hi,
				windows: w, cost: groupCost * float64(end-k) / float64(hi-lo)})
		}
		return g, nil
	}
	chunk := step(span)
	for part := 0; part < c.splits; part++ {
		if parts := c.wholeParts(ar, part, chunk); parts > 0 && rows == ar.row1-ar.row0 {
			p := piece{tile: a, tiles: n, row1: allRows, part: part, parts: parts, key1: c.partKeys, cost: groupCost * float64(parts) / float64(c.splits)}
			if n == 1 {
				p.row0, p.row1 = ar.row0, ar.row1
			}
			p.windows, _, _ = c.windows(c.ofParts(ar, part, parts))
			g.pieces = append(g.pieces, p)
			part += parts - 1
			continue
		}
		for row0 := ar.row0; row0 < ar.row1; row0 += rows {
			sub := ar
			sub.row0, sub.row1 = row0, min(row0+rows, ar.row1)
			if err := c.slice(&g, sub, part, chunk, groupCost/float64(span)*float64(sub.row1-row0)/float64(ar.row1-ar.row0)); err != nil {
				return g, err
			}
		}
	}
	return g, nil
}

// ofParts is an area with the keys of some parts alone.
func (c *cutter) ofParts(ar area, part, parts int) area {
	ar.key0, ar.key1 = max(ar.key0, part*c.partKeys), min(ar.key1, (part+parts)*c.partKeys)
	return ar
}

// wholeParts is how many parts from one on a dispatch may take whole: windows show all of their keys, of which there are at most chunk.
func (c *cutter) wholeParts(ar area, part, chunk int) int {
	return sort.Search(c.splits-part, func(n int) bool {
		_, ok, _ := c.windows(c.ofParts(ar, part, n+1))
		return !ok || (n+1)*c.partKeys > max(chunk, c.keys)
	})
}

// packFits reports whether windows can show a row of all heads of a pack: in a large tensor they lie far apart.
func (l *layout) packFits() bool {
	apart := l.pack - 1
	if l.op.HeadMap == vkattn.HeadCyclic {
		apart *= l.heads
	}
	fits := func(v *view, n int) bool {
		if apart == 0 || !v.given() {
			return true
		}
		// A window starts a step before what it shows, at the most.
		_, bytes := v.typ.Block()
		return v.window(0, apart*v.sh+n, l.align).size+l.align*int64(bytes)+16 <= l.limit
	}
	if !fits(&l.q, l.q.n) || !fits(&l.out, l.out.n) || !fits(&l.lse, 1) {
		return false
	}
	if l.phase&phaseJoin != 0 {
		return fits(&l.bias, l.bias.n) && fits(&l.mask, l.mask.n)
	}
	return fits(&l.bias, 1) && (l.maskHeads != l.op.HeadsQ || fits(&l.mask, 1))
}

// rowsInWindow is the most rows of a row tile, of which windows can show a few keys: a power of two, or one.
func (c *cutter) rowsInWindow(ar area) int {
	shown := func(rows int) bool {
		for row0 := ar.row0; row0 < ar.row1; row0 += rows {
			sub := ar
			sub.row0, sub.row1 = row0, min(row0+rows, ar.row1)
			sub.key1 = min(sub.key1, sub.key0+c.keys)
			if _, ok, _ := c.windows(sub); !ok {
				return false
			}
		}
		return true
	}
	rows := c.tileRows
	for rows > 1 && !shown(rows) {
		rows /= 2
	}
	return rows
}

// slice cuts the keys of one part, for the rows of an area, to pieces of at most chunk keys that windows can show.
func (c *cutter) slice(g *group, ar area, part, chunk int, keyCost float64) error {
	first := part * c.partKeys
	lo, hi := clamp(ar.key0-first, 0, c.partKeys)/c.keys*c.keys, clamp(ar.key1-first, 0, c.partKeys)
	hi = max(hi, lo+1)
	p := piece{tile: g.tile, tiles: g.tiles, row1: allRows, part: part, parts: 1}
	if g.tiles == 1 {
		p.row0, p.row1 = ar.row0, ar.row1
	}
	for k := lo; k < hi; {
		m := min(chunk, hi-k)
		sub := ar
		for {
			sub.key0, sub.key1 = max(ar.key0, first+k), min(ar.key1, first+k+m)
			var ok bool
			var which misfit
			if p.windows, ok, which = c.windows(sub); ok {
				break
			}
			if m == 1 {
				return fmt.Errorf("one row and one key of %s span more than the %d bytes that the device binds at once: %w", which.name, which.limit, vkattn.ErrUnsupported)
			}
			// Whole key tiles, then powers of two: kernels take 4 to 16 keys a step, and to cut a step changes the rounding.
			tiles := sort.Search((m-1)/c.keys, func(n int) bool {
				sub.key1 = min(ar.key1, first+k+(n+1)*c.keys)
				_, ok, _ := c.windows(sub)
				return !ok
			})
			if tiles > 0 {
				m = tiles * c.keys
			} else {
				m = int(prevPow2(uint32(min(m, c.keys+1) - 1)))
			}
		}
		p.key0, p.key1, p.resume, p.suspend, p.cost = k, k+m, k > lo, k+m < hi, keyCost*float64(m)
		g.pieces = append(g.pieces, p)
		k += m
	}
	return nil
}

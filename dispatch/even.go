package dispatch

import (
	"sort"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// A GPU that holds all row tiles at once is done when the longest is: under a causal mask that takes twice the mean,
// where a few rows see everything ten times. So there the row tiles that visit many keys are cut to items of about the
// same length, each a workgroup, and their parts are merged. Measured on an H100 before and after, D=64: see
// docs/linear-and-sparse.md.

// item is what one workgroup computes: of flat row tile Tile the key tiles [First, End). Its result goes to the rows of
// Slot in the buffer of partial results, or, if the row tile is whole, to the output.
type item struct{ Tile, First, End, Slot uint32 }

// joined is a row tile whose Parts lie in the slots from Slot on.
type joined struct{ Tile, Slot, Parts uint32 }

const (
	itemWords   = 4
	lastKeyTile = 1<<26 - 1
)

// even says how row tiles are cut.
type even struct {
	length int // key tiles of an item
	slots  int // parts that the buffer of partial results holds
}

// evenGroup is row tiles whose parts fill the buffer of partial results, as ranges of items and of joined.
type evenGroup struct{ items, joined [2]int }

// evenPlan is the items of a call: those of row tiles in parts, group by group, and behind them the whole row tiles.
type evenPlan struct {
	words  []uint32  // items, and behind them joined
	costs  []float64 // FLOPs, of each item
	groups []evenGroup
	whole  int // the first item that is a whole row tile
	slots  int // used
	parts  int // the most of a row tile
}

// newEven decides whether row tiles are cut. tiles visit so many key tiles in all, the longest of them widest.
func newEven(caps *vk.Caps, invocations, tileRows, valueDim, rows, tiles int, visits float64, widest int, scores float64) (e even, ok bool) {
	if caps.DeviceType == "cpu" || rows <= readingRows || tiles == 0 {
		return e, false
	}
	wave := fillItems / invocations
	if caps.DeviceType == "integrated" {
		wave /= 4
	}
	mean := visits / float64(tiles)
	like := float64(widest) < 1.5*mean
	items := wave * clamp(int(visits*keyTile/float64(wave*shortItem)), 1, 4)
	switch {
	case widest > exactKeys/keyTile:
	case tiles < wave && widest <= 2*leastItem/keyTile:
		return e, false // short as they are
	case tiles >= wave && (like || float64(widest)*float64(wave) < 0.75*visits):
		return e, false // the device is busy until the end
	case tiles >= wave && float64(widest) < 2.2*mean:
		items = 4 * tiles // most are long: few items are left for the end
	case tiles >= wave:
		items = 4 * wave
	}
	// Each row tile's last part is half as long on average.
	e.length = clamp(int(visits/float64(max(items/2, items-tiles/2))), leastItem/keyTile, exactKeys/keyTile)
	if widest <= e.length || tiles < wave && like && widest < 2*e.length {
		return e, false
	}
	// Less than a hundredth of the score matrix goes to partial results, but enough to fill the device.
	e.slots = int(min(max(9<<20, scores*4/120), 64<<20) / float64(tileRows*(valueDim+2)*4))
	// They are bound at once, and all parts of a row tile lie among them.
	align := max(16, int64(caps.Limits.MinStorageBufferOffsetAlignment))
	most := int(max(0, int64(min(caps.Limits.MaxStorageBufferRange, 1<<40))-align) / int64(tileRows*max(valueDim, 2)*4))
	if most < 2 {
		return e, false
	}
	e.length = max(e.length, ceilDiv(widest, most))
	if e.length > exactKeys/keyTile {
		return e, false
	}
	e.slots = min(max(e.slots, ceilDiv(widest, e.length)), most)
	return e, true
}

// fillItems over the invocations of a workgroup is the number of items that fill a discrete device. More waves than
// one are cut where items would be longer than shortItem keys; leastItem keys are the fewest.
const (
	fillItems = 1 << 15
	shortItem = 1024
	leastItem = 128
)

// plan cuts the row tiles of a call. visited are the key tiles that one visits, ascending.
func (e even) plan(tiles int, cost float64, visited func(flat int) *keyTiles) *evenPlan {
	p := &evenPlan{parts: 1}
	var items []item
	var join []joined
	var whole []item
	var wholeCosts []float64
	all := 0
	for flat := range tiles {
		if n := ceilDiv(visited(flat).n, e.length); n > 1 {
			all += n
		}
	}
	room := ceilDiv(all, max(1, ceilDiv(all, e.slots))) // so that groups are of about the same size
	var g evenGroup
	used := 0
	for flat := range tiles {
		keys := visited(flat)
		parts := ceilDiv(keys.n, e.length)
		if parts <= 1 {
			whole = append(whole, item{Tile: uint32(flat), End: lastKeyTile})
			wholeCosts = append(wholeCosts, cost*float64(keys.n+1))
			continue
		}
		if used+parts > e.slots || used >= room {
			g.items[1], g.joined[1] = len(items), len(join)
			p.groups = append(p.groups, g)
			g = evenGroup{items: [2]int{len(items), 0}, joined: [2]int{len(join), 0}}
			used = 0
		}
		join = append(join, joined{uint32(flat), uint32(used), uint32(parts)})
		for i := range parts {
			lo, hi := keys.n*i/parts, keys.n*(i+1)/parts
			it := item{Tile: uint32(flat), First: uint32(keys.at(lo)), End: lastKeyTile, Slot: uint32(used + i)}
			if i+1 < parts {
				it.End = uint32(keys.at(hi))
			}
			items = append(items, it)
			p.costs = append(p.costs, cost*float64(hi-lo+1))
		}
		used += parts
		p.slots, p.parts = max(p.slots, used), max(p.parts, parts)
	}
	if len(items) == 0 {
		return nil
	}
	g.items[1], g.joined[1] = len(items), len(join)
	p.groups = append(p.groups, g)
	p.whole = len(items)
	items, p.costs = append(items, whole...), append(p.costs, wholeCosts...)
	for _, i := range items {
		p.words = append(p.words, i.Tile, i.First, i.End, i.Slot)
	}
	for _, j := range join {
		p.words = append(p.words, j.Tile, j.Slot, j.Parts)
	}
	return p
}

// keyTiles are the key tiles that a row tile visits: those of spans, or those that entries of a block list name.
type keyTiles struct {
	spans   []vkattn.Span // in key tiles, ascending, apart
	entries []uint32      // pairs, see tiledBlocks
	n       int
}

// at is the i-th of them.
func (k *keyTiles) at(i int) int {
	if k.entries != nil {
		return int(k.entries[2*i] >> 2)
	}
	for _, s := range k.spans {
		if n := s.Hi - s.Lo; i >= n {
			i -= n
		} else {
			return s.Lo + i
		}
	}
	return 0
}

// visited sets k to the key tiles of a flat row tile.
func (l *layout) visited(flat int, blocks *tiledBlocks, k *keyTiles) {
	seq, _, tile := l.locate(flat)
	k.spans = l.seqs[seq].Spans(k.spans[:0], tile*l.tileRows/l.pack, ceilDiv((tile+1)*l.tileRows, l.pack))
	if blocks != nil {
		k.entries = blocks.entries[blocks.starts[2*flat]:blocks.starts[2*flat+1]]
		lo, hi := 0, 0
		if n := len(k.spans); n > 0 {
			lo, hi = k.spans[0].Lo, k.spans[n-1].Hi
		}
		n := len(k.entries) / 2
		from := sort.Search(n, func(i int) bool { return int(k.entries[2*i]>>2+1)*keyTile > lo })
		to := sort.Search(n, func(i int) bool { return int(k.entries[2*i]>>2)*keyTile >= hi })
		k.entries = k.entries[2*min(from, to) : 2*to]
		k.n = len(k.entries) / 2
		return
	}
	k.n = 0
	kept := k.spans[:0]
	for _, s := range k.spans {
		t := vkattn.Span{Lo: s.Lo / keyTile, Hi: ceilDiv(s.Hi, keyTile)}
		if n := len(kept); n > 0 && kept[n-1].Hi >= t.Lo {
			k.n += max(0, t.Hi-kept[n-1].Hi)
			kept[n-1].Hi = max(kept[n-1].Hi, t.Hi)
			continue
		}
		k.n += t.Hi - t.Lo
		kept = append(kept, t)
	}
	k.spans = kept
}

// evenPlan is how the call of s is made even, or nil where it runs row tile by row tile. sec describes all row tiles.
func (r *run) evenPlan(key tiledKey, s *sections, sec *section) *evenPlan {
	l := s.layout
	if _, ok, _ := l.windows(l.area(0, l.tiles)); !ok {
		return nil
	}
	build := func(blocks *tiledBlocks) *evenPlan {
		var k keyTiles
		visits, widest := 0.0, 0
		if blocks != nil {
			for flat := range l.tiles {
				l.visited(flat, blocks, &k)
				visits, widest = visits+float64(k.n), max(widest, k.n)
			}
		} else {
			for i := range l.seqs {
				for _, n := range l.visits[i] {
					visits, widest = visits+float64(n/keyTile)*float64(l.heads), max(widest, n/keyTile)
				}
			}
		}
		if most := sliceKeys(&r.be.caps, l.op, l.longest, int(sec.params.GlobalCount)); most > 0 && widest*keyTile > most {
			return nil
		}
		scores := 0.0
		for i := range l.seqs {
			scores += float64(l.op.HeadsQ) * float64(l.seqs[i].Sq) * float64(l.seqs[i].Sk)
		}
		e, ok := newEven(&r.be.caps, key.invocations(), l.tileRows, l.op.ValueDim, l.op.SeqQ*l.pack, l.tiles, visits, widest, scores)
		if !ok {
			return nil
		}
		perKeyTile := float64(keyTile*l.tileRows) * 2 * float64(l.op.HeadDim+l.op.ValueDim)
		return e.plan(l.tiles, perKeyTile, func(flat int) *keyTiles {
			l.visited(flat, blocks, &k)
			return &k
		})
	}
	if f := sec.masked; f != nil {
		f.evenOnce.Do(func() { f.even = build(&f.blocks) })
		return f.even
	}
	l.evenOnce.Do(func() { l.even = build(nil) })
	return l.even
}

// mostTwice is the largest content of a work buffer, in bytes, that is written twice: to write more takes longer than the
// device idles until the last parts end.
const mostTwice = 256 << 10

// flashEven runs the items of a call whose section holds their lists.
func (r *run) flashEven(key tiledKey, pipeline *vk.Pipeline, s *sections, p *evenPlan, sec *section) error {
	l := s.layout
	// Kernels may write to what they find their lists in, where a slice leaves its running state. So of two dispatches that
	// run side by side each has lists of its own.
	size := (int64(len(sec.words))*4 + 255) / 256 * 256
	aside := p.whole < len(p.costs) && size <= mostTwice
	if aside {
		words := make([]uint32, size/4, size/2)
		copy(words, sec.words)
		sec.words = append(words, words...)
	}
	work, _, err := r.work(sec, 0)
	if err != nil {
		return err
	}
	lists := vk.Binding{Buffer: work, Range: size}
	listsOfWhole := lists
	if aside {
		listsOfWhole.Offset = size
	}
	tileRows := key.tileRows()
	merge, err := r.be.pipeline(mergeKey(key, mergeLanes(&r.be.caps, p.parts, p.groups[len(p.groups)-1].joined[1]*tileRows)))
	if err != nil {
		return err
	}
	rows := int64(p.slots) * int64(tileRows)
	outBytes := (rows*int64(s.params.ValueDim)*4 + l.align - 1) / l.align * l.align
	partial, err := r.hold(outBytes+rows*8, vk.HeapDevice, "scratch")
	if err != nil {
		return err
	}
	partials := vk.Binding{Buffer: partial, Range: outBytes}
	partialState := vk.Binding{Buffer: partial, Offset: outBytes, Range: rows * 8}
	windows, _, _ := l.windows(l.area(0, l.tiles))
	piece := piece{row1: allRows, key1: allRows, windows: windows}
	budget := r.be.budgetFLOPs()
	r.report.Splits = max(r.report.Splits, p.parts)

	// items runs a range of items, cut by the budget; the last dispatch leaves out its barrier if another may run beside it.
	items := func(lists vk.Binding, from, to int, split, beside bool) error {
		for from < to {
			n, cost := 0, 0.0
			for from+n < to && (n == 0 || cost+p.costs[from+n] <= budget) {
				cost += p.costs[from+n]
				n++
			}
			b := bindings(lists, l, &windows)
			keyBindings(key, l, b)
			s := piece.slice()
			s.Phase |= phaseItems | l.phase
			s.TileFirst, s.TileCount = uint32(from), uint32(n)
			if split {
				s.Phase |= phasePartial
				s.OutBase, s.LseBase = 0, 0
				b[bindOut], b[bindLSE] = partials, partialState
			}
			from += n
			x, y := r.grid(n)
			run := r.dispatch
			if beside && from == to {
				run = r.beside
			}
			if err := run(pipeline, b, bytesOf(&s), x, y, 1, cost, budget); err != nil {
				return err
			}
			r.report.Slices++
		}
		return nil
	}
	for i, g := range p.groups {
		if err := items(lists, g.items[0], g.items[1], true, i == 0 && aside); err != nil {
			return err
		}
		if i == 0 {
			// The whole row tiles fill up what the first parts leave of the device.
			if err := items(listsOfWhole, p.whole, len(p.costs), false, false); err != nil {
				return err
			}
		}
		b := bindings(lists, l, &windows)
		b[bindQ], b[bindK] = partials, partialState
		s := piece.slice()
		s.Phase |= phaseItems | l.phase
		n := g.joined[1] - g.joined[0]
		s.TileFirst, s.TileCount = uint32(g.joined[0]), uint32(n)
		x, y := r.grid(n * tileRows)
		if err := r.dispatch(merge, b, bytesOf(&s), x, y, ceilDiv(l.op.ValueDim, mergeColumns), 0, budget); err != nil {
			return err
		}
	}
	return nil
}

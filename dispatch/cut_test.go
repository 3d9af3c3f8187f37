package dispatch

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// randomCut is a call of random shape, masks and strides, and a cutter for it.
func randomCut(rng *rand.Rand) *cutter {
	heads := pick(rng, 1, 2, 4, 6)
	op := vkattn.Attention{HeadsQ: heads, HeadsK: pick(rng, 1, heads), HeadsV: pick(rng, 1, heads), HeadMap: vkattn.HeadMap(rng.IntN(2)),
		HeadDim: 1 + rng.IntN(80), ValueDim: 1 + rng.IntN(80), Packed: rng.IntN(2) == 0}
	if heads == 6 && rng.IntN(2) == 0 {
		op.HeadsK = 3
	}
	seqs := make([]vkattn.Sequence, 1+rng.IntN(4))
	q0, k0, longestQ, longestK := 0, 0, 0, 0
	op.SeqQ, op.SeqK = rng.IntN(150), rng.IntN(700)
	for i := range seqs {
		s := &seqs[i]
		*s = vkattn.Sequence{Index: i, Batch: i, Sq: op.SeqQ, Sk: rng.IntN(op.SeqK + 1), SinkTokens: -1 << 40, Prefix: -1 << 40}
		if op.Packed {
			s.Batch, s.Q0, s.K0, s.Sq = 0, q0, k0, rng.IntN(op.SeqQ+1)
			q0, k0 = q0+s.Sq, k0+s.Sk
		}
		longestQ, longestK = max(longestQ, s.Sq), max(longestK, s.Sk)
		s.Rel = pick(rng, 0, s.Sk-s.Sq, rng.IntN(800)-400)
		s.Causal = rng.IntN(2) == 0
		if rng.IntN(3) == 0 {
			s.Prefix = rng.IntN(200)
		}
		if rng.IntN(3) == 0 {
			s.Chunk = 1 + rng.IntN(100)
		}
		if rng.IntN(3) == 0 {
			s.Window = vkattn.Window{Left: vkattn.Tokens(rng.IntN(100) - 20), Right: vkattn.Bound{Set: rng.IntN(2) == 0, N: rng.IntN(50) - 20}}
			s.SinkTokens = rng.IntN(40)
			if rng.IntN(2) == 0 {
				s.Global = []int32{int32(rng.IntN(100)), int32(100 + rng.IntN(300))}
			}
		}
	}
	limits := vk.Limits{MaxStorageBufferRange: 512 << rng.IntN(12), MinStorageBufferOffsetAlignment: uint64(pick(rng, 4, 16, 64, 256))}
	pack := 1
	if rng.IntN(2) == 0 {
		pack = sharing(op)
	}
	l := newLayout(newGeometry(op, seqs, pick(rng, 1, 4, 8, 64), pick(rng, keyTile, 2*keyTile), pack), &limits)
	l.allKeys = rng.IntN(4) == 0
	n := len(seqs)
	rowsQ, rowsK := op.SeqQ, op.SeqK
	if op.Packed {
		rowsQ, rowsK = q0, k0
	}
	tensor := func(heads, rows, last int, typ vkattn.Type) view {
		unit, _ := typ.Block()
		last = ceilDiv(last, unit) * unit
		pad := func(most int) int { return rng.IntN(most) * unit }
		v := view{buf: new(vk.Buffer), typ: typ, off: pad(50), n: last}
		row := last + pad(4)
		if rng.IntN(2) == 0 {
			v.ss, v.sh = row, row*rows+pad(9)
			v.sb = v.sh*heads + pad(9)
		} else {
			v.sh, v.ss = row, row*heads+pad(9)
			v.sb = v.ss*rows + pad(9)
		}
		elements := v.off + (n-1)*v.sb + (heads-1)*v.sh + (max(rows, 1)-1)*v.ss + last
		v.room = (int64(typ.Bytes(elements)) + 15) / 16 * 16
		return v
	}
	score := func(typ vkattn.Type) view {
		v := tensor(op.HeadsQ, op.SeqQ, max(op.SeqK, 1), typ)
		v.sj = 1
		if rng.IntN(3) == 0 {
			v.sh = 0
		}
		if rng.IntN(3) == 0 {
			v.ss = 0
		}
		return v
	}
	typ := func() vkattn.Type {
		return pick(rng, vkattn.Float32, vkattn.Float32, vkattn.Float16, vkattn.BFloat16, vkattn.F8E4M3, vkattn.Q8_0, vkattn.Q4_0)
	}
	l.q, l.k, l.v = tensor(op.HeadsQ, rowsQ, op.HeadDim, vkattn.Float16), tensor(op.HeadsK, rowsK, op.HeadDim, typ()), tensor(op.HeadsV, rowsK, op.ValueDim, typ())
	l.out = tensor(op.HeadsQ, rowsQ, op.ValueDim, vkattn.Float32)
	if rng.IntN(3) == 0 {
		limits.MaxTexelBufferElements, limits.MinTexelBufferOffsetAlignment = uint32(limits.MaxStorageBufferRange/4)>>rng.IntN(5), 64
		l.texels(codesVariant, &limits)
	}
	if rng.IntN(2) == 0 {
		l.lse = tensor(op.HeadsQ, rowsQ, 1, vkattn.Float32)
	}
	if rng.IntN(3) == 0 {
		l.bias = score(vkattn.Float32)
	}
	if rng.IntN(3) == 0 {
		l.mask = score(vkattn.Bool)
		l.maskBlock, l.maskHeads = pick(rng, 1, 1, 16, 50), pick(rng, op.HeadsQ, op.HeadsQ, op.HeadsK)
	}
	c := &cutter{layout: l, end: l.tiles, splits: pick(rng, 1, 1, 2, 5), fewest: max(1, min(pick(rng, 1, 4, 64), l.tiles))}
	c.partKeys = ceilDiv(ceilDiv(max(l.longest, 1), c.splits), c.keys) * c.keys
	c.splits = ceilDiv(max(l.longest, 1), c.partKeys)
	if rng.IntN(4) == 0 {
		c.maxTiles = 1 + rng.IntN(10)
	}
	if rng.IntN(4) == 0 {
		c.mostKeys = c.keys * (1 + rng.IntN(10))
	}
	if l.allKeys {
		c.splits, c.partKeys = 1, max(l.longest, 1)
	}
	return c
}

// touched is the key tiles' worth of keys that the kernel reads for rows [r0, r1) of s in a slice of keys.
func touched(l *layout, s *vkattn.Sequence, r0, r1, first, end int) (lo, hi int) {
	lo, hi = math.MaxInt, 0
	spans := s.Spans(nil, r0, r1)
	if l.allKeys {
		spans = []vkattn.Span{{Lo: 0, Hi: s.Sk}}
	}
	for _, sp := range spans {
		a, b := max(sp.Lo, first), min(sp.Hi, end)
		if a < b {
			lo, hi = min(lo, max(first, a/keyTile*keyTile)), max(hi, min(end, ceilDiv(b, keyTile)*keyTile))
		}
	}
	return lo, hi
}

// queryHead is head n of pack h.
func queryHead(l *layout, h, n int) int {
	if l.op.HeadMap == vkattn.HeadCyclic {
		return h + n*l.heads
	}
	return h*l.pack + n
}

// checkWindows makes sure that the windows of a piece hold every element that its row tiles may touch,
// that they lie in their buffers, and that a kernel finds the elements by base plus strides.
func checkWindows(c *cutter, p *piece) error {
	l := c.layout
	seen := func(binding int, name string, v *view, at, n int) error {
		w, limit := p.windows[binding], l.limitOf(binding)
		unit, bytes := v.typ.Block()
		from, to := int64(v.typ.Bytes(at)), int64(v.typ.Bytes(at+n+unit-1))
		if from < w.off || to > w.off+w.size || w.off%l.align != 0 || w.size > limit || w.off+w.size > v.room {
			return fmt.Errorf("%s: bytes [%d, %d) in the window [%d, %d) of %d bytes", name, from, to, w.off, w.off+w.size, v.room)
		}
		if got, want := w.base+uint32(at-v.off), uint32((from-w.off)/int64(bytes)*int64(unit)+int64(at%unit)); got != want || (from-w.off)%int64(bytes) != 0 {
			return fmt.Errorf("%s: element %d is found at %d of the window instead of %d", name, at, got, want)
		}
		return nil
	}
	var errs []error
	for flat := p.tile; flat < p.tile+p.tiles; flat++ {
		seq, h, tile := l.locate(flat)
		s := &l.seqs[seq]
		if p.key1-p.key0 > c.mostKeys && c.tooLong(flat) {
			errs = append(errs, fmt.Errorf("row tile %d visits more than %d keys in one dispatch", flat, c.mostKeys))
		}
		r0, r1 := max(p.row0, tile*l.tileRows), min(p.row1, (tile+1)*l.tileRows, s.Sq*l.pack)
		if r0 >= r1 {
			errs = append(errs, fmt.Errorf("no row of tile %d is in [%d, %d)", flat, p.row0, p.row1))
			continue
		}
		for r := r0; r < r1; r++ {
			h, i := queryHead(l, h, r%l.pack), r/l.pack
			for _, x := range []struct {
				binding int
				name    string
				v       *view
			}{{bindQ, "q", &l.q}, {bindOut, "out", &l.out}, {bindLSE, "lse", &l.lse}} {
				if x.v.given() {
					errs = append(errs, seen(x.binding, x.name, x.v, x.v.off+s.Batch*x.v.sb+h*x.v.sh+(s.Q0+i)*x.v.ss, x.v.n))
				}
			}
			for part := p.part; part < p.part+p.parts; part++ {
				first := part * c.partKeys
				lo, hi := touched(l, s, r0/l.pack, ceilDiv(r1, l.pack), first+p.key0, min(first+p.key1, s.Sk))
				if lo >= hi {
					continue
				}
				for _, j := range []int{lo, hi - 1} {
					hk, hv := l.op.HeadMap.Map(h, l.op.HeadsQ, l.op.HeadsK), l.op.HeadMap.Map(h, l.op.HeadsQ, l.op.HeadsV)
					errs = append(errs, seen(bindK, "k", &l.k, l.k.off+s.Batch*l.k.sb+hk*l.k.sh+(s.K0+j)*l.k.ss, l.k.n),
						seen(bindV, "v", &l.v, l.v.off+s.Batch*l.v.sb+hv*l.v.sh+(s.K0+j)*l.v.ss, l.v.n))
					for _, x := range []struct {
						binding int
						name    string
						v       *view
						h, j    int
					}{{bindBias, "bias", &l.bias, h, j}, {bindMask, "mask", &l.mask, l.op.HeadMap.Map(h, l.op.HeadsQ, l.maskHeads), j / l.maskBlock}} {
						if x.v.given() {
							errs = append(errs, seen(x.binding, x.name, x.v, x.v.off+s.Index*x.v.sb+x.h*x.v.sh+i*x.v.ss+x.j*x.v.sj, 1))
						}
					}
				}
			}
		}
	}
	return errors.Join(errs...)
}

// checkGroup makes sure that the pieces of a group visit every visible key of every row tile exactly
// once, part by part in ascending order, and hand the running state on from one to the next.
func checkGroup(c *cutter, g *group) error {
	type state struct {
		at        int // keys before it are done, counted from the start of the part
		suspended bool
		pieces    int
	}
	states := make([]map[int]*state, c.splits) // by part and first row
	rows := map[int]int{}                      // ranges of rows
	for i := range g.pieces {
		p := &g.pieces[i]
		if p.tile != g.tile || p.tiles != g.tiles || p.part < 0 || p.parts < 1 || p.part+p.parts > c.splits || p.key0 < 0 || p.key1 <= p.key0 || p.row1 <= p.row0 {
			return fmt.Errorf("piece %+v of group %d+%d", *p, g.tile, g.tiles)
		}
		if err := checkWindows(c, p); err != nil {
			return err
		}
		if end, ok := rows[p.row0]; ok && end != p.row1 {
			return fmt.Errorf("rows from %d to %d and to %d", p.row0, p.row1, end)
		}
		rows[p.row0] = p.row1
		for part := p.part; part < p.part+p.parts; part++ {
			if states[part] == nil {
				states[part] = map[int]*state{}
			}
			s := states[part][p.row0]
			if s == nil {
				s = &state{}
				states[part][p.row0] = s
			}
			if s.pieces > 0 && p.key0 != s.at || p.resume != s.suspended || s.pieces > 0 && !s.suspended {
				return fmt.Errorf("part %d: piece %+v after %+v", part, *p, *s)
			}
			if s.pieces == 0 && p.key0 > 0 {
				if err := nothingIn(c, g, part*c.partKeys, part*c.partKeys+p.key0); err != nil {
					return err
				}
			}
			*s = state{p.key1, p.suspend, s.pieces + 1}
		}
	}
	if len(rows) > 1 && g.tiles > 1 {
		return fmt.Errorf("%d tiles and rows %v", g.tiles, rows)
	}
	seq, _, tile := c.locate(g.tile)
	last := min((tile+1)*c.tileRows, c.seqs[seq].Sq*c.pack)
	for at := tile * c.tileRows; at < last; {
		end, ok := rows[at]
		if !ok {
			end, ok = rows[0]
			ok = ok && len(rows) == 1
		}
		if !ok || end <= at {
			return fmt.Errorf("row %d is in none of %v", at, rows)
		}
		at = end
	}
	for part := range states {
		if len(states[part]) != len(rows) {
			return fmt.Errorf("part %d has %d ranges of rows of %v", part, len(states[part]), rows)
		}
		for _, s := range states[part] {
			if s.suspended {
				return fmt.Errorf("part %d ends as %+v", part, s)
			}
			if err := nothingIn(c, g, part*c.partKeys+s.at, (part+1)*c.partKeys); err != nil {
				return err
			}
		}
	}
	return nil
}

// nothingIn makes sure that no row tile of the group sees a key of [k0, k1).
func nothingIn(c *cutter, g *group, k0, k1 int) error {
	for flat := g.tile; flat < g.tile+g.tiles; flat++ {
		seq, _, tile := c.locate(flat)
		s := &c.seqs[seq]
		if lo, hi := touched(c.layout, s, tile*c.tileRows/c.pack, ceilDiv((tile+1)*c.tileRows, c.pack), k0, min(k1, s.Sk)); lo < hi {
			return fmt.Errorf("keys [%d, %d) of row tile %d are in no piece", lo, hi, flat)
		}
	}
	return nil
}

// tooWide makes sure that a refusal is right: what one row of all heads of a pack takes of some tensor with one key does not fit.
func tooWide(l *layout, flat int) bool {
	seq, h, tile := l.locate(flat)
	s := &l.seqs[seq]
	tooMuch := func(binding int, v *view, lo, hi int) bool {
		return v.given() && v.window(v.off+lo, v.off+hi, l.align).size > l.limitOf(binding)
	}
	first, last := queryHead(l, h, 0), queryHead(l, h, l.pack-1)
	hk, hv := l.op.HeadMap.Map(first, l.op.HeadsQ, l.op.HeadsK), l.op.HeadMap.Map(first, l.op.HeadsQ, l.op.HeadsV)
	m0, m1 := l.op.HeadMap.Map(first, l.op.HeadsQ, l.maskHeads), l.op.HeadMap.Map(last, l.op.HeadsQ, l.maskHeads)
	for i := tile * l.tileRows / l.pack; i < min(ceilDiv((tile+1)*l.tileRows, l.pack), s.Sq); i++ {
		for binding, v := range map[int]*view{bindQ: &l.q, bindOut: &l.out, bindLSE: &l.lse} {
			at := s.Batch*v.sb + (s.Q0+i)*v.ss
			if tooMuch(binding, v, at+first*v.sh, at+last*v.sh+v.n) {
				return true
			}
		}
		for j := range s.Sk {
			k, v := s.Batch*l.k.sb+hk*l.k.sh+(s.K0+j)*l.k.ss, s.Batch*l.v.sb+hv*l.v.sh+(s.K0+j)*l.v.ss
			bias, mask := s.Index*l.bias.sb+i*l.bias.ss+j*l.bias.sj, s.Index*l.mask.sb+i*l.mask.ss+j/l.maskBlock*l.mask.sj
			if tooMuch(bindK, &l.k, k, k+l.k.n) || tooMuch(bindV, &l.v, v, v+l.v.n) ||
				tooMuch(bindBias, &l.bias, bias+first*l.bias.sh, bias+last*l.bias.sh+1) || tooMuch(bindMask, &l.mask, mask+m0*l.mask.sh, mask+m1*l.mask.sh+1) {
				return true
			}
		}
	}
	return false
}

// TestCuts: whatever the layout, the limits and the budget, the pieces of a call cover it exactly once.
func TestCuts(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 0))
	var calls, groups, sliced, windowed, inside, refused int
	for n := range 500 {
		c := randomCut(rng)
		if c.tiles == 0 {
			continue
		}
		budget := c.costBefore(c.tiles) / float64(pick(rng, 1, 3, 20, 1000))
		calls++
		for at := 0; at < c.tiles; {
			g, err := c.cut(at, budget)
			if err != nil {
				if !errors.Is(err, vkattn.ErrUnsupported) || !tooWide(c.layout, at) {
					t.Fatalf("%d: %v", n, err)
				}
				refused++
				break
			}
			if g.tile != at || g.tiles < 1 || at+g.tiles > c.tiles || c.maxTiles > 0 && g.tiles > c.maxTiles || len(g.pieces) == 0 {
				t.Fatalf("%d: group %d+%d at %d of %d", n, g.tile, g.tiles, at, c.tiles)
			}
			if err := checkGroup(c, &g); err != nil {
				t.Fatalf("%d: tiles %d+%d of %d, %d rows each, %d parts of %d keys, limit %d, seqs %+v: %v", n, g.tile, g.tiles, c.tiles, c.tileRows, c.splits, c.partKeys, c.limit, c.seqs, err)
			}
			if len(g.pieces) > 1 {
				sliced++
				if g.pieces[0].row1-g.pieces[0].row0 < c.tileRows && len(g.pieces) > 1 && g.pieces[0].row0 != g.pieces[len(g.pieces)-1].row0 {
					inside++
				}
				if len(g.pieces) > c.splits && g.pieces[0].parts == 1 && c.splits > 1 {
					windowed++
				}
				if g.tiles > max(c.fewest, 1) {
					t.Fatalf("%d: %d tiles slice their keys, the running state has room for %d", n, g.tiles, c.fewest)
				}
			}
			groups++
			at += g.tiles
		}
	}
	t.Logf("%d calls, %d groups, %d of them with sliced keys, %d by windows and split, %d with sliced rows, %d calls refused", calls, groups, sliced, windowed, inside, refused)
	if sliced < 1000 || windowed < 300 || inside < 300 || refused > calls/4 {
		t.Error("the mix of cuts is too poor to prove anything")
	}
}

// TestCutsOfCyclicHeads: of a head, no more is shown than of one that lies elsewhere. Here a texel buffer shows less than two heads
// of values begin apart.
func TestCutsOfCyclicHeads(t *testing.T) {
	limits := vk.Limits{MaxStorageBufferRange: 1 << 30, MinStorageBufferOffsetAlignment: 256, MaxTexelBufferElements: 1 << 15, MinTexelBufferOffsetAlignment: 256}
	for _, x := range []struct{ q, k, v, pack int }{{2, 2, 2, 1}, {8, 2, 2, 1}, {8, 2, 2, 4}, {8, 4, 2, 2}, {6, 1, 3, 1}} {
		op := vkattn.Attention{Batch: 1, HeadsQ: x.q, HeadsK: x.k, HeadsV: x.v, HeadMap: vkattn.HeadCyclic, SeqQ: 3, SeqK: 257, HeadDim: 576, ValueDim: 512}
		seqs := []vkattn.Sequence{{Sq: 3, Sk: 257, SinkTokens: -1 << 40, Prefix: -1 << 40}}
		l := newLayout(newGeometry(op, seqs, 8, keyTile, x.pack), &limits)
		tensor := func(heads, rows, last int, typ vkattn.Type) view {
			return view{buf: new(vk.Buffer), typ: typ, room: int64(typ.Bytes(heads*rows*last)+15) / 16 * 16, sb: heads * rows * last, sh: rows * last, ss: last, n: last}
		}
		l.q, l.out = tensor(x.q, 3, 576, vkattn.Float32), tensor(x.q, 3, 512, vkattn.Float32)
		l.k, l.v = tensor(x.k, 257, 576, vkattn.Q8_0), tensor(x.v, 257, 512, vkattn.Float16)
		l.texels(codesVariant, &limits)
		c := &cutter{layout: l, end: l.tiles, splits: 1, partKeys: 288, fewest: l.tiles}
		for at := 0; at < c.tiles; {
			g, err := c.cut(at, math.Inf(1))
			if err == nil {
				err = checkGroup(c, &g)
			}
			if err != nil {
				t.Errorf("heads %d/%d/%d by %d: tile %d: %v", x.q, x.k, x.v, x.pack, at, err)
				break
			}
			at += g.tiles
		}
	}
}

// TestTexelLimits: as many texels are more bytes of one type than of another.
func TestTexelLimits(t *testing.T) {
	limits := vk.Limits{MaxStorageBufferRange: 1 << 20, MaxTexelBufferElements: 1 << 14}
	for _, x := range []struct {
		variant string
		k, v    vkattn.Type
		want    [2]int64
	}{
		{codesVariant, vkattn.Q8_0, vkattn.Float16, [2]int64{1 << 16, 1 << 17}}, {codesVariant, vkattn.Float32, vkattn.F8E4M3, [2]int64{1 << 18, 1 << 16}},
		{texelVariant, vkattn.Float16, vkattn.Float32, [2]int64{1 << 17, 1 << 18}},
	} {
		l := newLayout(newGeometry(vkattn.Attention{HeadsQ: 1}, nil, 8, keyTile, 1), &limits)
		l.k.typ, l.v.typ = x.k, x.v
		l.texels(x.variant, &limits)
		if got := [2]int64{l.limitOf(bindK), l.limitOf(bindV)}; got != x.want || l.limitOf(bindQ) != 1<<20 {
			t.Errorf("%s of %v and %v: %d bytes, want %d", x.variant, x.k, x.v, got, x.want)
		}
		// Half of a limit is left for rows elsewhere.
		for rows, want := range map[int]bool{500: true, 520: false} {
			args := vkattn.Args{K: vkattn.Tensor{Type: x.k}, V: vkattn.Tensor{Type: x.v}}
			for i, b := range []*vkattn.Tensor{&args.K, &args.V} {
				e, bytes := b.Type.Block()
				b.Shape, b.Stride = [4]int{1, 1, rows, 1}, [4]int{0, 0, int(x.want[i]) / 1024 / bytes * e, 1}
			}
			r := &run{be: &Backend{caps: vk.Caps{Limits: limits}}}
			if got := (&choice{key: kernelKey{Variant: x.variant}}).bindsKeys(r, &call{args: args}); got != want {
				t.Errorf("%s of %v and %v: %d rows are bound: %v", x.variant, x.k, x.v, rows, got)
			}
		}
	}
}

// TestSameSequences: a change of any field is seen.
func TestSameSequences(t *testing.T) {
	a := []vkattn.Sequence{{Sq: 3, Global: []int32{1}}}
	if !sameSequences(a, []vkattn.Sequence{{Sq: 3, Global: []int32{1}}}) {
		t.Error("equal sequences differ")
	}
	fields := reflect.TypeFor[vkattn.Sequence]()
	for i := range fields.NumField() {
		b := slices.Clone(a)
		f := reflect.ValueOf(&b[0]).Elem().Field(i)
		switch f.Kind() {
		case reflect.Int:
			f.SetInt(f.Int() + 1)
		case reflect.Bool:
			f.SetBool(!f.Bool())
		case reflect.Slice:
			f.Set(reflect.ValueOf([]int32{2}))
		case reflect.Struct:
			f.Set(reflect.ValueOf(vkattn.Window{Left: vkattn.Tokens(1)}))
		default:
			t.Fatalf("%s: a field of a new kind", fields.Field(i).Name)
		}
		if sameSequences(a, b) {
			t.Errorf("%s makes no difference", fields.Field(i).Name)
		}
	}
}

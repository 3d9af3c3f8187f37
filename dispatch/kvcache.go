package dispatch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/pages"
	"github.com/vkattn/vkattn/vk"
)

// KVCache keeps keys and values in device memory; see vkattn.Cache. Each layer has a pool of rows for keys and one for values. Paged, the
// pool of a head is all pages one behind the other, so that pages are shared by all heads' kernels through one table, or those of
// a bank where the device does not bind as much at once; otherwise the rows of a sequence lie together, head by head.
//
// Who makes one closes it; closing the backend does, too.
type KVCache struct {
	be       *Backend
	spec     vkattn.CacheSpec // canonical
	banks                     // page 0: not paged; heads: that a pool has room for
	layers   []poolLayer
	angles   *memory   // cosines, and behind them sines; nil: nothing is rotated
	memories []*memory // all of it
	append   *vk.Pipeline
	filler   uint32 // see cached; a test puts garbage there
	noDot    string // why integer dot products may not serve; "": they may

	mu     sync.Mutex
	book   *pages.Book
	plans  map[planKey]*choice
	broken error
	closed bool
}

// poolLayer is the memory of a layer: [banks, heads, rows, last] if paged, else [sequences, heads, tokens, last].
type poolLayer struct{ k, v vkattn.Tensor }

// planKey tells the kernels of a cache's steps apart.
type planKey struct {
	rows     int  // of a sequence, at most
	tree     bool // of drafts
	part     part
	recorded bool // for sequences that grow
}

// part is what of the keys a call attends.
type part uint8

const (
	wholePart  part = iota
	sharedPart      // of a cascade: what all sequences share and all rows see
	headPart        // what is before it
	tailPart        // and behind it; the sink counts here
)

var _ vkattn.CacheBackend = (*Backend)(nil)

// NewCache allocates a cache; see vkattn.CacheBackend. Errors are those of the spec and of Plan; ErrUnsupported also where the pages of a head
// in one layer exceed what the device binds at once, and a page is no multiple of 4 tokens or so long that one of all heads exceeds it, too.
func (b *Backend) NewCache(ctx context.Context, spec vkattn.CacheSpec) (vkattn.Cache, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	if err := b.begin(); err != nil {
		return nil, err
	}
	defer b.active.Done()
	op := spec.Canonical().Op
	if _, err := b.planner.choose(&b.caps, op, "", b.disabled); err != nil {
		return nil, err
	}
	noDot, err := b.admitDecode(ctx, op)
	if err != nil {
		return nil, wrap(err)
	}
	if !b.config.SkipSelfTest {
		t := cacheTest{key: op.TypeK, value: op.TypeV, page: spec.Page}
		passed, err := b.admit(ctx, t)
		if err != nil {
			return nil, wrap(err)
		}
		if _, _, name := t.rung(); !passed {
			return nil, b.refuseCache(op, "%s", b.unfit()[name])
		}
	}
	return b.newCache(ctx, spec, noDot)
}

// newCache is NewCache without the test of its kernels.
func (b *Backend) newCache(ctx context.Context, spec vkattn.CacheSpec, noDot string) (vkattn.Cache, error) {
	c := &KVCache{be: b, spec: spec.Canonical(), noDot: noDot, plans: map[planKey]*choice{}}
	op := &c.spec.Op
	if err := c.newBanks(spec.Page); err != nil {
		return nil, err
	}
	c.book = pages.New(spec, c.bank)
	if n, limit := 8*int64(len(spec.Rope.InvFreq))*int64(c.spec.Rope.Positions), b.caps.Limits.MaxStorageBufferRange; uint64(n) > limit {
		return nil, c.refuse("the angles of %d positions take %d bytes, the device binds %d at once", c.spec.Rope.Positions, n, limit)
	}
	if why, off := b.disabled[appendVariant]; off {
		return nil, c.refuse("%s", why)
	}
	if op.TypeQ != vkattn.Float32 {
		return nil, c.refuse("TypeQ is %s, tokens enter a cache as f32", op.TypeQ)
	}
	if _, err := c.plan(planKey{rows: 1}); err != nil {
		return nil, err
	}
	if err := c.allocate(); err != nil {
		c.Close()
		return nil, wrap(err)
	}
	var err error
	if c.append, err = b.pipeline(appendPipeline{appendLanes, op.TypeK, op.TypeV}); err == nil {
		err = ctx.Err()
	}
	if err != nil {
		c.Close()
		return nil, wrap(err)
	}
	return c, nil
}

func (c *KVCache) refuse(format string, args ...any) error {
	return c.be.refuseCache(c.spec.Op, format, args...)
}

func (b *Backend) refuseCache(op vkattn.Attention, format string, args ...any) error {
	return &vkattn.UnsupportedError{Op: "cache of " + op.String(), Backend: "vulkan on " + b.caps.Name,
		Reasons: []vkattn.Refusal{{Kernel: appendVariant, Reason: fmt.Sprintf(format, args...)}}}
}

// allocate makes the pools and the tables of angles.
func (c *KVCache) allocate() error {
	op := &c.spec.Op
	shape := [4]int{op.Batch, c.heads, op.SeqK, 0}
	if c.page > 0 {
		shape = [4]int{c.count(), c.heads, c.bank * c.page, 0}
	}
	for range c.spec.Layers {
		var l poolLayer
		for _, p := range []struct {
			t    *vkattn.Tensor
			typ  vkattn.Type
			last int
		}{{&l.k, op.TypeK, op.HeadDim}, {&l.v, op.TypeV, op.ValueDim}} {
			shape[3] = ceilDiv(p.last, unit(p.typ)) * unit(p.typ)
			t, err := c.be.NewTensor(p.typ, shape)
			if err != nil {
				return err
			}
			*p.t = t.Slice(3, 0, p.last)
			c.memories = append(c.memories, t.Mem.(*memory))
		}
		c.layers = append(c.layers, l)
	}
	if !c.spec.Rope.Given() {
		return nil
	}
	cos, sin, err := c.spec.Rope.Tables()
	if err != nil {
		return err
	}
	n := cos.Shape
	t, err := c.be.NewTensor(vkattn.Float32, [4]int{1, 2, n[2], n[3]})
	if err != nil {
		return err
	}
	c.angles = t.Mem.(*memory)
	c.memories = append(c.memories, c.angles)
	for i, table := range []vkattn.Tensor{cos, sin} {
		if err := c.be.Copy(context.Background(), t.Slice(1, i, i+1), table); err != nil {
			return err
		}
	}
	return nil
}

// newBanks finds how many pages a bank has. Rows that are four to a step of the kernels lie in one bank, so that nothing is rounded in
// another order than without pages.
func (c *KVCache) newBanks(page int) error {
	op := &c.spec.Op
	c.banks = banks{page: page, pages: c.spec.Pages, bank: c.spec.Pages, heads: max(op.HeadsK, op.HeadsV)}
	pageBytes := int64(page) * int64(max(c.rowBytes(op.TypeK, op.HeadDim), c.rowBytes(op.TypeV, op.ValueDim)))
	room := int64(min(c.be.caps.Limits.MaxStorageBufferRange, 1<<62)) - c.slack()
	if page == 0 || pageBytes*int64(c.pages) <= room {
		return nil
	}
	most := int(room / (pageBytes * int64(c.heads)))
	if page%4 != 0 || most < 1 {
		return c.refuse("the pages of one head in one layer take %d bytes, the device binds %d at once: that takes pages of a multiple of 4 tokens, of all heads no more than it binds", pageBytes*int64(c.pages), room)
	}
	c.bank = ceilDiv(c.pages, ceilDiv(c.pages, most))
	return nil
}

// plan is the choice for steps of a kind, with its pipeline built.
func (c *KVCache) plan(key planKey) (*choice, error) {
	if ch := c.plans[key]; ch != nil {
		return ch, nil
	}
	op := c.spec.Op
	op.SeqQ = min(key.rows, op.SeqQ)
	if key.part != wholePart {
		op.With, op.TypeOut = op.With|vkattn.WithLSE, vkattn.Float32
	}
	switch key.part {
	case sharedPart:
		op.SeqQ, op.Window, op.SinkTokens, op.Chunk = key.rows, vkattn.Window{}, 0, 0
		op.With &^= vkattn.WithSinkLogits
		if op.With.Has(vkattn.WithALiBi) {
			op.With |= vkattn.WithBias
		}
	case headPart:
		op.With &^= vkattn.WithSinkLogits
	}
	p := *c.be.planner
	p.fixedTile = p.fixedTile || c.spec.SplitKeys > 0
	disabled := withoutMatrix(c.be.disabled)
	if c.noDot != "" {
		disabled = withoutDot(disabled, c.noDot)
	}
	ch, err := p.choose(&c.be.caps, op, c.be.cacheKernel(), disabled)
	if err == nil && ch.key.texels() && !c.texelsShow(ch.key.Variant, key.recorded) {
		disabled["texels"] = "a texel buffer does not show all tokens of a head"
		ch, err = p.choose(&c.be.caps, op, c.be.cacheKernel(), disabled)
	}
	if err != nil {
		return nil, err
	}
	if c.be.config.Strict && len(ch.refused) > 0 {
		return nil, &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + c.be.caps.Name + ", strictly", Reasons: ch.refused}
	}
	ch.key.Paged = paged(c.page)
	if key.tree {
		ch.key.Extras = max(ch.key.Extras, 1)
	}
	if _, err := c.be.pipeline(ch.key); err != nil {
		return nil, wrap(err)
	}
	c.plans[key] = ch
	return ch, nil
}

// cacheKernel is Config.Kernel as far as caches have it.
func (b *Backend) cacheKernel() string {
	if b.config.Kernel == dotVariant {
		return dotVariant
	}
	return ""
}

// admitDecode tests what steps of single tokens in a cache of op run, where Open has not. It returns why integer dot products
// may not serve, or "".
func (b *Backend) admitDecode(ctx context.Context, op vkattn.Attention) (noDot string, err error) {
	if b.config.SkipSelfTest {
		return "", nil
	}
	op.SeqQ = min(op.SeqQ, 1)
	c, err := b.planner.choose(&b.caps, op, b.cacheKernel(), withoutMatrix(b.unfit()))
	if err != nil {
		return "", err
	}
	if a, late := admittedLate(c); late {
		if _, err := b.admit(ctx, a); err != nil {
			return "", err
		}
	}
	return b.unfit()[integerDot], nil
}

// slack is how much before its first row a window may begin: see view.window.
func (c *KVCache) slack() int64 {
	limits := &c.be.caps.Limits
	return 34 * int64(max(16, limits.MinStorageBufferOffsetAlignment, limits.MinTexelBufferOffsetAlignment))
}

// texelsShow reports whether texel buffers of a build reach over all pages of a head in a bank, of which any may be read, or without
// pages over all tokens that a sequence of a recorded step may come to have. Some drivers have them no larger than 65,536 elements.
func (c *KVCache) texelsShow(variant string, recorded bool) bool {
	op := &c.spec.Op
	rows := int64(c.bank * c.page)
	if c.page == 0 {
		rows = int64(op.SeqK)
	}
	most := int64(c.be.caps.Limits.MaxTexelBufferElements)
	shown := func(t vkattn.Type, last int) bool {
		return rows*int64(c.rowBytes(t, last))+c.slack() <= texelFormat(variant, t).Bytes()*most
	}
	return c.page == 0 && !recorded || shown(op.TypeK, op.HeadDim) && shown(op.TypeV, op.ValueDim)
}

// planFor is plan for steps whose longest sequence has so many new tokens.
func (c *KVCache) planFor(rows int, tree bool, of part, recorded bool) (*choice, error) {
	n := 1
	for n < rows {
		n *= 2
	}
	if c.spec.SplitKeys > 0 {
		n = min(n, 128) // the tile of longer ones may be another, and so the bits
	}
	return c.plan(planKey{n, tree, of, recorded})
}

// Spec is the cache's, in canonical form.
func (c *KVCache) Spec() vkattn.CacheSpec { return c.spec }

// usable is an error if the cache is not; the caller holds the lock.
func (c *KVCache) usable() error {
	switch {
	case c.closed:
		return vkattn.ErrClosed
	case c.broken != nil:
		return fmt.Errorf("dispatch: a copy that failed has left the cache undefined: %w", c.broken)
	}
	return c.be.alive()
}

// Add starts an empty sequence.
func (c *KVCache) Add() (vkattn.CacheSeq, error) {
	return locked(c, func() (vkattn.CacheSeq, error) { return c.book.Add() })
}

// Fork is another sequence with the same tokens; see vkattn.Cache.
func (c *KVCache) Fork(s vkattn.CacheSeq) (vkattn.CacheSeq, error) {
	return locked(c, func() (vkattn.CacheSeq, error) { return c.book.Fork(s) })
}

// Adopt is a new sequence of n tokens in pages that others hold; see vkattn.Cache.
func (c *KVCache) Adopt(list []int32, n int) (vkattn.CacheSeq, error) {
	return locked(c, func() (vkattn.CacheSeq, error) { return c.book.Adopt(list, n) })
}

// Evict gives back what no later token can see; see vkattn.Cache.
func (c *KVCache) Evict(s vkattn.CacheSeq) (int, error) {
	return locked(c, func() (int, error) { return c.book.Evict(s) })
}

// Truncate forgets all tokens from n on.
func (c *KVCache) Truncate(s vkattn.CacheSeq, n int) error {
	_, err := locked(c, func() (int, error) { return 0, c.book.Truncate(s, n) })
	return err
}

// Remove ends a sequence.
func (c *KVCache) Remove(s vkattn.CacheSeq) error {
	_, err := locked(c, func() (int, error) { return 0, c.book.Remove(s) })
	return err
}

// locked runs f on a cache that can be used.
func locked[T any](c *KVCache, f func() (T, error)) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.usable(); err != nil {
		var none T
		return none, err
	}
	return f()
}

// Len is the number of tokens of a sequence, or -1.
func (c *KVCache) Len(s vkattn.CacheSeq) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q, err := c.book.Get(s); err == nil {
		return q.Len
	}
	return -1
}

// Table is a copy of the pages of a sequence, or nil.
func (c *KVCache) Table(s vkattn.CacheSeq) []int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q, err := c.book.Get(s); err == nil {
		return slices.Clone(q.Pages)
	}
	return nil
}

// Stats is how full the cache is.
func (c *KVCache) Stats() vkattn.CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.book.Stats()
	for _, m := range c.memories {
		st.Bytes += m.Size()
	}
	return st
}

// Keep compacts the end of a sequence to a path of it; see vkattn.Cache.
func (c *KVCache) Keep(ctx context.Context, s vkattn.CacheSeq, from int, path []int) error {
	_, err := locked(c, func() (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		copies, moves, err := c.book.Keep(s, from, path)
		if err != nil {
			return 0, err
		}
		return 0, c.move(ctx, copies, moves)
	})
	return err
}

// Close gives the memory back as soon as no submitted work uses it. It is idempotent.
func (c *KVCache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	var err error
	for _, m := range c.memories {
		err = errors.Join(err, m.Close())
	}
	return err
}

// stride is that of the heads of a pool, in rows, and first the row of the pool that a page begins with.
func (c *KVCache) stride() int {
	if c.page > 0 {
		return c.bank * c.page
	}
	return c.spec.Op.SeqK
}

func (c *KVCache) first(page int32) int {
	if c.page > 0 {
		return c.slot(page) * c.page
	}
	return int(page) * c.spec.Op.SeqK * c.heads
}

// row is where the books' row lies in a pool.
func (c *KVCache) row(r int32) int {
	n := int32(c.spec.PageTokens())
	return c.first(r/n) + int(r%n)
}

// move copies pages, and then rows, in all layers. Once it has begun it goes on to the end.
func (c *KVCache) move(ctx context.Context, copies []pages.Copy, moves []pages.Move) error {
	if len(copies)+len(moves) == 0 {
		return nil
	}
	err := c.be.inTurn(context.WithoutCancel(ctx), func(r *run) error {
		commands, err := r.open()
		if err != nil {
			return err
		}
		commands.Barrier(vk.BarrierAll)
		for i := range c.layers {
			for _, t := range []vkattn.Tensor{c.layers[i].k, c.layers[i].v} {
				if err := c.copyIn(r, t, copies); err != nil {
					return err
				}
				if err := c.moveIn(r, t, moves); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		c.broken = err
	}
	return err
}

// copyIn copies pages of one pool.
func (c *KVCache) copyIn(r *run, t vkattn.Tensor, copies []pages.Copy) error {
	var regions []vk.Region
	row := rowBytes(&t)
	for _, p := range copies {
		for h := range c.heads {
			at := h * c.stride()
			regions = append(regions, vk.Region{Src: int64(c.first(p.From)+at) * row, Dst: int64(c.first(p.To)+at) * row, Size: int64(p.Rows) * row})
		}
	}
	buf := t.Mem.(*memory).buf
	return r.copyRegions(buf, buf, regions)
}

// moveIn moves rows of one pool, through a buffer in between: one row's place is another's source.
func (c *KVCache) moveIn(r *run, t vkattn.Tensor, moves []pages.Move) error {
	if len(moves) == 0 {
		return nil
	}
	row := rowBytes(&t)
	between, err := r.hold(int64(len(moves)*c.heads)*row, vk.HeapDevice, "scratch")
	if err != nil {
		return err
	}
	var out, in []vk.Region
	for _, m := range moves {
		for h := range c.heads {
			at, n := h*c.stride(), int64(len(out))*row
			out = append(out, vk.Region{Src: int64(c.row(m.From)+at) * row, Dst: n, Size: row})
			in = append(in, vk.Region{Src: n, Dst: int64(c.row(m.To)+at) * row, Size: row})
		}
	}
	buf := t.Mem.(*memory).buf
	if err := r.copyRegions(buf, between, out); err != nil {
		return err
	}
	return r.copyRegions(between, buf, in)
}

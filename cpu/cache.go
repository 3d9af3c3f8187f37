package cpu

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/pages"
)

// Cache is a key-value cache in host memory; see vkattn.Cache. Without pages a sequence is attended where it lies; the pages of one
// are gathered for each step and layer.
type Cache struct {
	backend  *Backend
	spec     vkattn.CacheSpec // canonical
	layers   []poolLayer
	cos, sin []float32 // [positions, R/2], or nil

	mu     sync.Mutex
	book   *pages.Book
	closed bool
}

// poolLayer is the memory of a layer: [1, heads, rows, last].
type poolLayer struct{ k, v vkattn.Tensor }

var _ vkattn.CacheBackend = (*Backend)(nil)

// NewCache allocates a cache; see vkattn.CacheBackend. Errors are those of the spec, of Supports and of NewTensor.
func (b *Backend) NewCache(ctx context.Context, spec vkattn.CacheSpec) (vkattn.Cache, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	c := &Cache{backend: b, spec: spec.Canonical(), book: pages.New(spec, 0)}
	op := &c.spec.Op
	if err := b.Supports(*op); err != nil {
		return nil, err
	}
	if op.TypeQ != vkattn.Float32 {
		return nil, refuse(*op, kernelName, fmt.Sprintf("TypeQ is %s, tokens enter a cache as f32", op.TypeQ))
	}
	for range c.spec.Layers {
		k, err := b.NewTensor(op.TypeK, [4]int{1, op.HeadsK, c.spec.Rows(), op.HeadDim})
		if err != nil {
			return nil, err
		}
		v, err := b.NewTensor(op.TypeV, [4]int{1, op.HeadsV, c.spec.Rows(), op.ValueDim})
		if err != nil {
			return nil, err
		}
		c.layers = append(c.layers, poolLayer{k, v})
	}
	if c.spec.Rope.Given() {
		cos, sin, err := c.spec.Rope.Tables()
		if err != nil {
			return nil, err
		}
		c.cos, c.sin = cos.Mem.(*vkattn.Host).Float32s(), sin.Mem.(*vkattn.Host).Float32s()
	}
	return c, ctx.Err()
}

// Spec is the cache's, in canonical form.
func (c *Cache) Spec() vkattn.CacheSpec { return c.spec }

// locked runs f on a cache that is open.
func locked[T any](c *Cache, f func() (T, error)) (T, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	err := c.backend.open()
	if c.closed {
		err = fmt.Errorf("%w: cache", vkattn.ErrClosed)
	}
	if err != nil {
		var none T
		return none, err
	}
	return f()
}

// Add starts an empty sequence.
func (c *Cache) Add() (vkattn.CacheSeq, error) {
	return locked(c, func() (vkattn.CacheSeq, error) { return c.book.Add() })
}

// Fork is another sequence with the same tokens; see vkattn.Cache.
func (c *Cache) Fork(s vkattn.CacheSeq) (vkattn.CacheSeq, error) {
	return locked(c, func() (vkattn.CacheSeq, error) { return c.book.Fork(s) })
}

// Adopt is a new sequence of n tokens in pages that others hold; see vkattn.Cache.
func (c *Cache) Adopt(list []int32, n int) (vkattn.CacheSeq, error) {
	return locked(c, func() (vkattn.CacheSeq, error) { return c.book.Adopt(list, n) })
}

// Evict gives back what no later token can see; see vkattn.Cache.
func (c *Cache) Evict(s vkattn.CacheSeq) (int, error) {
	return locked(c, func() (int, error) { return c.book.Evict(s) })
}

// Truncate forgets all tokens from n on.
func (c *Cache) Truncate(s vkattn.CacheSeq, n int) error {
	_, err := locked(c, func() (int, error) { return 0, c.book.Truncate(s, n) })
	return err
}

// Remove ends a sequence.
func (c *Cache) Remove(s vkattn.CacheSeq) error {
	_, err := locked(c, func() (int, error) { return 0, c.book.Remove(s) })
	return err
}

// Keep compacts the end of a sequence to a path of it; see vkattn.Cache.
func (c *Cache) Keep(ctx context.Context, s vkattn.CacheSeq, from int, path []int) error {
	_, err := locked(c, func() (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		copies, moves, err := c.book.Keep(s, from, path)
		if err != nil {
			return 0, err
		}
		return 0, c.move(copies, moves)
	})
	return err
}

// Len is the number of tokens of a sequence, or -1.
func (c *Cache) Len(s vkattn.CacheSeq) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q, err := c.book.Get(s); err == nil {
		return q.Len
	}
	return -1
}

// Table is a copy of the pages of a sequence, or nil.
func (c *Cache) Table(s vkattn.CacheSeq) []int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if q, err := c.book.Get(s); err == nil {
		return slices.Clone(q.Pages)
	}
	return nil
}

// Stats is how full the cache is.
func (c *Cache) Stats() vkattn.CacheStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	st := c.book.Stats()
	for _, l := range c.layers {
		st.Bytes += l.k.Mem.Size() + l.v.Mem.Size()
	}
	return st
}

// Close gives the memory back. It is idempotent.
func (c *Cache) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.layers = true, nil
	return nil
}

// move copies pages, and then rows, in all layers, behind everything submitted before.
func (c *Cache) move(copies []pages.Copy, moves []pages.Move) error {
	if len(copies)+len(moves) == 0 {
		return nil
	}
	t, err := c.backend.enqueue()
	if err != nil {
		return err
	}
	defer t.end()
	<-t.ready
	for i := range c.layers {
		for _, p := range []vkattn.Tensor{c.layers[i].k, c.layers[i].v} {
			for h := range p.Shape[1] {
				for _, m := range copies {
					n := c.spec.PageTokens()
					copy(rowsOf(p, h, int(m.To)*n, m.Rows), rowsOf(p, h, int(m.From)*n, m.Rows))
				}
				for _, m := range moves { // each goes to an earlier place, in ascending order
					copy(rowsOf(p, h, int(m.To), 1), rowsOf(p, h, int(m.From), 1))
				}
			}
		}
	}
	return nil
}

// rowsOf is the memory of n rows of a head of a pool.
func rowsOf(p vkattn.Tensor, h, row, n int) []byte {
	at := p.Type.Bytes(p.Index(0, h, row, 0))
	return p.Mem.(*vkattn.Host).Bytes()[at:][:p.Type.Bytes(n*p.Shape[3])]
}

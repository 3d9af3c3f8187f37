package vk

import (
	"maps"
	"sync"
)

// accounting counts the bytes of open buffers. Its zero value is ready.
type accounting struct {
	mu       sync.Mutex
	total    MemoryUse
	heaps    [heapCount]MemoryUse
	purposes map[string]MemoryUse
}

// reserve counts size bytes, unless that would exceed limit (0: none) or the number of buffers.
func (a *accounting) reserve(size, limit int64, buffers uint32, heap Heap, purpose string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if limit > 0 && size > limit-a.total.Bytes || uint64(a.total.Count) >= uint64(buffers) {
		return false
	}
	a.add(size, 1, heap, purpose)
	return true
}

// release undoes reserve.
func (a *accounting) release(size int64, heap Heap, purpose string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.add(-size, -1, heap, purpose)
}

func (a *accounting) add(size int64, count int, heap Heap, purpose string) {
	if a.purposes == nil {
		a.purposes = map[string]MemoryUse{}
	}
	of := a.purposes[purpose]
	for _, use := range []*MemoryUse{&a.total, &a.heaps[heap], &of} {
		use.Bytes += size
		use.Count += count
		use.Peak = max(use.Peak, use.Bytes)
	}
	a.purposes[purpose] = of
}

func (a *accounting) stats() MemoryStats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := MemoryStats{Total: a.total, Heaps: map[string]MemoryUse{}, Purposes: maps.Clone(a.purposes)}
	if s.Purposes == nil {
		s.Purposes = map[string]MemoryUse{}
	}
	for heap := range Heap(heapCount) {
		s.Heaps[heap.String()] = a.heaps[heap]
	}
	return s
}

// atoms widens n bytes at off to whole atoms of non-coherent memory, within size bytes of it.
func atoms(off, n, atom, size int64) (first, length int64) {
	first = off / atom * atom
	end := (off + n + atom - 1) / atom * atom
	return first, min(end, size) - first
}

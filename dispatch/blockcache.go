package dispatch

import (
	"slices"
	"sync"
	"weak"

	"github.com/vkattn/vkattn"
)

// cutMask is a block mask of sq x sk tokens, which a call cuts to row tiles.
type cutMask struct {
	*vkattn.BlockMask
	sq, sk int
	cache  *blockCache
}

// blockKey is all that the lists of consecutive row tiles depend on. Its pointer to the mask is weak, so that a plan
// keeps no mask alive, and is equal to no pointer to another mask, also where that has the same place in memory.
type blockKey struct {
	mask              weak.Pointer[vkattn.BlockMask]
	sq, sk            int
	geometry          *geometry
	tile              int // the first row tile
	room, perSequence int // words: of all lists; of a sequence's other lists
}

// Bounds of what a plan keeps: in words of lists, and in sections.
const (
	maxCachedWords    = 16 << 20
	maxCachedSections = 64
)

// blockCache keeps the lists of the masks that a plan's calls have cut last: to cut takes longer than many a kernel,
// and a model uses the same masks in every step. It is safe for concurrent use.
type blockCache struct {
	mu     sync.Mutex
	kept   []cachedLists // the last used ones first
	closed bool
}

type cachedLists struct {
	key blockKey
	*filled
}

// find returns the lists of a key, or nil.
func (c *blockCache) find(key blockKey) *filled {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.kept, func(e cachedLists) bool { return e.key == key })
	if i < 0 {
		return nil
	}
	e := c.kept[i]
	copy(c.kept[1:i+1], c.kept)
	c.kept[0] = e
	return e.filled
}

// keep takes lists in, and lets go of those of masks that are gone, and of those not used for the longest time.
func (c *blockCache) keep(key blockKey, f *filled) {
	if f.blocks.words() > maxCachedWords {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	words := f.blocks.words()
	kept := []cachedLists{{key, f}}
	for _, e := range c.kept {
		n := e.blocks.words()
		if e.key == key || e.key.mask.Value() == nil || len(kept) == maxCachedSections || words+n > maxCachedWords {
			continue
		}
		words += n
		kept = append(kept, e)
	}
	c.kept = kept
}

// close lets go of everything, and keeps nothing any more.
func (c *blockCache) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kept, c.closed = nil, true
}

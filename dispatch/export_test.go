package dispatch

import (
	"context"
	"math"

	"github.com/vkattn/vkattn"
)

// Poison fills all memory of a cache with NaN, and the unused ends of its tables with garbage.
func (c *KVCache) Poison(ctx context.Context) error {
	c.filler = 0xdeadbeef
	for _, l := range c.layers {
		for _, t := range []vkattn.Tensor{l.k, l.v} {
			bad := make([]float32, t.Len())
			for i := range bad {
				bad[i] = float32(math.NaN())
			}
			src := t
			src.Mem = vkattn.Float32s(bad)
			if err := c.be.Copy(ctx, t, src); err != nil {
				return err
			}
		}
	}
	return nil
}

// Banks is how many banks the pages of a cache lie in.
func (c *KVCache) Banks() int { return c.count() }

// TakeTeams makes all attention of the subgroup rung run on the build for few rows.
func (b *Backend) TakeTeams(keys, members uint32, lanes int) {
	b.planner.team = &forcedTeam{team{keys, members}, lanes}
}

// TakeDecode makes flash_decode.comp serve whatever it can.
func (b *Backend) TakeDecode() { b.planner.decodes = true }

// TakeRange makes the rows of a subgroup take so many matrices in flash_range.comp, and shared memory hold so many tiles of so many keys.
func (b *Backend) TakeRange(mats, keys, buffers uint32) {
	b.planner.rangeMats, b.planner.rangeKeys, b.planner.rangeBuffers = mats, keys, buffers
}

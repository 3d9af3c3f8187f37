package dispatch

import (
	"math/rand/v2"
	"testing"
)

// TestEvenBound: the parts that wait to be merged can be bound at once, and all those of a row tile are among them.
func TestEvenBound(t *testing.T) {
	caps := h100(t)
	rng := rand.New(rand.NewPCG(1, 0))
	cut, less := 0, 0
	for range 100_000 {
		tileRows, valueDim, tiles, widest := 1<<rng.IntN(9), 1+rng.IntN(512), 1+rng.IntN(2000), 1+rng.IntN(3000)
		visits := float64(widest) * float64(tiles) * (0.05 + 0.95*rng.Float64())
		caps.Limits.MaxStorageBufferRange = 1<<32 - 1
		free, ok := newEven(&caps, 128, tileRows, valueDim, 100, tiles, visits, widest, visits*1000)
		if !ok {
			continue
		}
		limit := int64(1<<10) << rng.IntN(22)
		caps.Limits.MaxStorageBufferRange = uint64(limit)
		e, ok := newEven(&caps, 128, tileRows, valueDim, 100, tiles, visits, widest, visits*1000)
		if !ok {
			continue
		}
		cut++
		if e != free {
			less++
		}
		rows := int64(e.slots) * int64(tileRows)
		if rows*int64(valueDim)*4+int64(caps.Limits.MinStorageBufferOffsetAlignment) > limit || rows*8 > limit {
			t.Fatalf("%d slots of %d rows and %d values do not fit into %d bytes", e.slots, tileRows, valueDim, limit)
		}
		if parts := ceilDiv(widest, e.length); parts < 2 || parts > e.slots || e.length > exactKeys/keyTile {
			t.Fatalf("%d key tiles in parts of %d, %d slots", widest, e.length, e.slots)
		}
	}
	if cut < 1000 || less < 300 {
		t.Errorf("%d plans, %d of them for a device that binds little", cut, less)
	}
}

package vk

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
)

func popcount(v uint64) int { return bits.OnesCount64(v) }

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// refuse is the reason and the sentinel of a refused binding.
func refuse(err error, format string, args ...any) *reasoned {
	return &reasoned{fmt.Sprintf(format, args...), err}
}

// What every device promises of uniform buffers is enough for us.
const (
	maxUniforms      = 12
	uniformAlignment = 256
	uniformRange     = 16384
)

// checkRange finds the window of a binding into a buffer of size bytes padded to capacity, or why it must not be
// bound. Some drivers (lavapipe) do not enforce these limits themselves.
func checkRange(c *Caps, size, capacity, offset, length int64, format TexelFormat, texel, uniform bool) (int64, *reasoned) {
	alignment, limit, element := c.Limits.MinStorageBufferOffsetAlignment, min(c.Limits.MaxStorageBufferRange, math.MaxInt64), int64(1)
	if texel {
		if format == TexelNone || int(format) >= len(texelFormats) {
			return 0, refuse(ErrInvalid, "the pipeline has a uniform texel buffer here; set Format")
		}
		if !slices.Contains(c.TexelFormats, format.String()) {
			return 0, refuse(ErrUnsupported, "this device cannot read %s through a texel buffer", format)
		}
		element = texelFormats[format].bytes
		alignment, limit = c.Limits.MinTexelBufferOffsetAlignment, uint64(c.Limits.MaxTexelBufferElements)*uint64(element)
	} else if uniform {
		alignment, limit = uniformAlignment, uniformRange
	}
	if !texel && format != TexelNone {
		return 0, refuse(ErrInvalid, "the pipeline has no texel buffer here; Format must not be set")
	}
	if offset < 0 || offset >= capacity || length < 0 || length > capacity-offset {
		return 0, refuse(ErrInvalid, "%d bytes at %d are not inside the buffer of %d bytes", length, offset, size)
	}
	if uint64(offset)%alignment != 0 {
		return 0, refuse(ErrInvalid, "offset %d is not a multiple of %d", offset, alignment)
	}
	if length == 0 {
		length = capacity - offset
		if uniform {
			length = min(length, uniformRange)
		}
		if uint64(length) > limit && offset < size && uint64(size-offset) <= limit {
			length = size - offset // the limit falls into the padding
		}
		length -= length % element
	}
	if length%element != 0 || length == 0 {
		return 0, refuse(ErrInvalid, "%d bytes are not whole elements of %d bytes", length, element)
	}
	if uint64(length) > limit {
		return 0, refuse(ErrInvalid, "%d bytes; this device allows %d in one binding", length, limit)
	}
	return length, nil
}

// overlap reports whether a source of regions overlaps a destination, as ranges of one buffer.
func overlap(regions []Region) bool {
	type span struct{ from, to int64 }
	var sources []span
	for _, r := range regions {
		sources = append(sources, span{r.Src, r.Src + r.Size})
	}
	slices.SortFunc(sources, func(a, b span) int { return int(min(max(a.from-b.from, -1), 1)) })
	reach := make([]int64, len(sources)) // furthest end of the sources up to this one
	for i, s := range sources {
		reach[i] = s.to
		if i > 0 {
			reach[i] = max(reach[i], reach[i-1])
		}
	}
	for _, r := range regions {
		// The sources that begin before this destination ends, and whether one of them ends after it begins.
		n, _ := slices.BinarySearchFunc(sources, r.Dst+r.Size, func(s span, end int64) int {
			if s.from < end {
				return -1
			}
			return 1
		})
		if n > 0 && reach[n-1] > r.Dst {
			return true
		}
	}
	return false
}

// nanoseconds turns pairs of (ticks, available) into times since the first slot written. Ticks have so many valid
// bits and wrap around.
func nanoseconds(pairs []uint64, written []bool, period float64, validBits uint32) []float64 {
	mask := uint64(math.MaxUint64)
	if validBits < 64 {
		mask = 1<<validBits - 1
	}
	ns := make([]float64, len(written))
	var first uint64
	found := false
	for i := range ns {
		ns[i] = math.NaN()
		if !written[i] || pairs[2*i+1] == 0 {
			continue
		}
		ticks := pairs[2*i] & mask
		if !found {
			first, found = ticks, true
		}
		d := (ticks - first) & mask
		if d > mask/2 { // before the first
			ns[i] = -float64((first-ticks)&mask) * period
			continue
		}
		ns[i] = float64(d) * period
	}
	return ns
}

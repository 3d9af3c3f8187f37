package dispatch

import (
	"fmt"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// standardLanes is the workgroup of the unfused kernels.
const standardLanes = 64

// standard runs the unfused baseline: scores, softmax, values, with the whole score matrix in memory
// where the device can hold it, otherwise in windows of rows.
func (r *run) standard(s *sections, vector bool) error {
	l, p := s.layout, &s.params
	var pipes [3]*vk.Pipeline
	for i, k := range []simpleKey{{Variant: "standard_scores", Invocations: standardLanes, Vector: vector}, {Variant: "standard_softmax", Invocations: standardLanes}, {Variant: "standard_values", Invocations: standardLanes}} {
		var err error
		if pipes[i], err = r.be.pipeline(k); err != nil {
			return err
		}
	}
	stride := ceilDiv(max(l.longest, 1), 4) * 4
	rowBytes := int64(stride) * 4
	c := &cutter{layout: l, splits: 1, partKeys: max(l.longest, 1), rowBytes: rowBytes, fewest: 1}
	l.allKeys = true
	if rowBytes+l.align > l.limit {
		return fmt.Errorf("dispatch: one row of the score matrix takes %d bytes, the device binds %d at once: %w", rowBytes, l.limit, vkattn.ErrUnsupported)
	}
	// All rows if that is one allocation, else as many as a binding shows.
	rows := l.tiles
	whole := true
	scores, err := r.scoreMatrix(int64(rows) * rowBytes)
	if err != nil || scores == nil {
		rows, whole = int(min(int64(l.tiles), max(1, (l.limit-l.align)/rowBytes))), false
		if scores, err = r.hold(int64(rows)*rowBytes, vk.HeapDevice, "scratch"); err != nil {
			return err
		}
	}
	c.maxTiles = min(rows, int(r.be.caps.Limits.MaxComputeWorkGroupCount[1]))
	var work *vk.Buffer
	for at := 0; at < l.tiles; {
		if at == c.end {
			sec, err := s.next(at, 0)
			if err != nil {
				return err
			}
			if work, _, err = r.work(&sec, 0); err != nil {
				return err
			}
			c.end = sec.end
			c.mostKeys = sliceKeys(&r.be.caps, l.op, l.longest, int(sec.params.GlobalCount))
		}
		budget := r.be.budgetFLOPs()
		g, err := c.cut(at, budget)
		if err != nil {
			return err
		}
		offset := int64(0)
		if whole {
			offset = int64(at) * rowBytes
		}
		start := offset / l.align * l.align
		matrix := vk.Binding{Buffer: scores, Offset: start, Range: offset + int64(g.tiles)*rowBytes - start}
		base := uint32((offset - start) / 4)
		at += g.tiles
		step := func(stage, i int, budget float64) error {
			pc := &g.pieces[i]
			s := pc.slice()
			s.Phase, s.PartKeys = 0, int32(stride)
			b := bindings(wholeWork(work, l), l, &pc.windows)
			switch stage {
			case 0:
				b[bindOut], s.OutBase = matrix, base
				return r.dispatch(pipes[0], b, bytesOf(&s), ceilDiv(pc.key1-pc.key0, standardLanes), g.tiles, 1, pc.cost/3, budget)
			case 1:
				b[bindOut], s.OutBase = matrix, base
				x, y := r.grid(g.tiles)
				return r.dispatch(pipes[1], b, bytesOf(&s), x, y, 1, pc.cost/3, budget)
			}
			b[bindQ], s.QBase = matrix, base
			if i > 0 {
				s.Phase = phaseResume
			}
			return r.dispatch(pipes[2], b, bytesOf(&s), ceilDiv(int(p.ValueDim), standardLanes), g.tiles, 1, pc.cost/3, budget)
		}
		for stage := range 3 {
			for i := range g.pieces {
				if stage == 1 && i > 0 {
					break
				}
				if err := step(stage, i, budget); err != nil {
					return err
				}
				r.report.Slices++
			}
		}
	}
	return nil
}

// scoreMatrix allocates the whole matrix, or returns nil when the device cannot hold it in one buffer.
func (r *run) scoreMatrix(size int64) (*vk.Buffer, error) {
	lim := &r.be.caps.Limits
	if lim.MaxMemoryAllocationSize > 0 && uint64(size) > lim.MaxMemoryAllocationSize || lim.MaxBufferSize > 0 && uint64(size) > lim.MaxBufferSize {
		return nil, nil
	}
	return r.hold(size, vk.HeapDevice, "scratch")
}

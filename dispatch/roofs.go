package dispatch

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// Roofs measures what the device reaches with nothing but multiply-adds, reads, copies, or products of matrices; see
// vkattn.RoofMeasurer. It takes buffers of up to 256 MiB. Matrix units that Config.Disable or a quirk of the driver turns
// off, or that fail, are left out.
func (b *Backend) Roofs(ctx context.Context) (vkattn.Roofs, error) {
	var roofs vkattn.Roofs
	t := b.turn()
	if err := t.enter(ctx); err != nil {
		return roofs, err
	}
	defer b.active.Done()
	r := b.newRun(ctx, t)
	err := r.roofs(&roofs)
	return roofs, r.end(err)
}

// best is the shortest device time of a few rounds of step, each in its own submit.
func (r *run) best(step func() error) (float64, error) {
	best := math.Inf(1)
	for range 7 {
		before, start := r.report.DeviceTime, time.Now()
		if err := step(); err != nil {
			return 0, err
		}
		if err := r.drain(); err != nil {
			return 0, err
		}
		took := r.report.DeviceTime - before
		if took <= 0 { // no timestamps
			took = time.Since(start)
		}
		best = min(best, took.Seconds())
	}
	return best, nil
}

// copied is the number that is copied.
const copied = 3

func (r *run) roofs(roofs *vkattn.Roofs) error {
	caps := &r.be.caps
	software := caps.DeviceType == "cpu"
	lanes, groups, rounds := uint32(128), 1<<13, int32(1<<10)
	if software {
		lanes, groups, rounds = max(1, caps.Subgroup.Size), 64, 1<<13
	}
	size := int64(min(256<<20, caps.Limits.MaxStorageBufferRange))
	read := simpleKey{Variant: "peak_read", Invocations: lanes}
	if _, off := r.be.disabled["texels"]; software && !off && len(caps.TexelFormats) > 0 {
		read.Variant = "peak_read_texels"
		size = min(size, 16*int64(caps.Limits.MaxTexelBufferElements))
	}
	unit := 64 * int64(groups) * int64(lanes) // bytes of one round of all loads
	size = max(1, size/unit) * unit

	source, err := r.hold(size, vk.HeapDevice, "roofs")
	if err != nil {
		return err
	}
	target, err := r.hold(size, vk.HeapDevice, "roofs")
	if err != nil {
		return err
	}
	c, err := r.open()
	if err != nil {
		return err
	}
	if err := c.Fill(source, 0, size, math.Float32bits(copied)); err != nil {
		return err
	}
	c.Barrier(vk.BarrierAll)
	copyTime, err := r.best(func() error {
		c, err := r.open()
		if err != nil {
			return err
		}
		if err := c.Copy(source, target, []vk.Region{{Size: size}}); err != nil {
			return err
		}
		c.Barrier(vk.BarrierAll)
		return nil
	})
	if err != nil {
		return err
	}
	launch := func(key pipelineKey, s sliceParams) (float64, error) {
		p, err := r.be.pipeline(key)
		if err != nil {
			return 0, err
		}
		bind := make([]vk.Binding, numBindings)
		for i := range bind {
			bind[i] = vk.Binding{Buffer: target, Range: min(size, int64(r.be.caps.Limits.MaxStorageBufferRange))}
		}
		bind[bindParams].Range = paramBytes
		bind[bindK] = vk.Binding{Buffer: source, Range: size}
		if key == read && read.Variant == "peak_read_texels" {
			bind[bindK].Format = vk.TexelRGBA32F
		}
		s.TileCount = 1
		return r.best(func() error { return r.dispatch(p, bind, bytesOf(&s), groups, 1, 1, 0, math.Inf(1)) })
	}
	if c, err = r.open(); err != nil {
		return err
	}
	if err := c.Fill(target, 0, size, 0); err != nil {
		return err
	}
	c.Barrier(vk.BarrierAll)
	kernelTime, err := launch(simpleKey{Variant: "peak_copy", Invocations: lanes}, sliceParams{KeyEnd: int32(size / unit * 4)})
	if err != nil {
		return err
	}
	if err := peakIs(target, copied); err != nil {
		return fmt.Errorf("dispatch: peak_copy: %w", err)
	}
	roofs.CopyGBps, roofs.CopyBy = 2*float64(size)/copyTime/1e9, "command"
	if kernelTime < copyTime {
		roofs.CopyGBps, roofs.CopyBy = 2*float64(size)/kernelTime/1e9, "kernel"
	}
	readTime, err := launch(read, sliceParams{KeyEnd: int32(size / unit * 4)})
	if err != nil {
		return err
	}
	roofs.ReadGBps = float64(size) / readTime / 1e9
	fmaTime, err := launch(simpleKey{Variant: "peak_fma", Invocations: lanes}, sliceParams{KeyEnd: rounds, StateBase: math.Float32bits(0.5)})
	if err != nil {
		return err
	}
	roofs.FMATFLOPs = 2 * 192 * float64(rounds) * float64(groups) * float64(lanes) / fmaTime / 1e12
	if err := peakIs(target, 24); err != nil {
		return fmt.Errorf("dispatch: peak_fma: %w", err)
	}
	if _, off := r.be.disabled[rungMatrix]; off {
		return nil
	}
	for operand, name := range matrixTypeNames {
		key, ok := peakMatrix(caps, operand)
		if !ok {
			continue
		}
		const rounds, factor = 1 << 10, 1.0 / 16
		took, err := launch(key, sliceParams{KeyEnd: rounds, StateBase: math.Float32bits(factor)})
		if err == nil {
			err = peakIs(target, 30*rounds*factor*factor*float64(key.N))
		}
		if err != nil {
			if r.ctx.Err() != nil || r.be.dev.Lost() {
				return err
			}
			r.be.warn(key.Variant, err.Error())
			continue
		}
		if roofs.Matrix == nil {
			roofs.Matrix = map[string]float64{}
		}
		products := 8 * rounds * float64(groups)
		roofs.Matrix[name] = 2 * products * float64(key.M*key.N*key.N) / took / 1e12
	}
	return nil
}

// peakMatrix is the kernel that multiplies matrices of a type and nothing else, where the device has such.
func peakMatrix(caps *vk.Caps, operand vkattn.Type) (key probeKey, ok bool) {
	_, size, why := subgroups(caps.Subgroup, 4)
	if why != "" || size == 0 || missingMatrix(&caps.Features, operand) != "" {
		return key, false
	}
	shape, ok := matrixShape(caps, matrixTypeNames[operand], size)
	key = probeKey{Variant: "peak_matrix", M: shape.M, N: shape.N, Lanes: size}
	if operand == vkattn.BFloat16 {
		key.Variant += "_bf16"
	}
	return key, ok
}

// peakIs says whether a peak kernel left what it should, where the host can look.
func peakIs(b *vk.Buffer, want float64) error {
	got := b.Bytes()
	if got == nil {
		return nil
	}
	if err := b.Invalidate(0, 4); err != nil {
		return err
	}
	if x := float64(math.Float32frombits(binary.NativeEndian.Uint32(got))); math.Abs(x-want) > 1e-4*want {
		return fmt.Errorf("computes %g instead of %g", x, want)
	}
	return nil
}

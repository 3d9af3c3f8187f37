package dispatch

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/vkattn/vkattn/vk"
)

// probeKey is the kernel that asks where the elements of matrices lie.
type probeKey struct {
	Variant string
	M, N    uint32
	Lanes   uint32 // of a subgroup
}

func (k probeKey) pipelineSpec() vk.PipelineSpec {
	return vk.PipelineSpec{Name: k.Variant, Spec: []vk.SpecConstant{{ID: 0, Value: k.Lanes}, {ID: 1, Value: k.M}, {ID: 2, Value: k.N}},
		SubgroupSize: k.Lanes, FullSubgroups: true, PushBytes: pushBytes}
}

// layouts are those that have been probed on a device. What is not known is brought to a layout of our own.
type layouts struct {
	mu    sync.Mutex
	known map[probeKey]matrixLayout
}

func (l *layouts) of(key probeKey) (layout matrixLayout, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if layout, known = l.known[key]; !known {
		layout = ownLayout(int(key.M), int(key.N), int(key.Lanes))
	}
	return layout, known
}

// probed reports whether the layout that a decision needs is known, after it has been probed if it was not: the decision is
// then to be made again.
func (b *Backend) probed(ctx context.Context, d decision) (known bool, err error) {
	c, ok := d.(*choice)
	if !ok {
		return true, nil
	}
	k, ok := c.matrix.(probedKey)
	if _, off := b.disabled[matrixRegisters]; !ok || off {
		return true, nil
	}
	key := k.probe()
	if _, known := b.planner.layouts.of(key); known {
		return true, nil
	}
	var l matrixLayout
	file := b.cacheFile("layout", fmt.Sprintf("%dx%d", key.M, key.N), key.Variant)
	if !loadCache(file, &l) {
		if l, err = b.probe(ctx, key); err != nil {
			if ctx.Err() != nil || b.dev.Lost() {
				return false, err
			}
			b.warn(key.Variant, err.Error())
			l = ownLayout(int(key.M), int(key.N), int(key.Lanes))
		} else {
			_ = saveCache(file, l) // a cache that cannot be written is no error
		}
	}
	b.planner.layouts.mu.Lock()
	defer b.planner.layouts.mu.Unlock()
	b.planner.layouts.known[key] = l
	return false, nil
}

// bfloatProbe is the kernel for matrices of bfloat16.
const bfloatProbe = "matrix_probe_bf16"

// What matrix_probe.comp writes: a head, and MOST numbers for each invocation and matrix.
const (
	probedHead = 8
	probedMost = 64
)

// probe runs the kernel.
func (b *Backend) probe(ctx context.Context, key probeKey) (l matrixLayout, err error) {
	err = b.inTurn(ctx, func(r *run) error {
		l, err = r.probe(key)
		return err
	})
	return l, err
}

func (r *run) probe(key probeKey) (l matrixLayout, err error) {
	p, err := r.be.pipeline(key)
	if err != nil {
		return l, err
	}
	lanes := int(key.Lanes)
	size := int64(4 * (probedHead + 3*probedMost*lanes))
	out, err := r.hold(size, vk.HeapDevice, "probe")
	if err != nil {
		return l, err
	}
	home, err := r.hold(size, vk.HeapReadback, "probe")
	if err != nil {
		return l, err
	}
	bind := make([]vk.Binding, numBindings)
	for i := range bind {
		bind[i] = vk.Binding{Buffer: out, Range: size}
	}
	bind[bindParams].Range = min(size, paramBytes)
	s := sliceParams{TileCount: 1, Phase: math.Float32bits(float32(math.NaN())), StateBase: math.Float32bits(1)}
	if err := r.dispatch(p, bind, bytesOf(&s), 1, 1, 1, 0, math.Inf(1)); err != nil {
		return l, err
	}
	c, err := r.open()
	if err != nil {
		return l, err
	}
	c.Barrier(vk.BarrierAll)
	if err := c.Copy(out, home, []vk.Region{{Size: size}}); err != nil {
		return l, err
	}
	c.Barrier(vk.TransferToHost)
	if err := r.drain(); err != nil {
		return l, err
	}
	if err := home.Invalidate(0, size); err != nil {
		return l, err
	}
	word := func(i int) int { return int(binary.NativeEndian.Uint32(home.Bytes()[4*i:])) }
	var held [3][][]int
	for matrix := range held {
		n := word(matrix)
		if n < 1 || n > probedMost {
			return l, fmt.Errorf("dispatch: an invocation holds %d elements of a matrix of %d", n, key.M*key.N)
		}
		for i := range lanes {
			var row []int
			for e := range n {
				row = append(row, word(probedHead+(matrix*lanes+i)*probedMost+e))
			}
			held[matrix] = append(held[matrix], row)
		}
	}
	l = probedLayout(int(key.M), int(key.N), held[0], held[1], held[2])
	l.KeepsNaN = math.IsNaN(float64(math.Float32frombits(uint32(word(3)))))
	one := 0x3c00
	if key.Variant == bfloatProbe {
		one = 0x3f80
	}
	l.Rounding = roundingOf([4]int{word(4) - one, word(5) - one, word(6) - one, word(7) - one})
	return l, nil
}

package attntest

import (
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/vkattn/vkattn"
)

// Problem is one call with its data. Every tensor lies in its own memory (or in one that it shares on
// purpose) with a margin before and behind it and, where its strides say so, with gaps inside. An
// element is live when some visible pair of the problem reads it; all others may be changed by Zero and
// Poison without changing the answer by a bit.
type Problem struct {
	Op   vkattn.Attention
	Args vkattn.Args
	// NonFinite says that live data holds a NaN: rows that do not see it may then be NaN, too, when they
	// share its key tile.
	NonFinite bool

	inputs   []*store
	out, lse *store
}

// store is the memory of one or more tensors: floats, or the bytes of a Bool tensor.
type store struct {
	f    []float32
	raw  []byte
	live []bool
	host *vkattn.Host
}

// margin is the number of elements before and behind a tensor that nobody may touch. It keeps the
// alignment of the tensor at 16 bytes, and at 256 bytes.
const margin = 64

// layout says how the axes of a tensor lie in memory.
type layout struct {
	order  string // axes from the outermost inwards: a permutation of "bhs"; the last axis is always innermost
	pad    [3]int // elements added behind each row, and behind each of the next two axes outwards
	offset int    // moves the first element away from the margin
	zero   string // axes with a stride of 0, of "bhsd"
	wild   bool   // axes of size 1 get an absurd stride
}

var (
	bhsd = layout{order: "bhs"}
	bshd = layout{order: "bsh"}
)

func (l layout) plain() bool { return l == bhsd }

// strides returns the strides of a tensor and the number of elements that it spans.
func (l layout) strides(shape [4]int) (stride [4]int, span int) {
	axis := map[byte]int{'b': 0, 'h': 1, 's': 2, 'd': 3}
	stride[3] = 1
	step := shape[3] + l.pad[0]
	for n := 2; n >= 0; n-- {
		a := axis[l.order[n]]
		stride[a] = step
		if !l.broadcasts(l.order[n]) {
			step *= shape[a]
		}
		if n > 0 {
			step += l.pad[3-n]
		}
	}
	for c, a := range axis {
		if l.broadcasts(c) {
			stride[a] = 0
		}
	}
	for a, n := range shape {
		if n == 0 {
			return stride, 0
		}
		span += (n - 1) * stride[a]
	}
	if l.wild {
		for a, n := range shape[:3] {
			if n == 1 {
				stride[a] = 1<<40 + 3
			}
		}
	}
	return stride, span + 1
}

func (l layout) broadcasts(axis byte) bool {
	for i := range len(l.zero) {
		if l.zero[i] == axis {
			return true
		}
	}
	return false
}

// floats places a float32 tensor in new memory.
func (p *Problem) floats(shape [4]int, l layout) (vkattn.Tensor, *store) {
	return placeFloats(shape, l)
}

func placeFloats(shape [4]int, l layout) (vkattn.Tensor, *store) {
	stride, span := l.strides(shape)
	n := margin + l.offset + span + margin
	s := &store{f: make([]float32, n), live: make([]bool, n)}
	s.host = vkattn.Float32s(s.f)
	return vkattn.Tensor{Shape: shape, Stride: stride, Offset: margin + l.offset, Mem: s.host}, s
}

// bools places a Bool tensor in new memory.
func (p *Problem) bools(shape [4]int, l layout) (vkattn.Tensor, *store) {
	stride, span := l.strides(shape)
	n := margin + l.offset + span + margin
	s := &store{raw: make([]byte, n), live: make([]bool, n)}
	s.host = vkattn.Bytes(s.raw)
	return vkattn.Tensor{Type: vkattn.Bool, Shape: shape, Stride: stride, Offset: margin + l.offset, Mem: s.host}, s
}

func (p *Problem) store(t vkattn.Tensor) *store {
	for _, s := range append([]*store{p.out, p.lse}, p.inputs...) {
		if s != nil && t.Given() && t.Mem == vkattn.Memory(s.host) {
			return s
		}
	}
	return nil
}

// each calls f for every element of t.
func each(t vkattn.Tensor, f func(b, h, s, d, index int)) {
	for b := range t.Shape[0] {
		for h := range t.Shape[1] {
			for s := range t.Shape[2] {
				for d := range t.Shape[3] {
					f(b, h, s, d, t.Index(b, h, s, d))
				}
			}
		}
	}
}

// markRow makes row (b, h, s, :) live.
func (s *store) markRow(t vkattn.Tensor, b, h, row int) {
	at := t.Index(b, h, row, 0)
	for d := range t.Shape[3] {
		s.live[at+d] = true
	}
}

// Zero sets all input memory that no visible pair reads to 0, and fills the outputs with NaN.
func (p *Problem) Zero() {
	zero(p.inputs)
	p.fillOutputs(zeroPattern)
}

func zero(inputs []*store) {
	for _, s := range inputs {
		for i, live := range s.live {
			if live {
				continue
			}
			if s.f != nil {
				s.f[i] = 0
			} else {
				s.raw[i] = 0
			}
		}
	}
}

// Poison fills all input memory that no visible pair reads with NaN, infinities, huge numbers and, in
// Bool memory, with true; and fills the outputs with NaN of another pattern than Zero does.
func (p *Problem) Poison() {
	poison(p.inputs)
	p.fillOutputs(poisonPattern)
}

func poison(inputs []*store) {
	garbage := [...]float32{float32(math.NaN()), float32(math.Inf(1)), math.MaxFloat32,
		float32(math.NaN()), float32(math.Inf(-1)), -math.MaxFloat32, 1e-40}
	for n, s := range inputs {
		for i, live := range s.live {
			if live {
				continue
			}
			if s.f != nil {
				s.f[i] = garbage[(i/3+n)%len(garbage)]
			} else {
				s.raw[i] = byte(i*7 | 1)
			}
		}
	}
}

// The NaNs that the outputs are full of before a run, by their first bit pattern.
const (
	zeroPattern   uint32 = 0x7fc00100
	poisonPattern uint32 = 0x7fe00000
)

func (p *Problem) fillOutputs(pattern uint32) {
	for n, s := range []*store{p.out, p.lse} {
		if s == nil {
			continue
		}
		for i := range s.f {
			s.f[i] = outputFill(pattern, n, i)
		}
	}
}

func outputFill(pattern uint32, output, i int) float32 {
	return math.Float32frombits(pattern + uint32(output)<<16 + uint32(i%251))
}

// strayWrite looks for a changed element of the outputs' memory that is no element of an output.
// Tokens of packed tensors that belong to no sequence are not outputs.
func (p *Problem) strayWrite(pattern uint32) (name string, index int, found bool) {
	for n, o := range []struct {
		name string
		t    vkattn.Tensor
		s    *store
	}{{"Out", p.Args.Out, p.out}, {"LSE", p.Args.LSE, p.lse}} {
		if o.s == nil {
			continue
		}
		written := make([]bool, len(o.s.f))
		for _, v := range p.views() {
			for h := range o.t.Shape[1] {
				for i := range v.sq {
					for d := range o.t.Shape[3] {
						written[o.t.Index(v.batch, h, v.q0+i, d)] = true
					}
				}
			}
		}
		for i, w := range written {
			if !w && math.Float32bits(o.s.f[i]) != math.Float32bits(outputFill(pattern, n, i)) {
				return o.name, i, true
			}
		}
	}
	return "", 0, false
}

// rng is a random source that depends on the name of a case and on a seed alone.
func rng(name string, seed uint64) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(h.Sum64(), seed))
}

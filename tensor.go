package vkattn

import (
	"fmt"
	"math"
	"math/bits"
	"slices"
	"unsafe"
)

// Memory is what a tensor's elements live in: a host slice (Host) or an allocation of a backend.
type Memory interface {
	// Size in bytes.
	Size() int64
	// Close gives the memory back. Closing host memory does nothing.
	Close() error
}

// Host is memory of the Go program. Make one with Float32s, Bools or Bytes; the slice is not copied,
// and whoever runs a plan keeps it alive and unchanged until the run is over.
type Host struct{ b []byte }

// Size in bytes.
func (h *Host) Size() int64 { return int64(len(h.b)) }

// Close does nothing: the garbage collector owns the slice.
func (h *Host) Close() error { return nil }

// Bytes is the memory itself.
func (h *Host) Bytes() []byte { return h.b }

// Float32s is the memory as float32 values. It returns nil when the memory is not aligned to 4 bytes.
func (h *Host) Float32s() []float32 {
	if len(h.b) < 4 || uintptr(unsafe.Pointer(&h.b[0]))%4 != 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&h.b[0])), len(h.b)/4)
}

// Float32s makes host memory of a float32 slice, without copying.
func Float32s(s []float32) *Host {
	if len(s) == 0 {
		return &Host{}
	}
	return &Host{unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), 4*len(s))}
}

// Bools makes host memory of a bool slice, without copying.
func Bools(s []bool) *Host {
	if len(s) == 0 {
		return &Host{}
	}
	return &Host{unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s))}
}

// Bytes makes host memory of raw bytes, without copying. Float32 data must be 4-byte aligned.
func Bytes(s []byte) *Host { return &Host{s} }

// Tensor is a strided view of a Memory. The axes are always batch, heads, sequence, last, whatever
// the order in memory: BSHD, BHSD and packed THD differ in their strides alone. The last axis is
// contiguous. A stride of 0 broadcasts; negative strides are refused. Tensor is a small value; copying
// it copies no elements. The zero Tensor stands for "not given".
type Tensor struct {
	Type   Type
	Shape  [4]int // batch, heads, sequence, last
	Stride [4]int // in elements
	Offset int    // of the first element, in elements
	Mem    Memory
}

// BHSD is a contiguous tensor in the order batch, heads, sequence, last.
func BHSD(m Memory, b, h, s, d int) Tensor {
	return Tensor{Shape: [4]int{b, h, s, d}, Stride: [4]int{h * s * d, s * d, d, 1}, Mem: m}
}

// BSHD is a contiguous tensor in the order batch, sequence, heads, last, as FlashAttention has it.
func BSHD(m Memory, b, s, h, d int) Tensor {
	return Tensor{Shape: [4]int{b, h, s, d}, Stride: [4]int{s * h * d, d, h * d, 1}, Mem: m}
}

// THD is a packed tensor of t tokens in the order token, head, last: the sequences of a batch lie one
// behind the other, CuSeqQ and CuSeqK say where. Its batch axis is 1 and its sequence axis is t.
func THD(m Memory, t, h, d int) Tensor { return BSHD(m, 1, t, h, d) }

// Vector is a tensor of one number per head, shared by the batch: slopes, sink logits.
func Vector(m Memory, heads int) Tensor {
	return Tensor{Shape: [4]int{1, heads, 1, 1}, Stride: [4]int{heads, 1, 1, 1}, Mem: m}
}

// As is t with another element type.
func (t Tensor) As(typ Type) Tensor { t.Type = typ; return t }

// Given reports whether the tensor is there at all.
func (t Tensor) Given() bool { return t.Mem != nil }

// Broadcast stretches every axis of size 1 to the wanted size by a stride of 0. Axes of other sizes
// stay as they are; Args checking finds those that do not fit.
func (t Tensor) Broadcast(b, h, s, d int) Tensor {
	for i, n := range [4]int{b, h, s, d} {
		if t.Shape[i] == 1 && n != 1 {
			t.Shape[i], t.Stride[i] = n, 0
		}
	}
	return t
}

// Slice is the part [lo, hi) of axis 0 (batch), 1 (heads), 2 (sequence) or 3 (last).
func (t Tensor) Slice(axis, lo, hi int) Tensor {
	t.Offset += lo * t.Stride[axis]
	t.Shape[axis] = hi - lo
	return t
}

// Len is the number of elements, counting broadcast ones.
func (t Tensor) Len() int { return t.Shape[0] * t.Shape[1] * t.Shape[2] * t.Shape[3] }

// Index is the element offset of (b, h, s, d) in its memory.
func (t Tensor) Index(b, h, s, d int) int {
	return t.Offset + b*t.Stride[0] + h*t.Stride[1] + s*t.Stride[2] + d*t.Stride[3]
}

// HeadIndex is the element offset of (b, h, 0, 0) in a per-head vector that the batch may share.
func (t Tensor) HeadIndex(b, h int) int { return t.Index(min(b, t.Shape[0]-1), h, 0, 0) }

// Extent is the half-open range of elements that the tensor touches. An empty tensor touches [0, 0).
// ok is false when the numbers do not fit an int.
func (t Tensor) Extent() (lo, hi int, ok bool) {
	last, over := uint64(t.Offset), t.Offset < 0
	for i, n := range t.Shape {
		if n == 0 {
			return 0, 0, !over
		}
		if n < 0 || t.Stride[i] < 0 {
			return 0, 0, false
		}
		h, l := bits.Mul64(uint64(n-1), uint64(t.Stride[i]))
		var carry uint64
		last, carry = bits.Add64(last, l, 0)
		over = over || h != 0 || carry != 0
	}
	if over || last >= math.MaxInt64/16 {
		return 0, 0, false
	}
	return t.Offset, int(last) + 1, true
}

func (t Tensor) String() string {
	if !t.Given() {
		return "none"
	}
	return fmt.Sprintf("%s%v", t.Type, t.Shape)
}

// check finds everything that is wrong with the tensor itself, given the shape it must have.
func (t Tensor) check(arg string, typ Type, want [4]int, write bool) error {
	if !t.Given() {
		return &ArgError{arg, "missing"}
	}
	if t.Type != typ {
		return &ShapeError{arg, "type", t.Type, typ.String()}
	}
	for i, axis := range axisNames {
		if t.Shape[i] != want[i] {
			return &ShapeError{arg, axis, t.Shape[i], fmt.Sprint(want[i])}
		}
		if t.Stride[i] < 0 {
			return &ArgError{arg, fmt.Sprintf("stride of axis %s is %d; negative strides are not supported", axis, t.Stride[i])}
		}
	}
	if t.Stride[3] > 1 && t.Shape[3] > 1 || t.Stride[3] == 0 && t.Shape[3] > 1 && (write || slices.Contains(contiguousInputs, arg)) {
		return &ArgError{arg, fmt.Sprintf("stride of the last axis is %d, it must be contiguous", t.Stride[3])}
	}
	if t.Offset < 0 {
		return &ArgError{arg, fmt.Sprintf("offset is %d, want 0 or more", t.Offset)}
	}
	_, hi, ok := t.Extent()
	if !ok {
		return &ArgError{arg, fmt.Sprintf("shape %v with strides %v overflows", t.Shape, t.Stride)}
	}
	elements, bytes := typ.Block()
	for _, n := range []int{t.Shape[3], t.Offset, t.Stride[0], t.Stride[1], t.Stride[2]} {
		if n%elements != 0 {
			return &ArgError{arg, fmt.Sprintf("%s comes in blocks of %d elements: shape %v, strides %v and offset %d must be multiples", typ, elements, t.Shape, t.Stride, t.Offset)}
		}
	}
	if have := t.Mem.Size() / int64(bytes) * int64(elements); int64(hi) > have {
		return &ArgError{arg, fmt.Sprintf("last element lies beyond the memory: needs %d elements, has %d", hi, have)}
	}
	if h, isHost := t.Mem.(*Host); isHost && typ == Float32 && hi > 0 && h.Float32s() == nil {
		return &ArgError{arg, "host memory is not aligned to 4 bytes"}
	}
	if write && t.selfOverlaps() {
		return &ArgError{arg, fmt.Sprintf("elements overlap: shape %v with strides %v", t.Shape, t.Stride)}
	}
	return nil
}

// contiguousInputs are the inputs whose last axis may not be broadcast, because kernels read it in vectors.
var contiguousInputs = []string{"Q", "K", "V", "Cos", "Sin"}

var axisNames = [4]string{"batch", "heads", "sequence", "last"}

// selfOverlaps reports whether two elements may share an address: sorted by stride, each axis must
// step over all that the smaller ones span.
func (t Tensor) selfOverlaps() bool {
	var axes [4]int
	n := 0
	for i, size := range t.Shape {
		if size == 0 {
			return false
		}
		if size > 1 {
			axes[n] = i
			for k := n; k > 0 && t.Stride[axes[k]] < t.Stride[axes[k-1]]; k-- {
				axes[k], axes[k-1] = axes[k-1], axes[k]
			}
			n++
		}
	}
	span := 0
	for _, a := range axes[:n] {
		if t.Stride[a] <= span {
			return true
		}
		span += (t.Shape[a] - 1) * t.Stride[a]
	}
	return false
}

// overlaps reports whether the ranges of two tensors in the same memory meet.
func (t Tensor) overlaps(o Tensor) bool {
	if !t.Given() || !o.Given() {
		return false
	}
	tlo, thi, _ := t.byteExtent()
	olo, ohi, _ := o.byteExtent()
	if tlo >= thi || olo >= ohi {
		return false
	}
	th, tHost := t.Mem.(*Host)
	oh, oHost := o.Mem.(*Host)
	if tHost && oHost {
		tbase, obase := uintptr(unsafe.Pointer(unsafe.SliceData(th.b))), uintptr(unsafe.Pointer(unsafe.SliceData(oh.b)))
		return tbase+uintptr(tlo) < obase+uintptr(ohi) && obase+uintptr(olo) < tbase+uintptr(thi)
	}
	return t.Mem == o.Mem && tlo < ohi && olo < thi
}

func (t Tensor) byteExtent() (lo, hi int64, ok bool) {
	l, h, ok := t.Extent()
	elements, bytes := t.Type.Block()
	n, size := int64(elements), int64(bytes)
	return int64(l) / n * size, (int64(h) + n - 1) / n * size, ok
}

// Check finds what is wrong with the tensor whatever the problem: shape, strides, and elements beyond
// its memory; for one that is written to, elements that overlap. name stands in the error.
func (t Tensor) Check(name string, write bool) error {
	for i, n := range t.Shape {
		if n < 0 {
			return &ShapeError{name, axisNames[i], n, "0 or more"}
		}
	}
	return t.check(name, t.Type, t.Shape, write)
}

package dispatch

import (
	"context"
	"fmt"
	"sync"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// memory is a tensor's allocation on the device. Work that was recorded with it keeps it alive: the
// buffer goes when it is closed and the last such work is done.
type memory struct {
	be   *Backend
	buf  *vk.Buffer
	size int64

	mu     sync.Mutex
	users  int
	closed bool
}

func (m *memory) Size() int64 { return m.size }

// Close gives the allocation back as soon as no submitted work uses it. It is idempotent.
func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil
	}
	m.closed = true
	if m.users == 0 {
		return m.free()
	}
	return nil
}

// free gives the buffer back; the caller holds the lock.
func (m *memory) free() error {
	m.be.mu.Lock()
	delete(m.be.tensors, m)
	m.be.mu.Unlock()
	return m.buf.Close()
}

// acquire keeps the buffer until release.
func (m *memory) acquire() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return vkattn.ErrClosed
	}
	m.users++
	return nil
}

func (m *memory) release() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.users--; m.users == 0 && m.closed {
		m.free()
	}
}

// NewTensor allocates a contiguous tensor in device memory; see vkattn.Backend.
func (b *Backend) NewTensor(t vkattn.Type, shape [4]int) (vkattn.Tensor, error) {
	if err := b.alive(); err != nil {
		return vkattn.Tensor{}, err
	}
	elements, _ := t.Block()
	if !t.Valid() {
		return vkattn.Tensor{}, &vkattn.ShapeError{Arg: "Type", Got: t, Want: "a known type"}
	}
	for i, n := range shape {
		if n < 0 {
			return vkattn.Tensor{}, &vkattn.ShapeError{Arg: "Shape", Axis: fmt.Sprint(i), Got: n, Want: "0 or more"}
		}
	}
	if shape[3]%elements != 0 {
		return vkattn.Tensor{}, &vkattn.ShapeError{Arg: "Shape", Axis: "3", Got: shape[3], Want: fmt.Sprintf("a multiple of %d for %s", elements, t)}
	}
	tensor := vkattn.BHSD(nil, shape[0], shape[1], shape[2], shape[3]).As(t)
	_, n, ok := tensor.Extent()
	if !ok {
		return vkattn.Tensor{}, &vkattn.ArgError{Arg: "Shape", Reason: fmt.Sprintf("%v overflows", shape)}
	}
	size := int64(t.Bytes(n))
	rounded := bufferSize(max(16, (size+15)/16*16))
	buf, err := b.dev.NewBuffer(rounded, vk.HeapDevice, "tensor")
	if err != nil && b.pool.drop() {
		buf, err = b.dev.NewBuffer(rounded, vk.HeapDevice, "tensor")
	}
	if err != nil {
		return vkattn.Tensor{}, wrap(err)
	}
	m := &memory{be: b, buf: buf, size: size}
	b.mu.Lock()
	closed := b.closed
	if !closed {
		b.tensors[m] = struct{}{}
	}
	b.mu.Unlock()
	if closed {
		buf.Close()
		return vkattn.Tensor{}, vkattn.ErrClosed
	}
	tensor.Mem = m
	return tensor, nil
}

// packing is how a tensor is laid out contiguously: axes in the order of its strides, broadcast axes
// kept broadcast, rows padded.
type packing struct {
	stride [4]int // of the packed form, in elements; 0 where the tensor broadcasts
	row    int    // padded elements of a row
	len    int    // elements
	axes   [3]int // outer axes, slowest first
}

func pack(t vkattn.Tensor, pad int) packing {
	p := packing{axes: [3]int{0, 1, 2}}
	last := t.Shape[3]
	if t.Stride[3] == 0 && last > 0 {
		last = 1
	} else {
		p.stride[3] = 1
	}
	p.row = (last + pad - 1) / pad * pad
	for i := 1; i < 3; i++ {
		for k := i; k > 0 && t.Stride[p.axes[k]] > t.Stride[p.axes[k-1]]; k-- {
			p.axes[k], p.axes[k-1] = p.axes[k-1], p.axes[k]
		}
	}
	p.len = p.row
	for k := 2; k >= 0; k-- {
		a := p.axes[k]
		if t.Shape[a] == 0 {
			p.len = 0
			continue
		}
		if t.Stride[a] == 0 && t.Shape[a] > 1 {
			continue
		}
		p.stride[a] = p.len
		p.len *= t.Shape[a]
	}
	return p
}

// eachRow calls f for every row that the packed form holds: its place in the tensor's memory and in the
// packed form, in elements.
func (p *packing) eachRow(t vkattn.Tensor, f func(at, packed int) error) error {
	if p.len == 0 {
		return nil
	}
	n := [3]int{1, 1, 1}
	for k, a := range p.axes {
		if p.stride[a] != 0 {
			n[k] = t.Shape[a]
		}
	}
	for x := range n[0] {
		for y := range n[1] {
			at := t.Offset + x*t.Stride[p.axes[0]] + y*t.Stride[p.axes[1]]
			packed := x*p.stride[p.axes[0]] + y*p.stride[p.axes[1]]
			for z := range n[2] {
				if err := f(at+z*t.Stride[p.axes[2]], packed+z*p.stride[p.axes[2]]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// rowElements is the number of elements that a row really has.
func (p *packing) rowElements(t vkattn.Tensor) int {
	if p.stride[3] == 0 {
		return min(1, t.Shape[3])
	}
	return t.Shape[3]
}

// checkPair finds what is wrong with a destination and a source that are to have the same shape.
func (b *Backend) checkPair(dst, src vkattn.Tensor) error {
	if !dst.Given() || !src.Given() {
		return &vkattn.ArgError{Arg: "Copy", Reason: "dst and src must both be given"}
	}
	for _, t := range []struct {
		name string
		t    vkattn.Tensor
	}{{"dst", dst}, {"src", src}} {
		if err := t.t.Check(t.name, t.name == "dst"); err != nil {
			return err
		}
		if m, ok := t.t.Mem.(*memory); ok && m.be != b {
			return &vkattn.ArgError{Arg: t.name, Reason: "lives on another backend"}
		} else if _, host := t.t.Mem.(*vkattn.Host); !ok && !host {
			return &vkattn.ArgError{Arg: t.name, Reason: fmt.Sprintf("memory of type %T is neither host memory nor this backend's", t.t.Mem)}
		}
	}
	if dst.Shape != src.Shape {
		return &vkattn.ShapeError{Arg: "dst", Axis: "shape", Got: dst.Shape, Want: fmt.Sprint(src.Shape)}
	}
	return nil
}

// Copy copies between host memory and this backend's memory, in either direction; see vkattn.Backend.
func (b *Backend) Copy(ctx context.Context, dst, src vkattn.Tensor) error {
	if err := b.alive(); err != nil {
		return err
	}
	if err := b.checkPair(dst, src); err != nil {
		return err
	}
	if dst.Type != src.Type {
		return &vkattn.ShapeError{Arg: "dst", Axis: "type", Got: dst.Type, Want: src.Type.String()}
	}
	if src.Type.Size() == 0 && src.Stride[3] == 0 && src.Shape[3] > 1 {
		return &vkattn.ArgError{Arg: "src", Reason: fmt.Sprintf("broadcasts elements of a block of %s", src.Type)}
	}
	if src.Len() == 0 {
		return nil
	}
	_, dstHost := dst.Mem.(*vkattn.Host)
	_, srcHost := src.Mem.(*vkattn.Host)
	if dstHost && srcHost {
		return copyHost(dst, src)
	}
	return b.inTurn(ctx, func(r *run) error { return r.copy(dst, src) })
}

// copyHost copies row by row between two host tensors of one shape.
func copyHost(dst, src vkattn.Tensor) error {
	d, s := dst.Mem.(*vkattn.Host).Bytes(), src.Mem.(*vkattn.Host).Bytes()
	for b := range src.Shape[0] {
		for h := range src.Shape[1] {
			for i := range src.Shape[2] {
				copyRow(src.Type, d, dst.Index(b, h, i, 0), s, src.Index(b, h, i, 0), src.Shape[3], src.Stride[3])
			}
		}
	}
	return nil
}

func copyRow(t vkattn.Type, d []byte, at int, s []byte, from, n, stride int) {
	if stride != 0 || n == 1 {
		copy(d[t.Bytes(at):t.Bytes(at+n)], s[t.Bytes(from):t.Bytes(from+n)])
		return
	}
	size := t.Size()
	for j := range n {
		copy(d[(at+j)*size:(at+j+1)*size], s[from*size:(from+1)*size])
	}
}

// packHost writes rows [from, ...) of a host tensor in packed form to dst, zero padding included.
func packHost(dst []byte, t vkattn.Tensor, p *packing) {
	bytes := t.Type.Bytes
	src := t.Mem.(*vkattn.Host).Bytes()
	n := p.rowElements(t)
	if p.dense(t) {
		copy(dst, src[bytes(t.Offset):bytes(t.Offset+p.len)])
		return
	}
	_ = p.eachRow(t, func(at, packed int) error {
		copy(dst[bytes(packed):], src[bytes(at):bytes(at+n)])
		clear(dst[bytes(packed+n):bytes(packed+p.row)])
		return nil
	})
}

// unpackHost writes packed rows back to where they belong in a host tensor.
func unpackHost(t vkattn.Tensor, src []byte, p *packing) {
	bytes := t.Type.Bytes
	dst := t.Mem.(*vkattn.Host).Bytes()
	n := p.rowElements(t)
	if p.dense(t) {
		copy(dst[bytes(t.Offset):], src[:bytes(p.len)])
		return
	}
	_ = p.eachRow(t, func(at, packed int) error {
		copy(dst[bytes(at):bytes(at+n)], src[bytes(packed):bytes(packed+n)])
		return nil
	})
}

// dense reports whether the packed form is one stretch of the tensor's memory.
func (p *packing) dense(t vkattn.Tensor) bool {
	if p.row != p.rowElements(t) || p.stride[3] == 0 && t.Shape[3] > 1 {
		return false
	}
	for a := range 3 {
		if t.Shape[a] > 1 && p.stride[a] != t.Stride[a] {
			return false
		}
	}
	return true
}

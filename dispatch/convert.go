package dispatch

import (
	"context"
	"fmt"
	"unsafe"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

const (
	convertVariant = "convert"
	convertLanes   = 64
)

// convertKey is everything that a conversion is specialised on.
type convertKey struct {
	in, out vkattn.Type
	vector  bool
}

func (k convertKey) pipelineSpec() vk.PipelineSpec {
	return vk.PipelineSpec{Name: convertVariant, PushBytes: int(unsafe.Sizeof(convertSlice{})), Spec: []vk.SpecConstant{
		{ID: 0, Value: convertLanes}, {ID: 5, Value: b2u(k.vector)}, {ID: 9, Value: uint32(k.in)}, {ID: 12, Value: uint32(k.out)}}}
}

// convertSlice is the push constant block of convert.comp; a test compares the two by name and offset.
type convertSlice struct {
	Count, Chunks, Columns    uint32
	InBatch, InHead, InRow    uint32
	OutBatch, OutHead, OutRow uint32
	InBase, OutBase           uint32
}

// Convert is Copy between tensors of different types, each in host memory or in this backend's: it rounds to nearest, ties to
// even, and what is too large becomes the largest number, as Type.Encode says. The device does it unless both are in host
// memory; then scales of q8_0 and q4_0 are as exact as its division. Errors are those of Copy; the last axis of src may
// not be broadcast, and the two may not overlap. To scale, rotate or centre numbers on the way, use vkattn.Convert on the host.
func (b *Backend) Convert(ctx context.Context, dst, src vkattn.Tensor) error {
	if dst.Type == src.Type {
		return b.Copy(ctx, dst, src)
	}
	if err := b.alive(); err != nil {
		return err
	}
	if err := b.checkPair(dst, src); err != nil {
		return err
	}
	for _, t := range []struct {
		name string
		t    vkattn.Tensor
	}{{"dst", dst}, {"src", src}} {
		if !t.t.Type.Valid() || t.t.Type == vkattn.Bool {
			return &vkattn.ShapeError{Arg: t.name, Axis: "type", Got: t.t.Type, Want: "a number type"}
		}
	}
	if src.Stride[3] == 0 && src.Shape[3] > 1 {
		return &vkattn.ArgError{Arg: "src", Reason: "broadcasts its last axis"}
	}
	if isHost(dst) && isHost(src) {
		return vkattn.Convert(dst, src, vkattn.Conversion{})
	}
	if dst.Mem == src.Mem {
		return &vkattn.ArgError{Arg: "dst", Reason: "lies in the memory of src"}
	}
	if src.Len() == 0 {
		return nil
	}
	return b.inTurn(ctx, func(r *run) error { return r.convert(dst, src) })
}

// fours reports whether the rows of a tensor can be taken four elements at a time: those that we pack ourselves always can.
func fours(t vkattn.Tensor) bool {
	return isHost(t) || t.Shape[3]%4 == 0 && t.Offset%4 == 0 && t.Stride[0]%4 == 0 && t.Stride[1]%4 == 0 && t.Stride[2]%4 == 0
}

func (r *run) convert(dst, src vkattn.Tensor) error {
	for _, t := range []vkattn.Tensor{dst, src} {
		m, ok := t.Mem.(*memory)
		if !ok {
			continue
		}
		if err := m.acquire(); err != nil {
			return err
		}
		r.memories = append(r.memories, m)
	}
	key := convertKey{src.Type, dst.Type, fours(dst) && fours(src)}
	pad := 1
	if key.vector {
		pad = 4
	}
	in, err := r.stageIn(src, pad)
	if err != nil {
		return err
	}
	out, home, err := r.stageOut(dst, pad)
	if err != nil {
		return err
	}
	columns := out.n
	chunk := 4
	if elements, _ := dst.Type.Block(); elements > 1 {
		chunk = elements
	}
	s := convertSlice{Columns: uint32(columns), Chunks: uint32(ceilDiv(columns, chunk)), InBatch: uint32(in.sb), InHead: uint32(in.sh), InRow: uint32(in.ss),
		OutBatch: uint32(out.sb), OutHead: uint32(out.sh), OutRow: uint32(out.ss)}
	tensor := func(v view, name string, binding int) selectTensor {
		return selectTensor{v, name, binding, [selectAxes]int{v.sb, v.sh, v.ss, 0, 0}, columns}
	}
	j := &selectJob{r: r, key: key, name: convertVariant, tensors: []selectTensor{tensor(in, "src", bindQ), tensor(out, "dst", bindOut)},
		groups: func(a *selectArea) [3]int {
			return [3]int{ceilDiv(a.n(selectRow)*int(s.Chunks), convertLanes), a.n(selectHead), a.n(selectBatch)}
		},
		axes: [3][]int{{selectRow}, {selectHead}, {selectBatch}},
		cost: func(a *selectArea) float64 {
			return 16 * float64(a.n(selectBatch)) * float64(a.n(selectHead)) * float64(a.n(selectRow)) * float64(columns)
		},
		push: func(a *selectArea, base []uint32) []byte {
			s.Count = uint32(a.n(selectRow)) * s.Chunks
			s.InBase, s.OutBase = base[0], base[1]
			return bytesOf(&s)
		}}
	if err := j.run(selectArea{hi: [selectAxes]int{dst.Shape[0], dst.Shape[1], dst.Shape[2], 1, 1}}); err != nil {
		return fmt.Errorf("dispatch: conversion from %s to %s: %w", src.Type, dst.Type, err)
	}
	if home == nil {
		return nil
	}
	return home()
}

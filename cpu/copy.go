package cpu

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
)

var axisNames = [4]string{"batch", "heads", "sequence", "last"}

// Copy copies src to dst, of the same type and shape and any strides, behind everything submitted before.
// Both are in host memory and do not overlap.
func (b *Backend) Copy(ctx context.Context, dst, src vkattn.Tensor) error {
	if err := b.open(); err != nil {
		return err
	}
	to, err := tensorBytes("dst", dst)
	if err != nil {
		return err
	}
	from, err := tensorBytes("src", src)
	if err != nil {
		return err
	}
	if src.Type != dst.Type {
		return &vkattn.ShapeError{Arg: "src", Axis: "type", Got: src.Type, Want: dst.Type.String()}
	}
	for i, axis := range axisNames {
		if src.Shape[i] != dst.Shape[i] {
			return &vkattn.ShapeError{Arg: "src", Axis: axis, Got: src.Shape[i], Want: fmt.Sprint(dst.Shape[i])}
		}
	}
	t, err := b.enqueue()
	if err != nil {
		return err
	}
	select {
	case <-t.ready:
	case <-ctx.Done():
		go func() { <-t.ready; t.end() }()
		return ctx.Err()
	}
	defer t.end()
	return copyRows(ctx, dst, src, to, from)
}

func copyRows(ctx context.Context, dst, src vkattn.Tensor, to, from []byte) error {
	n := src.Shape
	elements, bytes := src.Type.Block()
	if src.Len() == 0 {
		return nil
	}
	whole := (src.Stride[3] == 1 && dst.Stride[3] == 1) || n[3] == 1
	at := func(t vkattn.Tensor, b, h, s, d int) int { return t.Index(b, h, s, d) / elements * bytes }
	row := n[3] / elements * bytes
	for b := range n[0] {
		for h := range n[1] {
			if err := ctx.Err(); err != nil {
				return err
			}
			for s := range n[2] {
				if whole {
					copy(to[at(dst, b, h, s, 0):][:row], from[at(src, b, h, s, 0):])
					continue
				}
				for d := 0; d < n[3]; d += elements {
					copy(to[at(dst, b, h, s, d):][:bytes], from[at(src, b, h, s, d):])
				}
			}
		}
	}
	return nil
}

// tensorBytes is the memory of a tensor of Copy, after checking that the tensor lies inside of it.
func tensorBytes(arg string, t vkattn.Tensor) ([]byte, error) {
	if !t.Given() {
		return nil, &vkattn.ArgError{Arg: arg, Reason: "missing"}
	}
	host, ok := t.Mem.(*vkattn.Host)
	if !ok {
		return nil, &vkattn.ArgError{Arg: arg, Reason: fmt.Sprintf("lives in memory of another backend (%T), want host memory", t.Mem)}
	}
	if !t.Type.Valid() {
		return nil, &vkattn.ShapeError{Arg: arg, Axis: "type", Got: t.Type, Want: "a known type"}
	}
	_, hi, ok := t.Extent()
	if !ok {
		return nil, &vkattn.ArgError{Arg: arg, Reason: fmt.Sprintf("shape %v with strides %v and offset %d is out of range", t.Shape, t.Stride, t.Offset)}
	}
	elements, bytes := t.Type.Block()
	if elements > 1 {
		if t.Shape[3]%elements != 0 || t.Offset%elements != 0 || t.Stride[3] != 1 ||
			t.Stride[0]%elements+t.Stride[1]%elements+t.Stride[2]%elements != 0 {
			return nil, &vkattn.ArgError{Arg: arg, Reason: fmt.Sprintf("%s comes in contiguous blocks of %d elements", t.Type, elements)}
		}
	}
	if need := hi / elements * bytes; need > len(host.Bytes()) {
		return nil, &vkattn.ArgError{Arg: arg, Reason: fmt.Sprintf("last element lies beyond the memory: needs %d bytes, has %d", need, len(host.Bytes()))}
	}
	return host.Bytes(), nil
}

// byteSize is the size of n elements in rows of last.
func byteSize(t vkattn.Type, n, last int) (int, error) {
	if !t.Valid() {
		return 0, &vkattn.ShapeError{Arg: "NewTensor", Axis: "type", Got: t, Want: "a known type"}
	}
	if elements, _ := t.Block(); last%elements != 0 {
		return 0, &vkattn.ShapeError{Arg: "NewTensor", Axis: "last", Got: last, Want: fmt.Sprintf("a multiple of %d for %s", elements, t)}
	}
	return t.Bytes(n), nil
}

package vkattn

import (
	"fmt"
)

// Conversion is what Convert does to numbers before it rounds them to another type, in this order: it subtracts a
// mean, rotates rows, divides by factors. The zero value does nothing.
type Conversion struct {
	// Mean is subtracted from every token of its head: [B, H, 1, D] float32, from KeyMean. Axes of size 1 broadcast.
	Mean Tensor
	// Rotate multiplies every row by the orthogonal matrix of Rotate. Queries and keys take the same one.
	Rotate bool
	Seed   uint64 // of the rotation
	// Descale divides: [B, H, N, 1] float32, from DescaleFactors, for DescaleBlock tokens each; 0 is all of them.
	// Axes of size 1 broadcast. It is what Args.DescaleQ, DescaleK or DescaleV takes.
	Descale      Tensor
	DescaleBlock int
}

// Convert copies src to dst, which has the same shape and any other type and strides, and rounds to nearest, ties to
// even. Type.Encode says what happens to numbers that are too large, to infinities and to NaN. Both are in host memory
// and do not overlap. Errors are *ShapeError or *ArgError that name dst, src or a field of c; then dst is unchanged.
func Convert(dst, src Tensor, c Conversion) error {
	if err := dst.hostCheck("dst", src.Shape, true); err != nil {
		return err
	}
	from, err := c.source("src", src)
	if err != nil {
		return err
	}
	for _, in := range []Tensor{src, c.Mean, c.Descale} {
		if dst.overlaps(in) {
			return &ArgError{"dst", "overlaps what is read"}
		}
	}
	to := dst.Mem.(*Host).b
	return from.eachRow(func(b, h, s int, row []float32) error {
		if factor := from.factor(b, h, s); factor != 1 {
			for d := range row {
				row[d] /= factor
			}
		}
		return dst.Type.Encode(to[dst.Type.Bytes(dst.Index(b, h, s, 0)):], row)
	})
}

// To is a copy of t in another type, contiguous in the order batch, heads, sequence, last, in fresh host memory;
// see Convert.
func (t Tensor) To(typ Type) (Tensor, error) {
	if err := t.hostCheck("src", t.Shape, false); err != nil {
		return Tensor{}, err
	}
	if elements, bytes := typ.Block(); bytes == 0 {
		return Tensor{}, &ShapeError{"dst", "type", typ, "a known type"}
	} else if t.Shape[3]%elements != 0 {
		return Tensor{}, &ShapeError{"dst", "last", t.Shape[3], fmt.Sprintf("a multiple of %d for %s", elements, typ)}
	}
	n := t.Len()
	out := BHSD(Bytes(make([]byte, typ.Bytes(n))), t.Shape[0], t.Shape[1], t.Shape[2], t.Shape[3]).As(typ)
	if typ == Float32 {
		out.Mem = Float32s(make([]float32, n))
	}
	return out, Convert(out, t, Conversion{})
}

// maxElements bounds what is converted: a broadcast tensor may be larger than any memory.
const maxElements = 1 << 40

// hostCheck is Check of a tensor that has to be of this shape and in host memory, with a last axis that is not broadcast.
func (t Tensor) hostCheck(name string, shape [4]int, write bool) error {
	if !t.Given() {
		return &ArgError{name, "missing"}
	}
	if !t.Type.Valid() {
		return &ShapeError{name, "type", t.Type, "a known type"}
	}
	for i, n := range shape {
		if n < 0 {
			return &ShapeError{name, axisNames[i], n, "0 or more"}
		}
	}
	if _, ok := t.Mem.(*Host); !ok {
		return &ArgError{name, fmt.Sprintf("lives in memory of a backend (%T), want host memory", t.Mem)}
	}
	if err := t.check(name, t.Type, shape, write); err != nil {
		return err
	}
	if t.Stride[3] != 1 && t.Shape[3] > 1 {
		return &ArgError{name, fmt.Sprintf("stride of the last axis is %d, it must be contiguous", t.Stride[3])}
	}
	left := maxElements
	for _, size := range shape {
		if left /= max(size, 1); left == 0 {
			return &ArgError{name, fmt.Sprintf("shape %v has more than 2^40 elements", shape)}
		}
	}
	return nil
}

// float32Check is hostCheck of a tensor that has to be float32.
func (t Tensor) float32Check(name string, shape [4]int, write bool) error {
	if t.Given() && t.Type != Float32 {
		return &ShapeError{name, "type", t.Type, "f32"}
	}
	return t.hostCheck(name, shape, write)
}

// source reads the rows of a tensor as a conversion changes them, before the factors.
type source struct {
	Conversion
	t     Tensor
	raw   []byte
	means []float32
	signs rotation
}

// source checks everything about c and src, which is called name.
func (c Conversion) source(name string, src Tensor) (*source, error) {
	if err := src.hostCheck(name, src.Shape, false); err != nil {
		return nil, err
	}
	s := &source{Conversion: c, t: src, raw: src.Mem.(*Host).b}
	if c.DescaleBlock < 0 {
		return nil, &ShapeError{"DescaleBlock", "", c.DescaleBlock, "0 or more"}
	}
	stretched := func(name string, t *Tensor, shape [4]int) error {
		if !t.Given() {
			return nil
		}
		*t = t.Broadcast(shape[0], shape[1], shape[2], t.Shape[3])
		return t.float32Check(name, shape, false)
	}
	n := src.Shape
	if err := stretched("Mean", &s.Mean, [4]int{n[0], n[1], 1, n[3]}); err != nil {
		return nil, err
	}
	factors := Attention{DescaleBlock: c.DescaleBlock}.descaleShape(n[0], n[1], n[2])
	if err := stretched("Descale", &s.Descale, factors); err != nil {
		return nil, err
	}
	if c.Descale.Given() {
		all := s.Descale.Mem.(*Host).Float32s()
		for b := range factors[0] {
			for h := range factors[1] {
				for block := range factors[2] {
					if x := all[s.Descale.Index(b, h, block, 0)]; x == 0 || x-x != 0 {
						return nil, &ArgError{"Descale", fmt.Sprintf("factor %d of head %d, batch %d is %v, want a finite number other than 0", block, h, b, x)}
					}
				}
			}
		}
	}
	if c.Mean.Given() {
		s.means = s.Mean.Mem.(*Host).Float32s()
	}
	if c.Rotate {
		s.signs = newRotation(n[3], c.Seed)
	}
	return s, nil
}

// eachRow calls f with every row, which f may change, until f fails.
func (s *source) eachRow(f func(b, h, i int, row []float32) error) error {
	n := s.t.Shape
	if s.t.Len() == 0 {
		return nil
	}
	row := make([]float32, n[3])
	for b := range n[0] {
		for h := range n[1] {
			for i := range n[2] {
				from := s.raw[s.t.Type.Bytes(s.t.Index(b, h, i, 0)):][:s.t.Type.Bytes(n[3])]
				if err := s.t.Type.Decode(row, from); err != nil {
					return err
				}
				if s.means != nil {
					for d, mean := range s.means[s.Mean.Index(b, h, 0, 0):][:n[3]] {
						row[d] -= mean
					}
				}
				if s.Rotate {
					s.signs.apply(row)
				}
				if err := f(b, h, i, row); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// factor is what token i of a head is divided by.
func (s *source) factor(b, h, i int) float32 {
	if !s.Descale.Given() {
		return 1
	}
	at := Attention{DescaleBlock: s.DescaleBlock}.DescaleIndex(s.Descale, b, h, i)
	return s.Descale.Mem.(*Host).Float32s()[at]
}

package vkattn

import (
	"cmp"
	"fmt"
	"unsafe"
)

// Check finds everything that the host can see to be wrong with a call. Errors are *ShapeError or
// *ArgError and name the argument. Backends call it before any work.
//
// Cos and Sin are [1 or B, 1, S, R/2], or with Positions [1 or B, 1, rows, R/2] of any number of rows.
// Positions has S entries, shared by the batch, or B*S, and each is a row of the tables.
func (r Rope) Check(args *Args) error {
	if err := r.Validate(); err != nil {
		return err
	}
	r = r.Canonical()
	if err := args.unused("rope"); err != nil {
		return err
	}
	if err := cmp.Or(missing("Q", args.Q), missing("Out", args.Out), missing("Cos", args.Cos), missing("Sin", args.Sin)); err != nil {
		return err
	}
	batch, seq := args.Q.Shape[0], args.Q.Shape[2]
	if err := cmp.Or(capacity("Q", "batch", batch, r.Batch), capacity("Q", "sequence", seq, r.Seq)); err != nil {
		return err
	}
	tables, rows := args.Cos.Shape[0], seq
	if tables != 1 && tables != batch {
		return &ShapeError{"Cos", "batch", tables, fmt.Sprintf("1 or %d", batch)}
	}
	if r.Positions {
		if rows = args.Cos.Shape[2]; rows < 0 {
			return &ShapeError{"Cos", "sequence", rows, "0 or more"}
		}
	}
	shape, table := [4]int{batch, r.Heads, seq, r.HeadDim}, [4]int{tables, 1, rows, r.RotaryDim / 2}
	for _, t := range []struct {
		name  string
		t     Tensor
		typ   Type
		shape [4]int
		write bool
	}{
		{"Q", args.Q, r.TypeQ, shape, false}, {"Out", args.Out, r.TypeOut, shape, true},
		{"Cos", args.Cos, Float32, table, false}, {"Sin", args.Sin, Float32, table, false},
	} {
		if err := t.t.check(t.name, t.typ, t.shape, t.write); err != nil {
			return err
		}
	}
	if err := r.checkPositions(args.Positions, batch, seq, rows); err != nil {
		return err
	}
	if args.Out.overlaps(args.Q) && !sameElements(args.Out, args.Q) {
		return &ArgError{"Out", "overlaps Q, and is not the same tensor"}
	}
	switch {
	case args.Out.overlaps(args.Cos):
		return &ArgError{"Out", "overlaps Cos"}
	case args.Out.overlaps(args.Sin):
		return &ArgError{"Out", "overlaps Sin"}
	}
	return nil
}

func (r Rope) checkPositions(positions []int32, batch, seq, rows int) error {
	if !r.Positions {
		if positions != nil {
			return &ArgError{"Positions", "given, but the op's Positions is false"}
		}
		return nil
	}
	if n := len(positions); n != seq && n != batch*seq {
		return &ShapeError{"Positions", "length", n, fmt.Sprintf("%d or %d", seq, batch*seq)}
	}
	for i, p := range positions {
		if p < 0 || int(p) >= rows {
			return &ArgError{"Positions", fmt.Sprintf("entry %d is %d, the tables have %d rows", i, p, rows)}
		}
	}
	return nil
}

// sameElements reports whether each element of t has the address of the same element of o. The strides
// of axes that are never stepped along do not matter.
func sameElements(t, o Tensor) bool {
	if t.Type != o.Type || t.Shape != o.Shape || t.Offset != o.Offset {
		return false
	}
	for i, n := range t.Shape {
		if n > 1 && t.Stride[i] != o.Stride[i] {
			return false
		}
	}
	th, tHost := t.Mem.(*Host)
	oh, oHost := o.Mem.(*Host)
	if tHost && oHost {
		return unsafe.SliceData(th.b) == unsafe.SliceData(oh.b)
	}
	return t.Mem == o.Mem
}

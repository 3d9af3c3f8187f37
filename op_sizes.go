package vkattn

import (
	"cmp"
	"fmt"
)

// What the ops on sequences share: sizes, types, and the first checks of a call. Linear.sizes is such an Attention.

// validateSizes is the part of Validate that comes first, before defaults are filled in.
func (a Attention) validateSizes() error {
	for _, f := range []struct {
		name string
		v    int
		min  int
		max  int
	}{
		{"Batch", a.Batch, 0, maxBatch}, {"HeadsQ", a.HeadsQ, 1, maxHeads},
		{"HeadsK", a.HeadsK, 0, maxHeads}, {"HeadsV", a.HeadsV, 0, maxHeads},
		{"SeqQ", a.SeqQ, 0, MaxSequence}, {"SeqK", a.SeqK, 0, MaxSequence},
		{"TotalQ", a.TotalQ, 0, MaxSequence}, {"TotalK", a.TotalK, 0, MaxSequence},
		{"HeadDim", a.HeadDim, 1, maxHeadDim}, {"ValueDim", a.ValueDim, 0, maxHeadDim},
	} {
		if err := inRange(f.name, f.v, f.min, f.max); err != nil {
			return err
		}
	}
	if a.HeadMap > HeadCyclic {
		return &ShapeError{"HeadMap", "", a.HeadMap, "HeadBlock or HeadCyclic"}
	}
	if !a.Packed && (a.TotalQ != 0 || a.TotalK != 0) {
		return &ArgError{"TotalQ", "TotalQ and TotalK belong to packed sequences, set Packed"}
	}
	return cmp.Or(numberType("TypeQ", a.TypeQ), numberType("TypeK", a.TypeK), numberType("TypeV", a.TypeV), numberType("TypeOut", a.TypeOut))
}

// headsName is the batch, the heads and their map in the name of a canonical op, such as "b1 h32/8 cyclic".
func (a Attention) headsName() string {
	s := fmt.Sprintf("b%d h%d", a.Batch, a.HeadsQ)
	switch {
	case a.HeadsV != a.HeadsK:
		s += fmt.Sprintf("/%d/%d", a.HeadsK, a.HeadsV)
	case a.HeadsK != a.HeadsQ:
		s += fmt.Sprintf("/%d", a.HeadsK)
	}
	if a.HeadMap == HeadCyclic {
		s += " cyclic"
	}
	if a.Packed {
		s += fmt.Sprintf(" packed%d/%d", a.TotalQ, a.TotalK)
	}
	return s
}

// rowsName is the head sizes and the types in the name of a canonical op, such as "d192/128 f32".
func (a Attention) rowsName() string {
	s := fmt.Sprintf("d%d", a.HeadDim)
	if a.ValueDim != a.HeadDim {
		s += fmt.Sprintf("/%d", a.ValueDim)
	}
	s += fmt.Sprintf(" %s", a.TypeQ)
	if a.TypeK != a.TypeQ || a.TypeV != a.TypeQ || a.TypeOut != a.TypeQ {
		s += fmt.Sprintf("/%s/%s/%s", a.TypeK, a.TypeV, a.TypeOut)
	}
	return s
}

// checkSizes refuses a call without one of its main tensors, or larger than its plan.
func (a Attention) checkSizes(args *Args) error {
	batch, sq, sk := a.Batch, a.SeqQ, a.SeqK
	if a.Packed {
		batch, sq, sk = 1, a.TotalQ, a.TotalK
	}
	if err := cmp.Or(missing("Q", args.Q), missing("K", args.K), missing("V", args.V), missing("Out", args.Out)); err != nil {
		return err
	}
	return cmp.Or(capacity("Q", "batch", args.Q.Shape[0], batch), capacity("Q", "sequence", args.Q.Shape[2], sq),
		capacity("K", "sequence", args.K.Shape[2], sk))
}

// inRange refuses a number that is out of range.
func inRange(arg string, n, lo, hi int) error {
	if n < lo || n > hi {
		return &ShapeError{arg, "", n, fmt.Sprintf("%d to %d", lo, hi)}
	}
	return nil
}

// numberType refuses the types that are none.
func numberType(field string, t Type) error {
	if !t.Valid() || t == Bool {
		return &ShapeError{field, "", t, "a number type"}
	}
	return nil
}

// missing refuses a tensor that is not there.
func missing(arg string, t Tensor) error {
	if !t.Given() {
		return &ArgError{arg, "missing"}
	}
	return nil
}

// capacity refuses an axis of a call that is longer than its plan was made for.
func capacity(arg, axis string, got, most int) error {
	if got < 0 || got > most {
		return &ShapeError{arg, axis, got, fmt.Sprintf("0 to %d, the capacity of the plan", most)}
	}
	return nil
}

package vkattn

import (
	"cmp"
	"fmt"
)

// Merge joins the results of attention over parts of the keys to that over all of them: splits, a prefix that many sequences share and
// what follows it, the shards of a ring, devices. Of part p Args.Parts[p] has the output O_p and the LSE l_p; then
//
//	m = max_p l_p,  w_p = exp(l_p - m),  Out = sum_p w_p O_p / sum_p w_p,  LSE = m + log(sum_p w_p)
//
// A part whose l_p is -inf saw no key and is absent, whatever its O_p holds; a row of which all parts are absent gives 0 and
// -inf. A sink logit belongs to one part alone. Everything is float32, and parts are joined one after the other.
//
// Batch, Heads, Seq and Parts are capacities, as in Attention.
type Merge struct {
	Batch    int  `json:"batch"`
	Heads    int  `json:"heads"`
	Seq      int  `json:"seq"`
	ValueDim int  `json:"value_dim"`
	Parts    int  `json:"parts"` // at most
	LSE      bool `json:"lse"`   // write Args.LSE, too
}

// Partial is the result of attention over a part of the keys.
type Partial struct {
	Out Tensor // [B, Heads, S, ValueDim]
	LSE Tensor // [B, Heads, S, 1]
}

func (Merge) op() {}

// Canonical is the op itself: it has no defaults.
func (m Merge) Canonical() Merge { return m }

// maxParts bounds Merge.Parts.
const maxParts = 1 << 16

// Validate returns a *ShapeError that names the field, or nil.
func (m Merge) Validate() error {
	return cmp.Or(inRange("Batch", m.Batch, 0, maxBatch), inRange("Heads", m.Heads, 1, maxHeads), inRange("Seq", m.Seq, 0, MaxSequence),
		inRange("ValueDim", m.ValueDim, 1, maxHeadDim), inRange("Parts", m.Parts, 1, maxParts))
}

// Hash is a stable 64-bit FNV-1a hash of the op, the same in every process.
func (m Merge) Hash() uint64 { return hash(m) }

// String is a short canonical name, such as "merge b1 h32 s1 d128 of 2".
func (m Merge) String() string {
	s := fmt.Sprintf("merge b%d h%d s%d d%d of %d", m.Batch, m.Heads, m.Seq, m.ValueDim, m.Parts)
	if m.LSE {
		s += " +lse"
	}
	return s
}

// Check finds everything that the host can see to be wrong with a call. Errors are *ShapeError or *ArgError and name the
// argument. Backends call it before any work. Outputs may not overlap parts, and the last axis of the parts is contiguous.
func (m Merge) Check(args *Args) error {
	if err := m.Validate(); err != nil {
		return err
	}
	if err := args.unused("merge"); err != nil {
		return err
	}
	if n := len(args.Parts); n < 1 || n > m.Parts {
		return &ShapeError{"Parts", "length", n, fmt.Sprintf("1 to %d", m.Parts)}
	}
	if err := missing("Out", args.Out); err != nil {
		return err
	}
	batch, seq := args.Out.Shape[0], args.Out.Shape[2]
	if err := cmp.Or(capacity("Out", "batch", batch, m.Batch), capacity("Out", "sequence", seq, m.Seq)); err != nil {
		return err
	}
	out, lse := [4]int{batch, m.Heads, seq, m.ValueDim}, [4]int{batch, m.Heads, seq, 1}
	if err := args.Out.check("Out", Float32, out, true); err != nil {
		return err
	}
	if m.LSE {
		if err := args.LSE.check("LSE", Float32, lse, true); err != nil {
			return err
		}
	} else if args.LSE.Given() {
		return &ArgError{"LSE", "given, but the op's LSE is false"}
	}
	if args.Out.overlaps(args.LSE) {
		return &ArgError{"LSE", "overlaps Out"}
	}
	for i, p := range args.Parts {
		name := fmt.Sprintf("Parts[%d].", i)
		if err := cmp.Or(p.Out.check(name+"Out", Float32, out, false), p.LSE.check(name+"LSE", Float32, lse, false)); err != nil {
			return err
		}
		if p.Out.Stride[3] != 1 && m.ValueDim > 1 {
			return &ArgError{name + "Out", "broadcasts its last axis"}
		}
		for _, t := range []Tensor{p.Out, p.LSE} {
			if args.Out.overlaps(t) || args.LSE.overlaps(t) {
				return &ArgError{"Out", "or LSE overlaps " + name[:len(name)-1]}
			}
		}
	}
	return nil
}

// Work counts what a checked call does: a multiplication and an addition for each number of each part, every input and output once.
func (m Merge) Work(args *Args) Work {
	rows := int64(args.Out.Shape[0]) * int64(m.Heads) * int64(args.Out.Shape[2])
	parts := int64(len(args.Parts))
	return Work{Exact: true, FLOPs: 2 * float64(rows) * float64(parts) * float64(m.ValueDim), Bytes: 4 * rows * (parts + 1) * int64(m.ValueDim+1)}
}

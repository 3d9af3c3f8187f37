package vkattn

import (
	"fmt"
	"strings"
)

// NSA is native sparse attention, forward: the gated sum of attention over compressed keys, over selected blocks and over a
// window. With t = i+off the position of row i,
//
//	Out_i = g_cmp o_cmp + g_slc o_slc + g_win o_win
//
// o_cmp is attention over the means of keys and of values over [c Stride, c Stride + Compress), for every c >= 0 whose
// block is complete and in the past, c Stride + Compress - 1 <= t; without any it is 0. p_cmp are its weights, and
//
//	p_slc[j] = sum over the heads of the group, m < Select/Stride and n < Compress/Stride of p_cmp[(Select/Stride) j + m - n]
//
// scores the blocks of Select keys, of which the TopN largest with j Select <= t are taken, blocks 0, floor(t/Select) and the one
// before it first. o_slc is attention over the keys j <= t of the selected blocks, o_win over t-Window < j <= t. A group is
// the query heads that share a key head: they share what is selected. Of equal scores the lowest block wins; scores are
// float32, so that blocks whose scores are nearly equal may change places. The branches share keys and values.
//
// Args.Gates is [B, HeadsQ, Sq, 3] float32: g_cmp, g_slc and g_win of each row and head, as they are multiplied.
//
// Attention has the shape, scale, types, alignment and key lengths; it is causal and not packed, HeadsK equals HeadsV, and
// other masks and extras are refused. Source: Yuan et al., "Native Sparse Attention" (2025); fla-org/flash-linear-attention,
// which compresses by the mean.
type NSA struct {
	Attention Attention `json:"attention"`
	Compress  int       `json:"compress"` // keys of a compressed block
	Stride    int       `json:"stride"`   // keys between the starts of two; divides Compress and Select
	Select    int       `json:"select"`   // keys of a selected block
	TopN      int       `json:"top_n"`    // selected blocks of a row: the first one, its own and the one before it included
	Window    int       `json:"window"`   // tokens of the window, the row's own included; 0: none
}

func (NSA) op() {}

// Canonical is the op with its defaults written out. Two ops mean the same exactly if their canonical
// forms are equal.
func (n NSA) Canonical() NSA {
	n.Attention = n.Attention.Canonical()
	if n.Select > 0 {
		n.TopN = min(n.TopN, max(1, ceilDiv(n.Attention.SeqK, n.Select)))
	}
	return n
}

// Compressed is the number of compressed keys that so many keys give.
func (n NSA) Compressed(keys int) int {
	if keys < n.Compress {
		return 0
	}
	return (keys-n.Compress)/n.Stride + 1
}

// Validate returns a *ShapeError or *ArgError that names the field, or nil.
func (n NSA) Validate() error {
	for _, f := range []struct {
		name   string
		v, min int
	}{{"Compress", n.Compress, 1}, {"Stride", n.Stride, 1}, {"Select", n.Select, 1}, {"TopN", n.TopN, 1}, {"Window", n.Window, 0}} {
		if err := inRange(f.name, f.v, f.min, MaxSequence); err != nil {
			return err
		}
	}
	if n.Compress%n.Stride != 0 || n.Select%n.Stride != 0 {
		return &ShapeError{"Stride", "", n.Stride, fmt.Sprintf("a divisor of Compress %d and Select %d", n.Compress, n.Select)}
	}
	if err := n.Attention.choosing(); err != nil {
		return err
	}
	c := n.Attention.Canonical()
	switch {
	case c.HeadsV != c.HeadsK:
		return &ShapeError{"HeadsV", "", c.HeadsV, fmt.Sprintf("HeadsK %d: a group shares keys and values", c.HeadsK)}
	case c.Softcap != 0:
		return &ArgError{"Softcap", "is not defined for native sparse attention"}
	case c.With&^WithKeyLengths != 0:
		return &ArgError{"With", "has " + (c.With &^ WithKeyLengths).String() + ", native sparse attention takes key lengths alone"}
	case c.Window.Given() || c.Chunk > 0:
		return &ArgError{"Window", "and Chunk of Attention do not go with native sparse attention, which has a window of its own"}
	}
	return nil
}

// Hash is a stable 64-bit FNV-1a hash of the canonical op, the same in every process.
func (n NSA) Hash() uint64 { return hash(n.Canonical()) }

// String is a short canonical name, such as
// "nsa b1 h64/4 q4096 k4096 d128 f32 causal compress32 stride16 select64 top16 window512".
func (n NSA) String() string {
	c := n.Canonical()
	return fmt.Sprintf("nsa%s compress%d stride%d select%d top%d window%d", strings.TrimPrefix(n.Attention.String(), "attention"),
		c.Compress, c.Stride, c.Select, c.TopN, c.Window)
}

// Check finds everything that the host can see to be wrong with a call, and resolves its sequences. Errors are
// *ShapeError or *ArgError and name the argument. Backends call it before any work.
func (n NSA) Check(args *Args) ([]Sequence, error) {
	if err := n.Validate(); err != nil {
		return nil, err
	}
	seqs, err := n.Attention.checkChoosing("nsa", args)
	if err != nil {
		return nil, err
	}
	q := args.Q.Shape
	if err := args.Gates.check("Gates", Float32, [4]int{q[0], q[1], q[2], 3}, false); err != nil {
		return nil, err
	}
	if args.Out.overlaps(args.Gates) {
		return nil, &ArgError{"Out", "overlaps Gates"}
	}
	return seqs, nil
}

// Work counts what a checked call does: attention over the pairs of the three branches, and 2 D for each compressed pair more, for the
// selection. Pairs are those of rows that find as many blocks as they may select; Exact is false.
func (n NSA) Work(args *Args, seqs []Sequence) Work {
	n = n.Canonical()
	a := n.Attention
	w := a.Work(args, seqs, false)
	w.Exact, w.Pairs = false, 0
	var compressed int64
	for i := range seqs {
		s := &seqs[i]
		for row := range s.Sq {
			t := min(row+s.Off, s.Sk-1)
			if t < 0 {
				continue
			}
			own := t / n.Select
			compressed += int64(n.Compressed(t + 1))
			w.Pairs += int64(t+1-own*n.Select) + int64(min(own, n.TopN-1))*int64(n.Select)
			w.Pairs += int64(min(t+1, n.Window))
		}
	}
	w.Pairs = (w.Pairs + compressed) * int64(a.HeadsQ)
	w.FLOPs = 2*float64(w.Pairs)*float64(a.HeadDim+a.ValueDim) + 2*float64(compressed)*float64(a.HeadsQ)*float64(a.HeadDim)
	if lo, hi, ok := args.Gates.byteExtent(); ok {
		w.Bytes += hi - lo
	}
	return w
}

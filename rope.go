package vkattn

import (
	"cmp"
	"fmt"
	"strings"
)

// RopeLayout says which columns of a head form a pair that is rotated together. Both layouts give the
// same scores if the rows of the projections of q and of k are permuted alike.
type RopeLayout uint8

const (
	RopeHalf        RopeLayout = iota // columns i and i+R/2: GPT-NeoX, Llama and Qwen as Hugging Face has them
	RopeInterleaved                   // columns 2i and 2i+1: GPT-J, Meta's Llama, DeepSeek
)

func (l RopeLayout) String() string { return [...]string{"half", "interleaved"}[l] }

// Rope is rotary position embedding of queries or keys (Su et al., "RoFormer", 2021): in every row of a
// head, pair i of the first R = RotaryDim columns is turned by the angle of the row's position,
//
//	x' = x cos_pi - y sin_pi
//	y' = y cos_pi + x sin_pi
//
// and the columns from R on are copied. Args.Q is the input and Args.Out the output, both [B, Heads, S,
// HeadDim]; Out may be the same tensor as Q. The angles come as tables Args.Cos and Args.Sin, float32 with
// R/2 columns, which RopeTable makes from the inverse frequencies of RopeFrequencies. Row s of a
// table belongs to token s, unless Args.Positions says which row each token reads.
//
// Batch, Heads and Seq are capacities, as in Attention. Packed sequences need no words of their own: they
// are a batch of 1, and Positions restarts with every sequence.
type Rope struct {
	Batch   int `json:"batch"` // largest batch
	Heads   int `json:"heads"`
	Seq     int `json:"seq"`      // largest number of tokens on the sequence axis
	HeadDim int `json:"head_dim"` // D

	RotaryDim int        `json:"rotary_dim"` // R, even, at most HeadDim; 0: HeadDim
	Layout    RopeLayout `json:"layout"`
	// Inverse turns by the negative angle. That is the transpose, which carries a gradient back; with an
	// attention factor a in the tables it undoes the rotation up to the factor a*a.
	Inverse   bool `json:"inverse"`
	Positions bool `json:"positions"` // Args.Positions is given

	TypeQ   Type `json:"type_q"`
	TypeOut Type `json:"type_out"`
}

func (Rope) op() {}

// Canonical is the op with its defaults written out. Two ops mean the same exactly if their canonical
// forms are equal.
func (r Rope) Canonical() Rope {
	if r.RotaryDim == 0 {
		r.RotaryDim = r.HeadDim
	}
	return r
}

// Validate returns a *ShapeError that names the field, or nil.
func (r Rope) Validate() error {
	c := r.Canonical()
	if err := cmp.Or(inRange("Batch", r.Batch, 0, maxBatch), inRange("Heads", r.Heads, 1, maxHeads), inRange("Seq", r.Seq, 0, MaxSequence),
		inRange("HeadDim", r.HeadDim, 1, maxHeadDim), inRange("RotaryDim", r.RotaryDim, 0, r.HeadDim)); err != nil {
		return err
	}
	if c.RotaryDim%2 != 0 {
		return &ShapeError{"RotaryDim", "", c.RotaryDim, "an even number, columns are rotated in pairs"}
	}
	if r.Layout > RopeInterleaved {
		return &ShapeError{"Layout", "", uint8(r.Layout), "RopeHalf or RopeInterleaved"}
	}
	return cmp.Or(numberType("TypeQ", r.TypeQ), numberType("TypeOut", r.TypeOut))
}

// Hash is a stable 64-bit FNV-1a hash of the canonical op, the same in every process.
func (r Rope) Hash() uint64 { return hash(r.Canonical()) }

// String is a short canonical name, such as "rope b1 h32 s2048 d128 r96 f32 half positions".
func (r Rope) String() string {
	c := r.Canonical()
	var b strings.Builder
	fmt.Fprintf(&b, "rope b%d h%d s%d d%d", c.Batch, c.Heads, c.Seq, c.HeadDim)
	if c.RotaryDim != c.HeadDim {
		fmt.Fprintf(&b, " r%d", c.RotaryDim)
	}
	fmt.Fprintf(&b, " %s", c.TypeQ)
	if c.TypeOut != c.TypeQ {
		fmt.Fprintf(&b, "/%s", c.TypeOut)
	}
	fmt.Fprintf(&b, " %s", c.Layout)
	if c.Inverse {
		b.WriteString(" inverse")
	}
	if c.Positions {
		b.WriteString(" positions")
	}
	return b.String()
}

// Work counts what a checked call does: six operations for a pair, every input and output once. There
// are no visible pairs to count.
func (r Rope) Work(args *Args) Work {
	r = r.Canonical()
	rows := float64(args.Q.Shape[0]) * float64(r.Heads) * float64(args.Q.Shape[2])
	w := Work{Exact: true, FLOPs: 3 * rows * float64(r.RotaryDim)}
	w.Bytes = int64(args.Q.Len())/blockLen*(elemBytes(r.TypeQ)+elemBytes(r.TypeOut)) +
		int64(args.Q.Len())%blockLen*(elemBytes(r.TypeQ)+elemBytes(r.TypeOut))/blockLen +
		4*int64(args.Cos.Len()+args.Sin.Len()+len(args.Positions))
	return w
}

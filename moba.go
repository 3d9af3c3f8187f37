package vkattn

import (
	"fmt"
	"strings"
)

// MoBA is mixture of block attention, forward: every row of every query head sees its own block of keys, up to itself, and the
// TopK-1 past blocks whose mean key fits it best. With t = i+off the position of row i and c = floor(t/Block) its block,
//
//	gate(i, b) = q_i . mean of k_j over the keys j of block b
//	choice(i)  = c and the TopK-1 blocks b < c with the largest gates
//	Out_i      = attention of row i over the visible keys j with floor(j/Block) in choice(i)
//
// Of equal gates the lowest block wins; a NaN is larger than every number. Gates are float32, so that blocks whose gates are
// nearly equal may change places. The last block of a sequence may be shorter. With TopK of all blocks or more this is
// causal attention.
//
// Attention has the shape, the scale, and what applies on top of the choice: alignment, key lengths, window, chunk, prefix, ALiBi, biases,
// softcap, sink logits. It is causal and not packed, and has no masks as data: boolean, tree and block masks are refused, as
// are positions that do not count from 0 (Args.QBase, KBase). Source: Lu et al., "MoBA: Mixture of Block Attention for
// Long-Context LLMs" (2025), MoonshotAI/MoBA.
type MoBA struct {
	Attention Attention `json:"attention"`
	Block     int       `json:"block"` // keys of a block
	TopK      int       `json:"top_k"` // blocks that a row sees, its own included
}

func (MoBA) op() {}

// Canonical is the op with its defaults written out. Two ops mean the same exactly if their canonical
// forms are equal.
func (m MoBA) Canonical() MoBA {
	m.Attention = m.Attention.Canonical()
	if m.Block > 0 {
		m.TopK = min(m.TopK, max(1, ceilDiv(m.Attention.SeqK, m.Block)))
	}
	return m
}

// All reports whether a row sees all of its past, whatever fits the capacity: then this is causal attention.
func (m MoBA) All() bool { return m.TopK >= ceilDiv(m.Attention.SeqK, m.Block) }

// Validate returns a *ShapeError or *ArgError that names the field, or nil.
func (m MoBA) Validate() error {
	for _, f := range []struct {
		name string
		v    int
	}{{"Block", m.Block}, {"TopK", m.TopK}} {
		if err := inRange(f.name, f.v, 1, MaxSequence); err != nil {
			return err
		}
	}
	return m.Attention.choosing()
}

// choosing is Validate for attention whose rows choose blocks of keys for themselves.
func (a Attention) choosing() error {
	if err := a.Validate(); err != nil {
		return err
	}
	switch {
	case a.Packed:
		return &ArgError{"Packed", "blocks of packed sequences are not defined"}
	case !a.Causal:
		return &ArgError{"Causal", "is false, but rows choose among past blocks"}
	case a.With&(WithMask|WithTree|WithBlocks) != 0:
		return &ArgError{"With", "has " + (a.With & (WithMask | WithTree | WithBlocks)).String() + ", but rows choose their keys for themselves"}
	}
	return nil
}

// Hash is a stable 64-bit FNV-1a hash of the canonical op, the same in every process.
func (m MoBA) Hash() uint64 { return hash(m.Canonical()) }

// String is a short canonical name, such as "moba b1 h8 q4096 k4096 d128 f32 causal block512 top3".
func (m MoBA) String() string {
	c := m.Canonical()
	return fmt.Sprintf("moba%s block%d top%d", strings.TrimPrefix(m.Attention.String(), "attention"), c.Block, c.TopK)
}

// Check finds everything that the host can see to be wrong with a call, and resolves its sequences. Errors are
// *ShapeError or *ArgError and name the argument. Backends call it before any work.
func (m MoBA) Check(args *Args) ([]Sequence, error) {
	if err := m.Validate(); err != nil {
		return nil, err
	}
	return m.Attention.checkChoosing("moba", args)
}

// checkChoosing is Check for attention whose rows choose blocks of keys for themselves.
func (a Attention) checkChoosing(op string, args *Args) ([]Sequence, error) {
	if args.QBase != 0 || args.KBase != 0 {
		return nil, &ArgError{"QBase", "blocks are counted from key 0: QBase and KBase must be 0"}
	}
	if err := args.unused(op); err != nil {
		return nil, err
	}
	inner := *args
	inner.Gates = Tensor{}
	return a.Check(&inner)
}

// Work counts what a checked call does: attention over the chosen blocks, and 2 D for each gate. Pairs are those of rows
// that find as many blocks as they may choose, none of them cut short; other masks are not counted, and are what Exact is about.
func (m MoBA) Work(args *Args, seqs []Sequence) Work {
	m = m.Canonical()
	a := m.Attention
	w := a.Work(args, seqs, false)
	w.Exact = a.With&(WithBias|WithRelative|WithPrefix) == 0 && !a.Window.Given() && a.Chunk == 0
	w.Pairs = 0
	var gates float64
	for i := range seqs {
		s := &seqs[i]
		blocks := ceilDiv(s.Sk, m.Block)
		for row := range s.Sq {
			t := row + s.Off
			own := floorDiv(t, m.Block)
			switch {
			case own < 0:
			case own < blocks:
				w.Pairs += int64(min(t+1, s.Sk)-own*m.Block) + int64(min(own, m.TopK-1))*int64(m.Block)
				gates += float64(own)
			default: // behind the keys: no block is its own
				w.Pairs += min(int64(s.Sk), int64(m.TopK)*int64(m.Block))
				w.Exact = w.Exact && (s.Sk%m.Block == 0 || m.TopK >= blocks)
				gates += float64(blocks)
			}
		}
	}
	w.Pairs *= int64(a.HeadsQ)
	w.FLOPs = 2*float64(w.Pairs)*float64(a.HeadDim+a.ValueDim) + 2*gates*float64(a.HeadsQ)*float64(a.HeadDim)
	return w
}

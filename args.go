package vkattn

import (
	"fmt"
	"math"
	"strings"
)

// Args is the data of one call, of any Op; the comments are about Attention unless they say otherwise.
// Shapes are [batch, heads, sequence, last]; B, Sq and Sk are actual sizes, taken from the tensors, at most
// the capacities of the Op. Fields that the Op does not read, or its With does not name, must be left
// out. Tensors of packed sequences have batch 1 and all tokens on the sequence axis.
//
// The caller keeps the memory alive and unchanged until the run is over. Out and LSE may not overlap
// each other or any input; the Out of Rope may be its Q.
type Args struct {
	Q   Tensor // [B, HeadsQ, Sq, HeadDim]
	K   Tensor // [B, HeadsK, Sk, HeadDim]
	V   Tensor // [B, HeadsV, Sk, ValueDim]
	Out Tensor // [B, HeadsQ, Sq, ValueDim]
	LSE Tensor // [B, HeadsQ, Sq, 1] float32: natural logarithm of the denominator, sink included

	Bias       Tensor // [B, HeadsQ, Sq, Sk] float32, strides of 0 broadcast
	Mask       Tensor // [B, HeadsQ, Sq, Sk] Bool, with MaskBlock [.., ceil(Sk/MaskBlock)], strides of 0 broadcast
	Tree       Tensor // [B, 1, Sq, Sk] Bool, strides of 0 broadcast
	Slopes     Tensor // [B, HeadsQ, 1, 1] float32
	SinkLogits Tensor // [B, HeadsQ, 1, 1] float32
	Relative   Tensor // [B, HeadsQ, 1, 2R+1] float32: entry min(max(j-i-off, -R), R) + R is added, -inf hides; see RelativeBias

	// Factors of 8-bit floats: the number that a code stands for is its value times the factor. [B, heads, N, 1]
	// float32 with the heads of Q, K or V, and N = 1, or ceil(Sq or Sk / DescaleBlock); axes of size 1 broadcast.
	DescaleQ, DescaleK, DescaleV Tensor

	CuSeqQ, CuSeqK []int32    // packed: B+1 exclusive prefix sums of the lengths, from 0
	KeyLengths     []int32    // B numbers: sequence b has Sk = KeyLengths[b] keys, at most K's sequence axis
	Offset         []int      // AlignOffset: off, 1 or B numbers
	Prefix         []int32    // 1 or B absolute positions: causal keeps keys before Prefix[b]
	Global         []int32    // absolute positions of global tokens, ascending
	Blocks         *BlockMask // over the Sq x Sk grid (packed: of SeqQ x SeqK, the capacities)
	QBase, KBase   int        // added to every i and j: the position of row 0 and key 0 in a longer sequence

	Gates Tensor // of NSA alone: [B, HeadsQ, Sq, 3] float32

	// Of Linear alone, all float32; see its Check.
	Decay      Tensor // natural logarithms g, at most 0 to be stable; shape by Linear.Decay
	Beta       Tensor // [B, States, Sk, 1]: RuleDelta is stable while Beta |k|^2 is at most 2
	Projection Tensor // [1, 1, Features, HeadDim]
	StateIn    Tensor // Linear.StateShape
	StateOut   Tensor // the same

	Parts []Partial // of Merge alone: results to be joined

	// Of Rope alone.
	Cos, Sin  Tensor  // [1 or B, 1, rows, R/2] float32, from RopeTable
	Positions []int32 // S or B*S rows of Cos and Sin, one for each token
}

// For packed sequences the score-shaped tensors Bias, Mask and Tree are [B, HeadsQ, SeqQ, SeqK], with
// the capacities of the Op, and are indexed by positions inside each sequence. So are descale factors, by blocks of
// the capacities.

// DescaleIndex is the element offset, in t of DescaleQ, DescaleK and DescaleV, of the factor of token s of head h in
// sequence b. Axes of size 1 stand for all.
func (a Attention) DescaleIndex(t Tensor, b, h, s int) int {
	block := 0
	if a.DescaleBlock > 0 {
		block = s / a.DescaleBlock
	}
	return t.Index(min(b, t.Shape[0]-1), min(h, t.Shape[1]-1), min(block, t.Shape[2]-1), 0)
}

// descaleShape is that of the factors of n tokens in each sequence of a batch.
func (a Attention) descaleShape(batch, heads, n int) [4]int {
	if a.DescaleBlock == 0 {
		return [4]int{batch, heads, 1, 1}
	}
	return [4]int{batch, heads, (n + a.DescaleBlock - 1) / a.DescaleBlock, 1}
}

// Check finds everything that the host can see to be wrong with a call, and resolves its sequences.
// Errors are *ShapeError or *ArgError and name the argument. Backends call it before any work.
func (a Attention) Check(args *Args) ([]Sequence, error) {
	if err := a.Validate(); err != nil {
		return nil, err
	}
	a = a.Canonical()
	if err := args.unused("attention"); err != nil {
		return nil, err
	}
	if err := a.checkSizes(args); err != nil {
		return nil, err
	}
	batch, sq, sk := args.Q.Shape[0], args.Q.Shape[2], args.K.Shape[2]
	scoreB, scoreQ, scoreK := batch, sq, sk
	seqs, err := a.lengths(args, batch, sq, sk)
	if err != nil {
		return nil, err
	}
	if a.Packed {
		scoreB, scoreQ, scoreK = len(seqs), a.SeqQ, a.SeqK
	}
	perHead := [4]int{scoreB, a.HeadsQ, 1, 1}
	relative := [4]int{scoreB, a.HeadsQ, 1, args.Relative.Shape[3] | 1} // an odd number of distances
	score := [4]int{scoreB, a.HeadsQ, scoreQ, scoreK}
	mask := [4]int{scoreB, a.HeadsQ, scoreQ, ceilDiv(scoreK, max(a.MaskBlock, 1))}
	tree := [4]int{scoreB, 1, scoreQ, scoreK}
	for _, t := range []struct {
		name  string
		t     *Tensor
		typ   Type
		shape [4]int
		write bool
		need  bool
	}{
		{"Q", &args.Q, a.TypeQ, [4]int{batch, a.HeadsQ, sq, a.HeadDim}, false, true},
		{"K", &args.K, a.TypeK, [4]int{batch, a.HeadsK, sk, a.HeadDim}, false, true},
		{"V", &args.V, a.TypeV, [4]int{batch, a.HeadsV, sk, a.ValueDim}, false, true},
		{"Out", &args.Out, a.TypeOut, [4]int{batch, a.HeadsQ, sq, a.ValueDim}, true, true},
		{"LSE", &args.LSE, Float32, [4]int{batch, a.HeadsQ, sq, 1}, true, a.With.Has(WithLSE)},
		{"Bias", &args.Bias, Float32, score, false, a.With.Has(WithBias)},
		{"Mask", &args.Mask, Bool, mask, false, a.With.Has(WithMask)},
		{"Tree", &args.Tree, Bool, tree, false, a.With.Has(WithTree)},
		{"Slopes", &args.Slopes, Float32, perHead, false, a.With.Has(WithALiBi)},
		{"SinkLogits", &args.SinkLogits, Float32, perHead, false, a.With.Has(WithSinkLogits)},
		{"Relative", &args.Relative, Float32, relative, false, a.With.Has(WithRelative)},
		{"DescaleQ", &args.DescaleQ, Float32, a.descaleShape(scoreB, a.HeadsQ, scoreQ), false, a.With.Has(WithDescaleQ)},
		{"DescaleK", &args.DescaleK, Float32, a.descaleShape(scoreB, a.HeadsK, scoreK), false, a.With.Has(WithDescaleK)},
		{"DescaleV", &args.DescaleV, Float32, a.descaleShape(scoreB, a.HeadsV, scoreK), false, a.With.Has(WithDescaleV)},
	} {
		if !t.need {
			if t.t.Given() {
				return nil, &ArgError{t.name, "given, but the op does not name it in With"}
			}
			continue
		}
		given := *t.t
		if strings.HasPrefix(t.name, "Descale") {
			given = given.Broadcast(t.shape[0], t.shape[1], t.shape[2], t.shape[3])
		} else if (t.name == "Slopes" || t.name == "SinkLogits" || t.name == "Relative") && given.Shape[0] == 1 {
			given = given.Broadcast(scoreB, given.Shape[1], given.Shape[2], given.Shape[3])
		}
		if err := given.check(t.name, t.typ, t.shape, t.write); err != nil {
			return nil, err
		}
	}
	if err := a.checkLists(args, len(seqs)); err != nil {
		return nil, err
	}
	if a.With.Has(WithBlocks) {
		if err := args.Blocks.Check(scoreB, a.HeadsQ, scoreQ, scoreK); err != nil {
			return nil, err
		}
		if err := a.checkFullBlocks(args, seqs); err != nil {
			return nil, err
		}
	}
	return seqs, checkOverlap(args)
}

// lengths resolves the sequences of a call: their places in the tensors, lengths and diagonals.
func (a Attention) lengths(args *Args, batch, sq, sk int) ([]Sequence, error) {
	if !a.Packed && (args.CuSeqQ != nil || args.CuSeqK != nil) {
		return nil, &ArgError{"CuSeqQ", "given, but the op is not packed"}
	}
	if !a.With.Has(WithKeyLengths) && args.KeyLengths != nil {
		return nil, &ArgError{"KeyLengths", "given, but the op does not name it in With"}
	}
	var seqs []Sequence
	if a.Packed {
		n := len(args.CuSeqQ) - 1
		if n < 0 || n > a.Batch {
			return nil, &ShapeError{"CuSeqQ", "length", len(args.CuSeqQ), fmt.Sprintf("1 to %d: one more than there are sequences", a.Batch+1)}
		}
		if batch != 1 {
			return nil, &ShapeError{"Q", "batch", batch, "1, packed tensors have no batch axis"}
		}
		if len(args.CuSeqK) != n+1 {
			return nil, &ShapeError{"CuSeqK", "length", len(args.CuSeqK), fmt.Sprint(n + 1)}
		}
		for _, c := range []struct {
			name  string
			cu    []int32
			total int
			max   int
		}{{"CuSeqQ", args.CuSeqQ, sq, a.SeqQ}, {"CuSeqK", args.CuSeqK, sk, a.SeqK}} {
			if c.cu[0] != 0 {
				return nil, &ArgError{c.name, fmt.Sprintf("starts at %d, want 0", c.cu[0])}
			}
			for b := range n {
				if c.cu[b+1] < c.cu[b] {
					return nil, &ArgError{c.name, fmt.Sprintf("falls from %d to %d at sequence %d", c.cu[b], c.cu[b+1], b)}
				}
				if l := int(c.cu[b+1] - c.cu[b]); l > c.max {
					return nil, &ShapeError{c.name, fmt.Sprintf("sequence %d", b), l, fmt.Sprintf("at most %d tokens, the capacity of the plan", c.max)}
				}
			}
			if int(c.cu[n]) > c.total {
				return nil, &ShapeError{c.name, "last", c.cu[n], fmt.Sprintf("at most %d, the tokens in the tensor", c.total)}
			}
		}
		for b := range n {
			seqs = append(seqs, Sequence{Index: b, Q0: int(args.CuSeqQ[b]), K0: int(args.CuSeqK[b]),
				Sq: int(args.CuSeqQ[b+1] - args.CuSeqQ[b]), Sk: int(args.CuSeqK[b+1] - args.CuSeqK[b])})
		}
	} else {
		for b := range batch {
			s := Sequence{Index: b, Batch: b, Sq: sq, Sk: sk}
			if a.With.Has(WithKeyLengths) {
				if len(args.KeyLengths) != batch {
					return nil, &ShapeError{"KeyLengths", "length", len(args.KeyLengths), fmt.Sprint(batch)}
				}
				if l := int(args.KeyLengths[b]); l < 0 || l > sk {
					return nil, &ShapeError{"KeyLengths", fmt.Sprintf("sequence %d", b), l, fmt.Sprintf("0 to %d, the keys in the tensor", sk)}
				} else {
					s.Sk = l
				}
			}
			seqs = append(seqs, s)
		}
	}
	return seqs, a.diagonals(args, seqs)
}

// diagonals fills in the closed-form masks of the sequences.
func (a Attention) diagonals(args *Args, seqs []Sequence) error {
	const far = math.MaxInt / 4
	for _, p := range []struct {
		name string
		v    int
	}{{"QBase", args.QBase}, {"KBase", args.KBase}} {
		if p.v <= -far || p.v >= far {
			return &ArgError{p.name, fmt.Sprintf("is %d, too far out", p.v)}
		}
	}
	n := len(seqs)
	if a.Align == AlignOffset {
		if len(args.Offset) != 1 && len(args.Offset) != n {
			return &ShapeError{"Offset", "length", len(args.Offset), fmt.Sprintf("1 or %d", n)}
		}
	} else if args.Offset != nil {
		return &ArgError{"Offset", "given, but the op's Align is not AlignOffset"}
	}
	if a.With.Has(WithPrefix) {
		if len(args.Prefix) != 1 && len(args.Prefix) != n {
			return &ShapeError{"Prefix", "length", len(args.Prefix), fmt.Sprintf("1 or %d", n)}
		}
	} else if args.Prefix != nil && a.Causal {
		return &ArgError{"Prefix", "given, but the op does not name it in With"}
	}
	for b := range seqs {
		s := &seqs[b]
		off := 0
		switch a.Align {
		case AlignBottomRight:
			off = s.Sk - s.Sq
		case AlignOffset:
			off = args.Offset[min(b, len(args.Offset)-1)]
			if off <= -far || off >= far {
				return &ArgError{"Offset", fmt.Sprintf("is %d, too far out", off)}
			}
		}
		s.Off, s.KBase, s.Rel = off, args.KBase, args.QBase+off-args.KBase
		s.Causal, s.Window, s.Chunk = a.Causal, a.Window, a.Chunk
		s.SinkTokens, s.Prefix = -far, -far
		if a.SinkTokens > 0 {
			s.SinkTokens = a.SinkTokens
		}
		if a.With.Has(WithPrefix) {
			s.Prefix = int(args.Prefix[min(b, len(args.Prefix)-1)])
		}
		if a.With.Has(WithGlobal) {
			s.Global = args.Global
		}
	}
	return nil
}

func (a Attention) checkLists(args *Args, n int) error {
	if a.With.Has(WithGlobal) {
		for i := 1; i < len(args.Global); i++ {
			if args.Global[i] <= args.Global[i-1] {
				return &ArgError{"Global", fmt.Sprintf("position %d follows %d, want ascending positions", args.Global[i], args.Global[i-1])}
			}
		}
	} else if args.Global != nil && a.Window.Given() {
		return &ArgError{"Global", "given, but the op does not name it in With"}
	}
	if !a.With.Has(WithBlocks) && args.Blocks != nil {
		return &ArgError{"Blocks", "given, but the op does not name it in With"}
	}
	return nil
}

// checkFullBlocks makes sure that host masks hide nothing in a block that claims to be full.
func (a Attention) checkFullBlocks(args *Args, seqs []Sequence) error {
	m := args.Blocks
	for _, t := range []struct {
		name   string
		t      Tensor
		column func(j int) int
	}{{"Mask", args.Mask, a.MaskColumn}, {"Tree", args.Tree, func(j int) int { return j }}} {
		host, ok := t.t.Mem.(*Host)
		if !ok {
			continue
		}
		bytes := host.Bytes()
		for _, s := range seqs {
			for h := range a.HeadsQ {
				if h > 0 && m.Heads == 1 && (t.t.Stride[1] == 0 || t.t.Shape[1] == 1) {
					break // every head reads the same lists and the same mask
				}
				for r := range m.RowBlocks {
					keys, full := m.List(s.Index, h, r)
					for e, key := range keys {
						if !full[e] {
							continue
						}
						for i := r * m.BlockQ; i < min((r+1)*m.BlockQ, s.Sq); i++ {
							for j := int(key) * m.BlockK; j < min((int(key)+1)*m.BlockK, s.Sk); j++ {
								if bytes[t.t.Index(s.Index, min(h, t.t.Shape[1]-1), i, t.column(j))] == 0 {
									return &ArgError{"Blocks", fmt.Sprintf("block (%d, %d) of head %d is listed as full, but %s hides row %d, key %d", r, key, h, t.name, i, j)}
								}
							}
						}
					}
				}
			}
		}
	}
	return nil
}

func checkOverlap(args *Args) error {
	inputs := []struct {
		name string
		t    *Tensor
	}{{"Q", &args.Q}, {"K", &args.K}, {"V", &args.V}, {"Bias", &args.Bias}, {"Mask", &args.Mask},
		{"Tree", &args.Tree}, {"Slopes", &args.Slopes}, {"SinkLogits", &args.SinkLogits}, {"Relative", &args.Relative},
		{"DescaleQ", &args.DescaleQ}, {"DescaleK", &args.DescaleK}, {"DescaleV", &args.DescaleV}}
	for _, in := range inputs {
		if args.Out.overlaps(*in.t) {
			return &ArgError{"Out", "overlaps " + in.name}
		}
		if args.LSE.overlaps(*in.t) {
			return &ArgError{"LSE", "overlaps " + in.name}
		}
	}
	if args.Out.overlaps(args.LSE) {
		return &ArgError{"LSE", "overlaps Out"}
	}
	return nil
}

// unused makes sure that a call carries nothing that only other ops take: it would be ignored.
func (a *Args) unused(op string) error {
	linear, rope, nsa, merge := op == "linear", op == "rope", op == "nsa", op == "merge"
	attention := !linear && !rope && !merge
	sequences := attention || linear
	for _, f := range []struct {
		name         string
		given, taken bool
	}{
		{"Q", a.Q.Given(), !merge}, {"Parts", a.Parts != nil, merge},
		{"K", a.K.Given(), sequences}, {"V", a.V.Given(), sequences},
		{"CuSeqQ", a.CuSeqQ != nil, sequences}, {"CuSeqK", a.CuSeqK != nil, sequences},

		{"LSE", a.LSE.Given(), attention || merge}, {"Bias", a.Bias.Given(), attention}, {"Mask", a.Mask.Given(), attention},
		{"Tree", a.Tree.Given(), attention}, {"Slopes", a.Slopes.Given(), attention},
		{"SinkLogits", a.SinkLogits.Given(), attention}, {"Relative", a.Relative.Given(), attention},
		{"DescaleQ", a.DescaleQ.Given(), attention}, {"DescaleK", a.DescaleK.Given(), attention}, {"DescaleV", a.DescaleV.Given(), attention},
		{"KeyLengths", a.KeyLengths != nil, attention},
		{"Offset", a.Offset != nil, attention}, {"Prefix", a.Prefix != nil, attention},
		{"Global", a.Global != nil, attention}, {"Blocks", a.Blocks != nil, attention},
		{"QBase", a.QBase != 0, attention}, {"KBase", a.KBase != 0, attention},

		{"Gates", a.Gates.Given(), nsa},

		{"Projection", a.Projection.Given(), linear}, {"Decay", a.Decay.Given(), linear}, {"Beta", a.Beta.Given(), linear},
		{"StateIn", a.StateIn.Given(), linear}, {"StateOut", a.StateOut.Given(), linear},

		{"Cos", a.Cos.Given(), rope}, {"Sin", a.Sin.Given(), rope}, {"Positions", a.Positions != nil, rope},
	} {
		if f.given && !f.taken {
			return &ArgError{f.name, "given, but " + op + " does not read it"}
		}
	}
	return nil
}

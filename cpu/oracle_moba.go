package cpu

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// MoBA says how mixture of block attention chooses blocks.
type MoBA struct {
	Block int // keys of a block
	TopK  int // blocks that a row sees, its own included
}

// MoBAResult is attention over the chosen blocks, and the choice.
type MoBAResult struct {
	Result
	// Choice is [B, HeadsQ, Sq, TopK]: the blocks of each row, ascending, and behind them -1.
	Choice []int32
	// Margin is [B, HeadsQ, Sq]: how much the gates of a chosen past block and of one that is not differ at least, over the
	// largest of the row's; +Inf where there are not both. In float32 a row with next to none may choose otherwise.
	Margin []float64
}

// Oracle computes mixture of block attention in float64, from its definition. With c the block of row i, which stands at
// position i+off,
//
//	gate(i, b) = q_i . mean of k_j over the keys j of block b
//	choice(i)  = c and the TopK-1 blocks b < c with the largest gates
//	Out_i      = attention of row i over the visible keys j with floor(j/Block) in choice(i)
//
// Each query head chooses for itself. Of equal gates the lowest block wins; a NaN is larger than every number, so that
// the row that it belongs to sees it. With TopK of all blocks or more this is causal attention. The op is causal and
// not packed; its other masks apply on top. Choice goes to vkattn.MaskGrid.SelectedBlocks. Source: Lu et al., "MoBA: Mixture of
// Block Attention for Long-Context LLMs" (2025), MoonshotAI/MoBA.
func (m MoBA) Oracle(op vkattn.Attention, args *vkattn.Args) (*MoBAResult, error) {
	p, err := m.problem(op, args)
	if err != nil {
		return nil, err
	}
	sq := args.Q.Shape[2]
	n := len(p.seqs) * p.op.HeadsQ * sq
	if float64(n)*float64(m.TopK) > math.MaxInt32 {
		return nil, &vkattn.ShapeError{Arg: "TopK", Got: m.TopK, Want: fmt.Sprintf("at most %d choices for %d rows", math.MaxInt32, n)}
	}
	dv := p.op.ValueDim
	r := &MoBAResult{Result: Result{Out: make([]float64, n*dv), LSE: make([]float64, n)}, Choice: slices.Repeat([]int32{-1}, n*m.TopK), Margin: make([]float64, n)}
	for _, s := range p.seqs {
		for h := range p.op.HeadsQ {
			means := blockMeans(p, s, h, m.Block)
			for i := range s.sq {
				at := (s.batch*p.op.HeadsQ+h)*sq + i
				own := floorDiv(i+s.off, m.Block)
				gates := make([]float64, max(0, min(own, len(means))))
				for b := range gates {
					gates[b] = floats.Dot(p.query(s, h, i), means[b])
				}
				var forced []int
				if own >= 0 && own < len(means) {
					forced = []int{own}
				}
				chosen := topBlocks(gates, forced, m.TopK)
				r.Margin[at] = margin(gates, chosen, forced)
				for n, b := range chosen {
					r.Choice[at*m.TopK+n] = int32(b)
				}
				mask := p.mask(s, h, i, s.sk)
				for j := range mask {
					mask[j] = mask[j] && slices.Contains(chosen, j/m.Block)
				}
				r.LSE[at] = p.attend(s, h, i, mask, r.Out[at*dv:(at+1)*dv])
				for _, keep := range mask {
					r.Visible += int64(btoi(keep))
				}
			}
		}
	}
	return r, nil
}

func (m MoBA) problem(op vkattn.Attention, args *vkattn.Args) (*problem, error) {
	if m.Block < 1 || m.TopK < 1 {
		return nil, &vkattn.ShapeError{Arg: "MoBA", Axis: "block and top-k", Got: [2]int{m.Block, m.TopK}, Want: "1 or more"}
	}
	return causalProblem(op, args)
}

// causalProblem is a checked call that is causal and not packed.
func causalProblem(op vkattn.Attention, args *vkattn.Args) (*problem, error) {
	p, err := newProblem(op, args)
	switch {
	case err != nil:
		return nil, err
	case p.op.Packed:
		return nil, &vkattn.ArgError{Arg: "Packed", Reason: "blocks of packed sequences are not defined here"}
	case !p.op.Causal:
		return nil, &vkattn.ArgError{Arg: "Causal", Reason: "is false, but the definition is causal"}
	case args.QBase != 0 || args.KBase != 0:
		return nil, &vkattn.ArgError{Arg: "QBase", Reason: "blocks are counted from key 0: QBase and KBase must be 0"}
	}
	return p, nil
}

// blockMeans are the means of the keys of each block that query head h reads; the last block may be shorter.
func blockMeans(p *problem, s sequence, h, block int) [][]float64 {
	var means [][]float64
	K := p.keys(s, h)
	for j0 := 0; j0 < s.sk; j0 += block {
		j1 := min(j0+block, s.sk)
		means = append(means, meanRows(K, j0, j1))
	}
	return means
}

// meanRows is the mean of rows [lo, hi) of x.
func meanRows(x *mat.Dense, lo, hi int) []float64 {
	_, d := x.Dims()
	mean := make([]float64, d)
	for j := lo; j < hi; j++ {
		floats.Add(mean, x.RawRowView(j))
	}
	floats.Scale(1/float64(hi-lo), mean)
	return mean
}

// topBlocks are the forced blocks and those with the largest scores beside them, n in all or fewer, ascending. Of
// equal scores the lowest index wins; a NaN is larger than every number.
func topBlocks(scores []float64, forced []int, n int) []int {
	chosen := slices.Clone(forced)
	chosen = chosen[:min(n, len(chosen))]
	var others []int
	for b := range scores {
		if !slices.Contains(forced, b) {
			others = append(others, b)
		}
	}
	slices.SortStableFunc(others, func(a, b int) int {
		x, y := scores[a], scores[b]
		if math.IsNaN(x) || math.IsNaN(y) {
			return cmp.Compare(btoi(math.IsNaN(y)), btoi(math.IsNaN(x)))
		}
		return cmp.Compare(y, x)
	})
	chosen = append(chosen, others[:min(n-len(chosen), len(others))]...)
	slices.Sort(chosen)
	return chosen
}

// margin is the smallest difference between the scores of a chosen block and of one that is not, over the largest score.
func margin(scores []float64, chosen, forced []int) float64 {
	last, first, largest := math.Inf(1), minusInf, 0.0
	for b, x := range scores {
		largest = max(largest, math.Abs(x))
		switch {
		case !slices.Contains(chosen, b):
			first = max(first, x)
		case !slices.Contains(forced, b):
			last = min(last, x)
		}
	}
	if math.IsInf(last, 0) || math.IsInf(first, 0) {
		return math.Inf(1)
	}
	return (last - first) / max(largest, math.SmallestNonzeroFloat64)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

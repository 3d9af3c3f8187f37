package cpu

import (
	"fmt"
	"math"
	"slices"

	"github.com/vkattn/vkattn"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// NSA says how native sparse attention compresses, selects and looks back.
type NSA struct {
	Compress int // keys of a compressed block, l
	Stride   int // keys between the starts of two, d; divides Compress and Select
	Select   int // keys of a selected block, l'
	TopN     int // selected blocks of a row, n: the first one, its own and the one before it included
	Window   int // tokens of the window, W, the row's own included
}

// NSAGates are the weights of the three branches, each [B, HeadsQ, Sq] and contiguous.
type NSAGates struct{ Compress, Select, Window []float64 }

// NSAResult is the gated sum of the branches, and what was selected.
type NSAResult struct {
	Out []float64 // [B, HeadsQ, Sq, ValueDim]
	// Choice is [B, HeadsK, Sq, TopN]: the selected blocks of each row and group, ascending, and behind them -1.
	Choice []int32
	// Margin is [B, HeadsK, Sq], as of MoBAResult.
	Margin []float64
}

// Oracle computes native sparse attention in float64, from its definition. With t = i+off the position of row i,
//
//	Out_i = g_cmp o_cmp + g_slc o_slc + g_win o_win
//
// o_cmp is attention over the compressed keys and values, the means over keys [c d, c d + l) for every c >= 0 whose block
// is complete and in the past, c d + l - 1 <= t; without any it is 0. p_cmp are its weights, and the selection is
//
//	p_slc[j] = sum over the heads of the group, m < l'/d and n < l/d of p_cmp[(l'/d) j + m - n]
//
// of which the TopN largest with j l' <= t are taken, blocks 0, floor(t/l') and the one before it first. o_slc is attention over
// the keys j <= t of the selected blocks, o_win over t-W < j <= t. A group is the heads that share a key head. Of equal
// scores the lowest block wins. The branches share keys and values, and compression is the mean, as in
// fla-org/flash-linear-attention; the paper has projections of their own and a learned compression. (The paper's index is
// -m-n, counted from 1.) The op is causal, not packed, and HeadsK equals HeadsV; softcap, ALiBi, bias and sink logits are refused;
// other masks apply to the selected and the window branch. Choice goes to vkattn.MaskGrid.SelectedBlocks.
// Source: Yuan et al., "Native Sparse Attention" (2025).
func (a NSA) Oracle(op vkattn.Attention, args *vkattn.Args, g NSAGates) (*NSAResult, error) {
	p, err := a.problem(op, args)
	if err != nil {
		return nil, err
	}
	sq, dv, heads := args.Q.Shape[2], p.op.ValueDim, p.op.HeadsQ
	n := len(p.seqs) * heads * sq
	for name, gate := range map[string][]float64{"Compress": g.Compress, "Select": g.Select, "Window": g.Window} {
		if len(gate) != n {
			return nil, &vkattn.ShapeError{Arg: "NSAGates." + name, Axis: "length", Got: len(gate), Want: fmt.Sprint(n)}
		}
	}
	if float64(n)*float64(a.TopN) > math.MaxInt32 {
		return nil, &vkattn.ShapeError{Arg: "TopN", Got: a.TopN, Want: fmt.Sprintf("at most %d choices for %d rows", math.MaxInt32, n)}
	}
	groups := p.op.HeadsK
	r := &NSAResult{Out: make([]float64, n*dv), Choice: slices.Repeat([]int32{-1}, len(p.seqs)*groups*sq*a.TopN),
		Margin: make([]float64, len(p.seqs)*groups*sq)}
	for _, s := range p.seqs {
		for group := range groups {
			var members []int
			for h := range heads {
				if p.op.HeadMap.Map(h, heads, groups) == group {
					members = append(members, h)
				}
			}
			K, V := compress(p.keys(s, members[0]), a), compress(p.values(s, members[0]), a)
			for i := range s.sq {
				total := make([]float64, (s.sk+a.Select-1)/a.Select)
				for _, h := range members {
					at := (s.batch*heads+h)*sq + i
					out := make([]float64, dv)
					floats.Add(total, a.scores(a.compressed(p, s, h, i, K, V, out), len(total)))
					floats.AddScaled(r.Out[at*dv:(at+1)*dv], g.Compress[at], out)
				}
				chosen, margin := a.choose(total, i+s.off)
				r.Margin[(s.batch*groups+group)*sq+i] = margin
				for n, b := range chosen {
					r.Choice[((s.batch*groups+group)*sq+i)*a.TopN+n] = int32(b)
				}
				for _, h := range members {
					at := (s.batch*heads+h)*sq + i
					visible := p.mask(s, h, i, s.sk)
					selected, window := slices.Clone(visible), slices.Clone(visible)
					for j := range visible {
						selected[j] = visible[j] && slices.Contains(chosen, j/a.Select)
						window[j] = visible[j] && i+s.off-j < a.Window
					}
					for _, branch := range []struct {
						gate float64
						mask []bool
					}{{g.Select[at], selected}, {g.Window[at], window}} {
						out := make([]float64, dv)
						p.attend(s, h, i, branch.mask, out)
						floats.AddScaled(r.Out[at*dv:(at+1)*dv], branch.gate, out)
					}
				}
			}
		}
	}
	return r, nil
}

func (a NSA) problem(op vkattn.Attention, args *vkattn.Args) (*problem, error) {
	if min(a.Compress, a.Stride, a.Select, a.TopN) < 1 || a.Window < 0 {
		return nil, &vkattn.ArgError{Arg: "NSA", Reason: fmt.Sprintf("%+v has a size below 1", a)}
	}
	if a.Compress%a.Stride != 0 || a.Select%a.Stride != 0 {
		return nil, &vkattn.ShapeError{Arg: "NSA", Axis: "stride", Got: a.Stride, Want: fmt.Sprintf("a divisor of %d and %d", a.Compress, a.Select)}
	}
	p, err := causalProblem(op, args)
	if err != nil {
		return nil, err
	}
	if p.op.HeadsK != p.op.HeadsV {
		return nil, &vkattn.ShapeError{Arg: "HeadsV", Got: p.op.HeadsV, Want: fmt.Sprintf("HeadsK %d: a group shares keys and values", p.op.HeadsK)}
	}
	if p.op.Softcap != 0 || p.op.With&(vkattn.WithALiBi|vkattn.WithBias|vkattn.WithSinkLogits) != 0 {
		return nil, &vkattn.ArgError{Arg: "Op", Reason: "softcap, ALiBi, bias and sink logits are not defined for native sparse attention"}
	}
	return p, nil
}

// compress has the mean of rows [c Stride, c Stride + Compress) of x as row c.
func compress(x *mat.Dense, a NSA) [][]float64 {
	var means [][]float64
	for c := 0; c+a.Compress <= rows(x); c += a.Stride {
		means = append(means, meanRows(x, c, c+a.Compress))
	}
	return means
}

// compressed is the compression branch of row i, into out, and its weights.
func (a NSA) compressed(p *problem, s sequence, h, i int, K, V [][]float64, out []float64) []float64 {
	var scores []float64
	q := p.query(s, h, i)
	for c := 0; c < len(K) && c*a.Stride+a.Compress-1 <= i+s.off; c++ {
		scores = append(scores, p.op.Scale.Value*floats.Dot(q, K[c]))
	}
	if len(scores) == 0 {
		return nil
	}
	sum, top := 0.0, slices.Max(scores)
	for c := range scores {
		scores[c] = math.Exp(scores[c] - top)
		sum += scores[c]
	}
	for c := range scores {
		scores[c] /= sum
		floats.AddScaled(out, scores[c], V[c])
	}
	return scores
}

// scores is p_slc of one head for n blocks.
func (a NSA) scores(weights []float64, n int) []float64 {
	out := make([]float64, n)
	for j := range out {
		for m := range a.Select / a.Stride {
			for n := range a.Compress / a.Stride {
				if c := a.Select/a.Stride*j + m - n; c >= 0 && c < len(weights) {
					out[j] += weights[c]
				}
			}
		}
	}
	return out
}

// choose are the selected blocks of a row at position t, and its margin.
func (a NSA) choose(scores []float64, t int) ([]int, float64) {
	if t < 0 {
		return nil, math.Inf(1)
	}
	own := min(t/a.Select, len(scores))
	var forced []int
	for _, b := range []int{0, own, own - 1} {
		if b >= 0 && b < len(scores) && !slices.Contains(forced, b) {
			forced = append(forced, b)
		}
	}
	scores = scores[:min(own+1, len(scores))]
	chosen := topBlocks(scores, forced, a.TopN)
	return chosen, margin(scores, chosen, forced)
}

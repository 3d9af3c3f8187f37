package vkattn

import (
	"math"

	"github.com/vkattn/vkattn/internal/half"
)

// Work is what a call has to do at least.
type Work struct {
	Pairs int64 `json:"pairs"` // visible (i, j), summed over sequences and query heads
	// Exact is false when there are masks given as data (boolean, tree, bias, blocks) that were not
	// counted, and Pairs is what the closed-form masks leave.
	Exact bool `json:"exact"`
	// FLOPs counts 2*Pairs*(D+Dv), multiply and add apart.
	FLOPs float64 `json:"flops"`
	// FLOPsFA is FlashAttention's convention: 4*B*H*Sq*Sk*D, half of it if causal, other masks ignored.
	FLOPsFA float64 `json:"flops_fa"`
	// Bytes is every input and output once.
	Bytes int64 `json:"bytes"`
}

// Work counts what a checked call does. Boolean, tree and block masks and -inf in a bias are counted
// pair by pair when masks is true and they are in host memory, which takes time proportional to their size; a block
// mask alone is counted by words of its listed blocks.
func (a Attention) Work(args *Args, seqs []Sequence, masks bool) Work {
	a = a.Canonical()
	w := Work{Exact: true}
	data := a.With & (WithMask | WithTree | WithBias | WithBlocks)
	if a.With.Has(WithRelative) && args.Relative.mayHide() {
		data |= WithRelative
	}
	for i := range seqs {
		s := &seqs[i]
		if data != 0 && masks {
			n, exact := a.pairs(args, s)
			w.Pairs += n
			w.Exact = w.Exact && exact
		} else {
			w.Pairs += int64(a.HeadsQ) * s.Pairs()
			w.Exact = w.Exact && data == 0
		}
		fa := 4 * float64(a.HeadsQ) * float64(s.Sq) * float64(s.Sk) * float64(a.HeadDim)
		if a.Causal {
			fa /= 2
		}
		w.FLOPsFA += fa
		q, k := int64(s.Sq)*int64(a.HeadsQ), int64(s.Sk)
		w.Bytes += q*int64(a.HeadDim)*elemBytes(a.TypeQ)/blockLen + q*int64(a.ValueDim)*elemBytes(a.TypeOut)/blockLen +
			k*int64(a.HeadsK)*int64(a.HeadDim)*elemBytes(a.TypeK)/blockLen + k*int64(a.HeadsV)*int64(a.ValueDim)*elemBytes(a.TypeV)/blockLen
		if a.With.Has(WithLSE) {
			w.Bytes += 4 * q
		}
	}
	for _, t := range []Tensor{args.Bias, args.Mask, args.Tree, args.Relative, args.DescaleQ, args.DescaleK, args.DescaleV} {
		if t.Given() {
			if lo, hi, ok := t.byteExtent(); ok {
				w.Bytes += hi - lo
			}
		}
	}
	w.FLOPs = 2 * float64(w.Pairs) * float64(a.HeadDim+a.ValueDim)
	return w
}

// mayHide reports whether a bias has an entry of -inf, or lies where the host cannot see.
func (t Tensor) mayHide() bool {
	host, ok := t.Mem.(*Host)
	if !ok {
		return true
	}
	for b := range t.Shape[0] {
		for h := range t.Shape[1] {
			for _, x := range host.Float32s()[t.HeadIndex(b, h):][:t.Shape[3]] {
				if math.IsInf(float64(x), -1) {
					return true
				}
			}
		}
	}
	return false
}

// blockLen is a number of elements that fills whole blocks of every type.
const blockLen = half.BlockLen

// elemBytes is the size of blockLen elements.
func elemBytes(t Type) int64 { return int64(t.Bytes(blockLen)) }

// pairs counts the visible pairs of one sequence over all heads, masks given as data included.
func (a Attention) pairs(args *Args, s *Sequence) (n int64, exact bool) {
	mask, tree, bias := args.Mask, args.Tree, args.Bias
	maskHost, maskOK := mask.Mem.(*Host)
	treeHost, treeOK := tree.Mem.(*Host)
	biasHost, biasOK := bias.Mem.(*Host)
	relative := args.Relative
	relativeHost, relativeOK := relative.Mem.(*Host)
	exact = (!mask.Given() || maskOK) && (!tree.Given() || treeOK) && (!bias.Given() || biasOK) && (!relative.Given() || relativeOK)
	var maskBytes, treeBytes []byte
	var biases, byDistance []float32
	if maskOK {
		maskBytes = maskHost.Bytes()
	}
	if treeOK {
		treeBytes = treeHost.Bytes()
	}
	if biasOK {
		biases = biasHost.Float32s()
	}
	if relativeOK {
		byDistance = relativeHost.Float32s()
	}
	negInf := float32(math.Inf(-1))
	perHead := a.With.Has(WithBlocks) && args.Blocks.Heads > 1 ||
		mask.Given() && mask.Stride[1] != 0 || bias.Given() && bias.Stride[1] != 0 || relative.Given()
	onlyBlocks := a.With.Has(WithBlocks) && !mask.Given() && !tree.Given() && !bias.Given() && !relative.Given()
	heads, times := 1, int64(a.HeadsQ)
	if perHead {
		heads, times = a.HeadsQ, 1
	}
	var spans []Span
	for h := range heads {
		for i := range s.Sq {
			spans = s.Spans(spans[:0], i, i+1)
			if onlyBlocks {
				n += args.Blocks.visible(s.Index, h, i, spans)
				continue
			}
			for _, sp := range spans {
				for j := sp.Lo; j < sp.Hi; j++ {
					if maskOK && maskBytes[mask.Index(s.Index, h, i, a.MaskColumn(j))] == 0 ||
						treeOK && treeBytes[tree.Index(s.Index, 0, i, j)] == 0 ||
						relativeOK && byDistance[relative.HeadIndex(s.Index, h)+RelativeIndex(j-i-s.Rel, relative.Shape[3]/2)] == negInf ||
						biasOK && biases[bias.Index(s.Index, h, i, j)] == negInf ||
						a.With.Has(WithBlocks) && !args.Blocks.Listed(s.Index, h, i, j) {
						continue
					}
					n++
				}
			}
		}
	}
	return n * times, exact
}

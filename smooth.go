package vkattn

import (
	"fmt"
	"math"
)

// KeyMean is the mean of the keys of each sequence and head: [B, H, 1, D] float32. lengths, if given, says how many
// keys of each sequence count, as Args.KeyLengths; a sequence without any has a mean of 0. Sums are float64.
//
// Scores of k - mean are those of k less scale * (q . mean), the same for all keys of a row: the softmax stays as it
// is, the LSE does not, see AddKeyMean. Keys that have much in common then lose less in a narrow type. That takes an
// op whose scores are shifted as a whole: without softcap and without sink logits.
//
// Source: SageAttention, arXiv:2410.02367, section 4.2 (smooth K).
func KeyMean(k Tensor, lengths []int32) (Tensor, error) {
	from, err := Conversion{}.source("k", k)
	if err != nil {
		return Tensor{}, err
	}
	n := k.Shape
	if lengths != nil && len(lengths) != n[0] {
		return Tensor{}, &ShapeError{"lengths", "length", len(lengths), fmt.Sprint(n[0])}
	}
	count := func(b int) int {
		if lengths == nil {
			return n[2]
		}
		return int(lengths[b])
	}
	for b := range lengths {
		if c := count(b); c < 0 || c > n[2] {
			return Tensor{}, &ShapeError{"lengths", fmt.Sprintf("sequence %d", b), c, fmt.Sprintf("0 to %d, the keys in the tensor", n[2])}
		}
	}
	if size := float64(n[0]) * float64(n[1]) * float64(n[3]); size > math.MaxInt32 {
		return Tensor{}, &ArgError{"k", fmt.Sprintf("of shape %v has means of %g numbers", n, size)}
	}
	mean := make([]float32, n[0]*n[1]*n[3])
	sum := make([]float64, n[3])
	err = from.eachRow(func(b, h, i int, row []float32) error {
		if i == 0 {
			clear(sum)
		}
		if i >= count(b) {
			return nil
		}
		for d, v := range row {
			sum[d] += float64(v)
		}
		if i == count(b)-1 {
			for d := range sum {
				mean[(b*n[1]+h)*n[3]+d] = float32(sum[d] / float64(i+1))
			}
		}
		return nil
	})
	return BHSD(Float32s(mean), n[0], n[1], 1, n[3]), err
}

// AddKeyMean turns the LSE of a call of op on keys less their mean into that of the keys themselves:
// LSE[b,h,i] += scale * (Q[b,h,i] . mean[b,hk]), where a row that sees nothing keeps its -inf. q and mean are as they
// were before any rotation, in host memory; LSE, [B, HeadsQ, Sq, 1] float32, too.
//
// Errors: *ArgError for an op with softcap or sink logits, whose softmax the mean changes; *ShapeError.
func AddKeyMean(op Attention, lse, q, mean Tensor) error {
	if err := op.Validate(); err != nil {
		return err
	}
	op = op.Canonical()
	switch {
	case op.Softcap > 0:
		return &ArgError{"Softcap", "is not linear: keys less their mean have another softmax"}
	case op.With.Has(WithSinkLogits):
		return &ArgError{"SinkLogits", "are not shifted with the scores: keys less their mean have another softmax"}
	case op.Packed && mean.Given() && mean.Shape[0] != 1:
		return &ShapeError{"mean", "batch", mean.Shape[0], "1, one mean for all packed sequences"}
	}
	n := q.Shape
	if n[1] != op.HeadsQ || n[3] != op.HeadDim {
		return &ShapeError{"Q", "shape", n, fmt.Sprintf("[B %d Sq %d]", op.HeadsQ, op.HeadDim)}
	}
	from, err := Conversion{}.source("q", q)
	if err != nil {
		return err
	}
	mean = mean.Broadcast(n[0], op.HeadsK, 1, mean.Shape[3])
	if err := mean.float32Check("mean", [4]int{n[0], op.HeadsK, 1, op.HeadDim}, false); err != nil {
		return err
	}
	if err := lse.float32Check("LSE", [4]int{n[0], n[1], n[2], 1}, true); err != nil {
		return err
	}
	means, to := mean.Mem.(*Host).Float32s(), lse.Mem.(*Host).Float32s()
	return from.eachRow(func(b, h, i int, row []float32) error {
		at, dot := lse.Index(b, h, i, 0), 0.0
		if math.IsInf(float64(to[at]), -1) {
			return nil
		}
		for d, x := range row {
			dot += float64(x) * float64(means[mean.Index(b, op.HeadMap.Map(h, op.HeadsQ, op.HeadsK), 0, d)])
		}
		to[at] = float32(float64(to[at]) + op.Scale.Value*dot)
		return nil
	})
}

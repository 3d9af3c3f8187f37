package dispatch

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

func (ch *linearChoice) rung() (variant, path, name string) {
	switch {
	case ch.chunk.matrix():
		return ch.chunk.Variant, ch.path, linearChunkMatrix
	case ch.chunk.Chunk > 0:
		return linearChunk, ch.path, linearChunk
	}
	return ch.key.Variant, ch.path, ch.path
}

// selfTest computes a small problem by the kernel of the choice, in float32, which admits it for all types; on matrix units
// in what they multiply.
func (ch *linearChoice) selfTest(ctx context.Context, b *Backend) (reason string, err error) {
	const tokens, d, dv = 37, 20, 28
	op := vkattn.Linear{Batch: 1, HeadsQ: 2, HeadsK: 1, SeqQ: tokens, HeadDim: d, ValueDim: dv, Causal: true,
		Rule: vkattn.RuleDelta, Decay: vkattn.DecayToken, StateOut: true}.Canonical()
	disabled := allBut(linearRungs, ch.path)
	if why, off := b.disabled["texels"]; off {
		disabled["texels"] = why
	}
	kernel, allowed := linearRecurrent, 2e-5
	if ch.chunk.Chunk > 0 {
		kernel = linearChunk
	}
	if ch.chunk.matrix() {
		// 3e-7 on llvmpipe. What rounding takes from operands must not be lost: 6e-4 without it.
		disabled[linearChunk], allowed = "not under test", 5e-5
		t := ch.op.TypeQ
		if op.TypeQ, op.TypeK, op.TypeV = t, t, t; t == vkattn.BFloat16 {
			allowed *= 8
		}
	} else if kernel == linearChunk {
		disabled[linearChunkMatrix] = "not under test"
	}
	c, err := b.planner.chooseLinear(&b.caps, op, kernel, disabled)
	if err != nil {
		return err.Error(), nil
	}
	rng := rand.New(rand.NewPCG(3, 4))
	tensor := func(heads, last int, number func() float64) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(numbers(heads*tokens*last, number)), 1, heads, tokens, last)
	}
	short := func() float64 { return rng.NormFloat64() / math.Sqrt(d) } // keys have a norm of about 1
	out, state := make([]float32, 2*tokens*dv), make([]float32, d*dv)
	args := vkattn.Args{
		Q: tensor(2, d, rng.NormFloat64), K: tensor(1, d, short), V: tensor(1, dv, rng.NormFloat64),
		Beta: tensor(1, 1, rng.Float64), Decay: tensor(1, 1, func() float64 { return -rng.Float64() / 4 }),
		Out: vkattn.BHSD(vkattn.Float32s(out), 1, 2, tokens, dv), StateOut: vkattn.BHSD(vkattn.Float32s(state), 1, 1, d, dv),
	}
	for _, x := range []*vkattn.Tensor{&args.Q, &args.K, &args.V} {
		if *x, err = x.To(op.TypeQ); err != nil {
			return "", err
		}
	}
	want, err := cpu.OracleLinear(op, &args)
	if err != nil {
		return "", err
	}
	return b.missed(ctx, c, args, allowed, known{got: out, want: want.Out}, known{got: state, want: want.State})
}

package dispatch

import (
	"context"
	"math/rand/v2"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

func (ch *ropeChoice) rung() (variant, path, name string) { return ropeVariant, "plain", ropeVariant }

// selfTest turns a few rows by tables of random numbers, and copies the columns behind the pairs.
func (ch *ropeChoice) selfTest(ctx context.Context, b *Backend) (reason string, err error) {
	const heads, tokens, d, rotary, rows = 2, 37, 40, 24, 50
	op := vkattn.Rope{Batch: 1, Heads: heads, Seq: tokens, HeadDim: d, RotaryDim: rotary, Positions: true}
	c, err := b.planner.chooseRope(&b.caps, op, nil)
	if err != nil {
		return err.Error(), nil
	}
	rng := rand.New(rand.NewPCG(5, 6))
	tensor := func(heads, tokens, last int) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(numbers(heads*tokens*last, rng.NormFloat64)), 1, heads, tokens, last)
	}
	out := make([]float32, heads*tokens*d)
	args := vkattn.Args{Q: tensor(heads, tokens, d), Cos: tensor(1, rows, rotary/2), Sin: tensor(1, rows, rotary/2),
		Out: vkattn.BHSD(vkattn.Float32s(out), 1, heads, tokens, d)}
	for range tokens {
		args.Positions = append(args.Positions, int32(rng.IntN(rows)))
	}
	want, err := cpu.OracleRope(op, &args)
	if err != nil {
		return "", err
	}
	return b.missed(ctx, c, args, 2e-6, known{got: out, want: want})
}

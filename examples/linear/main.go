// Command linear computes linear attention (elu+1, normalised) over a prompt, and then a token more from the state that
// the prompt left: the state takes the place of a cache and does not grow.
package main

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

func main() {
	if err := attend(context.Background()); err != nil {
		log.Fatal(err)
	}
}

const heads, dim = 4, 64

func attend(ctx context.Context) error {
	backend, err := dispatch.Open(ctx, dispatch.Config{Device: "auto"})
	if err != nil {
		return err
	}
	defer backend.Close()

	op := vkattn.Linear{Batch: 1, HeadsQ: heads, SeqQ: 1000, HeadDim: dim, Causal: true,
		Map: vkattn.MapELU, Norm: vkattn.NormSum, StateOut: true}
	s := op.StateShape(1)
	state := vkattn.BHSD(vkattn.Float32s(make([]float32, s[0]*s[1]*s[2]*s[3])), s[0], s[1], s[2], s[3])
	for _, tokens := range []int{1000, 1} {
		plan, err := backend.Plan(ctx, op)
		if err != nil {
			return err
		}
		defer plan.Close()
		args := vkattn.Args{Q: random(tokens), K: random(tokens), V: random(tokens), Out: random(tokens), StateOut: state}
		if op.StateIn {
			args.StateIn = state
		}
		report, err := plan.Run(ctx, args)
		if err != nil {
			return err
		}
		fmt.Printf("%d tokens on %s by %s in %v\n", tokens, report.Device, report.Kernel, report.WallTime)
		op.StateIn = true
	}
	return nil
}

// random is a tensor of random tokens.
func random(tokens int) vkattn.Tensor {
	x := make([]float32, heads*tokens*dim)
	for i := range x {
		x[i] = float32(rand.NormFloat64())
	}
	return vkattn.BHSD(vkattn.Float32s(x), 1, heads, tokens, dim)
}

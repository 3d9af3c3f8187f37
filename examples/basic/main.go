// Command basic computes one attention layer on whatever there is to compute on, and prints what ran.
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

func attend(ctx context.Context) error {
	// "auto" is a real GPU if there is one, else the CPU. "" insists on a GPU.
	backend, err := dispatch.Open(ctx, dispatch.Config{Device: "auto"})
	if err != nil {
		return err
	}
	defer backend.Close()

	// A causal layer of 8 query heads over 2 key heads. Sizes are capacities: the plan serves shorter calls too.
	const heads, kvHeads, tokens, dim = 8, 2, 512, 64
	plan, err := backend.Plan(ctx, vkattn.Attention{
		Batch: 1, HeadsQ: heads, HeadsK: kvHeads, SeqQ: tokens, SeqK: tokens, HeadDim: dim, Causal: true,
	})
	if err != nil {
		return err
	}
	defer plan.Close()

	out := make([]float32, heads*tokens*dim)
	report, err := plan.Run(ctx, vkattn.Args{
		Q:   vkattn.BHSD(vkattn.Float32s(normal(heads*tokens*dim)), 1, heads, tokens, dim),
		K:   vkattn.BHSD(vkattn.Float32s(normal(kvHeads*tokens*dim)), 1, kvHeads, tokens, dim),
		V:   vkattn.BHSD(vkattn.Float32s(normal(kvHeads*tokens*dim)), 1, kvHeads, tokens, dim),
		Out: vkattn.BHSD(vkattn.Float32s(out), 1, heads, tokens, dim),
	})
	if err != nil {
		return err
	}
	fmt.Printf("%s\non %s by %s in %v: %d pairs\n", report.Op, report.Device, report.Kernel, report.WallTime, report.Work.Pairs)
	if report.Fallback != "" {
		fmt.Println("not on a GPU:", report.Fallback)
	}
	return nil
}

// normal is n normally distributed numbers.
func normal(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(rand.NormFloat64())
	}
	return x
}

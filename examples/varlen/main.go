// Command varlen computes a batch of sequences of different lengths without padding: their tokens lie one
// behind the other, and cumulative lengths say where each begins. The same plan then serves another batch.
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
	if err := batches(context.Background()); err != nil {
		log.Fatal(err)
	}
}

const heads, dim = 4, 64

func batches(ctx context.Context) error {
	backend, err := dispatch.Open(ctx, dispatch.Config{Device: "auto"})
	if err != nil {
		return err
	}
	defer backend.Close()

	// Up to 8 sequences of up to 300 tokens, 1024 tokens together.
	op := vkattn.Attention{
		Batch: 8, HeadsQ: heads, SeqQ: 300, SeqK: 300, HeadDim: dim, Causal: true,
		Packed: true, TotalQ: 1024, TotalK: 1024, With: vkattn.WithLSE,
	}
	plan, err := backend.Plan(ctx, op)
	if err != nil {
		return err
	}
	defer plan.Close()

	for _, lengths := range [][]int32{{5, 300, 0, 17}, {128, 128, 128}} {
		cu := []int32{0} // exclusive prefix sums: sequence b is tokens cu[b] to cu[b+1]-1
		for _, n := range lengths {
			cu = append(cu, cu[len(cu)-1]+n)
		}
		tokens := int(cu[len(cu)-1])
		out, lse := make([]float32, tokens*heads*dim), make([]float32, tokens*heads)
		report, err := plan.Run(ctx, vkattn.Args{
			Q: packed(tokens), K: packed(tokens), V: packed(tokens),
			Out:    vkattn.THD(vkattn.Float32s(out), tokens, heads, dim),
			LSE:    vkattn.THD(vkattn.Float32s(lse), tokens, heads, 1),
			CuSeqQ: cu, CuSeqK: cu,
		})
		if err != nil {
			return err
		}
		fmt.Printf("lengths %v: %d pairs in %v by %s\n", lengths, report.Work.Pairs, report.WallTime, report.Kernel)
	}
	return nil
}

// packed is a tensor of random tokens in the order token, head, channel.
func packed(tokens int) vkattn.Tensor {
	x := make([]float32, tokens*heads*dim)
	for i := range x {
		x[i] = float32(rand.NormFloat64())
	}
	return vkattn.THD(vkattn.Float32s(x), tokens, heads, dim)
}

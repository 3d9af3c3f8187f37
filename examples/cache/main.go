// Command cache keeps keys and values of three sequences in a paged cache: they share a prompt, go on one token at a time, and the
// first verifies a tree of drafts. A real model puts its own queries, keys and values where this has random numbers.
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
	if err := serve(context.Background()); err != nil {
		log.Fatal(err)
	}
}

const headsQ, headsK, dim, layers = 8, 2, 64, 2

func serve(ctx context.Context) error {
	backend, err := dispatch.Open(ctx, dispatch.Config{Device: "auto"})
	if err != nil {
		return err
	}
	defer backend.Close()

	inv, _, err := vkattn.RopeFrequencies(dim, 500000, vkattn.RopeLlama3{Factor: 8})
	if err != nil {
		return err
	}
	cache, err := backend.(vkattn.CacheBackend).NewCache(ctx, vkattn.CacheSpec{
		Op:     vkattn.Attention{Batch: 3, HeadsQ: headsQ, HeadsK: headsK, SeqQ: 64, SeqK: 1024, HeadDim: dim},
		Layers: layers, Page: 16, Rope: vkattn.CacheRope{InvFreq: inv},
	})
	if err != nil {
		return err
	}
	defer cache.Close()

	// A prompt of 50 tokens, and two more sequences that go on from it.
	first, err := cache.Add()
	if err != nil {
		return err
	}
	if err := forward(ctx, cache, vkattn.CacheTokens{Seq: first, N: 50}); err != nil {
		return err
	}
	all := []vkattn.CacheTokens{{Seq: first, N: 1}}
	for range 2 {
		fork, err := cache.Fork(first)
		if err != nil {
			return err
		}
		all = append(all, vkattn.CacheTokens{Seq: fork, N: 1})
	}

	// Ten tokens for each of them.
	for range 10 {
		if err := forward(ctx, cache, all...); err != nil {
			return err
		}
	}

	// Four drafts: 0 and 1 follow the last token, 2 follows 1, 3 follows 2. The model accepts 1, 2 and 3.
	before := cache.Len(first)
	if err := forward(ctx, cache, vkattn.CacheTokens{Seq: first, N: 4, Parents: []int32{-1, -1, 1, 2}}); err != nil {
		return err
	}
	if err := cache.Keep(ctx, first, before, []int{1, 2, 3}); err != nil {
		return err
	}
	s := cache.Stats()
	fmt.Printf("%d tokens of %d sequences in %d pages, %d of them shared\n", s.Tokens, s.Sequences, s.Used, s.Shared)
	return nil
}

// forward runs the tokens of a step through all layers.
func forward(ctx context.Context, cache vkattn.Cache, tokens ...vkattn.CacheTokens) error {
	step, err := cache.Step(ctx, tokens)
	if err != nil {
		return err
	}
	n := step.Tokens()
	for layer := range layers {
		args := vkattn.CacheArgs{Q: random(n, headsQ), K: random(n, headsK), V: random(n, headsK), Out: random(n, headsQ), Cascade: true}
		if _, err := step.Run(ctx, layer, args); err != nil {
			return err
		}
	}
	return nil
}

// random is a tensor of random tokens.
func random(tokens, heads int) vkattn.Tensor {
	x := make([]float32, tokens*heads*dim)
	for i := range x {
		x[i] = float32(rand.NormFloat64())
	}
	return vkattn.THD(vkattn.Float32s(x), tokens, heads, dim)
}

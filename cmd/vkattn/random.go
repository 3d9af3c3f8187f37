package main

import (
	"hash/fnv"
	"math/rand/v2"
)

// source is a stream of random numbers for one tensor, the same on every machine: tensors do not depend
// on each other or on their order.
func (p *problemFlags) source(name string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(name))
	return rand.New(rand.NewPCG(p.seed, h.Sum64()))
}

// randn is n normally distributed numbers.
func (p *problemFlags) randn(name string, n int) []float32 {
	r := p.source(name)
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64())
	}
	return out
}

// coins is n booleans, each true with probability keep.
func (p *problemFlags) coins(name string, n int, keep float64) []bool {
	r := p.source(name)
	out := make([]bool, n)
	for i := range out {
		out[i] = r.Float64() < keep
	}
	return out
}

package main

import (
	"hash/fnv"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/vkattn/vkattn"
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

// blocks makes the block mask of --block-mask. Patterns are the same for all heads; where the row and key
// blocks differ in size or number, the diagonal runs from corner to corner.
func (p *problemFlags) blocks(files *opener, s spec, score [4]int, masked bool) (*vkattn.BlockMask, error) {
	rows, keys := (score[2]+s.blockQ-1)/s.blockQ, (score[3]+s.blockK-1)/s.blockK
	name, value, ok := strings.Cut(p.blockMask, ":")
	pattern := map[string]func(n int, r *rand.Rand) func(row, key int) bool{
		"band": func(n int, _ *rand.Rand) func(row, key int) bool {
			return func(row, key int) bool { return abs(key-diagonal(row, rows, keys)) <= n }
		},
		"strided": func(n int, _ *rand.Rand) func(row, key int) bool {
			return func(row, key int) bool { return key == diagonal(row, rows, keys) || key%max(n, 1) == 0 }
		},
		"bigbird": func(n int, r *rand.Rand) func(row, key int) bool {
			chosen := make([]map[int]bool, rows)
			for i := range chosen {
				chosen[i] = map[int]bool{}
				for range n {
					chosen[i][r.IntN(max(keys, 1))] = true
				}
			}
			return func(row, key int) bool {
				return row == 0 || row == rows-1 || key == 0 || key == keys-1 || abs(key-diagonal(row, rows, keys)) <= 1 || chosen[row][key]
			}
		},
	}[name]
	var listed func(b, h, row, key int) bool
	heads, batch := 1, 1
	switch {
	case ok && name == "random":
		keep, err := strconv.ParseFloat(value, 64)
		if err != nil || !(keep >= 0 && keep <= 1) {
			return nil, usagef("--block-mask %s: want random:P with P from 0 to 1", p.blockMask)
		}
		coins := p.coins("blocks", rows*keys, keep)
		listed = func(_, _, row, key int) bool { return key == diagonal(row, rows, keys) || coins[row*keys+key] }
	case ok && pattern != nil:
		n, err := one("block-mask", value)
		if err != nil {
			return nil, err
		}
		f := pattern(n, p.source("blocks"))
		listed = func(_, _, row, key int) bool { return f(row, key) }
	default:
		array, err := files.ref(p.blockMask, "block_mask")
		if err != nil {
			return nil, err
		}
		keep, err := array.Bools()
		if err != nil {
			return nil, usagef("--block-mask %s: %w", p.blockMask, err)
		}
		shape := [4]int{1, 1, 1, 1}
		if len(array.Shape) > 4 {
			return nil, usagef("--block-mask %s has %d axes, want [batch, heads, row blocks, key blocks] or the last of them", p.blockMask, len(array.Shape))
		}
		copy(shape[4-len(array.Shape):], array.Shape)
		if shape[2] != rows || shape[3] != keys {
			return nil, usagef("--block-mask %s is of %d x %d blocks, want %d x %d with blocks of %d x %d", p.blockMask, shape[2], shape[3], rows, keys, s.blockQ, s.blockK)
		}
		batch, heads = shape[0], shape[1]
		listed = func(b, h, row, key int) bool { return keep[((b*heads+h)*rows+row)*keys+key] }
	}
	return vkattn.NewBlockMask(batch, heads, score[2], score[3], s.blockQ, s.blockK,
		func(b, h, row, key int) (bool, bool) { return listed(b, h, row, key), !masked })
}

// diagonal is the key block beside row block row.
func diagonal(row, rows, keys int) int {
	if rows <= 1 {
		return keys - 1
	}
	return row * (keys - 1) / (rows - 1)
}

func abs(x int) int { return max(x, -x) }

package vkattn_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"math"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// One head of two queries over three keys: the first two keys for the first query, all for the second.
func Example() {
	ctx := context.Background()
	backend := cpu.New(cpu.Config{})
	defer backend.Close()
	plan, err := backend.Plan(ctx, vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 2, SeqK: 3, HeadDim: 2, Causal: true})
	if err != nil {
		log.Fatal(err)
	}
	defer plan.Close()

	out := make([]float32, 4)
	report, err := plan.Run(ctx, vkattn.Args{
		Q:   vkattn.BHSD(vkattn.Float32s([]float32{0, 0, 0, 0}), 1, 1, 2, 2), // all scores are 0, all weights equal
		K:   vkattn.BHSD(vkattn.Float32s([]float32{1, 2, 3, 4, 5, 6}), 1, 1, 3, 2),
		V:   vkattn.BHSD(vkattn.Float32s([]float32{1, 10, 3, 30, 8, 80}), 1, 1, 3, 2),
		Out: vkattn.BHSD(vkattn.Float32s(out), 1, 1, 2, 2),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out, report.Work.Pairs, "pairs on", report.Backend)
	// Output: [2 20 4 40] 5 pairs on cpu
}

// A plan has room for its capacities; calls bring what they have. Here a cache of keys grows by one token
// per step.
func ExamplePlan() {
	ctx := context.Background()
	backend := cpu.New(cpu.Config{})
	defer backend.Close()
	const most = 8
	plan, err := backend.Plan(ctx, vkattn.Attention{Batch: 1, HeadsQ: 2, HeadsK: 1, SeqQ: 1, SeqK: most, HeadDim: 1, Causal: true, With: vkattn.WithLSE})
	if err != nil {
		log.Fatal(err)
	}
	defer plan.Close()

	query, keys, values := make([]float32, 2), make([]float32, most), make([]float32, most)
	out, lse := make([]float32, 2), make([]float32, 2)
	for n := 1; n <= 4; n++ {
		values[n-1] = float32(n)
		if _, err := plan.Run(ctx, vkattn.Args{
			Q:   vkattn.BHSD(vkattn.Float32s(query), 1, 2, 1, 1),
			K:   vkattn.BHSD(vkattn.Float32s(keys), 1, 1, n, 1),
			V:   vkattn.BHSD(vkattn.Float32s(values), 1, 1, n, 1),
			Out: vkattn.BHSD(vkattn.Float32s(out), 1, 2, 1, 1),
			LSE: vkattn.BHSD(vkattn.Float32s(lse), 1, 2, 1, 1),
		}); err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%d keys: %v, LSE %.3f\n", n, out, lse)
	}
	// Output:
	// 1 keys: [1 1], LSE [0.000 0.000]
	// 2 keys: [1.5 1.5], LSE [0.693 0.693]
	// 3 keys: [2 2], LSE [1.099 1.099]
	// 4 keys: [2.5 2.5], LSE [1.386 1.386]
}

// Sequences of 2 and 3 tokens lie one behind the other. No token sees the other sequence.
func ExampleArgs_packed() {
	ctx := context.Background()
	backend := cpu.New(cpu.Config{})
	defer backend.Close()
	op := vkattn.Attention{Packed: true, Batch: 2, HeadsQ: 1, SeqQ: 3, SeqK: 3, TotalQ: 5, TotalK: 5, HeadDim: 1}
	plan, err := backend.Plan(ctx, op)
	if err != nil {
		log.Fatal(err)
	}
	defer plan.Close()

	tokens := func(x ...float32) vkattn.Tensor { return vkattn.THD(vkattn.Float32s(x), len(x), 1, 1) }
	out := make([]float32, 5)
	if _, err := plan.Run(ctx, vkattn.Args{
		Q: tokens(0, 0, 0, 0, 0), K: tokens(1, 1, 1, 1, 1), V: tokens(1, 3, 10, 20, 30), Out: tokens(out...),
		CuSeqQ: []int32{0, 2, 5}, CuSeqK: []int32{0, 2, 5},
	}); err != nil {
		log.Fatal(err)
	}
	fmt.Println(out)
	// Output: [2 2 20 20 20]
}

// Calls of one batch run in order, and each sees what those before it wrote.
func ExampleBatch() {
	ctx := context.Background()
	backend := cpu.New(cpu.Config{})
	defer backend.Close()
	plan, err := backend.Plan(ctx, vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 2, SeqK: 2, HeadDim: 1, Scale: vkattn.Num(0)})
	if err != nil {
		log.Fatal(err)
	}
	defer plan.Close()

	tensor := func(x []float32) vkattn.Tensor { return vkattn.BHSD(vkattn.Float32s(x), 1, 1, 2, 1) }
	x, y, z := []float32{1, 5}, make([]float32, 2), make([]float32, 2)
	batch := backend.NewBatch()
	for _, layer := range [][2][]float32{{x, y}, {y, z}} {
		in, out := tensor(layer[0]), tensor(layer[1])
		if err := plan.Record(batch, vkattn.Args{Q: in, K: in, V: in, Out: out}); err != nil {
			log.Fatal(err)
		}
	}
	pending, err := batch.Submit(ctx)
	if err != nil {
		log.Fatal(err)
	}
	report, err := pending.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(z, report.Calls, "calls")
	// Output: [3 3] 2 calls
}

// Two tokens at positions 4096 and 4097 of a text are rotated in place, with the frequencies of Llama 3.1.
func ExampleRope() {
	ctx := context.Background()
	backend := cpu.New(cpu.Config{})
	defer backend.Close()
	const heads, tokens, dim, position = 1, 2, 4, 4096
	plan, err := backend.Plan(ctx, vkattn.Rope{Batch: 1, Heads: heads, Seq: tokens, HeadDim: dim, Layout: vkattn.RopeInterleaved})
	if err != nil {
		log.Fatal(err)
	}
	defer plan.Close()

	inv, attention, err := vkattn.RopeFrequencies(dim, 5e5, vkattn.RopeLlama3{Factor: 8})
	if err != nil {
		log.Fatal(err)
	}
	cos, sin, err := vkattn.RopeTable(inv, attention, position, tokens)
	if err != nil {
		log.Fatal(err)
	}
	x := []float32{1, 0, 1, 0, 1, 0, 1, 0}
	q := vkattn.BHSD(vkattn.Float32s(x), 1, heads, tokens, dim)
	if _, err := plan.Run(ctx, vkattn.Args{Q: q, Out: q, Cos: cos, Sin: sin}); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.4f", x)
	// Output: [0.8040 -0.5946 -0.5472 0.8370 0.9348 0.3552 -0.5476 0.8367]
}

// A block mask lists which blocks of keys a block of rows may see: here the block before it and its own.
func ExampleNewBlockMask() {
	mask, err := vkattn.NewBlockMask(1, 1, 256, 256, 64, 64, func(_, _, row, key int) (listed, full bool) {
		return key == row || key == row-1, true
	})
	if err != nil {
		log.Fatal(err)
	}
	for row := range mask.RowBlocks {
		keys, _ := mask.List(0, 0, row)
		fmt.Println(row, keys)
	}
	// Output:
	// 0 [0]
	// 1 [0 1]
	// 2 [1 2]
	// 3 [2 3]
}

// An error says which argument is wrong, before anything runs.
func ExampleShapeError() {
	op := vkattn.Attention{Batch: 1, HeadsQ: 32, HeadsK: 5, SeqQ: 16, SeqK: 16, HeadDim: 128}
	err := op.Validate()
	var shape *vkattn.ShapeError
	fmt.Println(errors.As(err, &shape), err)
	op.HeadsK, op.Scale = 8, vkattn.Num(math.NaN())
	fmt.Println(op.Validate())
	// Output:
	// true vkattn: HeadsK is 5, want a divisor of HeadsQ 32
	// vkattn: Scale: is NaN, want a finite number
}

func ExampleAttention_String() {
	fmt.Println(vkattn.Attention{
		Batch: 2, HeadsQ: 16, HeadsK: 4, SeqQ: 1, SeqK: 4096, HeadDim: 64, Causal: true,
		Window: vkattn.Window{Left: vkattn.Tokens(127), Right: vkattn.Tokens(0)}, With: vkattn.WithSinkLogits,
	})
	// Output: attention b2 h16/4 q1 k4096 d64 f32 causal window127:0 +sinks
}

// A cache of keys in ggml's q8_0 takes 34 bytes for 32 numbers.
func ExampleConvert() {
	x := make([]float32, 64)
	for i := range x {
		x[i] = float32(i)
	}
	keys := vkattn.BHSD(vkattn.Float32s(x), 1, 1, 2, 32)
	cache := vkattn.BHSD(vkattn.Bytes(make([]byte, vkattn.Q8_0.Bytes(64))), 1, 1, 2, 32).As(vkattn.Q8_0)
	if err := vkattn.Convert(cache, keys, vkattn.Conversion{}); err != nil {
		log.Fatal(err)
	}
	back, err := cache.To(vkattn.Float32)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(cache, "in", cache.Mem.Size(), "bytes")
	fmt.Println(back.Mem.(*vkattn.Host).Float32s()[:4])
	// Output:
	// q8_0[1 1 2 32] in 68 bytes
	// [0 0.9765625 1.953125 2.9296875]
}

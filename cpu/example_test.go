package cpu_test

import (
	"context"
	"fmt"
	"log"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// One query with two keys, whose scores are equal: the output is the mean of the two values.
func ExampleBackend() {
	ctx := context.Background()
	backend := cpu.New(cpu.Config{})
	defer backend.Close()

	plan, err := backend.Plan(ctx, vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 2, HeadDim: 3})
	if err != nil {
		log.Fatal(err)
	}
	defer plan.Close()

	q := []float32{1, 0, 0}
	k := []float32{1, 2, 3, 1, 4, 5}
	v := []float32{0, 10, 20, 2, 20, 40}
	out := make([]float32, 3)
	report, err := plan.Run(ctx, vkattn.Args{
		Q:   vkattn.BHSD(vkattn.Float32s(q), 1, 1, 1, 3),
		K:   vkattn.BHSD(vkattn.Float32s(k), 1, 1, 2, 3),
		V:   vkattn.BHSD(vkattn.Float32s(v), 1, 1, 2, 3),
		Out: vkattn.BHSD(vkattn.Float32s(out), 1, 1, 1, 3),
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(out, report.Path, report.Work.Pairs, "pairs")
	// Output: [1 15 30] cpu 2 pairs
}

// The float64 oracle computes the same from the same arguments.
func ExampleOracle() {
	x := []float32{1, 2, 3, 4}
	args := vkattn.Args{
		Q:   vkattn.BHSD(vkattn.Float32s(x), 1, 1, 2, 2),
		K:   vkattn.BHSD(vkattn.Float32s(x), 1, 1, 2, 2),
		V:   vkattn.BHSD(vkattn.Float32s(x), 1, 1, 2, 2),
		Out: vkattn.BHSD(vkattn.Float32s(make([]float32, 4)), 1, 1, 2, 2),
	}
	op := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 2, SeqK: 2, HeadDim: 2, Causal: true}
	result, err := cpu.Oracle(op, &args)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.4f, %d visible\n", result.Out, result.Visible)
	// Output: [1.0000 2.0000 2.9999 3.9999], 3 visible
}

// Linear attention token by token: the state that one call leaves is where the next begins.
func ExampleBackend_linear() {
	ctx := context.Background()
	backend := cpu.New(cpu.Config{})
	defer backend.Close()

	op := vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: 1, HeadDim: 2, Causal: true, Scale: vkattn.Num(1), StateIn: true, StateOut: true}
	plan, err := backend.Plan(ctx, op)
	if err != nil {
		log.Fatal(err)
	}
	defer plan.Close()

	state := vkattn.BHSD(vkattn.Float32s(make([]float32, 4)), 1, 1, 2, 2)
	for _, x := range [][]float32{{1, 0}, {0, 2}, {1, 1}} {
		token := vkattn.BHSD(vkattn.Float32s(x), 1, 1, 1, 2)
		out := make([]float32, 2)
		_, err := plan.Run(ctx, vkattn.Args{Q: token, K: token, V: token, Out: vkattn.BHSD(vkattn.Float32s(out), 1, 1, 1, 2), StateIn: state, StateOut: state})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(out)
	}
	// Output:
	// [1 0]
	// [0 8]
	// [3 6]
}

package dispatch_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// mergers are the backends that join parts: the CPU and the device.
func mergers(t *testing.T) map[string]vkattn.Backend {
	c := cpu.New(cpu.Config{})
	t.Cleanup(func() { c.Close() })
	return map[string]vkattn.Backend{"cpu": c, "vulkan": open(t, lowered(oneMiB))}
}

// mergeProblem has parts of which rows are absent at random, NaN behind them, some rows in all parts.
func mergeProblem(rng *rand.Rand, op vkattn.Merge, parts int) vkattn.Args {
	args := vkattn.Args{Out: vkattn.BSHD(vkattn.Float32s(make([]float32, op.Batch*op.Heads*op.Seq*op.ValueDim)), op.Batch, op.Seq, op.Heads, op.ValueDim)}
	if op.LSE {
		args.LSE = vkattn.BHSD(vkattn.Float32s(make([]float32, op.Batch*op.Heads*op.Seq)), op.Batch, op.Heads, op.Seq, 1)
	}
	for range parts {
		out, lse := normal(rng, op.Batch*op.Heads*op.Seq*op.ValueDim), normal(rng, op.Batch*op.Heads*op.Seq)
		for i := range lse {
			lse[i] *= 20
			if i%5 == 0 || rng.IntN(4) == 0 {
				lse[i] = float32(math.Inf(-1))
				for d := range op.ValueDim {
					out[i*op.ValueDim+d] = float32(math.NaN())
				}
			}
		}
		args.Parts = append(args.Parts, vkattn.Partial{Out: vkattn.BHSD(vkattn.Float32s(out), op.Batch, op.Heads, op.Seq, op.ValueDim),
			LSE: vkattn.BHSD(vkattn.Float32s(lse), op.Batch, op.Heads, op.Seq, 1)})
	}
	return args
}

// TestMergeParts: against float64, with parts that saw nothing, and tensors beyond what a binding shows.
func TestMergeParts(t *testing.T) {
	for name, b := range mergers(t) {
		for _, op := range []vkattn.Merge{
			{Batch: 1, Heads: 3, Seq: 17, ValueDim: 20, Parts: 1, LSE: true},
			{Batch: 2, Heads: 2, Seq: 9, ValueDim: 33, Parts: 2},
			{Batch: 3, Heads: 4, Seq: 70, ValueDim: 128, Parts: 5, LSE: true},
			{Batch: 1, Heads: 8, Seq: 600, ValueDim: 128, Parts: 3, LSE: true},
		} {
			p, err := b.Plan(t.Context(), op)
			if err != nil {
				t.Fatal(err)
			}
			args := mergeProblem(rand.New(rand.NewPCG(3, uint64(op.Parts))), op, op.Parts)
			if _, err := p.Run(t.Context(), args); err != nil {
				t.Fatal(err)
			}
			want, lse := cpu.OracleMerge(op, &args)
			got := args.Out.Mem.(*vkattn.Host).Float32s()
			n := 0
			for b := range op.Batch {
				for h := range op.Heads {
					for s := range op.Seq {
						for d := range op.ValueDim {
							if e := math.Abs(float64(got[args.Out.Index(b, h, s, d)]) - want[n]); !(e <= 4e-6) {
								t.Fatalf("%s, %v: out %d,%d,%d,%d is off by %g", name, op, b, h, s, d, e)
							}
							n++
						}
					}
				}
			}
			for i, w := range lse {
				if !op.LSE {
					break
				}
				g := float64(args.LSE.Mem.(*vkattn.Host).Float32s()[i])
				if g != w && !(math.Abs(g-w) <= 1e-5*max(1, math.Abs(w))) {
					t.Fatalf("%s, %v: lse %d is %g, want %g", name, op, i, g, w)
				}
			}
		}
	}
}

// TestMergeJoinsAttention: the parts of the keys, attended one by one with their LSE, merge to the whole, in device memory.
func TestMergeJoinsAttention(t *testing.T) {
	for name, b := range mergers(t) {
		op := vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 5, SeqK: 90, HeadDim: 32, With: vkattn.WithLSE}
		args := problem(op, 4)
		want := slices.Clone(runOn(t, b, op, args).Mem.(*vkattn.Host).Float32s())
		merged := vkattn.Args{Out: args.Out}
		clear(args.Out.Mem.(*vkattn.Host).Float32s())
		for _, r := range [][2]int{{0, 17}, {17, 18}, {18, 18}, {18, 90}} {
			part := args
			part.K, part.V = args.K.Slice(2, r[0], r[1]), args.V.Slice(2, r[0], r[1])
			part.Out, _ = b.NewTensor(vkattn.Float32, args.Out.Shape)
			part.LSE, _ = b.NewTensor(vkattn.Float32, args.LSE.Shape)
			defer part.Out.Mem.Close()
			defer part.LSE.Mem.Close()
			runOn(t, b, op, part)
			merged.Parts = append(merged.Parts, vkattn.Partial{Out: part.Out, LSE: part.LSE})
		}
		runOn(t, b, vkattn.Merge{Batch: 2, Heads: 4, Seq: 5, ValueDim: 32, Parts: 4}, merged)
		for i, x := range args.Out.Mem.(*vkattn.Host).Float32s() {
			if e := math.Abs(float64(x - want[i])); !(e <= 2e-6) {
				t.Fatalf("%s: out[%d] is off by %g", name, i, e)
			}
		}
	}
}

func runOn(t *testing.T, b vkattn.Backend, op vkattn.Op, args vkattn.Args) vkattn.Tensor {
	t.Helper()
	p, err := b.Plan(context.Background(), op)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Run(context.Background(), args); err != nil {
		t.Fatal(err)
	}
	return args.Out
}

// TestMergeRefuses names the argument.
func TestMergeRefuses(t *testing.T) {
	for name, b := range mergers(t) {
		op := vkattn.Merge{Batch: 1, Heads: 2, Seq: 3, ValueDim: 4, Parts: 2}
		p, err := b.Plan(t.Context(), op)
		if err != nil {
			t.Fatal(err)
		}
		good := func() vkattn.Args { return mergeProblem(rand.New(rand.NewPCG(1, 1)), op, 2) }
		for what, spoil := range map[string]func(*vkattn.Args){
			"no parts":           func(a *vkattn.Args) { a.Parts = nil },
			"three parts":        func(a *vkattn.Args) { a.Parts = append(a.Parts, a.Parts[0]) },
			"no out":             func(a *vkattn.Args) { a.Out = vkattn.Tensor{} },
			"an lse":             func(a *vkattn.Args) { a.LSE = a.Parts[0].LSE },
			"a query":            func(a *vkattn.Args) { a.Q = a.Out },
			"a part's heads":     func(a *vkattn.Args) { a.Parts[1].Out = a.Parts[1].Out.Slice(1, 0, 1) },
			"a part's lse":       func(a *vkattn.Args) { a.Parts[1].LSE = vkattn.Tensor{} },
			"out overlaps":       func(a *vkattn.Args) { a.Out = a.Parts[1].Out },
			"parts of attention": func(a *vkattn.Args) { a.K = a.Out },
		} {
			args := good()
			spoil(&args)
			if _, err := p.Run(t.Context(), args); !errors.Is(err, vkattn.ErrInvalid) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
}

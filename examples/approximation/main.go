// Approximation measures how far the ways past quadratic cost lie from exact attention: FAVOR+ by number of features
// and scale of the inputs, and sparse patterns by what they keep. The data is random: q, k ~ N(0, s^2), v ~ N(0, 1),
// one head. Trained models are kinder, because their attention is not spread like that of random data: this is
// the error of the approximation, not of a task.
//
//	go run ./examples/approximation
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"os"
	"text/tabwriter"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

func main() {
	log.SetFlags(0)
	tokens := flag.Int("seqlen", 1024, "tokens")
	draws := flag.Int("draws", 3, "draws of data and projection, whose errors are averaged")
	flag.Parse()
	if err := measure(context.Background(), *tokens, *draws); err != nil {
		log.Fatal(err)
	}
}

const dim = 64

func measure(ctx context.Context, tokens, draws int) error {
	b := cpu.New(cpu.Config{})
	defer b.Close()
	scales := []float64{0.25, 0.5, 1}
	table := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "|out - exact| / |exact|, %d tokens, d %d\t", tokens, dim)
	for _, s := range scales {
		fmt.Fprintf(table, "s = %g\t", s)
	}
	fmt.Fprintln(table)
	for _, a := range approximations(tokens) {
		fmt.Fprintf(table, "%s\t", a.name)
		for _, s := range scales {
			sum := 0.0
			for draw := range draws {
				e, err := a.off(ctx, b, draw, tokens, s)
				if err != nil {
					return err
				}
				sum += e
			}
			fmt.Fprintf(table, "%.3f\t", sum/float64(draws))
		}
		fmt.Fprintln(table)
	}
	return table.Flush()
}

// approximation runs in place of exact attention.
type approximation struct {
	name string
	run  func(ctx context.Context, b vkattn.Backend, seed uint64, args vkattn.Args) error
}

func approximations(tokens int) []approximation {
	var all []approximation
	for _, features := range []int{64, 256, 1024} {
		all = append(all, approximation{fmt.Sprintf("FAVOR+, %d features", features),
			func(ctx context.Context, b vkattn.Backend, seed uint64, args vkattn.Args) error {
				w, err := vkattn.FavorProjection(features, dim, seed, vkattn.FavorOrthogonal)
				if err != nil {
					return err
				}
				args.Projection = vkattn.BHSD(vkattn.Float32s(w), 1, 1, features, dim)
				return run(ctx, b, vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: tokens, HeadDim: dim, Map: vkattn.MapFavor, Features: features, Norm: vkattn.NormSum}, args)
			}})
	}
	all = append(all, approximation{"elu+1 (another attention, not an approximation)",
		func(ctx context.Context, b vkattn.Backend, _ uint64, args vkattn.Args) error {
			return run(ctx, b, vkattn.Linear{Batch: 1, HeadsQ: 1, SeqQ: tokens, HeadDim: dim, Map: vkattn.MapELU, Norm: vkattn.NormSum, Scale: vkattn.Num(1)}, args)
		}})
	grid := vkattn.MaskGrid{SeqQ: tokens, SeqK: tokens}
	for _, p := range []struct {
		name  string
		build func() (*vkattn.BlockMask, error)
	}{
		{"window of 64 each side", func() (*vkattn.BlockMask, error) {
			return grid.Window(vkattn.Window{Left: vkattn.Tokens(64), Right: vkattn.Tokens(64)}, 1)
		}},
		{"BigBird, blocks of 64, 3 random", func() (*vkattn.BlockMask, error) { return grid.BigBird(vkattn.BigBird{Block: 64, Random: 3, Seed: 1}) }},
	} {
		all = append(all, approximation{p.name, func(ctx context.Context, b vkattn.Backend, _ uint64, args vkattn.Args) error {
			m, err := p.build()
			if err != nil {
				return err
			}
			args.Blocks = m
			return run(ctx, b, vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: tokens, SeqK: tokens, HeadDim: dim, With: vkattn.WithBlocks}, args)
		}})
	}
	return all
}

// off is the error of one draw.
func (a *approximation) off(ctx context.Context, b vkattn.Backend, draw, tokens int, scale float64) (float64, error) {
	rng := rand.New(rand.NewPCG(uint64(draw), 7))
	tensor := func(s float64) vkattn.Tensor {
		x := make([]float32, tokens*dim)
		for i := range x {
			x[i] = float32(s * rng.NormFloat64())
		}
		return vkattn.BHSD(vkattn.Float32s(x), 1, 1, tokens, dim)
	}
	exact, out := make([]float32, tokens*dim), make([]float32, tokens*dim)
	args := vkattn.Args{Q: tensor(scale), K: tensor(scale), V: tensor(1), Out: vkattn.BHSD(vkattn.Float32s(exact), 1, 1, tokens, dim)}
	if err := run(ctx, b, vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: tokens, SeqK: tokens, HeadDim: dim}, args); err != nil {
		return 0, err
	}
	args.Out.Mem = vkattn.Float32s(out)
	if err := a.run(ctx, b, uint64(draw), args); err != nil {
		return 0, err
	}
	var off, norm float64
	for i, x := range exact {
		d := float64(out[i] - x)
		off, norm = off+d*d, norm+float64(x)*float64(x)
	}
	return math.Sqrt(off / norm), nil
}

func run(ctx context.Context, b vkattn.Backend, op vkattn.Op, args vkattn.Args) error {
	p, err := b.Plan(ctx, op)
	if err != nil {
		return err
	}
	defer p.Close()
	_, err = p.Run(ctx, args)
	return err
}

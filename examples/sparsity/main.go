// Sparsity measures whether time follows the pairs: every builder of sparse masks at densities from half of the pairs to
// one in a hundred, where its parameters allow, against all pairs on the same device. A round runs everything once, so that
// a drift of the machine hits all alike, and what is printed is the median of the rounds' ratios. Files that -save has
// written, of one device each, are drawn together by -draw.
//
//	go run ./examples/sparsity -device cpu -save cpu.json
//	go run ./examples/sparsity -draw sparse.svg cpu.json h100.json
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

const dim = 64

// file is what -save writes: one device.
type file struct {
	Device string        `json:"device"`
	Tokens int           `json:"tokens"`
	Heads  int           `json:"heads"`
	Dense  time.Duration `json:"dense_ns"`
	Points []point       `json:"points"`
}

// point is one mask: its share of the pairs, its time, and the median of its time over that of all pairs times the share.
type point struct {
	Name    string        `json:"name"`
	Density float64       `json:"density"`
	Time    time.Duration `json:"time_ns"`
	Ratio   float64       `json:"ratio"`
	Note    string        `json:"note,omitempty"` // how it went
}

func main() {
	log.SetFlags(0)
	device := flag.String("device", "cpu", "device, as everywhere")
	tokens := flag.Int("seqlen", 16384, "rows and keys")
	heads := flag.Int("heads", 1, "heads")
	rounds := flag.Int("rounds", 5, "rounds")
	save := flag.String("save", "", "`FILE` for what was measured")
	picture := flag.String("draw", "", "`SVG` that is drawn of the files that follow; nothing is measured")
	flag.Parse()
	if *picture != "" {
		if err := drawFiles(*picture, flag.Args()); err != nil {
			log.Fatal(err)
		}
		return
	}
	f, err := measure(context.Background(), *device, *tokens, *heads, *rounds)
	if err != nil {
		log.Fatal(err)
	}
	f.print()
	if *save != "" {
		text, err := json.MarshalIndent(f, "", " ")
		if err == nil {
			err = os.WriteFile(*save, append(text, '\n'), 0o666)
		}
		if err != nil {
			log.Fatal(err)
		}
	}
}

// print writes a table, and of the points above 1.3 the time that they take beyond it, by row and head.
func (f *file) print() {
	table := tabwriter.NewWriter(os.Stdout, 2, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "%s, %d tokens, %d heads, d %d\tpairs\ttime\tover all x density\t\n", f.Device, f.Tokens, f.Heads, dim)
	fmt.Fprintf(table, "all\t100%%\t%.3g ms\t\t\n", ms(f.Dense))
	beyond := 0.0
	for _, p := range f.Points {
		mark := ""
		if p.Note != "" {
			mark = " *"
		}
		fmt.Fprintf(table, "%s%s\t%.2f%%\t%.3g ms\t%.2f\t\n", p.Name, mark, 100*p.Density, ms(p.Time), p.Ratio)
		beyond = max(beyond, (p.Ratio-1.3)*p.Density*float64(f.Dense))
	}
	table.Flush()
	fmt.Println("* by the mask's form")
	fmt.Printf("time is at most 1.3 x dense x density + %.2g ns a row and head\n", beyond/float64(f.Tokens*f.Heads))
}

func ms(t time.Duration) float64 { return float64(t) / 1e6 }

// contestant is a mask and its plan; nil is all pairs.
type contestant struct {
	point
	mask   *vkattn.BlockMask
	plan   vkattn.Plan
	times  []time.Duration
	ratios []float64
}

func measure(ctx context.Context, device string, tokens, heads, rounds int) (*file, error) {
	b, err := dispatch.Open(ctx, dispatch.Config{Device: device})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	args, err := inputs(ctx, b, tokens, heads)
	if err != nil {
		return nil, err
	}
	all, err := contestants(ctx, b, tokens, heads)
	if err != nil {
		return nil, err
	}
	for round := range rounds + 1 {
		for _, c := range all {
			a := args
			a.Blocks = c.mask
			r, err := c.plan.Run(ctx, a)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", c.Name, err)
			}
			c.Note = strings.Join(r.Notes, "; ")
			if round == 0 { // warms up
				continue
			}
			t := r.DeviceTime
			if t == 0 {
				t = r.WallTime
			}
			c.times = append(c.times, t)
			if dense := all[0].times[len(c.times)-1]; c.mask != nil {
				c.ratios = append(c.ratios, float64(t)/(float64(dense)*c.Density))
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", round, rounds)
	}
	f := &file{Device: b.Info().Device, Tokens: tokens, Heads: heads, Dense: median(all[0].times)}
	for _, c := range all[1:] {
		c.Time, c.Ratio = median(c.times), median(c.ratios)
		f.Points = append(f.Points, c.point)
	}
	return f, nil
}

func median[T int64 | float64 | time.Duration](x []T) T {
	x = slices.Sorted(slices.Values(x))
	return x[len(x)/2]
}

// inputs are random tensors on the device.
func inputs(ctx context.Context, b vkattn.Backend, tokens, heads int) (args vkattn.Args, err error) {
	rng := rand.New(rand.NewPCG(1, 1))
	shape := [4]int{1, heads, tokens, dim}
	data := make([]float32, heads*tokens*dim)
	host := vkattn.BHSD(vkattn.Float32s(data), shape[0], shape[1], shape[2], shape[3])
	for _, t := range []*vkattn.Tensor{&args.Q, &args.K, &args.V, &args.Out} {
		for i := range data {
			data[i] = float32(rng.NormFloat64())
		}
		if *t, err = b.NewTensor(vkattn.Float32, shape); err != nil {
			return args, err
		}
		if err = b.Copy(ctx, *t, host); err != nil {
			return args, err
		}
	}
	return args, nil
}

// contestants are all pairs and every mask.
func contestants(ctx context.Context, b vkattn.Backend, tokens, heads int) ([]*contestant, error) {
	op := vkattn.Attention{Batch: 1, HeadsQ: heads, SeqQ: tokens, SeqK: tokens, HeadDim: dim}
	dense, err := b.Plan(ctx, op)
	if err != nil {
		return nil, err
	}
	op.With = vkattn.WithBlocks
	masked, err := b.Plan(ctx, op)
	if err != nil {
		return nil, err
	}
	all := []*contestant{{plan: dense}}
	grid := vkattn.MaskGrid{SeqQ: tokens, SeqK: tokens, Heads: heads}
	for _, p := range patterns(tokens) {
		m, err := p.build(grid)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		pairs, err := m.Pairs(tokens, tokens)
		if err != nil {
			return nil, err
		}
		density := float64(pairs) / float64(m.Heads) / float64(tokens) / float64(tokens)
		all = append(all, &contestant{point: point{Name: p.name, Density: density}, mask: m, plan: masked})
	}
	return all, nil
}

package vkattn_test

import (
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/internal/attntest"
)

// TestWorkCountsPairs: the pairs of Work are those that the oracle sees, pair by pair, on the sample of
// the conformance suite.
func TestWorkCountsPairs(t *testing.T) {
	for _, c := range attntest.Cases() {
		if !c.Sample {
			continue
		}
		p := c.Build(0)
		p.Zero()
		seqs, err := c.Op.Check(&p.Args)
		if err != nil {
			t.Fatal(err)
		}
		want, err := cpu.Oracle(c.Op, &p.Args)
		if err != nil {
			t.Fatal(err)
		}
		w := c.Op.Work(&p.Args, seqs, true)
		if !w.Exact || w.Pairs != want.Visible {
			t.Errorf("%s: %d pairs, exact %v, want %d", c.Name, w.Pairs, w.Exact, want.Visible)
		}
		op := c.Op.Canonical()
		if flops := 2 * float64(want.Visible) * float64(op.HeadDim+op.ValueDim); w.FLOPs != flops {
			t.Errorf("%s: %g FLOPs, want %g", c.Name, w.FLOPs, flops)
		}
		quick := c.Op.Work(&p.Args, seqs, false)
		const tables = vkattn.WithMask | vkattn.WithTree | vkattn.WithBias | vkattn.WithBlocks
		if quick.Pairs < w.Pairs || quick.Exact && op.With&tables != 0 || !quick.Exact && op.With&(tables|vkattn.WithRelative) == 0 || quick.Exact && quick.Pairs != w.Pairs {
			t.Errorf("%s: %d pairs without looking at masks (exact %v), %d with", c.Name, quick.Pairs, quick.Exact, w.Pairs)
		}
	}
}

func TestWorkFigures(t *testing.T) {
	op := vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 10, SeqK: 12, HeadDim: 8, ValueDim: 16, Causal: true, With: vkattn.WithLSE}
	tensor := func(b, h, s, d int) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(make([]float32, b*h*s*d)), b, h, s, d)
	}
	args := vkattn.Args{Q: tensor(2, 4, 10, 8), K: tensor(2, 2, 12, 8), V: tensor(2, 2, 12, 16), Out: tensor(2, 4, 10, 16), LSE: tensor(2, 4, 10, 1)}
	seqs, err := op.Check(&args)
	if err != nil {
		t.Fatal(err)
	}
	pairs := int64(2 * 4 * (10*2 + 10*11/2)) // row i sees i+3 of 12 keys
	want := vkattn.Work{Pairs: pairs, Exact: true, FLOPs: 2 * float64(pairs) * 24, FLOPsFA: 2 * 4 * 4 * 10 * 12 * 8 / 2,
		Bytes: 4 * 2 * (4*10*8 + 2*12*8 + 2*12*16 + 4*10*16 + 4*10)}
	if got := op.Work(&args, seqs, true); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}

// TestWorkBlocks: under closed forms, a block mask with pairs of its own is counted exactly, here against the definitions
// pair by pair, for sizes that end inside blocks and inside words.
func TestWorkBlocks(t *testing.T) {
	const stride, window, sinks = 5, 17, 2
	for _, n := range []int{1, 33, 64, 97} {
		for _, block := range []int{16, 40, 64, 100} {
			g := vkattn.MaskGrid{SeqQ: n, SeqK: n, BlockQ: block, BlockK: block, Heads: 3}
			strided, err := g.Strided(stride, vkattn.Merged)
			if err != nil {
				t.Fatal(err)
			}
			random, err := g.BigBird(vkattn.BigBird{Block: 8, Random: 1})
			if err != nil {
				t.Fatal(err)
			}
			for name, m := range map[string]*vkattn.BlockMask{"strided": strided, "bigbird": random} {
				op := vkattn.Attention{Batch: 1, HeadsQ: 3, SeqQ: n, SeqK: n, HeadDim: 4, Causal: true, SinkTokens: sinks,
					Window: vkattn.Window{Left: vkattn.Tokens(window), Right: vkattn.Tokens(0)}, With: vkattn.WithBlocks}
				x := make([]float32, 3*n*4)
				args := vkattn.Args{Q: vkattn.BHSD(vkattn.Float32s(x), 1, 3, n, 4), K: vkattn.BHSD(vkattn.Float32s(x), 1, 3, n, 4),
					V: vkattn.BHSD(vkattn.Float32s(x), 1, 3, n, 4), Out: vkattn.BHSD(vkattn.Float32s(make([]float32, 3*n*4)), 1, 3, n, 4), Blocks: m}
				seqs, err := op.Check(&args)
				if err != nil {
					t.Fatal(err)
				}
				var want int64
				for h := range 3 {
					for i := range n {
						for j := range i + 1 {
							kept := i-j < stride || (i-j)%stride == 0
							if name == "bigbird" {
								kept = m.Listed(0, h, i, j)
							}
							if kept && (i-j <= window || j < sinks) {
								want++
							}
						}
					}
				}
				if w := op.Work(&args, seqs, true); !w.Exact || w.Pairs != want {
					t.Errorf("%s, %d tokens in blocks of %d: %d pairs, exact %v, want %d", name, n, block, w.Pairs, w.Exact, want)
				}
			}
		}
	}
}

package main

import (
	"io"

	"github.com/vkattn/vkattn"
)

// maskPattern is a pattern that vkattn mask and --block-mask know.
type maskPattern struct {
	name  string
	reads []string // flags of the pattern
	build func(p *patternFlags, g vkattn.MaskGrid, in io.Reader) (*vkattn.BlockMask, error)
}

func maskPatterns() []maskPattern {
	return []maskPattern{
		{"window", []string{"window", "dilation"}, func(p *patternFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			n, err := p.positive("dilation")
			if err != nil {
				return nil, err
			}
			w, err := parseWindow(p.window)
			if err != nil {
				return nil, err
			}
			return g.Window(w, n[0])
		}},
		{"longformer", []string{"window", "global"}, func(p *patternFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			w, err := parseWindow(p.window)
			if err != nil {
				return nil, err
			}
			if !w.Left.Set || w.Left != w.Right {
				return nil, usagef("longformer has as many keys on both sides: want --window N,N")
			}
			global, err := positions("global", p.global)
			if err != nil {
				return nil, err
			}
			return g.Longformer(w.Left.N, global)
		}},
		{"bigbird", []string{"pattern-block", "random", "seed"}, func(p *patternFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			block, err := p.positive("pattern-block")
			if err != nil {
				return nil, err
			}
			random, err := p.numbers("random")
			if err != nil {
				return nil, err
			}
			return g.BigBird(vkattn.BigBird{Block: block[0], Random: random[0], Seed: p.seed})
		}},
		{"strided", []string{"stride", "part"}, func(p *patternFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			stride, part, err := p.strided(g)
			if err != nil {
				return nil, err
			}
			return g.Strided(stride, part)
		}},
		{"fixed", []string{"stride", "summary", "verts", "part"}, func(p *patternFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			stride, part, err := p.strided(g)
			if err != nil {
				return nil, err
			}
			n, err := p.positive("summary", "verts")
			if err != nil {
				return nil, err
			}
			return g.Fixed(stride, n[0], n[1], part)
		}},
		{"streaming", []string{"window", "sink-tokens"}, func(p *patternFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			n, err := p.numbers("sink-tokens")
			if err != nil {
				return nil, err
			}
			w, err := parseWindow(p.window)
			if err != nil {
				return nil, err
			}
			if !w.Left.Set || w.Right != vkattn.Tokens(0) {
				return nil, usagef("streaming is causal: want --window LEFT,0")
			}
			return g.Streaming(n[0], w.Left.N+1)
		}},
		{"prefix", []string{"prefix"}, func(p *patternFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			n, err := p.numbers("prefix")
			if err != nil {
				return nil, err
			}
			return g.Prefix(n[0])
		}},
		{"chunk", []string{"chunk", "causal"}, func(p *patternFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			n, err := p.positive("chunk")
			if err != nil {
				return nil, err
			}
			return g.Chunk(n[0], p.causal)
		}},
		{"blocksparse", []string{"pattern-block", "local", "stride"}, func(p *patternFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			if p.stride == "" {
				p.stride = "8"
			}
			n, err := p.positive("pattern-block", "local", "stride")
			if err != nil {
				return nil, err
			}
			return g.BlockSparse(vkattn.BlockSparse{Block: n[0], Local: n[1], Stride: n[2]})
		}},
		{"documents", []string{"documents", "causal"}, func(p *patternFlags, g vkattn.MaskGrid, in io.Reader) (*vkattn.BlockMask, error) {
			ids, err := p.documentIDs(g, in)
			if err != nil {
				return nil, err
			}
			return g.Documents([][]int32{ids}, nil, p.causal)
		}},
		{"dense", []string{"in"}, func(p *patternFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			if p.in == "" {
				return nil, usagef("dense reads a file: want --in FILE")
			}
			files := &opener{}
			defer files.close()
			array, err := files.ref(p.in, namesOf["mask"]...)
			if err != nil {
				return nil, err
			}
			keep, shape, err := fourAxes(array, "rows, keys")
			if err != nil {
				return nil, usagef("--in %s: %w", p.in, err)
			}
			if shape[2] != g.SeqQ || shape[3] != g.SeqK {
				return nil, usagef("--in %s is of %d x %d pairs, want %d x %d", p.in, shape[2], shape[3], g.SeqQ, g.SeqK)
			}
			return g.Dense(vkattn.BHSD(vkattn.Bools(keep), shape[0], shape[1], shape[2], shape[3]).As(vkattn.Bool))
		}},
	}
}

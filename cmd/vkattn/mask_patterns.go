package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/vkattn/vkattn"
)

// maskPattern is a pattern that vkattn mask knows.
type maskPattern struct {
	name  string
	reads []string // flags of the pattern
	build func(p *maskFlags, g vkattn.MaskGrid, in io.Reader) (*vkattn.BlockMask, error)
}

func maskPatterns() []maskPattern {
	return []maskPattern{
		{"window", []string{"window", "dilation"}, func(p *maskFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			n, err := p.numbers("dilation")
			if err != nil {
				return nil, err
			}
			w, err := parseWindow(p.window)
			if err != nil {
				return nil, err
			}
			return g.Window(w, n[0])
		}},
		{"longformer", []string{"window", "global"}, func(p *maskFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			w, err := parseWindow(p.window)
			if err != nil {
				return nil, err
			}
			if !w.Left.Set || w.Left != w.Right {
				return nil, usagef("longformer has as many keys on both sides: want --window N,N")
			}
			global, err := whole32("global", p.global)
			if err != nil {
				return nil, err
			}
			return g.Longformer(w.Left.N, global)
		}},
		{"bigbird", []string{"pattern-block", "random", "seed"}, func(p *maskFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			n, err := p.numbers("pattern-block", "random")
			if err != nil {
				return nil, err
			}
			return g.BigBird(vkattn.BigBird{Block: n[0], Random: n[1], Seed: p.seed})
		}},
		{"strided", []string{"stride", "part"}, func(p *maskFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			stride, part, err := p.strided(g)
			if err != nil {
				return nil, err
			}
			return g.Strided(stride, part)
		}},
		{"fixed", []string{"stride", "summary", "verts", "part"}, func(p *maskFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			stride, part, err := p.strided(g)
			if err != nil {
				return nil, err
			}
			n, err := p.numbers("summary", "verts")
			if err != nil {
				return nil, err
			}
			return g.Fixed(stride, n[0], n[1], part)
		}},
		{"streaming", []string{"window", "sink-tokens"}, func(p *maskFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
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
		{"prefix", []string{"prefix"}, func(p *maskFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			n, err := p.numbers("prefix")
			if err != nil {
				return nil, err
			}
			return g.Prefix(n[0])
		}},
		{"chunk", []string{"chunk", "causal"}, func(p *maskFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			n, err := p.numbers("chunk")
			if err != nil {
				return nil, err
			}
			return g.Chunk(n[0], p.causal)
		}},
		{"blocksparse", []string{"pattern-block", "local", "stride"}, func(p *maskFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			if p.stride == "" {
				p.stride = "8"
			}
			n, err := p.numbers("pattern-block", "local", "stride")
			if err != nil {
				return nil, err
			}
			return g.BlockSparse(vkattn.BlockSparse{Block: n[0], Local: n[1], Stride: n[2]})
		}},
		{"documents", []string{"documents", "causal"}, func(p *maskFlags, g vkattn.MaskGrid, in io.Reader) (*vkattn.BlockMask, error) {
			ids, err := p.documentIDs(g, in)
			if err != nil {
				return nil, err
			}
			return g.Documents([][]int32{ids}, nil, p.causal)
		}},
		{"dense", []string{"in"}, func(p *maskFlags, g vkattn.MaskGrid, _ io.Reader) (*vkattn.BlockMask, error) {
			if p.in == "" {
				return nil, usagef("dense reads a file: want --in FILE")
			}
			files := &opener{}
			defer files.close()
			array, err := files.ref(p.in, namesOf["mask"]...)
			if err != nil {
				return nil, err
			}
			keep, err := array.Bools()
			if err != nil {
				return nil, usagef("--in %s: %w", p.in, err)
			}
			shape := [4]int{1, 1, 1, 1}
			if len(array.Shape) > 4 {
				return nil, usagef("--in %s has %d axes, want [batch, heads, rows, keys] or the last of them", p.in, len(array.Shape))
			}
			copy(shape[4-len(array.Shape):], array.Shape)
			if shape[2] != g.SeqQ || shape[3] != g.SeqK {
				return nil, usagef("--in %s is of %d x %d pairs, want %d x %d", p.in, shape[2], shape[3], g.SeqQ, g.SeqK)
			}
			return g.Dense(vkattn.BHSD(vkattn.Bools(keep), shape[0], shape[1], shape[2], shape[3]).As(vkattn.Bool))
		}},
	}
}

// patternHelp lists the patterns for the help text.
func patternHelp() string {
	var b strings.Builder
	for _, c := range maskPatterns() {
		fmt.Fprintf(&b, "  %-12s --%s\n", c.name, strings.Join(c.reads, " --"))
	}
	return b.String()
}

// build makes the mask of a pattern. A flag of another pattern is an error.
func (p *maskFlags) build(name string, g vkattn.MaskGrid, in io.Reader) (*vkattn.BlockMask, error) {
	var names []string
	others := map[string]bool{}
	var found *maskPattern
	for _, c := range maskPatterns() {
		names = append(names, c.name)
		for _, flag := range c.reads {
			others[flag] = true
		}
		if c.name == name {
			found = &c
		}
	}
	if found == nil {
		return nil, usagef("no pattern %q, want one of %s", name, strings.Join(names, ", "))
	}
	for flag := range others {
		if p.flags.Changed(flag) && !slices.Contains(found.reads, flag) {
			return nil, usagef("--%s is not for %s, which reads --%s", flag, name, strings.Join(found.reads, ", --"))
		}
	}
	return found.build(p, g, in)
}

// grid reads the flags of the grid.
func (p *maskFlags) grid() (g vkattn.MaskGrid, err error) {
	if p.seqlenQ == "" {
		p.seqlenQ = p.seqlen
	}
	if p.seqlenK == "" {
		p.seqlenK = p.seqlen
	}
	q, k, two := strings.Cut(p.blockSize, ",")
	if !two {
		k = q
	}
	for _, f := range []struct {
		flag, text string
		to         *int
	}{{"seqlen-q", p.seqlenQ, &g.SeqQ}, {"seqlen-k", p.seqlenK, &g.SeqK}, {"block-size", q, &g.BlockQ}, {"block-size", k, &g.BlockK}, {"heads", p.heads, &g.Heads}} {
		if *f.to, err = one(f.flag, f.text); err != nil {
			return g, err
		}
	}
	if min(g.BlockQ, g.BlockK, g.Heads) < 1 {
		return g, usagef("--block-size %s and --heads %s: want 1 or more", p.blockSize, p.heads)
	}
	var offsets []int
	if g.Align, offsets, err = parseAlign(p.align); err != nil {
		return g, err
	}
	if len(offsets) > 1 {
		return g, usagef("--align %s: want one offset", p.align)
	}
	if len(offsets) == 1 {
		g.Offset = offsets[0]
	}
	return g, nil
}

// numbers reads whole numbers of flags.
func (p *maskFlags) numbers(flags ...string) (n []int, err error) {
	for _, flag := range flags {
		x, err := one(flag, p.flags.Lookup(flag).Value.String())
		if err != nil {
			return nil, err
		}
		n = append(n, x)
	}
	return n, nil
}

// strided reads --stride and --part.
func (p *maskFlags) strided(g vkattn.MaskGrid) (stride int, part vkattn.Part, err error) {
	if stride = max(1, int(math.Sqrt(float64(g.SeqK)))); p.stride != "" {
		if stride, err = one("stride", p.stride); err != nil {
			return 0, 0, err
		}
	}
	switch p.part {
	case "merged":
		return stride, vkattn.Merged, nil
	case "local":
		return stride, vkattn.Local, nil
	case "distant":
		return stride, vkattn.Distant, nil
	}
	return 0, 0, usagef("--part %s: want merged, local or distant", p.part)
}

// documentIDs numbers the tokens of --documents.
func (p *maskFlags) documentIDs(g vkattn.MaskGrid, in io.Reader) ([]int32, error) {
	text := p.documents
	if text == "-" {
		b, err := io.ReadAll(in)
		if err != nil {
			return nil, err
		}
		text = strings.Join(strings.FieldsFunc(string(b), func(c rune) bool { return c == ',' || c <= ' ' }), ",")
	}
	lengths, err := whole("documents", text)
	if err != nil {
		return nil, err
	}
	var ids []int32
	for n, length := range lengths {
		if length < 0 || length > g.SeqQ-len(ids) {
			return nil, usagef("--documents: document %d has %d tokens, %d of %d are left", n, length, g.SeqQ-len(ids), g.SeqQ)
		}
		ids = append(ids, slices.Repeat([]int32{int32(n)}, length)...)
	}
	if len(ids) != g.SeqQ || g.SeqQ != g.SeqK {
		return nil, usagef("--documents: the lengths sum to %d, want %d rows and as many keys", len(ids), g.SeqQ)
	}
	return ids, nil
}

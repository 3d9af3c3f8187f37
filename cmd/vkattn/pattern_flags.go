package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn"
)

// patternFlags is the text of the parameters of a sparse pattern: flags of vkattn mask, and NAME:PARAMETER=VALUE in
// --block-mask.
type patternFlags struct {
	window, dilation, global, sinkTokens, prefix, chunk string
	stride, summary, verts, part                        string
	block, random, local                                string
	causal                                              bool
	documents, in                                       string
	seed                                                uint64

	set *pflag.FlagSet // has the parameters, and which were given
}

// register adds the parameters.
func (p *patternFlags) register(f *pflag.FlagSet) {
	f.StringVar(&p.window, "window", "", "`LEFT,RIGHT` keys beside the diagonal, both included; inf is unbounded")
	f.StringVar(&p.dilation, "dilation", "1", "every `N`-th key of the window")
	f.StringVar(&p.global, "global", "", "`POSITIONS` that see all and that all see: 0,5 or 0-63")
	f.StringVar(&p.sinkTokens, "sink-tokens", "4", "first `N` keys, which the window never hides")
	f.StringVar(&p.prefix, "prefix", "0", "first `N` keys, which all rows see")
	f.StringVar(&p.chunk, "chunk", "64", "tokens `N` of a chunk")
	f.StringVar(&p.stride, "stride", "", "every `N`-th key (default the square root of the keys); of blocksparse: every N-th block (default 8)")
	f.StringVar(&p.summary, "summary", "1", "last `N` keys of each stride, which all later rows see")
	f.StringVar(&p.verts, "verts", "1", "`N` slices of summary keys that heads take in turn")
	f.StringVar(&p.part, "part", "merged", "`PART` of a factorised pattern: merged, local or distant")
	f.StringVar(&p.block, "pattern-block", "64", "tokens `N` of a block of the pattern")
	f.StringVar(&p.random, "random", "3", "`N` random blocks of each row block")
	f.StringVar(&p.local, "local", "16", "last `N` blocks, the row's own included")
	f.BoolVar(&p.causal, "causal", false, "a row sees keys up to the diagonal")
	f.StringVar(&p.documents, "documents", "", "lengths of the documents, `N,...`; - reads them from the standard input")
	f.StringVar(&p.in, "in", "", "booleans, true keeps: `FILE[:NAME]`")
	f.Uint64Var(&p.seed, "seed", 1, "`N` of the random blocks")
	p.set = f
}

// parse reads NAME or NAME:PARAMETER=VALUE:PARAMETER=VALUE and checks that the pattern reads every parameter that was
// given, here or as a flag. A part without = belongs to the value before it, which may hold colons.
func (p *patternFlags) parse(text string) (*maskPattern, error) {
	parts := strings.Split(text, ":")
	found := findPattern(parts[0])
	if found == nil {
		return nil, usagef("no pattern %q, want one of %s", parts[0], strings.Join(patternNames(), ", "))
	}
	var params []string
	for _, part := range parts[1:] {
		if n := len(params); n > 0 && !strings.Contains(part, "=") {
			params[n-1] += ":" + part
		} else {
			params = append(params, part)
		}
	}
	for _, param := range params {
		name, value, ok := strings.Cut(param, "=")
		switch {
		case !ok:
			return nil, usagef("%s: want %s:PARAMETER=VALUE, it reads %s", text, found.name, strings.Join(found.reads, ", "))
		case !slices.Contains(found.reads, name):
			return nil, usagef("%s is not for %s, which reads %s", name, found.name, strings.Join(found.reads, ", "))
		case p.set.Changed(name):
			return nil, usagef("%s: %s is given twice", text, name)
		}
		if err := p.set.Set(name, value); err != nil {
			return nil, usagef("%s: %w", text, err)
		}
	}
	for _, c := range maskPatterns() {
		for _, flag := range c.reads {
			if p.set.Changed(flag) && !slices.Contains(found.reads, flag) {
				return nil, usagef("--%s is not for %s, which reads --%s", flag, found.name, strings.Join(found.reads, ", --"))
			}
		}
	}
	return found, nil
}

// parsePattern reads the PATTERN of --block-mask.
func parsePattern(text string) (*patternFlags, *maskPattern, error) {
	var p patternFlags
	p.register(pflag.NewFlagSet("pattern", pflag.ContinueOnError))
	found, err := p.parse(text)
	return &p, found, err
}

// findPattern is the pattern of that name, or nil.
func findPattern(name string) *maskPattern {
	for _, c := range maskPatterns() {
		if c.name == name {
			return &c
		}
	}
	return nil
}

// isPattern says whether the text of --block-mask names a pattern and not a file.
func isPattern(text string) bool {
	name, _, _ := strings.Cut(text, ":")
	return findPattern(name) != nil
}

func patternNames() (names []string) {
	for _, c := range maskPatterns() {
		names = append(names, c.name)
	}
	return names
}

// patternHelp lists the patterns for the help text.
func patternHelp() string {
	var b strings.Builder
	for _, c := range maskPatterns() {
		fmt.Fprintf(&b, "  %-12s --%s\n", c.name, strings.Join(c.reads, " --"))
	}
	return b.String()
}

// numbers reads whole numbers of flags.
func (p *patternFlags) numbers(flags ...string) (n []int, err error) {
	for _, flag := range flags {
		x, err := one(flag, p.set.Lookup(flag).Value.String())
		if err != nil {
			return nil, err
		}
		n = append(n, x)
	}
	return n, nil
}

// positive is numbers for flags of which 0 means nothing.
func (p *patternFlags) positive(flags ...string) ([]int, error) {
	n, err := p.numbers(flags...)
	for i, x := range n {
		if x < 1 {
			return nil, usagef("--%s %d: want 1 or more", flags[i], x)
		}
	}
	return n, err
}

// strided reads --stride and --part.
func (p *patternFlags) strided(g vkattn.MaskGrid) (stride int, part vkattn.Part, err error) {
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
func (p *patternFlags) documentIDs(g vkattn.MaskGrid, in io.Reader) ([]int32, error) {
	text := p.documents
	if text == "-" {
		if in == nil {
			return nil, usagef("--documents -: the standard input is read by vkattn mask alone, give the lengths")
		}
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

package main

import (
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
)

// problemFlags is the text of every flag that describes a problem. Those of the shape take lists in bench.
type problemFlags struct {
	linearFlags
	typeFlags
	preset string

	batch, heads, headsKV, headsV, seqlen, seqlenQ, seqlenK, headdim string
	headMap                                                          string

	causal, align, window               string
	chunk, sinkTokens                   string
	global, prefix                      string
	cuQ, cuK, keyLengths                string
	moba, nsa                           string
	qBase, kBase                        int
	blockMask, blockSize                string
	scale, softcap                      string
	alibi                               bool
	slopes, sinks, bias, mask, treeMask string
	relative                            string
	lse                                 bool

	in, q, k, v, layout string
	seed                uint64

	flags *pflag.FlagSet // to ask which were given
}

func (p *problemFlags) given(name string) bool { return p.flags.Changed(name) }

// register adds the flags. files says whether tensors can come from files.
func (p *problemFlags) register(cmd *cobra.Command, files, lists bool) {
	heading := "Shape"
	if lists {
		heading += " (a list or range sweeps: 1k,4k or 1k-16k*2)"
	}
	group(cmd, heading, func(f *pflag.FlagSet) {
		f.StringVar(&p.preset, "preset", "", "attention layer of a model: `NAME`, or list to list them")
		f.StringVar(&p.batch, "batch", "1", "`N` sequences")
		f.StringVar(&p.heads, "heads", "8", "`N` query heads")
		f.StringVar(&p.headsKV, "heads-kv", "", "`N` key and value heads, a divisor of --heads (default --heads)")
		f.StringVar(&p.headsV, "heads-v", "", "`N` value heads where they differ from the key heads")
		f.StringVar(&p.headMap, "head-map", "block", "key head of query head h: `MAP` is block (h/(heads/heads-kv)) or cyclic (h%heads-kv)")
		f.StringVar(&p.seqlen, "seqlen", "1k", "`N` rows and keys of each sequence, k is 1024")
		f.StringVar(&p.seqlenQ, "seqlen-q", "", "`N` rows (default --seqlen)")
		f.StringVar(&p.seqlenK, "seqlen-k", "", "`N` keys (default --seqlen)")
		f.StringVar(&p.headdim, "headdim", "64", "head `SIZE`, or 192-128 where values differ from keys")
	})
	group(cmd, "Masks", func(f *pflag.FlagSet) {
		f.StringVar(&p.causal, "causal", "false", "a row sees keys up to the diagonal: `BOOL`")
		f.Lookup("causal").NoOptDefVal = "true"
		f.StringVar(&p.align, "align", "", "the diagonal `WHERE`: bottom-right (default), top-left, or an offset, one or one per sequence")
		f.StringVar(&p.window, "window", "", "`LEFT,RIGHT` keys beside the diagonal, both included; inf is unbounded")
		f.StringVar(&p.chunk, "chunk", "0", "a row sees keys of its own chunk of `N` tokens; 0 is off")
		f.StringVar(&p.sinkTokens, "sink-tokens", "0", "first `N` keys, which the window never hides")
		f.StringVar(&p.global, "global", "", "`POSITIONS` that the window never hides, as rows or keys: 0,5 or 0-63")
		f.StringVar(&p.prefix, "prefix", "", "first `N` keys, which causal never hides, one number or one per sequence")
		f.StringVar(&p.keyLengths, "key-lengths", "", "valid keys of each sequence, `N,...`: 512,300")
		f.StringVar(&p.cuQ, "cu-seqlens-q", "", "packed sequences: prefix sums of their rows, `0,N,...`: 0,5,9")
		f.StringVar(&p.cuK, "cu-seqlens-k", "", "and of their keys, `0,N,...` (default as --cu-seqlens-q)")
		f.StringVar(&p.mask, "mask", "", "booleans, true keeps: `FILE[:NAME]`, or random:P keeps each pair with probability P")
		f.StringVar(&p.treeMask, "tree", "", "booleans for all heads, true keeps: `FILE[:NAME]`")
		f.StringVar(&p.blockMask, "block-mask", "", "blocks that rows see: a `PATTERN` of vkattn mask with its parameters, such as bigbird:random=2 or longformer:window=256,256:global=0, or FILE[:NAME]")
		f.StringVar(&p.blockSize, "block-size", "64", "`ROWS,KEYS` of a block, or one number for both")
		f.StringVar(&p.moba, "moba", "", "MoBA, causal: rows choose blocks of keys by their means: `BLOCK:TOP`, such as 512:3")
		f.StringVar(&p.nsa, "nsa", "", "native sparse attention, causal: `COMPRESS:STRIDE:SELECT:TOP:WINDOW`, such as 32:16:64:16:512, with made-up gates")
		f.IntVar(&p.qBase, "q-base", 0, "position `P` of row 0 in a longer sequence")
		f.IntVar(&p.kBase, "k-base", 0, "position `P` of key 0 in a longer sequence")
	})
	group(cmd, "Scores", func(f *pflag.FlagSet) {
		f.StringVar(&p.scale, "scale", "", "factor `X` of the scores (default 1/sqrt of the head size)")
		f.StringVar(&p.softcap, "softcap", "0", "`C` > 0 caps scores: C*tanh(score/C)")
		f.BoolVar(&p.alibi, "alibi", false, "ALiBi with the standard slopes")
		f.StringVar(&p.slopes, "slopes", "", "ALiBi with these slopes, one per head: a list or `FILE[:NAME]`")
		f.StringVar(&p.relative, "relative-bias", "", "bias by distance, [heads, 2R+1], as T5's: `FILE[:NAME]` or randn:R")
		f.StringVar(&p.sinks, "sinks", "", "sink logits, one per head: a list, `FILE[:NAME]` or randn")
		f.StringVar(&p.bias, "bias", "", "added to the scores, -inf hides: `FILE[:NAME]` or randn")
		f.BoolVar(&p.lse, "lse", false, "compute the logsumexp of every row too")
	})
	p.registerTypes(cmd)
	p.registerLinear(cmd)
	group(cmd, "Data", func(f *pflag.FlagSet) {
		if files {
			f.StringVar(&p.in, "in", "", "`FILE` (.npz, .safetensors) with q, k, v, and mask, bias, sinks, ... if it has them; with --linear decay, beta, projection and state_in")
			f.StringVar(&p.q, "q", "", "queries: `FILE[:NAME]`")
			f.StringVar(&p.k, "k", "", "keys: `FILE[:NAME]`")
			f.StringVar(&p.v, "v", "", "values: `FILE[:NAME]`")
			f.StringVar(&p.layout, "layout", "auto", "`AXES` in memory: bhsd, bshd or thd (packed, or one sequence); auto guesses from the shapes")
		} else {
			f.StringVar(&p.layout, "layout", "bhsd", "`AXES` in memory: bhsd, bshd or thd (packed, or one sequence)")
		}
		f.Uint64Var(&p.seed, "seed", 1, "`N` of generated values, which are normally distributed")
	})
	p.flags = cmd.Flags()
}

// one is the single number of a flag that run and plan take once.
func one(flag, text string) (int, error) {
	n, err := bench.ParseSizes(text)
	if err != nil {
		return 0, usagef("--%s: %w", flag, err)
	}
	if len(n) != 1 {
		return 0, usagef("--%s %s: one value, please; vkattn bench takes lists", flag, text)
	}
	return n[0], nil
}

// blockSizes reads the rows and keys of --block-size.
func blockSizes(text string) (q, k int, err error) {
	rows, keys, two := strings.Cut(text, ",")
	if !two {
		keys = rows
	}
	q, errQ := bench.ParseSize(rows)
	k, errK := bench.ParseSize(keys)
	if errQ != nil || errK != nil || q < 1 || k < 1 {
		return 0, 0, usagef("--block-size %s: want ROWS,KEYS or one number for both, 1 or more", text)
	}
	return q, k, nil
}

// headdims reads "64,128,192-128" as pairs of key and value size.
func headdims(text string) ([][2]int, error) {
	var all [][2]int
	for part := range strings.SplitSeq(text, ",") {
		if strings.ContainsAny(part, "*+") {
			sizes, err := bench.ParseSizes(part)
			if err != nil {
				return nil, usagef("--headdim: %w", err)
			}
			for _, n := range sizes {
				all = append(all, [2]int{n, n})
			}
			continue
		}
		key, value, differ := strings.Cut(part, "-")
		d, err := bench.ParseSize(key)
		if err != nil {
			return nil, usagef("--headdim: %w", err)
		}
		dv := d
		if differ {
			if dv, err = bench.ParseSize(value); err != nil {
				return nil, usagef("--headdim: %w", err)
			}
		}
		all = append(all, [2]int{d, dv})
	}
	return all, nil
}

// whole reads an integer list such as "0,5,-2".
func whole(flag, text string) ([]int, error) {
	if text == "" {
		return nil, nil
	}
	var all []int
	for part := range strings.SplitSeq(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < math.MinInt32 || n > math.MaxInt32 {
			return nil, usagef("--%s: %q is no whole number", flag, part)
		}
		all = append(all, n)
	}
	return all, nil
}

func whole32(flag, text string) ([]int32, error) {
	n, err := whole(flag, text)
	if n == nil || err != nil {
		return nil, err
	}
	out := make([]int32, len(n))
	for i, x := range n {
		out[i] = int32(x)
	}
	return out, nil
}

// maxPositions bounds what a range of positions stands for.
const maxPositions = 1 << 20

// positions reads a list of positions and of ranges with both ends in them, such as "0,5" or "0-63,100".
func positions(flag, text string) (all []int32, err error) {
	if text == "" {
		return nil, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		from, to := part, part
		if at := strings.LastIndexByte(part, '-'); at > 0 {
			from, to = part[:at], part[at+1:]
		}
		ends, err := whole32(flag, from+","+to)
		if err != nil {
			return nil, err
		}
		if n := int64(ends[1]) - int64(ends[0]) + 1; n < 1 || n+int64(len(all)) > maxPositions {
			return nil, usagef("--%s: %q is of %d positions, want 1 to %d", flag, part, n, maxPositions)
		}
		for i := ends[0]; ; i++ {
			if all = append(all, i); i == ends[1] {
				break
			}
		}
	}
	return all, nil
}

func number(flag, text string) (float64, error) {
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, usagef("--%s: %q is no number", flag, text)
	}
	return x, nil
}

// parseWindow reads "LEFT,RIGHT".
func parseWindow(text string) (w vkattn.Window, err error) {
	if text == "" {
		return w, nil
	}
	left, right, ok := strings.Cut(text, ",")
	if !ok {
		return w, usagef("--window %s: want LEFT,RIGHT such as 127,0 or inf,0", text)
	}
	for _, side := range []struct {
		text string
		to   *vkattn.Bound
	}{{left, &w.Left}, {right, &w.Right}} {
		if s := strings.TrimSpace(side.text); s != "inf" {
			n, err := strconv.Atoi(s)
			if err != nil {
				return w, usagef("--window: %q is neither a number of keys nor inf", s)
			}
			*side.to = vkattn.Tokens(n)
		}
	}
	return w, nil
}

// parseAlign reads --align; offsets are nil unless it gives some.
func parseAlign(text string) (vkattn.Align, []int, error) {
	switch text {
	case "", "bottom-right":
		return vkattn.AlignBottomRight, nil, nil
	case "top-left":
		return vkattn.AlignTopLeft, nil, nil
	}
	offsets, err := whole("align", text)
	if err != nil {
		return 0, nil, usagef("--align %s: want bottom-right, top-left or an offset", text)
	}
	return vkattn.AlignOffset, offsets, nil
}

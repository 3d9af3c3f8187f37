package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
	"github.com/vkattn/vkattn/internal/report"
)

// maskFlags is the command line of mask.
type maskFlags struct {
	patternFlags
	seqlen, seqlenQ, seqlenK, blockSize, align, heads string

	output string
	head   int
}

var maskFormats = []string{"table", "json", "svg", "png"}

func newMask(a *app) *cobra.Command {
	p := &maskFlags{}
	cmd := &cobra.Command{
		Use:   "mask PATTERN",
		Short: "Build the block mask of a sparse pattern, count it and draw it",
		Long: `mask builds the block mask of a sparse pattern and says how many blocks a kernel visits, which share of the grid that is, how
many pairs are visible exactly, and what the lists take. -o svg and -o png draw it on the standard output, for one head.

Patterns, with the flags that they read:
` + patternHelp() + `
Exit codes: 0 done, 1 failed, 2 wrong command line or a pattern that cannot be built.`,
		Example: `  vkattn mask window --seqlen 1m --window 4095,0 --block-size 128
  vkattn mask longformer --seqlen 4k --window 256,256 --global 0,1 -o json
  vkattn mask bigbird --seqlen 4k --random 3 --heads 12 --head 5 -o png > bigbird.png
  echo 100,30,126 | vkattn mask documents --seqlen 256 --documents - -o svg > documents.svg`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("mask takes one pattern, there is %s", strings.Join(patternNames(), ", "))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error { return a.mask(p, args[0], cmd.InOrStdin()) },
	}
	group(cmd, "Grid", func(f *pflag.FlagSet) {
		f.StringVar(&p.seqlen, "seqlen", "1k", "`N` rows and keys, k is 1024")
		f.StringVar(&p.seqlenQ, "seqlen-q", "", "`N` rows (default --seqlen)")
		f.StringVar(&p.seqlenK, "seqlen-k", "", "`N` keys (default --seqlen)")
		f.StringVar(&p.blockSize, "block-size", "64", "`ROWS,KEYS` of a block, or one number for both")
		f.StringVar(&p.align, "align", "", "the diagonal `WHERE`: bottom-right (default), top-left, or an offset")
		f.StringVar(&p.heads, "heads", "1", "`N` heads, of patterns that differ between them")
	})
	group(cmd, "Pattern", p.register)
	p.set = cmd.Flags()
	cmd.Flags().StringVarP(&p.output, "output", "o", "table", "`FORMAT`: "+strings.Join(maskFormats, ", "))
	cmd.Flags().IntVar(&p.head, "head", 0, "`N` of the head that is drawn")
	return cmd
}

// maskSummary is what mask prints.
type maskSummary struct {
	Schema   int     `json:"schema"`
	Pattern  string  `json:"pattern"`
	SeqQ     int     `json:"seq_q"`
	SeqK     int     `json:"seq_k"`
	BlockQ   int     `json:"block_q"`
	BlockK   int     `json:"block_k"`
	Batch    int     `json:"batch"`
	Heads    int     `json:"heads"`
	Grid     int64   `json:"grid_blocks"` // of all heads
	Blocks   int     `json:"blocks"`
	Full     int     `json:"full"`
	Partial  int     `json:"partial"`
	Tiles    int     `json:"tiles"` // different sets of pairs that partial blocks have
	Density  float64 `json:"density"`
	Pairs    int64   `json:"pairs"`
	PairRate float64 `json:"pair_density"`
	Bytes    int64   `json:"bytes"`
}

func summarise(pattern string, m *vkattn.BlockMask, sq, sk int) (maskSummary, error) {
	s := maskSummary{Schema: 1, Pattern: pattern, SeqQ: sq, SeqK: sk, BlockQ: m.BlockQ, BlockK: m.BlockK, Batch: m.Batch, Heads: m.Heads,
		Grid: int64(m.Batch) * int64(m.Heads) * int64(m.RowBlocks) * int64(m.KeyBlocks), Blocks: len(m.Keys), Density: m.Density(),
		Tiles: len(m.Bits) / (m.BlockQ * m.RowWords()), Bytes: 4*int64(len(m.Start)+len(m.Keys)+len(m.Tile)+len(m.Bits)) + int64(len(m.Full))}
	for _, full := range m.Full {
		if full {
			s.Full++
		}
	}
	s.Partial = s.Blocks - s.Full
	var err error
	if s.Pairs, err = m.Pairs(sq, sk); err != nil {
		return s, err
	}
	if all := float64(m.Batch) * float64(m.Heads) * float64(sq) * float64(sk); all > 0 {
		s.PairRate = float64(s.Pairs) / all
	}
	return s, nil
}

func (a *app) mask(p *maskFlags, name string, in io.Reader) error {
	if !slices.Contains(maskFormats, p.output) {
		return usagef("-o %s: want one of %s", p.output, strings.Join(maskFormats, ", "))
	}
	if f, ok := a.out.(*os.File); ok && p.output == "png" && term.IsTerminal(int(f.Fd())) {
		return usagef("-o png writes a picture: send it to a file, as in vkattn mask %s -o png > %s.png", name, name)
	}
	grid, err := p.grid()
	if err != nil {
		return err
	}
	pattern, err := p.parse(name)
	if err != nil {
		return err
	}
	m, err := pattern.build(&p.patternFlags, grid, in)
	if named := argOf(err); named == "Blocks" {
		return usagef("%s; --block-size and --heads say how many blocks there are", plainMessage(err))
	}
	if err != nil {
		return err
	}
	if p.head < 0 || p.head >= m.Heads {
		return usagef("--head %d: the mask has heads 0 to %d", p.head, m.Heads-1)
	}
	s, err := summarise(name, m, grid.SeqQ, grid.SeqK)
	if err != nil {
		return err
	}
	switch p.output {
	case "json":
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		return e.Encode(s)
	case "svg", "png":
		title := fmt.Sprintf("%s: %s of blocks, %s of pairs", name, percent(s.Density), percent(s.PairRate))
		return report.MaskPicture(a.out, m, grid.SeqQ, grid.SeqK, 0, p.head, title, p.output)
	}
	return writeTable(a.out, [][]string{
		{"pattern", name},
		{"grid", fmt.Sprintf("%s rows x %s keys in blocks of %d x %d, %s", bench.Count(int64(s.SeqQ)), bench.Count(int64(s.SeqK)), s.BlockQ, s.BlockK, lists(s))},
		{"blocks", fmt.Sprintf("%s of %s: %s full, %s partial", bench.Count(int64(s.Blocks)), bench.Count(s.Grid), bench.Count(int64(s.Full)), bench.Count(int64(s.Partial)))},
		{"density", percent(s.Density) + " of the blocks"},
		{"pairs", fmt.Sprintf("%d, %s of all", s.Pairs, percent(s.PairRate))},
		{"memory", fmt.Sprintf("%s, with %s different tiles of pairs", bench.Bytes(s.Bytes), bench.Count(int64(s.Tiles)))},
	})
}

func lists(s maskSummary) string {
	if s.Batch*s.Heads == 1 {
		return "one list for all heads"
	}
	return fmt.Sprintf("%d sequences x %d heads", s.Batch, s.Heads)
}

func percent(x float64) string { return bench.Figure(100*x) + "%" }

// grid reads the flags of the grid.
func (p *maskFlags) grid() (g vkattn.MaskGrid, err error) {
	if p.seqlenQ == "" {
		p.seqlenQ = p.seqlen
	}
	if p.seqlenK == "" {
		p.seqlenK = p.seqlen
	}
	if g.BlockQ, g.BlockK, err = blockSizes(p.blockSize); err != nil {
		return g, err
	}
	for _, f := range []struct {
		flag, text string
		to         *int
	}{{"seqlen-q", p.seqlenQ, &g.SeqQ}, {"seqlen-k", p.seqlenK, &g.SeqK}, {"heads", p.heads, &g.Heads}} {
		if *f.to, err = one(f.flag, f.text); err != nil {
			return g, err
		}
	}
	if g.Heads < 1 {
		return g, usagef("--heads %s: want 1 or more", p.heads)
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

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/vkattn/vkattn/internal/bench"
)

func newCompare(a *app) *cobra.Command {
	var format, threshold string
	cmd := &cobra.Command{
		Use:   "compare FILE...",
		Short: "Compare what vkattn bench measured on several machines, devices or days",
		Long: `compare joins records by problem and prints the times beside each other, with the ratio to the time that each is compared
with. Files are what 'vkattn bench -o json', '-o jsonl' or '--save' wrote; - is the standard input. With one
file, every device and kernel in it is compared with the first. With several, each is compared with the same device and kernel
in the first file, or else with the first one there. A ratio above 1 is slower. The range beside it holds 95% of the
ratios of medians when the samples of both are drawn again with replacement: where it holds 1, the difference may be noise.
Parts of one run (--shard) in several files are joined first with 'cat', if they are JSON lines.

Exit codes: 0 done, 2 wrong command line or a file that holds no records, 3 no problem was measured twice, 4 a ratio is
above --threshold and its range above 1.`,
		Example: `  vkattn compare before.json after.json --threshold 5%
  vkattn compare radeon.json geforce.json arc.json -o csv
  vkattn bench --device gpu,cpu -o json | vkattn compare -`,
		Args: someFiles,
		RunE: func(_ *cobra.Command, files []string) error { return a.compare(files, format, threshold) },
	}
	cmd.Flags().StringVarP(&format, "output", "o", "md", "`FORMAT`: md, csv or json")
	cmd.Flags().StringVar(&threshold, "threshold", "", "exit code 4 when something is slower by more than this: `RATIO` is 1.05 or 5%")
	return cmd
}

func (a *app) compare(paths []string, format, threshold string) error {
	if !slices.Contains(bench.CompareFormats, format) {
		return usagef("-o %s: want one of %s", format, strings.Join(bench.CompareFormats, ", "))
	}
	limit := 0.0
	if threshold != "" {
		var err error
		if limit, err = bench.ParseThreshold(threshold); err != nil {
			return usagef("--threshold: %w", err)
		}
	}
	files, err := readRecords(paths)
	if err != nil {
		return err
	}
	c := bench.Compare(files)
	if len(c.Rows) == 0 {
		return &nothingError{errors.New("no problem was measured by two of them: name a second file, or measure with two of --device or --kernel")}
	}
	if err := bench.WriteComparison(a.out, format, &c); err != nil {
		return err
	}
	if limit == 0 {
		return nil
	}
	over := c.Over(limit)
	if len(over) == 0 {
		return nil
	}
	names := c.Names()
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %d problems are slower than the threshold allows:", len(over), len(c.Rows))
	for i, x := range over {
		if i == 10 {
			fmt.Fprintf(&b, "\n  and %d more", len(over)-i)
			break
		}
		row := &c.Rows[x.Row]
		fmt.Fprintf(&b, "\n  %s times %s on %s", bench.Figure(row.Cells[x.Column].Ratio), row.Problem, names[x.Column])
	}
	return &mismatchError{errors.New(b.String())}
}

// readRecords reads every file, "-" once.
func readRecords(paths []string) ([]bench.File, error) {
	var files []bench.File
	for i, p := range paths {
		if slices.Contains(paths[:i], p) {
			return nil, usagef("%s is given twice", p)
		}
		records, err := bench.ReadFile(p)
		if err != nil {
			return nil, err
		}
		files = append(files, bench.File{Name: p, Records: records})
	}
	return files, nil
}

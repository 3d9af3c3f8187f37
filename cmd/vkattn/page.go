package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/vkattn/vkattn/internal/report"
)

func newReport(a *app) *cobra.Command {
	var out, png string
	cmd := &cobra.Command{
		Use:   "report FILE...",
		Short: "Write a page of tables and plots from what vkattn bench measured",
		Long: `report writes one HTML page from files that 'vkattn bench -o json', '-o jsonl' or '--save' wrote: the devices with their
roofs, time and memory against length, each problem against the roof, the devices against each other, and every number in
tables. The page needs no network and no script, and follows the reader's light or dark mode. --png writes the plots as pictures.

Exit codes: 0 done, 1 the page could not be written, 2 wrong command line or a file that holds no records, 3 nothing in the files was measured.`,
		Example: `  vkattn report *.json -o report.html
  vkattn report here.json there.json --png plots
  vkattn bench --suite seed --quick -o json | vkattn report - -o report.html`,
		Args: someFiles,
		RunE: func(_ *cobra.Command, files []string) error { return a.writeReport(files, out, png) },
	}
	cmd.Flags().StringVarP(&out, "output", "o", "", "`FILE` of the page; - is the standard output")
	cmd.Flags().StringVar(&png, "png", "", "write each plot as a PNG picture to `DIR`")
	return cmd
}

func (a *app) writeReport(paths []string, out, png string) error {
	if out == "" && png == "" {
		return usagef("where to? -o report.html, or --png DIR for the plots alone")
	}
	files, err := readRecords(paths)
	if err != nil {
		return err
	}
	r, err := report.New(files)
	if err != nil {
		return &nothingError{err}
	}
	if png != "" {
		names, err := r.WritePNGs(png)
		if err != nil {
			return err
		}
		a.note("%d plots in %s", len(names), png)
	}
	switch out {
	case "":
		return nil
	case "-":
		return r.WriteHTML(a.out)
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	if err := r.WriteHTML(f); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

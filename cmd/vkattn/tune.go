package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/bench"
)

func newTune(a *app) *cobra.Command {
	var d deviceFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "tune",
		Short: "Find the fastest kernel tiles of a device, and keep them",
		Long: `tune measures which tile of the flash kernel is fastest on a device, for classes of problems: head sizes up to 64, 128
and 256, with many query rows, or 1, 4 or 8 that share their keys. A tile is compared with float64 before it is timed, and
one that computes anything else is never taken. What is faster than the planner's own choice goes to the cache
directory, under this device, this driver and these kernels, and serves from then on. It takes minutes.

Exit codes: 0 done, 1 failed, 2 wrong command line, 3 no such device or nothing to tune (the CPU).`,
		Example: `  vkattn tune
  vkattn tune --device llvmpipe --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.tune(cmd.Context(), &d, asJSON) },
	}
	cmd.Flags().StringVar(&d.device, "device", "gpu", "`WHICH`: gpu, an index, or a part of a name")
	d.registerDisable(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) tune(ctx context.Context, d *deviceFlags, asJSON bool) error {
	opened, err := d.open(ctx, d.device)
	if err != nil {
		return err
	}
	defer opened.Close()
	b, ok := opened.(*dispatch.Backend)
	if !ok {
		return &nothingError{errors.New("the CPU has no tiles to choose from; 'vkattn devices' lists what has")}
	}
	bar := a.progress()
	found, err := b.Tune(ctx, func(done, all int, class string) { bar.show("%d of %d: %s", done+1, all, class) })
	bar.clear()
	if err != nil && len(found) == 0 {
		return err
	}
	if asJSON {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		if e := e.Encode(found); e != nil {
			return e
		}
		return err
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join([]string{"class", "problem", "planner's tile", "time", "best tile", "time", "faster", "tried", "wrong"}, "\t"))
	for _, t := range found {
		best, faster := "the same", ""
		if t.Tile != t.Rule {
			best, faster = t.Tile.String(), fmt.Sprintf("%.2fx", t.RuleNS/t.TileNS)
		}
		fmt.Fprintf(w, "%s\t%s\t%v\t%s\t%s\t%s\t%s\t%d\t%d\n", t.Class, t.Problem, t.Rule, bench.Duration(time.Duration(t.RuleNS)), best, bench.Duration(time.Duration(t.TileNS)), faster, t.Tried, t.Wrong)
	}
	if e := w.Flush(); e != nil {
		return e
	}
	return err
}

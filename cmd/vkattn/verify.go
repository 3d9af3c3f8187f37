package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/internal/bench"
)

// verifyFlags is the command line of verify.
type verifyFlags struct {
	deviceFlags
	golden   string
	filter   string
	sample   bool
	product  bool
	failFast bool
	json     bool
	seed     uint64
	shard    string
}

func newVerify(a *app) *cobra.Command {
	var v verifyFlags
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Prove that a device computes every option right",
		Long: `verify runs the conformance suite on a device: every mask and extra, alone and combined, every type of tensor, rotary
positions, linear attention, MoBA and native sparse attention, against the float64 oracle, and again with poison in all memory that no row may see. With --golden it runs the cases of a golden set
instead: a folder with manifest.json and .npz files of inputs and of outputs that other programs computed.

With --shard every process takes one share of the cases. Those that run the same compiled kernels stay together, as far as
that leaves the shares even: most of the time goes into compiling. Processes with the same flags on the same device take every
case once.

Exit codes: 0 something passed and nothing failed, 1 it could not be run, 2 wrong command line, 3 no such device or
nothing passed, 4 something failed, 130 stopped by Ctrl-C, after what there is was written.`,
		Example: `  vkattn verify
  vkattn verify --device llvmpipe --sample
  vkattn verify --filter 'window|sink' --device cpu
  vkattn verify --product --device cpu
  vkattn verify --product --shard 0/16 --json
  vkattn verify --golden testdata/golden --device cpu --json`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.verify(cmd.Context(), &v) },
	}
	v.register(cmd, "auto", false)
	cmd.Flags().Lookup("device").Usage = "`WHICH` one: auto (a real GPU, else the CPU), gpu, cpu, an index, a part of a name"
	group(cmd, "Cases", func(f *pflag.FlagSet) {
		f.StringVar(&v.golden, "golden", "", "run the cases of the golden set in `DIR` instead of the suite")
		f.StringVar(&v.filter, "filter", "", "only cases whose name matches `REGEXP`")
		f.BoolVar(&v.sample, "sample", false, "only the sample that covers pairs of options")
		f.BoolVar(&v.product, "product", false, "instead of the suite every set of types in every head size of models, group of heads and kind of mask")
		f.StringVar(&v.shard, "shard", "", "`I/N`: the share I of N of the cases, I from 0, for N processes of one device side by side")
		f.Uint64Var(&v.seed, "seed", 0, "`N` of the suite's data")
		f.BoolVar(&v.failFast, "fail-fast", false, "stop after the first failure")
		f.BoolVar(&v.json, "json", false, "print JSON")
	})
	return cmd
}

// caseResult is one line of verify.
type caseResult struct {
	Name    string  `json:"name"`
	Op      string  `json:"op"`
	Status  string  `json:"status"` // passed, failed or unsupported
	Worst   float64 `json:"worst"`
	Allowed float64 `json:"allowed"`
	Reason  string  `json:"reason"`
	Kernel  string  `json:"kernel,omitempty"`
}

// tally is what verify --json prints.
type tally struct {
	Passed      int          `json:"passed"`
	Failed      int          `json:"failed"`
	Unsupported int          `json:"unsupported"`
	Total       int          `json:"total"`
	Cases       []caseResult `json:"cases"`
}

func (t *tally) add(r caseResult) {
	switch r.Status {
	case "passed":
		t.Passed++
	case "failed":
		t.Failed++
	case "unsupported":
		t.Unsupported++
	}
	t.Total++
	r.Worst, r.Allowed = finite(r.Worst), finite(r.Allowed)
	t.Cases = append(t.Cases, r)
}

// err is what the exit code says.
func (t *tally) err() error {
	switch {
	case t.Failed > 0:
		return &mismatchError{fmt.Errorf("%d of %d cases failed", t.Failed, t.Total)}
	case t.Passed == 0:
		return &nothingError{fmt.Errorf("no case passed, of %d", t.Total)}
	}
	return nil
}

func (a *app) verify(ctx context.Context, v *verifyFlags) error {
	filter, err := regexp.Compile(v.filter)
	if err != nil {
		return usagef("--filter: %w", err)
	}
	var share shard
	if v.shard != "" {
		if share.Shard, err = bench.ParseShard(v.shard); err != nil {
			return usagef("--shard: %w", err)
		}
	}
	names, err := a.targets(ctx, v.device)
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return usagef("--device %s: verify takes one device", v.device)
	}
	load := suiteCases(ctx, v, filter)
	if v.golden != "" {
		if load, err = goldenCases(ctx, v.golden, filter); err != nil {
			return err
		}
	}
	backend, err := v.open(ctx, names[0])
	if err != nil {
		return err
	}
	defer backend.Close()
	cases, err := load(backend)
	if err != nil {
		return err
	}
	cases = share.of(backend, cases)
	if !v.json {
		fmt.Fprintf(a.out, "%s\n\n", describe(backend.Info()))
	}
	bar := a.progress()
	t := tally{Cases: []caseResult{}}
	for n, c := range cases {
		bar.show("%d of %d", n, len(cases))
		r := c.run()
		if ctx.Err() != nil { // what there is, below
			break
		}
		t.add(r)
		if !v.json {
			bar.clear()
			a.printCase(r)
		}
		if v.failFast && r.Status == "failed" {
			break
		}
	}
	bar.clear()
	if v.json {
		e := json.NewEncoder(a.out)
		e.SetIndent("", "  ")
		if err := e.Encode(t); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(a.out, "\n%d passed, %d failed, %d unsupported of %d\n", t.Passed, t.Failed, t.Unsupported, t.Total)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return t.err()
}

func (a *app) printCase(r caseResult) {
	st := a.style()
	status := r.Status
	switch r.Status {
	case "passed":
		status = st.good("pass")
	case "failed":
		status = st.bad("FAIL")
	case "unsupported":
		status = st.faint("skip")
	}
	line := fmt.Sprintf("%s  %s", status, r.Name)
	if r.Status != "unsupported" {
		line += fmt.Sprintf("  %s of %s allowed", bench.Figure(r.Worst), bench.Figure(r.Allowed))
	}
	if r.Reason != "" {
		line += "  (" + r.Reason + ")"
	}
	fmt.Fprintln(a.out, line)
}

// verifyCase is one case of a suite or a golden set.
type verifyCase struct {
	op  vkattn.Op // nil: not known beforehand
	run func() caseResult
}

// loader prepares cases for a backend.
type loader func(vkattn.Backend) ([]verifyCase, error)

// suiteCases is the conformance suite.
func suiteCases(ctx context.Context, v *verifyFlags, filter *regexp.Regexp) loader {
	return func(b vkattn.Backend) ([]verifyCase, error) {
		var cases []verifyCase
		add := func(name string, sample bool, op vkattn.Op, run func(attntest.Options) attntest.Result) {
			if (!v.sample || sample) && filter.MatchString(name) {
				cases = append(cases, verifyCase{op, func() caseResult { return suiteResult(run(attntest.Options{Seed: v.seed})) }})
			}
		}
		if v.product {
			for n, c := range attntest.TypeProduct() {
				add(c.Name, n%97 == 0, c.Op, func(o attntest.Options) attntest.Result { return attntest.VerifyTypeCase(ctx, b, c, o) })
			}
			return v.loaded(cases)
		}
		for _, c := range attntest.Cases() {
			add(c.Name, c.Sample, c.Op, func(o attntest.Options) attntest.Result { return attntest.VerifyCase(ctx, b, c, o) })
		}
		for _, c := range attntest.TypeCases() {
			add(c.Name, c.Sample, c.Op, func(o attntest.Options) attntest.Result { return attntest.VerifyTypeCase(ctx, b, c, o) })
		}
		for _, c := range attntest.LinearCases() {
			add(c.Name, c.Sample, c.Op, func(o attntest.Options) attntest.Result { return attntest.VerifyLinearCase(ctx, b, c, o) })
		}
		for n, c := range append(attntest.RopeCases(), attntest.RopeTypeCases()...) {
			add(c.Name, n%4 == 0, c.Op, func(o attntest.Options) attntest.Result { return attntest.VerifyRopeCase(ctx, b, c, o) })
		}
		for n, c := range append(attntest.SparseCases(), attntest.SparseTypeCases()...) {
			add(c.Name, n%4 == 0, c.Op, func(o attntest.Options) attntest.Result { return attntest.VerifySparseCase(ctx, b, c, o) })
		}
		return v.loaded(cases)
	}
}

// loaded is what a loader returns of cases.
func (v *verifyFlags) loaded(cases []verifyCase) ([]verifyCase, error) {
	if len(cases) == 0 {
		return nil, usagef("--filter %s fits none of the suite's cases", v.filter)
	}
	return cases, nil
}

func suiteResult(r attntest.Result) caseResult {
	reason := r.Reason
	if r.Status == attntest.Failed && r.Where != "" {
		reason += " at " + r.Where
	}
	return caseResult{r.Name, r.Op, string(r.Status), r.Worst, r.Allowed, reason, r.Kernel}
}

// unsupportedText is the reason in an error that means "not here", and whether it is one.
func unsupportedText(err error) (string, bool) {
	if errors.Is(err, vkattn.ErrUnsupported) {
		return plainMessage(err), true
	}
	return "", false
}

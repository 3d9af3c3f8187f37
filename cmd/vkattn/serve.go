package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/bench"
	"github.com/vkattn/vkattn/internal/serve"
)

// serveSuite is the name of the suite that is a load and not a list of problems.
const serveSuite = "serve"

// serveFlags are those of bench --suite serve alone.
type serveFlags struct {
	rate           float64
	page, pages    string
	stepTokens     string
	prompt, output string
	layers         int
}

const serveGroup = "Serving (--suite serve)"

func (s *serveFlags) register(cmd *cobra.Command) {
	group(cmd, serveGroup, func(f *pflag.FlagSet) {
		f.Float64Var(&s.rate, "rate", 0, "`N` sequences arrive in a second, independently of each other; 0: the next one as soon as there is room")
		f.StringVar(&s.prompt, "prompt-tokens", "256,0.8", "lengths of prompts, log-normal: `MEDIAN[,SPREAD]` of the natural logarithm")
		f.StringVar(&s.output, "output-tokens", "128,0.7", "lengths of what is generated, log-normal: `MEDIAN[,SPREAD]`")
		f.StringVar(&s.stepTokens, "step-tokens", "256", "`N` tokens of a step at most: one for each sequence that generates, the rest for prompts")
		f.StringVar(&s.page, "page", "16", "`N` tokens of a page; 0 keeps each sequence in one piece")
		f.StringVar(&s.pages, "pages", "", "`N` pages (default: a quarter of what --batch sequences of --seqlen tokens take)")
		f.IntVar(&s.layers, "layers", 1, "`N` layers")
	})
}

// servePreset is the layer that is served when no other is asked for, serveBatch and serveLongest its load.
const servePreset, serveBatch, serveLongest = "llama3.1-8b", "16", "2k"

// serveTakes are the flags of bench that the suite heeds, beside its own.
var serveTakes = []string{"suite", "time", "seed", "output", "label", "quiet", "device", "strict", "budget", "disable", "kernel", "split-keys",
	"preset", "batch", "heads", "heads-kv", "heads-v", "head-map", "headdim", "seqlen", "window", "sink-tokens", "chunk", "scale", "softcap", "causal", "type-k", "type-v"}

// serving says whether the suite is asked for, and refuses its flags without it.
func (b *benchFlags) serving() (bool, error) {
	asked := b.suite == serveSuite
	if !asked && slices.Contains(strings.Split(b.suite, ","), serveSuite) {
		return false, usagef("--suite serve is a load and goes alone")
	}
	var wrong string
	b.flags.Visit(func(f *pflag.Flag) {
		own := len(f.Annotations[groupKey]) > 0 && f.Annotations[groupKey][0] == serveGroup
		if asked && !own && !slices.Contains(serveTakes, f.Name) || !asked && own {
			wrong = f.Name
		}
	})
	switch {
	case wrong == "":
		return asked, nil
	case asked:
		return false, usagef("--%s does not go with --suite serve", wrong)
	}
	return false, usagef("--%s goes with --suite serve", wrong)
}

// lengthsOf reads MEDIAN[,SPREAD].
func (b *benchFlags) lengthsOf(flag, text string, longest int) (serve.Lengths, error) {
	median, spread, given := strings.Cut(text, ",")
	n, err := bench.ParseSize(median)
	if err != nil || n < 1 {
		return serve.Lengths{}, usagef("--%s %s: want a median of 1 or more tokens, and a spread", flag, text)
	}
	l := serve.Lengths{Median: float64(n), Min: 1, Max: longest}
	if given {
		if l.Spread, err = strconv.ParseFloat(spread, 64); err != nil || !(l.Spread >= 0 && l.Spread <= 10) {
			return l, usagef("--%s %s: want a spread from 0 to 10", flag, text)
		}
	}
	return l, nil
}

// load is what the flags ask for: the cache, and what comes to it.
func (b *benchFlags) load() (spec vkattn.CacheSpec, o serve.Options, err error) {
	byDefault := func(name string, to *string, value string) {
		if !b.given(name) {
			*to = value
		}
	}
	if !b.given("preset") && !b.given("heads") && !b.given("headdim") {
		b.preset = servePreset
	}
	byDefault("batch", &b.batch, serveBatch)
	byDefault("seqlen", &b.seqlen, serveLongest)
	if !b.given("time") {
		b.time = time.Minute
	}
	specs, err := b.specs(false)
	if err != nil {
		return spec, o, err
	}
	s := specs[0]
	if s.linear != nil || s.choosing != nil || s.blockMask != "" || s.valueInKey || s.global != nil || s.op.With != 0 {
		return spec, o, usagef("--preset %s: a cache serves plain layers of softmax attention, without %s", b.preset,
			cmp.Or(s.op.With.String(), "states, choices of blocks and values inside of keys"))
	}
	spec = vkattn.CacheSpec{Op: s.op, Layers: b.layers}
	op := &spec.Op
	for _, x := range []struct {
		flag, text string
		to         *int
	}{{"step-tokens", b.stepTokens, &o.Tokens}, {"page", b.page, &spec.Page}, {"pages", cmp.Or(b.pages, "0"), &spec.Pages}} {
		if *x.to, err = one(x.flag, x.text); err != nil {
			return spec, o, err
		}
	}
	if op.Batch < 1 || op.SeqK < 2 || o.Tokens < op.Batch || b.layers < 1 || b.time <= 0 || !(b.rate >= 0) {
		return spec, o, usagef("--suite serve wants --batch 1 or more, --seqlen 2 or more, --step-tokens as many as --batch, --layers 1 or more, a --time, and no negative --rate")
	}
	if spec.Page > 0 && spec.Pages == 0 {
		whole := (op.SeqK + spec.Page - 1) / spec.Page
		spec.Pages = max(whole, op.Batch*whole/4)
	}
	if spec.Page > 0 && spec.Pages*spec.Page < op.SeqK {
		return spec, o, usagef("--pages %d of %d tokens have no room for one sequence of --seqlen %d", spec.Pages, spec.Page, op.SeqK)
	}
	op.SeqQ, op.TotalQ, op.Causal = min(o.Tokens, op.SeqK), o.Tokens, true
	spec.SplitKeys = b.part
	o.Time, o.Sequences, o.Context = b.time, op.Batch, op.SeqK
	o.Load = serve.Load{Seed: b.seed, Rate: b.rate}
	if o.Prompt, err = b.lengthsOf("prompt-tokens", b.prompt, op.SeqK-1); err != nil {
		return spec, o, err
	}
	o.Output, err = b.lengthsOf("output-tokens", b.serveFlags.output, op.SeqK-1)
	return spec, o, err
}

// served is the load on one device.
type served struct {
	Schema  int           `json:"schema"`
	Suite   string        `json:"suite"`
	Build   bench.Build   `json:"build"`
	Start   time.Time     `json:"time"`
	Label   string        `json:"label,omitempty"`
	Problem string        `json:"problem"`
	Layers  int           `json:"layers"`
	Page    int           `json:"page"`
	Report  vkattn.Report `json:"report"` // of the last step
	Check   serve.Check   `json:"check"`
	*serve.Result
}

// serve is bench --suite serve.
func (a *app) serve(ctx context.Context, b *benchFlags) error {
	if b.format != "md" && b.format != "json" {
		return usagef("-o %s: --suite serve has md and json", b.format)
	}
	spec, o, err := b.load()
	if err != nil {
		return err
	}
	if err := spec.Validate(); err != nil {
		return err
	}
	names, err := a.targets(ctx, b.device)
	if err != nil {
		return err
	}
	var all []served
	for _, name := range names {
		r, err := a.serveOn(ctx, b, name, spec, o)
		if r != nil {
			all = append(all, *r)
		}
		if err != nil {
			return errors.Join(a.printServed(b.format, all), err)
		}
	}
	if err := a.printServed(b.format, all); err != nil {
		return err
	}
	for i := range all {
		if err := all[i].judge(); err != nil {
			return err
		}
	}
	return nil
}

// judge is the error of a load that was served and was wrong, or left memory behind.
func (s *served) judge() error {
	switch {
	case !s.Check.OK:
		return &mismatchError{fmt.Errorf("%s: a row was wrong: %s", s.Report.Device, s.Check.Where)}
	case s.Grown != "":
		return &mismatchError{fmt.Errorf("%s: memory grew: %s (docs/benchmarks.md says what of it a C library may keep)", s.Report.Device, s.Grown)}
	}
	return nil
}

// serveOn serves a load on one device.
func (a *app) serveOn(ctx context.Context, b *benchFlags, name string, spec vkattn.CacheSpec, o serve.Options) (*served, error) {
	backend, err := b.open(ctx, name)
	if err != nil {
		return nil, err
	}
	defer backend.Close()
	const everyStep = 16 // is checked in one row
	layers, err := serve.NewLayers(ctx, backend, spec, o.Seed, everyStep)
	if err != nil {
		return nil, err
	}
	defer layers.Close()
	if vulkan, ok := backend.(*dispatch.Backend); ok {
		o.Device = func() int64 {
			vulkan.Trim()
			return vulkan.Memory().Total.Bytes
		}
	}
	bar := a.progress()
	defer bar.clear()
	bar.show("building kernels")
	if err := layers.Warm(ctx); err != nil {
		return nil, err
	}
	shown := time.Duration(0)
	o.Show = func(now time.Duration, r *serve.Result) {
		if now-shown < 100*time.Millisecond {
			return
		}
		shown = now
		bar.show("%s of %s: %d run, %d wait, %d finished, %s output tokens/s", now.Round(time.Second), o.Time, r.Running, r.Waiting, r.Finished,
			bench.Figure(float64(r.Output)/now.Seconds()))
	}
	start := time.Now()
	result, err := serve.Run(ctx, layers, o)
	if err == nil && result.Steps == 0 {
		err = &nothingError{fmt.Errorf("%s served nothing in %s", backend.Info().Device, o.Time)}
	}
	if result == nil || result.Steps == 0 {
		return nil, err
	}
	s := &served{Schema: 1, Suite: serveSuite, Build: build(), Start: start.UTC(), Label: b.label, Problem: spec.Canonical().Op.String(),
		Layers: spec.Layers, Page: layers.Cache().Spec().Page, Report: layers.Report(), Check: layers.Check(), Result: result}
	s.Report.Info = backend.Info()
	return s, err
}

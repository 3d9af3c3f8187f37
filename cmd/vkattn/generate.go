package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/bench"
	"github.com/vkattn/vkattn/internal/llama"
)

// generateFlags is the command line of generate.
type generateFlags struct {
	deviceFlags
	model, tokenizer  string
	steps             int
	temperature, topP float64
	seed              uint64
	cacheType         string

	flags *pflag.FlagSet // to ask which were given
}

func newGenerate(a *app) *cobra.Command {
	var g generateFlags
	cmd := &cobra.Command{
		Use:   "generate [PROMPT]",
		Short: "Let a small language model write, its attention on any device",
		Long: `generate continues a prompt with a model of the Llama architecture, from files in llama2.c's format. Rotary positions, the
cache of keys and values and attention run on the device, the other layers on the host. The text, prompt included, goes to stdout as it
comes; what it took goes to stderr. It ends after --steps tokens or where the model ends it. With --temperature 0 it is always the same
text, otherwise the same for the same --seed.

Exit codes: 0 done, 1 failed, 2 wrong command line or file, 3 no such device or not supported there, 130 stopped by Ctrl-C.`,
		Example: `  vkattn generate --model stories260K.bin --tokenizer tok512.bin "Once upon a time"
  vkattn generate --model stories15M.bin --tokenizer tokenizer.bin --steps 100 --temperature 0 --device gpu "Lily and Tom"`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("generate takes one prompt, not %d: put it in quotes", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			g.flags = cmd.Flags()
			return a.generate(cmd.Context(), &g, append(args, "")[0])
		},
	}
	group(cmd, "Model", func(f *pflag.FlagSet) {
		f.StringVar(&g.model, "model", "", "checkpoint in `FILE`, a version 0 export of llama2.c")
		f.StringVar(&g.tokenizer, "tokenizer", "", "its tokenizer in `FILE`, as llama2.c exports it")
	})
	group(cmd, "Cache", func(f *pflag.FlagSet) {
		f.StringVar(&g.cacheType, "cache-type", "f32", "`TYPE` of the keys and values that are kept: f32, f16, bf16, f8 (e4m3), f8_e5m2, q8_0 or q4_0")
	})
	group(cmd, "Text", func(f *pflag.FlagSet) {
		f.IntVar(&g.steps, "steps", 256, "`N` tokens, those of the prompt included; 0: as many as the model's context has")
		f.Float64Var(&g.temperature, "temperature", 1, "`T`: 0 takes the likeliest token, 1 draws by the model's probabilities, more is bolder")
		f.Float64Var(&g.topP, "top-p", 0.9, "draw from the likeliest tokens that have the probability `P` together; 1 draws from all")
		f.Uint64Var(&g.seed, "seed", 0, "`N` of the draws (default: another one each time)")
	})
	g.register(cmd, "auto", false)
	cmd.Flags().Lookup("device").Usage = "`WHICH` one: auto (a real GPU, else the CPU), gpu, cpu, an index, a part of a name"
	return cmd
}

// cache is the type of --cache-type.
func (g *generateFlags) cache() (t vkattn.Type, err error) {
	name := g.cacheType
	if name == "f8" {
		name = vkattn.F8E4M3.String()
	}
	if err := t.UnmarshalText([]byte(name)); err != nil || t == vkattn.Bool {
		return t, usagef("--cache-type %s: want f32, f16, bf16, f8, f8_e5m2, q8_0 or q4_0", g.cacheType)
	}
	return t, nil
}

// request is the text that the flags ask for.
func (g *generateFlags) request(prompt string) (llama.Request, error) {
	switch {
	case g.model == "" || g.tokenizer == "":
		return llama.Request{}, usagef("give --model and --tokenizer: files in llama2.c's format, as in testdata/stories of vkattn's source")
	case g.steps < 0:
		return llama.Request{}, usagef("--steps %d: want 0 or more", g.steps)
	}
	if !g.flags.Changed("seed") {
		g.seed = rand.Uint64()>>32 | 1 // short enough to be typed
	}
	r := llama.Request{Prompt: prompt, Steps: g.steps, Sampler: llama.Sampler{Temperature: g.temperature, TopP: g.topP, Seed: g.seed}}
	if err := r.Check(); err != nil {
		return r, usagef("%w", err)
	}
	return r, nil
}

func (a *app) generate(ctx context.Context, g *generateFlags, prompt string) error {
	request, err := g.request(prompt)
	if err != nil {
		return err
	}
	cache, err := g.cache()
	if err != nil {
		return err
	}
	names, err := a.targets(ctx, g.device)
	if err != nil {
		return err
	}
	if len(names) != 1 {
		return usagef("--device %s: generate takes one device", g.device)
	}
	if err := g.fits(false); err != nil {
		return err
	}
	model, err := llama.OpenModel(g.model)
	if err != nil {
		return err
	}
	tokenizer, err := llama.OpenTokenizer(g.tokenizer, model.Vocab)
	if err != nil {
		return err
	}
	backend, err := g.open(ctx, names[0])
	if err != nil {
		return err
	}
	defer backend.Close()
	engine, err := llama.NewEngine(ctx, backend, model, tokenizer, llama.Options{Cache: cache})
	if err != nil {
		return err
	}
	defer engine.Close()
	if !g.flags.Changed("steps") {
		request.Steps = min(request.Steps, engine.Model.Context)
	}
	result, err := engine.Generate(ctx, a.out, request)
	var length *llama.LengthError
	if errors.As(err, &length) {
		return usagef("%w", err)
	}
	if len(result.Tokens) > 1 {
		fmt.Fprintln(a.out)
	}
	if result.First > 0 {
		a.note("%s", g.summary(backend.Info(), engine, &result))
	}
	return err
}

// summary is what a text took.
func (g *generateFlags) summary(info vkattn.Info, e *llama.Engine, r *llama.Result) string {
	text := fmt.Sprintf("prompt: %d tokens in %s", r.Prompt, bench.Duration(r.First))
	if n := len(r.Tokens) - r.Prompt; n > 1 {
		text += fmt.Sprintf("; then %d at %s tokens/s", n-1, bench.Figure(float64(n-1)/(r.Time-r.First).Seconds()))
	}
	text += fmt.Sprintf("; attention took %.0f%% of the time", 100*float64(r.Attention)/float64(max(r.Time, time.Nanosecond)))
	text += fmt.Sprintf("\n%s by %s; cache of %s in %s", describe(info), e.Report().Kernel, bench.Bytes(e.Cache.Stats().Bytes), e.Cache.Spec().Op.TypeK)
	if w, d := e.Cache.Spec().Op.HeadDim, e.Model.HeadDim(); w != d {
		text += fmt.Sprintf(", heads of %d numbers filled up to %d", d, w)
	}
	if g.temperature > 0 {
		text += fmt.Sprintf("; seed %d", g.seed)
	}
	if why := e.Report().Fallback; why != "" {
		text += "\n" + why
	}
	return text
}

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/internal/bench"
	"github.com/vkattn/vkattn/internal/preset"
)

// linearFlags is the text of the flags that linear attention has alone.
type linearFlags struct {
	linear           bool
	featureMap, rule string
	decay, norm      string
	eps, mapEps      string
	features         int
	state            bool
}

func (l *linearFlags) registerLinear(cmd *cobra.Command) {
	group(cmd, linearGroup, func(f *pflag.FlagSet) {
		f.BoolVar(&l.linear, "linear", false, "linear attention instead of softmax attention: a state, no scores")
		f.StringVar(&l.featureMap, "map", "identity", "of queries and keys: `MAP` is identity, elu (+1), relu, silu, exp, relu2, softmax or favor")
		f.IntVar(&l.features, "features", 0, "`N` features by a random projection, which favor needs; 0 is none")
		f.StringVar(&l.rule, "rule", "add", "how a token enters the state: `RULE` is add or delta")
		f.StringVar(&l.decay, "decay", "none", "`KIND` is none, head, token, channel, or the heads' decays of retnet or transnormerllm")
		f.StringVar(&l.norm, "norm", "none", "of the output: `NORM` is none, sum (of the weights), srms or literal")
		f.StringVar(&l.eps, "eps", "", "`X` of the norm (default 1e-6 for sum, 1e-8 for srms, 1e-5 for literal)")
		f.StringVar(&l.mapEps, "map-eps", "", "`X` added to every feature (default 0, for favor 1e-6)")
		f.BoolVar(&l.state, "state", false, "begin with a state and write the one after the last token")
	})
}

const linearGroup = "Linear attention (--linear)"

// shared are flags of other groups that linear attention takes too.
var shared = map[string]bool{"causal": true, "cu-seqlens-q": true, "cu-seqlens-k": true, "scale": true}

// linearOf is what the flags and the preset say about linear attention, without sizes, or nil for softmax attention.
func (p *problemFlags) linearOf(of *vkattn.Linear) (*vkattn.Linear, error) {
	if !p.linear && of == nil {
		var stray string
		p.flags.Visit(func(f *pflag.Flag) {
			if g := f.Annotations[groupKey]; len(g) > 0 && g[0] == linearGroup {
				stray = f.Name
			}
		})
		if stray != "" {
			return nil, usagef("--%s is about linear attention, give --linear too", stray)
		}
		return nil, nil
	}
	var stray string
	p.flags.Visit(func(f *pflag.Flag) {
		if g := f.Annotations[groupKey]; len(g) > 0 && (g[0] == "Masks" || g[0] == "Scores") && !shared[f.Name] {
			stray = f.Name
		}
	})
	if stray != "" {
		return nil, usagef("--%s is about softmax attention, --linear does not take it", stray)
	}
	var l vkattn.Linear
	if of != nil {
		l = *of
	}
	var err error
	set := func(flag string, f func() error) {
		if err == nil && (of == nil || p.given(flag)) {
			err = f()
		}
	}
	set("map", func() (err error) { l.Map, err = named("map", p.featureMap, vkattn.MapFavor); return })
	set("features", func() error { l.Features = p.features; return nil })
	set("rule", func() (err error) { l.Rule, err = named("rule", p.rule, vkattn.RuleDelta); return })
	set("decay", func() (err error) {
		if l.Decay = vkattn.DecayHead; !slices.Contains(modelDecays, p.decay) {
			l.Decay, err = named("decay", p.decay, vkattn.DecayChannel, modelDecays...)
		}
		return
	})
	set("norm", func() (err error) { l.Norm, err = named("norm", p.norm, vkattn.NormLiteral); return })
	for _, x := range []struct {
		flag, text string
		to         *vkattn.Number
	}{{"eps", p.eps, &l.Eps}, {"map-eps", p.mapEps, &l.MapEps}} {
		if x.text != "" {
			set(x.flag, func() (err error) { x.to.Set = true; x.to.Value, err = number(x.flag, x.text); return })
		}
	}
	l.StateIn, l.StateOut = p.state, p.state
	return &l, err
}

var modelDecays = []string{"retnet", "transnormerllm"}

// named finds the value that is written so, up to last. others are words that the flag takes besides.
func named[T interface {
	~uint8
	String() string
}](flag, text string, last T, others ...string) (T, error) {
	var all []string
	for v := T(0); v <= last; v++ {
		if v.String() == text {
			return v, nil
		}
		all = append(all, v.String())
	}
	return 0, usagef("--%s %s: want one of %s", flag, text, strings.Join(append(all, others...), ", "))
}

// problemOp is the op: softmax attention, or linear attention of the same shape.
func (s *spec) problemOp() vkattn.Op {
	switch {
	case s.linear != nil:
		return s.linearOp()
	case s.choosing != nil:
		return s.choosing.over(s.op)
	}
	return s.op
}

func (s *spec) linearOp() vkattn.Linear { return preset.Shaped(*s.linear, s.op) }

// generateLinear makes up every tensor: keys of norm 1 for the delta rule, beta from 0 to 1, and log decays around
// -0.1 or those of a model.
func (p *problemFlags) generateLinear(s spec) (*problem, error) {
	l := s.linearOp()
	if err := l.Validate(); err != nil {
		return nil, err
	}
	c := l.Canonical()
	pr := &problem{op: s.op, linear: &l, layout: s.layout}
	pr.op.ValueDim = c.ValueDim
	if pr.layout == "auto" {
		pr.layout = "bhsd"
		if c.Packed {
			pr.layout = "thd"
		}
	}
	b, sq, sk, sequences := c.Batch, c.SeqQ, c.SeqK, c.Batch
	a := &pr.args
	if c.Packed {
		b, sq, sk, sequences = 1, c.TotalQ, c.TotalK, len(s.cuQ)-1
		if a.CuSeqQ = s.cuQ; !c.Causal {
			a.CuSeqK = s.cuK
		}
	}
	if pr.layout == "thd" && b != 1 {
		return nil, usagef("--layout thd holds one sequence, or packed ones with --cu-seqlens-q")
	}
	k := p.randn("k", b*c.HeadsK*sk*c.HeadDim)
	if c.Rule == vkattn.RuleDelta {
		normalize(k, c.HeadDim)
		pr.note("keys have norm 1, as the delta rule wants them")
	}
	a.Q = pr.tensor(p.randn("q", b*c.HeadsQ*sq*c.HeadDim), b, c.HeadsQ, sq, c.HeadDim)
	a.K = pr.tensor(k, b, c.HeadsK, sk, c.HeadDim)
	a.V = pr.tensor(p.randn("v", b*c.HeadsV*sk*c.ValueDim), b, c.HeadsV, sk, c.ValueDim)
	if c.Features > 0 {
		if err := p.projection(pr, nil); err != nil {
			return nil, err
		}
	}
	states := c.States()
	switch c.Decay {
	case vkattn.DecayHead:
		g, err := p.headDecays(s.decays, states)
		if err != nil {
			return nil, err
		}
		a.Decay = vkattn.Vector(vkattn.Float32s(g), states)
	case vkattn.DecayToken:
		a.Decay = pr.tensor(p.decays(b*states*sk), b, states, sk, 1)
	case vkattn.DecayChannel:
		a.Decay = pr.tensor(p.decays(b*states*sk*c.FeatureDim()), b, states, sk, c.FeatureDim())
	}
	if c.Rule == vkattn.RuleDelta {
		beta := p.randn("beta", b*states*sk)
		for i, x := range beta {
			beta[i] = float32(1 / (1 + math.Exp(-float64(x))))
		}
		a.Beta = pr.tensor(beta, b, states, sk, 1)
	}
	if n := c.StateShape(sequences); c.StateIn {
		state := p.randn("state", n[0]*n[1]*n[2]*n[3])
		for i, x := range state {
			state[i] = abs32(x) // denominators are positive
		}
		a.StateIn = vkattn.BHSD(vkattn.Float32s(state), n[0], n[1], n[2], n[3])
	}
	return pr, p.narrow(pr)
}

func abs32(x float32) float32 { return max(x, -x) }

// decays is n log decays of about -0.1.
func (p *problemFlags) decays(n int) []float32 {
	g := p.randn("decay", n)
	for i, x := range g {
		g[i] = -abs32(x) / 8
	}
	return g
}

// headDecays is one log decay a head: of a model, in its first layer, or made up.
func (p *problemFlags) headDecays(model string, heads int) ([]float32, error) {
	switch model {
	case "retnet":
		return vkattn.RetNetDecay(heads)
	case "transnormerllm":
		return vkattn.TransNormerLLMDecay(heads, 0, 1, vkattn.TransNormerLLMCheckpoint)
	}
	return p.decays(heads), nil
}

// normalize gives rows of n numbers the norm 1.
func normalize(x []float32, n int) {
	for ; len(x) >= n; x = x[n:] {
		sum := 0.0
		for _, v := range x[:n] {
			sum += float64(v) * float64(v)
		}
		for i := range x[:n] {
			x[i] = float32(float64(x[i]) / math.Sqrt(sum))
		}
	}
}

// linearOutputs makes room for the results of one run.
func (pr *problem) linearOutputs() (out []float32, args vkattn.Args) {
	args = pr.args
	s, heads, dv := args.Q.Shape, pr.linear.Heads(), pr.linear.Canonical().ValueDim
	out, m := pr.outMemory(s[0] * heads * s[2] * dv)
	args.Out = view(m, pr.layout, s[0], heads, s[2], dv).As(pr.op.TypeOut)
	if pr.linear.StateOut {
		sequences := s[0]
		if pr.linear.Packed {
			sequences = len(args.CuSeqQ) - 1
		}
		n := pr.linear.StateShape(sequences)
		args.StateOut = vkattn.BHSD(vkattn.Float32s(make([]float32, n[0]*n[1]*n[2]*n[3])), n[0], n[1], n[2], n[3])
	}
	return out, args
}

// linearTolerance is the relative L2 error that a head of a sequence may have in float32: it is a sum over all tokens before,
// and of the delta rule the solution of a triangular system.
const linearTolerance = 1e-4

// linearReference is what the oracle says about the first tokens of a problem.
type linearReference struct {
	result *cpu.LinearResult
	tokens int // rows of a head that were computed
	whole  bool
}

// newLinearReference computes the oracle's answer to want tokens of pr, as newReference does rows. A causal call
// can be cut behind any token; others, and packed ones, are computed whole.
func newLinearReference(ctx context.Context, pr *problem, want int) (*linearReference, error) {
	_, args := pr.linearOutputs()
	op, tokens := *pr.linear, args.Q.Shape[2]
	r := &linearReference{tokens: tokens, whole: true}
	if want == 0 {
		if want = tokens; pr.work.FLOPs > oracleBudget {
			want = max(1, int(oracleBudget/pr.work.FLOPs*float64(tokens)))
		}
	}
	if op.Causal && !op.Packed && want > 0 && want < tokens {
		r.tokens, r.whole = want, false
		for _, t := range []*vkattn.Tensor{&args.Q, &args.K, &args.V, &args.Out, &args.Beta} {
			if t.Given() {
				*t = t.Slice(2, 0, want)
			}
		}
		if args.Decay.Given() && op.Decay != vkattn.DecayHead {
			args.Decay = args.Decay.Slice(2, 0, want)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var err error
	r.result, err = cpu.OracleLinear(op, &args)
	return r, err
}

// compare holds the outputs of a run against the oracle's, head by head.
func (r *linearReference) compare(args *vkattn.Args) *bench.Check {
	out := args.Out
	if out.Type != vkattn.Float32 {
		var err error
		if out, err = out.To(vkattn.Float32); err != nil {
			return &bench.Check{Allowed: linearTolerance, Worst: math.MaxFloat64, Where: err.Error()}
		}
	}
	out = out.Slice(2, 0, r.tokens)
	rows := out.Shape[0] * out.Shape[1]
	c := &bench.Check{Rows: rows * r.tokens, Of: rows * args.Out.Shape[2], Allowed: linearTolerance, OK: true}
	// A head is judged as a whole: single tokens may come out near 0 by cancellation.
	check := func(name string, t vkattn.Tensor, want []float64) {
		n := t.Shape[2] * t.Shape[3]
		got := make([]float32, 0, n)
		from := t.Mem.(*vkattn.Host).Float32s()
		for b := range t.Shape[0] {
			for h := range t.Shape[1] {
				got = got[:0]
				for i := range t.Shape[2] {
					got = append(got, from[t.Index(b, h, i, 0):][:t.Shape[3]]...)
				}
				norm := math.Sqrt(squares(want[:n]))
				// Matrix units round features and weights to the type of the queries.
				allowed := linearTolerance + max(rounding(args.Out.Type, n, norm), rounding(args.Q.Type, n, norm))
				judge(c, rowError(got, want[:n], 0), allowed, func() string { return fmt.Sprintf("%s, batch %d, head %d", name, b, h) })
				want = want[n:]
			}
		}
	}
	check("output", out, r.result.Out)
	if args.StateOut.Given() && r.whole {
		check("state", args.StateOut, r.result.State)
	}
	return c
}

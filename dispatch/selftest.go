package dispatch

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// verdict is the outcome of a rung's self-test on one device and driver, kept on disk.
type verdict struct {
	Path   string `json:"path"`
	Passed bool   `json:"passed"`
	Reason string `json:"reason,omitempty"`
}

// selfTest admits the rungs of the ladder: the best one that is not disabled must give the known answer
// on this very device and driver before it serves, otherwise it is disabled and the next is tried.
func (b *Backend) selfTest(ctx context.Context) error {
	for _, rung := range rungs {
		if _, off := b.disabled[rung.path]; off {
			continue
		}
		v, known := b.loadVerdict(rung.path, rung.variant)
		if !known {
			reason, err := b.testRung(ctx, rung.path)
			if err != nil {
				return err
			}
			v = verdict{rung.path, reason == "", reason}
			b.saveVerdict(rung.path, rung.variant, v)
		}
		if v.Passed {
			return nil
		}
		b.disabled[rung.path] = "self-test: " + v.Reason
		b.fallback = fmt.Sprintf("%s failed its self-test on this device: %s", rung.variant, v.Reason)
		if b.config.Logger != nil {
			b.config.Logger.Warn("kernel disabled", "kernel", rung.variant, "reason", v.Reason)
		}
		if b.config.Strict {
			return &vkattn.UnsupportedError{Op: "self-test", Backend: "vulkan on " + b.caps.Name, Reasons: []vkattn.Refusal{{Kernel: rung.variant, Reason: v.Reason}}}
		}
	}
	return nil
}

// testRung computes a small problem with a known answer. It returns why the rung may not serve, or "".
func (b *Backend) testRung(ctx context.Context, path string) (reason string, err error) {
	op := vkattn.Attention{Batch: 1, HeadsQ: 2, HeadsK: 1, SeqQ: 37, SeqK: 101, HeadDim: 36, ValueDim: 52, Causal: true, With: vkattn.WithLSE}.Canonical()
	only := map[string]string{}
	for _, r := range rungs {
		if r.path != path {
			only[r.path] = "not under test"
		}
	}
	c, err := b.planner.choose(&b.caps, op, "flash", only)
	if err != nil {
		return err.Error(), nil
	}
	rng := rand.New(rand.NewPCG(1, 2))
	data := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	out, lse := data(2*37*52), data(2*37)
	args := vkattn.Args{
		Q: vkattn.BHSD(vkattn.Float32s(data(2*37*36)), 1, 2, 37, 36), K: vkattn.BHSD(vkattn.Float32s(data(101*36)), 1, 1, 101, 36),
		V:   vkattn.BHSD(vkattn.Float32s(data(101*52)), 1, 1, 101, 52),
		Out: vkattn.BHSD(vkattn.Float32s(out), 1, 2, 37, 52), LSE: vkattn.BHSD(vkattn.Float32s(lse), 1, 2, 37, 1),
	}
	want, err := cpu.Oracle(op, &args)
	if err != nil {
		return "", err
	}
	p := b.newPlan(c)
	if _, err := p.Run(ctx, args); err != nil {
		if ctx.Err() != nil || b.dev.Lost() {
			return "", err
		}
		return err.Error(), nil
	}
	worst := max(distance(out, want.Out), distance(lse, want.LSE))
	if !(worst <= 2e-5) {
		return fmt.Sprintf("known answer missed by %.2g", worst), nil
	}
	return "", nil
}

func (b *Backend) verdictFile(path, variant string) string {
	return b.cacheFile("selftest", path, variant)
}

func (b *Backend) loadVerdict(path, variant string) (v verdict, known bool) {
	if !loadCache(b.verdictFile(path, variant), &v) || v.Path != path || !v.Passed {
		return v, false // a failure is tested again: drivers and machines recover
	}
	return v, true
}

// saveVerdict keeps a verdict; a cache that cannot be written is no error.
func (b *Backend) saveVerdict(path, variant string, v verdict) {
	_ = b.saveCache(b.verdictFile(path, variant), v)
}

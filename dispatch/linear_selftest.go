package dispatch

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"sync"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// linearLadder is what is known of the rungs of the linear kernels. They are tested when the first plan wants
// one, so that those who never do wait for nothing.
type linearLadder struct {
	mu     sync.Mutex
	passed map[string]bool   // by variant
	failed map[string]string // by path, with the reason
}

// decide is the planner's decision for op, by a rung that has passed its self-test.
func (b *Backend) decide(ctx context.Context, op vkattn.Op) (decision, error) {
	for {
		d, err := b.planner.forOp(&b.caps, op, b.config.Kernel, b.disabledFor(op))
		if err != nil {
			return nil, err
		}
		ch, linear := d.(*linearChoice)
		if !linear || b.config.SkipSelfTest {
			return d, nil
		}
		if passed, err := b.admitLinear(ctx, ch); passed || err != nil {
			return d, err
		}
		if ch.chunk.Chunk > 0 { // asked for by name: there is no other rung
			return nil, &vkattn.UnsupportedError{Op: op.String(), Backend: "vulkan on " + b.caps.Name,
				Reasons: []vkattn.Refusal{{Kernel: linearChunk, Reason: b.disabledFor(op)[ch.key.Variant]}}}
		}
	}
}

// disabledFor are the rungs that may not serve op.
func (b *Backend) disabledFor(op vkattn.Op) map[string]string {
	if _, linear := op.(vkattn.Linear); !linear {
		return b.disabled
	}
	b.linear.mu.Lock()
	defer b.linear.mu.Unlock()
	if len(b.linear.failed) == 0 {
		return b.disabled
	}
	all := maps.Clone(b.disabled)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b.linear.failed)
	return all
}

// admitLinear reports whether the kernel of a choice gives the known answer on this device and driver.
func (b *Backend) admitLinear(ctx context.Context, ch *linearChoice) (passed bool, err error) {
	variant := ch.key.Variant
	b.linear.mu.Lock()
	defer b.linear.mu.Unlock()
	if b.linear.passed[variant] {
		return true, nil
	}
	v, known := b.loadVerdict(ch.path, variant)
	if !known {
		reason, err := b.testLinear(ctx, ch)
		if err != nil {
			return false, err
		}
		v = verdict{ch.path, reason == "", reason}
		b.saveVerdict(ch.path, variant, v)
	}
	if v.Passed {
		b.linear.passed[variant] = true
		return true, nil
	}
	if b.config.Logger != nil {
		b.config.Logger.Warn("kernel disabled", "kernel", variant, "reason", v.Reason)
	}
	rung := ch.path
	if ch.chunk.Chunk > 0 {
		rung = variant
	}
	b.linear.failed[rung] = "self-test: " + v.Reason
	return false, nil
}

// testLinear computes a small problem by the kernel of a choice. It returns why that may not serve, or "".
func (b *Backend) testLinear(ctx context.Context, ch *linearChoice) (reason string, err error) {
	const tokens, d, dv = 37, 20, 28
	op := vkattn.Linear{Batch: 1, HeadsQ: 2, HeadsK: 1, SeqQ: tokens, HeadDim: d, ValueDim: dv, Causal: true,
		Rule: vkattn.RuleDelta, Decay: vkattn.DecayToken, StateOut: true}.Canonical()
	only := map[string]string{}
	for _, r := range linearRungs {
		if r.path != ch.path {
			only[r.path] = "not under test"
		}
	}
	if why, off := b.disabled["texels"]; off {
		only["texels"] = why
	}
	kernel := linearRecurrent
	if ch.chunk.Chunk > 0 {
		kernel = linearChunk
	}
	c, err := b.planner.chooseLinear(&b.caps, op, kernel, only)
	if err != nil {
		return err.Error(), nil
	}
	rng := rand.New(rand.NewPCG(3, 4))
	tensor := func(heads, last int, number func() float64) vkattn.Tensor {
		x := make([]float32, heads*tokens*last)
		for i := range x {
			x[i] = float32(number())
		}
		return vkattn.BHSD(vkattn.Float32s(x), 1, heads, tokens, last)
	}
	short := func() float64 { return rng.NormFloat64() / math.Sqrt(d) } // keys have a norm of about 1
	out, state := make([]float32, 2*tokens*dv), make([]float32, d*dv)
	args := vkattn.Args{
		Q: tensor(2, d, rng.NormFloat64), K: tensor(1, d, short), V: tensor(1, dv, rng.NormFloat64),
		Beta: tensor(1, 1, rng.Float64), Decay: tensor(1, 1, func() float64 { return -rng.Float64() / 4 }),
		Out: vkattn.BHSD(vkattn.Float32s(out), 1, 2, tokens, dv), StateOut: vkattn.BHSD(vkattn.Float32s(state), 1, 1, d, dv),
	}
	want, err := cpu.OracleLinear(op, &args)
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
	worst := max(distance(out, want.Out), distance(state, want.State))
	if !(worst <= 2e-5) {
		return fmt.Sprintf("known answer missed by %.2g", worst), nil
	}
	return "", nil
}

// distance is the largest difference, infinite where a number is missing.
func distance(got []float32, want []float64) (worst float64) {
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); d <= math.MaxFloat64 {
			worst = max(worst, d)
		} else {
			return math.Inf(1)
		}
	}
	return worst
}

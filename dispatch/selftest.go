package dispatch

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// verdict is the outcome of a rung's self-test on one device and driver, kept on disk.
type verdict struct {
	Path   string `json:"path"`
	Passed bool   `json:"passed"`
	// Crashed: the test ended its process, which another one has kept (KeepCrash).
	Crashed bool   `json:"crashed,omitempty"`
	Reason  string `json:"reason,omitempty"`
}

// selfTestFailed begins the reason for which a rung that failed is not taken.
const selfTestFailed = "self-test: "

// selfTest admits the rungs of attention: the best one that is not disabled must give the known answer
// on this very device and driver before it serves, otherwise it is disabled and the next is tried.
func (b *Backend) selfTest(ctx context.Context) error {
	for _, rung := range rungs {
		if _, off := b.disabled[rung.path]; off {
			continue
		}
		v, err := b.verdictOf(rung.path, rung.variant, func() (string, error) { return b.testRung(ctx, rung.path) })
		if err != nil {
			return err
		}
		if v.Passed {
			return b.selfTestFew(ctx, rung.path)
		}
		b.disabled[rung.path] = selfTestFailed + v.Reason
		if b.config.Strict {
			return &vkattn.UnsupportedError{Op: "self-test", Backend: "vulkan on " + b.caps.Name, Reasons: []vkattn.Refusal{{Kernel: rung.variant, Reason: v.Reason}}}
		}
	}
	return nil
}

// selfTestFew admits the build for few rows of a rung that has passed, on devices that take it.
func (b *Backend) selfTestFew(ctx context.Context, path string) error {
	if _, off := b.disabled[fewRung]; off || path != rungSubgroup || !b.planner.takesTeams(&b.caps, fewProblem) {
		return nil
	}
	v, err := b.verdictOf(path, fewVariant, func() (string, error) { return b.testFew(ctx) })
	if err != nil {
		return err
	}
	if v.Passed {
		b.late.passed[fewVariant] = true
		return nil
	}
	b.disabled[fewRung] = selfTestFailed + v.Reason
	if b.config.Strict {
		return &vkattn.UnsupportedError{Op: "self-test", Backend: "vulkan on " + b.caps.Name, Reasons: []vkattn.Refusal{{Kernel: fewVariant, Reason: v.Reason}}}
	}
	return nil
}

// testRung computes a small problem by a rung of attention. It returns why the rung may not serve, or "".
func (b *Backend) testRung(ctx context.Context, path string) (reason string, err error) {
	return b.testAttention(ctx, vkattn.Attention{Batch: 1, HeadsQ: 2, HeadsK: 1, SeqQ: 37, SeqK: 101, HeadDim: 36, ValueDim: 52, Causal: true, With: vkattn.WithLSE}.Canonical(), path)
}

func (b *Backend) testAttention(ctx context.Context, op vkattn.Attention, path string) (reason string, err error) {
	c, err := b.planner.choose(&b.caps, op, "flash", allBut(rungs, path))
	if err != nil {
		return err.Error(), nil
	}
	rng := rand.New(rand.NewPCG(1, 2))
	data := func(heads, rows, d int) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(numbers(heads*rows*d, rng.NormFloat64)), 1, heads, rows, d)
	}
	args := vkattn.Args{Q: data(op.HeadsQ, op.SeqQ, op.HeadDim), K: data(op.HeadsK, op.SeqK, op.HeadDim), V: data(op.HeadsV, op.SeqK, op.ValueDim),
		Out: data(op.HeadsQ, op.SeqQ, op.ValueDim), LSE: data(op.HeadsQ, op.SeqQ, 1)}
	want, err := cpu.Oracle(op, &args)
	if err != nil {
		return "", err
	}
	return b.missed(ctx, c, args, 2e-5, known{got: args.Out.Mem.(*vkattn.Host).Float32s(), want: want.Out}, known{got: args.LSE.Mem.(*vkattn.Host).Float32s(), want: want.LSE})
}

// allBut disables every rung but the one under test.
func allBut(rungs []rung, path string) map[string]string {
	disabled := map[string]string{}
	for _, r := range rungs {
		if r.path != path {
			disabled[r.path] = "not under test"
		}
	}
	return disabled
}

func numbers(n int, number func() float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(number())
	}
	return x
}

// known is an output of a call with the answer.
type known struct {
	got    []float32
	tensor *vkattn.Tensor // or in a tensor of any type
	want   []float64
}

// missed runs a call and says by how much it misses the answer, if by more than what is allowed, or "".
func (b *Backend) missed(ctx context.Context, d decision, args vkattn.Args, allowed float64, outputs ...known) (reason string, err error) {
	if _, err := b.newPlan(d).Run(ctx, args); err != nil {
		if ctx.Err() != nil || b.dev.Lost() {
			return "", err
		}
		return err.Error(), nil
	}
	worst := 0.0
	for _, o := range outputs {
		if o.tensor != nil {
			x, err := o.tensor.To(vkattn.Float32)
			if err != nil {
				return "", err
			}
			o.got = x.Mem.(*vkattn.Host).Float32s()
		}
		worst = max(worst, distance(o.got, o.want))
	}
	if worst > allowed {
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

// verdictOf is the verdict on a variant: that of an earlier process on this device and driver, or the test's. A failure is
// tested again, drivers and machines recover; what crashed is not, for this process is not to die of it.
func (b *Backend) verdictOf(path, variant string, test func() (reason string, err error)) (v verdict, err error) {
	file := b.cacheFile("selftest", path, variant)
	if loadCache(file, &v) && v.Path == path && (v.Passed || v.Crashed) {
		if v.Crashed {
			v.Reason = "it ended a process that tested it (" + v.Reason + "); 'vkattn doctor' tries again, without danger"
			b.warn(variant, v.Reason)
		}
		return v, nil
	}
	return b.judge(file, path, variant, test)
}

// judge tests a variant and keeps the verdict.
func (b *Backend) judge(file, path, variant string, test func() (reason string, err error)) (verdict, error) {
	reason, err := test()
	if err != nil {
		return verdict{}, err
	}
	v := verdict{Path: path, Passed: reason == "", Reason: reason}
	_ = saveCache(file, v) // a cache that cannot be written is no error
	if !v.Passed {
		b.warn(variant, reason)
	}
	return v, nil
}

func (b *Backend) warn(variant, reason string) {
	if b.config.Logger != nil {
		b.config.Logger.Warn("kernel disabled", "kernel", variant, "reason", reason)
	}
}

// failedTest says which kernel of those not taken failed its self-test, or "".
func failedTest(refused []vkattn.Refusal) string {
	for _, r := range refused {
		if reason, failed := strings.CutPrefix(r.Reason, selfTestFailed); failed {
			return fmt.Sprintf("%s failed its self-test on this device: %s", r.Kernel, reason)
		}
	}
	return ""
}

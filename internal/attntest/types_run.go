package attntest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
)

// RunTypes runs the chosen cases of TypeCases as subtests of t.
func RunTypes(t *testing.T, b vkattn.Backend, o Options) {
	t.Helper()
	cases := slices.DeleteFunc(TypeCases(), func(c TypeCase) bool { return !o.chosen(c.Name, c.Sample) })
	subtests(t, b, o, cases, func(c TypeCase) (string, vkattn.Op) { return c.Name, c.Op }, VerifyTypeCase)
}

// VerifyTypeCase runs one case.
func VerifyTypeCase(ctx context.Context, b vkattn.Backend, c TypeCase, o Options) (r Result) {
	start := time.Now()
	r = Result{Name: c.Name, Op: c.Op.String(), Status: Failed, Allowed: tolerance}
	defer func() { r.Time = time.Since(start) }()
	fail := func(format string, args ...any) Result {
		r.Reason = fmt.Sprintf(format, args...)
		return r
	}
	if ctx.Err() != nil {
		r.Status = Skipped
		return fail("%v", ctx.Err())
	}
	if err := b.Supports(c.Op); err != nil {
		if errors.Is(err, vkattn.ErrUnsupported) && !o.RequireAll {
			r.Status = Unsupported
		}
		return fail("%v", err)
	}
	plan, err := b.Plan(ctx, c.Op)
	if err != nil {
		return fail("plan: %v", err)
	}
	defer plan.Close()
	r.Kernel = plan.Explain().Kernel
	p := c.Build(o.Seed)
	p.Zero()
	want, err := cpu.Oracle(c.Op, &p.Args)
	if err != nil {
		return fail("oracle: %v", err)
	}
	if err := p.ask(ctx, plan, want, &r); err != nil {
		return fail("%v", err)
	}
	r.Status = Passed
	return r
}

// ask runs the problem twice and says what is wrong with the answers. It notes the worst error in r.
func (p *TypeProblem) ask(ctx context.Context, plan vkattn.Plan, want *cpu.Result, r *Result) error {
	run := func(pattern uint32, fill byte) error {
		before := p.hash()
		if _, err := plan.Run(ctx, p.Args); err != nil {
			return err
		}
		if name, at, found := p.strayWrite(pattern, fill); found {
			return fmt.Errorf("wrote to element %d of the memory of %s, outside of the tensor", at, name)
		}
		if p.hash() != before {
			return errors.New("wrote to an input")
		}
		p.unpack()
		return nil
	}
	if err := run(zeroPattern, zeroByte); err != nil {
		return err
	}
	v := verdict{}
	if p.res == nil {
		v = p.compare(want)
	} else {
		v = p.compareTypes(want)
	}
	r.Worst, r.Allowed, r.Where = v.worst, v.allowed, v.where
	if !(r.Worst <= math.MaxFloat64) {
		r.Worst = math.MaxFloat64
	}
	if !v.ok() {
		return errors.New("differs from the oracle")
	}
	before := p.outputs()
	p.Poison()
	if err := run(poisonPattern, poisonByte); err != nil {
		return fmt.Errorf("with poison in hidden memory: %w", err)
	}
	if where, found := p.firstDifference(before); found {
		return fmt.Errorf("poison in hidden memory changes the answer: %s", where)
	}
	return nil
}

package dispatch

import (
	"context"
	"maps"
	"sync"

	"github.com/vkattn/vkattn"
)

// admitted is a decision whose kernel must give a known answer on this device and driver before it serves. The rungs of
// flash.comp are tested by Open; these when the first plan wants one, so that those who never do wait for nothing.
type admitted interface {
	decision
	// rung is the variant under test, its path, and the name under which the planner can be told to do without it; no
	// variant where Open has tested it.
	rung() (variant, path, name string)
	// selfTest returns why the kernel may not serve, or "".
	selfTest(ctx context.Context, b *Backend) (reason string, err error)
}

// admissions is what is known of such rungs.
type admissions struct {
	mu     sync.Mutex
	passed map[string]bool   // by variant
	failed map[string]string // by name, with the reason
}

// admittedLate is the decision itself if its kernel is tested when a plan wants it.
func admittedLate(d decision) (admitted, bool) {
	a, can := d.(admitted)
	if can {
		variant, _, _ := a.rung()
		can = variant != ""
	}
	return a, can
}

// decide is the planner's decision for op, by a rung that has passed its self-test.
func (b *Backend) decide(ctx context.Context, op vkattn.Op) (decision, error) {
	for {
		d, err := b.planner.forOp(&b.caps, op, b.config.Kernel, b.unfit())
		if err != nil {
			return nil, err
		}
		if ready, err := b.ready(ctx, d); ready || err != nil {
			return d, err
		}
	}
}

// ready reports whether all that a decision needs is known and tested; if not, it is to be made again.
func (b *Backend) ready(ctx context.Context, d decision) (bool, error) {
	for _, part := range partsOf(d) {
		if known, err := b.probed(ctx, part); !known || err != nil {
			return false, err
		}
	}
	for _, part := range partsOf(d) {
		if a, late := admittedLate(part); late && !b.config.SkipSelfTest {
			if passed, err := b.admit(ctx, a); !passed || err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

// partsOf are the decisions that one is made up of, or it alone.
func partsOf(d decision) []decision {
	switch d := d.(type) {
	case *mobaChoice:
		return []decision{d.inner}
	case *nsaChoice:
		return []decision{d.compressed, d.selected, d.window}
	}
	return []decision{d}
}

// unfit are the rungs that may not serve.
func (b *Backend) unfit() map[string]string {
	b.late.mu.Lock()
	defer b.late.mu.Unlock()
	if len(b.late.failed) == 0 {
		return b.disabled
	}
	all := maps.Clone(b.disabled)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, b.late.failed)
	return all
}

// admit reports whether the kernel of a decision gives the known answer.
func (b *Backend) admit(ctx context.Context, a admitted) (passed bool, err error) {
	variant, path, name := a.rung()
	b.late.mu.Lock()
	defer b.late.mu.Unlock()
	if b.late.passed[variant] {
		return true, nil
	}
	v, err := b.verdictOf(path, variant, func() (string, error) { return a.selfTest(ctx, b) })
	if err != nil {
		return false, err
	}
	if v.Passed {
		b.late.passed[variant] = true
	} else {
		b.late.failed[name] = selfTestFailed + v.Reason
	}
	return v.Passed, nil
}

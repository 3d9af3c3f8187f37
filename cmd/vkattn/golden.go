package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/golden"
)

// goldenCases reads a golden set.
func goldenCases(ctx context.Context, dir string, filter *regexp.Regexp) (loader, error) {
	set, err := golden.Load(dir)
	if err != nil {
		return nil, usagef("--golden: %w", err)
	}
	var cases []*golden.Case
	for _, c := range set.Cases {
		if filter.MatchString(c.Name) {
			cases = append(cases, c)
		}
	}
	if len(cases) == 0 {
		return nil, usagef("no case of %s fits --filter", dir)
	}
	return func(b vkattn.Backend) (int, func(int) caseResult, error) {
		return len(cases), func(i int) caseResult { return goldenCase(ctx, b, cases[i]) }, nil
	}, nil
}

// goldenCase runs one case and compares everything that it gives.
func goldenCase(ctx context.Context, b vkattn.Backend, c *golden.Case) caseResult {
	r := caseResult{Name: c.Name, Op: c.Op, Status: "failed"}
	p, err := c.Problem()
	if err == nil {
		err = runAll(ctx, b, p)
	}
	if err != nil {
		var unsupported *golden.Unsupported
		text, ok := unsupportedText(err)
		switch {
		case errors.As(err, &unsupported):
			r.Status, r.Reason = "unsupported", unsupported.Reason
		case ok:
			r.Status, r.Reason = "unsupported", text
		default:
			r.Reason = plainMessage(err)
		}
		return r
	}
	var skipped, wrong []string
	compared := 0
	for _, t := range p.Check() {
		if t.Skipped != "" {
			skipped = append(skipped, t.Tensor)
			continue
		}
		compared++
		worst, allowed := finite(t.Worst), finite(t.Allowed)
		if share(worst, allowed) >= share(r.Worst, r.Allowed) {
			r.Worst, r.Allowed = worst, allowed
		}
		if t.Err != nil {
			wrong = append(wrong, strings.TrimPrefix(t.Err.Error(), "golden: "+c.Name+": "))
		}
	}
	switch {
	case wrong != nil:
		r.Reason = strings.Join(wrong, "; ")
	case compared == 0:
		r.Status, r.Reason = "unsupported", "nothing in it can be compared"
	default:
		r.Status = "passed"
		if skipped != nil {
			r.Reason = "not compared: " + strings.Join(skipped, ", ")
		}
	}
	return r
}

// share is the part of what is allowed that an error uses up. Nothing allowed and nothing off is no share.
func share(worst, allowed float64) float64 {
	if worst == 0 {
		return 0
	}
	return finite(worst / allowed)
}

func runAll(ctx context.Context, b vkattn.Backend, p *golden.Problem) error {
	for i := range p.Runs {
		run := &p.Runs[i]
		plan, err := b.Plan(ctx, run.Op)
		if err != nil {
			return err
		}
		_, err = plan.Run(ctx, run.Args)
		if closing := plan.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return fmt.Errorf("run %d: %w", i, err)
		}
	}
	return nil
}

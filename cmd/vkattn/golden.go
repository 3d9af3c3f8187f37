package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/golden"
	"github.com/vkattn/vkattn/internal/llama"
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
	return func(b vkattn.Backend) ([]verifyCase, error) {
		list := make([]verifyCase, len(cases))
		for i, c := range cases {
			list[i].run = func() caseResult { return goldenCase(ctx, b, c) }
		}
		return list, nil
	}, nil
}

// goldenCase runs one case and compares everything that it gives.
func goldenCase(ctx context.Context, b vkattn.Backend, c *golden.Case) caseResult {
	r := caseResult{Name: c.Name, Op: c.Op, Status: "failed"}
	results, err := goldenResults(ctx, b, c)
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
	for _, t := range results {
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

// goldenResults runs a case: the calls of a problem, or a model that writes a text.
func goldenResults(ctx context.Context, b vkattn.Backend, c *golden.Case) ([]golden.Result, error) {
	if c.Op == golden.Generate {
		return goldenText(ctx, b, c)
	}
	p, err := c.Problem()
	if err != nil {
		return nil, err
	}
	if err := runAll(ctx, b, p); err != nil {
		return nil, err
	}
	return p.Check(), nil
}

// goldenText has the model of a case write its text.
func goldenText(ctx context.Context, b vkattn.Backend, c *golden.Case) ([]golden.Result, error) {
	want, err := c.Text()
	if err != nil {
		return nil, err
	}
	w, err := llama.Open(ctx, b, want.Model, want.Tokenizer, llama.Options{})
	if err != nil {
		return nil, err
	}
	defer w.Close()
	var text strings.Builder
	got, err := w.Generate(ctx, &text, llama.Request{Prompt: want.Prompt, Steps: want.Steps})
	if err != nil {
		return nil, err
	}
	return want.Check(got.Tokens, text.String(), got.Logits), nil
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

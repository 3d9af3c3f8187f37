package dispatch_test

import (
	"errors"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/golden"
)

// TestGolden runs the golden cases: answers of PyTorch, the ONNX reference implementation and llama2.c.
func TestGolden(t *testing.T) {
	set := golden.ForTest(t)
	b := open(t, dispatch.Config{CacheDir: "off"})
	passed := map[string]int{}
	for _, c := range set.Cases {
		p, err := c.Problem()
		var unsupported *golden.Unsupported
		if errors.As(err, &unsupported) {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range p.Runs {
				if err := b.Supports(r.Op); errors.Is(err, vkattn.ErrUnsupported) {
					t.Skip(err)
				}
				run(t, b, r.Op, r.Args)
			}
			compared := 0
			for _, r := range p.Check() {
				if r.Err != nil {
					t.Error(r.Err)
				}
				if r.Skipped == "" {
					compared++
				}
			}
			if compared == 0 {
				t.Error("nothing was compared")
			}
			if !t.Failed() {
				passed[c.Op]++
			}
		})
	}
	t.Logf("passed: %v of %d cases in %s", passed, len(set.Cases), set.Dir)
	if len(passed) == 0 {
		t.Error("no case passed")
	}
}

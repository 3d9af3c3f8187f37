package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocsFlags: every vkattn command in these pages has flags that exist.
func TestDocsFlags(t *testing.T) {
	_, root := readme(t)
	for _, name := range []string{"benchmarks.md", "fleet.md", "linear-and-sparse.md"} {
		page, err := os.ReadFile(filepath.Join(root, "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		text := string(page)
		n := 0
		for _, block := range fenced(t, text, "sh") {
			for line := range strings.Lines(block) {
				_, command, ok := strings.Cut(" "+line, " vkattn ")
				if !ok {
					continue
				}
				command, _, _ = strings.Cut(command, " > ")
				args := strings.Fields(strings.NewReplacer(`'`, "", `"`, "").Replace(command))
				cmd, rest, err := newRoot(&app{}).Find(args)
				if err == nil {
					err = cmd.ParseFlags(rest)
				}
				if err != nil {
					t.Errorf("%s: %s%v", name, line, err)
				}
				n++
			}
		}
		if n < 5 {
			t.Errorf("%s: %d commands", name, n)
		}
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vkattn/vkattn/shaders"
)

func TestManifestJSON(t *testing.T) {
	b, err := manifestJSON([]shaders.Entry{{Name: "a", Includes: []string{"x", "y"}}, {Name: "b"}})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(b); !strings.Contains(got, `"includes": [ "x", "y" ],`) || !strings.HasSuffix(got, "]\n") {
		t.Errorf("innermost lists take one line:\n%s", got)
	}
}

func TestCheckDeps(t *testing.T) {
	deps := filepath.Join(t.TempDir(), "a.d")
	if err := os.WriteFile(deps, []byte("a.spv: shaders/a.comp \\\n shaders/lib/x.glsl\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkDeps(deps, []string{"a.comp", "lib/x.glsl"}); err != nil {
		t.Error(err)
	}
	if err := checkDeps(deps, []string{"a.comp"}); err == nil {
		t.Error("a file that the hash does not cover: no error")
	}
	if err := checkDeps(deps, nil); err != nil {
		t.Error(err)
	}
}

func TestCompilerYear(t *testing.T) {
	for version, want := range map[string]int{
		"shaderc 2026.4-1": 2026, "shaderc v2023.2 v2023.2": 2023, "shaderc unknown hash": 0, "": 0,
	} {
		if got := (&compiler{version: version}).year(); got != want {
			t.Errorf("%q: %d, want %d", version, got, want)
		}
	}
}

func TestWriteChanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for i, want := range []bool{true, false} {
		if got, err := writeChanged(path, []byte("x")); err != nil || got != want {
			t.Errorf("write %d: %v, %v, want %v", i, got, err, want)
		}
	}
}

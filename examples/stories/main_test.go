package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/vkattn/vkattn/internal/llama"
)

func TestTell(t *testing.T) {
	var out strings.Builder
	dir := filepath.Join("..", "..", "testdata", "stories")
	if err := tell(t.Context(), &out, dir, "cpu", llama.Request{Prompt: "Once upon a time", Steps: 30}); err != nil {
		t.Fatal(err)
	}
	if want := "Once upon a time, there was a little girl named Lily."; !strings.HasPrefix(out.String(), want) {
		t.Errorf("%q", out.String())
	}
}

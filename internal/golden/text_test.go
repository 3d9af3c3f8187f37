package golden

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vkattn/vkattn"
)

// TestText: what a case about a text needs, and what is said where it is not there.
func TestText(t *testing.T) {
	shipped := filepath.Join("..", "..", "testdata")
	set, err := Load(filepath.Join(shipped, "golden"))
	if err != nil {
		t.Fatal(err)
	}
	c := set.Case("greedy_1")
	text, err := c.Text()
	if err != nil {
		t.Fatal(err)
	}
	if text.Prompt != "Once upon a time" || text.Steps != 200 || !strings.HasPrefix(text.Want, text.Prompt) {
		t.Errorf("%+v", text)
	}
	if _, err := c.Problem(); !errors.Is(err, vkattn.ErrUnsupported) {
		t.Errorf("as a call: %v", err)
	}
	if _, err := set.Cases[0].Text(); !errors.Is(err, vkattn.ErrUnsupported) {
		t.Errorf("a call as a text: %v", err)
	}

	dir := t.TempDir()
	copyTo := func(name string, change func([]byte) []byte) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(shipped, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	same := func(b []byte) []byte { return b }
	try := func(change func(*Case)) error {
		t.Helper()
		set, err := Load(filepath.Join(dir, "golden"))
		if err != nil {
			t.Fatal(err)
		}
		c := set.Case("greedy_1")
		change(c)
		_, err = c.Text()
		return err
	}
	keep := func(*Case) {}
	copyTo("golden/manifest.json", same)
	copyTo("golden/stories/greedy_1.npz", same)
	if err := try(keep); !errors.Is(err, vkattn.ErrUnsupported) || !strings.Contains(err.Error(), "its model is not there") {
		t.Errorf("no model: %v", err)
	}
	copyTo("stories/stories260K.bin", same)
	copyTo("stories/tok512.bin", func(b []byte) []byte { return b[1:] })
	if err := try(keep); err == nil || !strings.Contains(err.Error(), "tok512.bin is") {
		t.Errorf("another tokenizer: %v", err)
	}
	copyTo("stories/tok512.bin", same)
	if err := try(keep); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*Case){
		"temperature": func(c *Case) { c.Attrs["temperature"] = 1.0 },
		"no steps":    func(c *Case) { delete(c.Attrs, "steps") },
		"other steps": func(c *Case) { c.Attrs["steps"] = 199.0 },
		"no text":     func(c *Case) { c.Attrs["text"] = json.Number("1") },
		"no tensor":   func(c *Case) { delete(c.Tensors, "next") },
	} {
		if err := try(change); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

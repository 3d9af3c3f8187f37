package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fenced finds the code blocks of a language.
func fenced(t *testing.T, text, language string) []string {
	t.Helper()
	var blocks []string
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(text, -1) {
		blocks = append(blocks, m[1])
	}
	if len(blocks) == 0 {
		t.Fatalf("README.md has no block of %s", language)
	}
	return blocks
}

// words splits a command line; quotes hold a word together.
func words(line string) []string {
	var all []string
	for _, m := range regexp.MustCompile(`"([^"]*)"|'([^']*)'|(\S+)`).FindAllStringSubmatch(line, -1) {
		all = append(all, m[1]+m[2]+m[3])
	}
	return all
}

func readme(t *testing.T) (text, root string) {
	t.Helper()
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b), root
}

// TestReadmeProgram: the program in the README is the one that compiles and is tested in examples.
func TestReadmeProgram(t *testing.T) {
	text, root := readme(t)
	want, err := os.ReadFile(filepath.Join(root, "examples", "basic", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if got := fenced(t, text, "go"); len(got) != 1 || got[0] != string(want) {
		t.Error("the Go block of README.md is not examples/basic/main.go")
	}
}

// TestReadmeCommands runs every vkattn line of the README's sh blocks as written.
func TestReadmeCommands(t *testing.T) {
	text, root := readme(t)
	dir := t.TempDir()
	if err := os.Symlink(filepath.Join(root, "testdata"), filepath.Join(dir, "testdata")); err != nil {
		t.Skip("no symbolic links here:", err)
	}
	t.Chdir(dir)
	ran := 0
	for _, block := range fenced(t, text, "sh") {
		for line := range strings.Lines(block) {
			args := words(line)
			if len(args) == 0 || args[0] != "vkattn" {
				continue
			}
			var stdout, stderr bytes.Buffer
			if code := Main(args[1:], &stdout, &stderr); code != exitDone {
				t.Errorf("%sexit code %d: %s", line, code, stderr.String())
			}
			if stdout.Len() == 0 {
				t.Errorf("%sprints nothing", line)
			}
			ran++
		}
	}
	if ran < 10 {
		t.Errorf("%d commands in README.md", ran)
	}
}

// TestReadmeFlags: every flag in the README's blocks exists, in those too that need a GPU.
func TestReadmeFlags(t *testing.T) {
	text, _ := readme(t)
	root := newRoot(&app{})
	for _, block := range fenced(t, text, "console") {
		for line := range strings.Lines(block) {
			args := words(line)
			if len(args) < 2 || args[0] != "vkattn" {
				t.Errorf("not a command: %s", line)
				continue
			}
			cmd, rest, err := root.Find(args[1:])
			if err == nil {
				err = cmd.ParseFlags(rest)
			}
			if err != nil {
				t.Errorf("%s%v", line, err)
			}
		}
	}
}

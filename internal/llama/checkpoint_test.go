package llama_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vkattn/vkattn/internal/llama"
)

// header is that of a checkpoint.
func header(fields ...int32) []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, fields)
	return b.Bytes()
}

func read(b []byte) (*llama.Model, error) {
	return llama.ReadModel(bytes.NewReader(b), int64(len(b)), "x.bin")
}

// TestHostileModels: every file that is no checkpoint is a *FormatError that says why, before memory is allocated.
func TestHostileModels(t *testing.T) {
	whole, err := os.ReadFile(modelPath)
	if err != nil {
		t.Fatal(err)
	}
	const big = math.MaxInt32
	for _, c := range []struct {
		name string
		file []byte
		want string
	}{
		{"empty", nil, "has 0 bytes"},
		{"short header", whole[:27], "has 27 bytes"},
		{"header alone", whole[:28], "has 28 bytes, its header"},
		{"one byte less", whole[:len(whole)-1], "makes 1056540"},
		{"one byte more", append(bytes.Clone(whole), 0), "has 1056541 bytes"},
		{"text", []byte(strings.Repeat("not a checkpoint. ", 9)), "is no llama2.c checkpoint"},
		{"newer version", header(0x616b3432, 2, 0, 0, 0, 0, 0), "of version 2"},
		{"zeros", header(0, 0, 0, 0, 0, 0, 0), "dim is 0"},
		{"negative", header(64, -1, 5, 8, 4, 512, 512), "hidden_dim is -1"},
		{"huge", header(big, big, big, big, big, big, big), "dim is 2147483647"},
		{"large but legal", header(1<<16, 1<<18, 1<<10, 8, 8, 1<<20, 1<<20), "has 28 bytes, its header"},
		{"smallest vocabulary", header(64, 172, 5, 8, 4, math.MinInt32, 512), "vocab_size is"},
		{"heads do not divide", header(64, 172, 5, 7, 7, 512, 512), "no multiple of n_heads"},
		{"odd heads", header(24, 172, 5, 8, 4, 512, 512), "even number"},
		{"kv heads do not divide", header(64, 172, 5, 8, 3, 512, 512), "no multiple of n_kv_heads"},
		{"more kv heads", header(64, 172, 5, 4, 8, 512, 512), "n_kv_heads is 8"},
		{"no context", header(64, 172, 5, 8, 4, 512, 0), "seq_len is 0"},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := read(c.file)
		runtime.ReadMemStats(&after)
		var format *llama.FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), c.want) || format.Path != "x.bin" {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
			t.Errorf("%s: %d bytes were allocated", c.name, n)
		}
	}
}

// TestShrinkingModel: a file that ends before the size that it had.
func TestShrinkingModel(t *testing.T) {
	whole, err := os.ReadFile(modelPath)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{10, 1000, len(whole) - 4} {
		_, err := llama.ReadModel(bytes.NewReader(whole[:n]), int64(len(whole)), "x.bin")
		var format *llama.FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), "ends too early") {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if _, err := llama.ReadModel(io.MultiReader(bytes.NewReader(whole[:99]), broken{}), int64(len(whole)), "x.bin"); !errors.Is(err, errBroken) {
		t.Errorf("a file that cannot be read: %v", err)
	}
}

var errBroken = errors.New("broken")

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errBroken }

func TestOpenModel(t *testing.T) {
	m, err := llama.OpenModel(modelPath)
	if err != nil {
		t.Fatal(err)
	}
	want := llama.Config{Dim: 64, Hidden: 172, Layers: 5, Heads: 8, KVHeads: 4, Vocab: 512, Context: 512, Shared: true}
	if m.Config != want {
		t.Errorf("%+v", m.Config)
	}
	if _, err := llama.OpenModel(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	var format *llama.FormatError
	if _, err := llama.OpenModel(t.TempDir()); !errors.As(err, &format) {
		t.Errorf("a folder: %v", err)
	}
}

// TestOwnClassifier: a negative vocab_size, and the classifier behind all. The same numbers there give the same text.
func TestOwnClassifier(t *testing.T) {
	whole, err := os.ReadFile(modelPath)
	if err != nil {
		t.Fatal(err)
	}
	own := bytes.Clone(whole)
	vocab := int32(-512)
	binary.LittleEndian.PutUint32(own[20:], uint32(vocab))
	if _, err := read(own); err == nil {
		t.Error("a classifier of its own is not there, and that is no error")
	}
	own = append(own, whole[28:28+4*512*64]...)
	path := filepath.Join(t.TempDir(), "own.bin")
	if err := os.WriteFile(path, own, 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := llama.OpenModel(path)
	if err != nil {
		t.Fatal(err)
	}
	if m.Shared {
		t.Error("shared")
	}
}

// TestNotFinite: weights that are NaN end the text with an error that says so.
func TestNotFinite(t *testing.T) {
	whole, err := os.ReadFile(modelPath)
	if err != nil {
		t.Fatal(err)
	}
	for at := 28; at < len(whole); at += 4 {
		binary.LittleEndian.PutUint32(whole[at:], 0x7fc00000)
	}
	m, err := read(whole)
	if err != nil {
		t.Fatal(err)
	}
	good := open(t, llama.Options{})
	*good.Model = *m
	if _, err := good.Generate(t.Context(), io.Discard, llama.Request{Steps: 4}); !errors.Is(err, llama.ErrNotFinite) {
		t.Error(err)
	}
}

func FuzzReadModel(f *testing.F) {
	f.Add(header(64, 172, 5, 8, 4, 512, 512))
	f.Add(append(header(2, 1, 1, 1, 1, 1, 1), make([]byte, 4*(2+4+8+4+6+2+2))...))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := read(b)
		var format *llama.FormatError
		if err != nil && !errors.As(err, &format) {
			t.Fatal(err)
		}
		if err == nil && m.Vocab*m.Dim*4 > len(b) {
			t.Fatalf("%+v of %d bytes", m.Config, len(b))
		}
	})
}

package llama_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/vkattn/vkattn/internal/llama"
)

func tokenizer(t testing.TB) *llama.Tokenizer {
	t.Helper()
	tok, err := llama.OpenTokenizer(tokenizerPath, 512)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// decode is the text of tokens, as it is printed.
func decode(t testing.TB, tok *llama.Tokenizer, tokens []int) string {
	t.Helper()
	var b strings.Builder
	p := llama.NewPrinter(&b)
	for i := 1; i < len(tokens); i++ {
		if err := p.Write(tok.Piece(tokens[i-1], tokens[i])); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEncode(t *testing.T) {
	tok := tokenizer(t)
	for _, c := range []struct {
		text string
		want []int
	}{
		{"", []int{1}},
		{"Once upon a time", []int{1, 403, 407, 261, 378}}, // as run.c has it, see the golden case
	} {
		if got := tok.Encode(c.text); !slices.Equal(got, c.want) {
			t.Errorf("%q: %v, want %v", c.text, got, c.want)
		}
	}
	// What the vocabulary lacks comes as bytes.
	if got := tok.Encode("🙂"); !slices.Equal(got[len(got)-4:], []int{3 + 0xf0, 3 + 0x9f, 3 + 0x99, 3 + 0x82}) {
		t.Errorf("🙂: %v", got)
	}
	for _, text := range []string{"Once upon a time, there was a € and a 🙂.", " two spaces", "a\nb\tc", "\"Look!\" said Tom.", strings.Repeat("the ", 1000)} {
		if got := decode(t, tok, tok.Encode(text)); got != text {
			t.Errorf("%q comes back as %q", text, got)
		}
	}
	if got := decode(t, tok, tok.Encode("a\xffb\xe2\x82")); got != "a\ufffdb\ufffd\ufffd" {
		t.Errorf("broken UTF-8 comes back as %q", got)
	}
}

// slow is the encoding as run.c has it: look at all neighbours, join the best, again.
func slow(t *testing.T, file []byte, text string) []int {
	pieces, scores := pieces(t, file)
	find := func(s string) int { return slices.Index(pieces, s) }
	tokens := []int{1}
	if text != "" {
		tokens = append(tokens, find(" "))
	}
	for len(text) > 0 {
		_, n := utf8.DecodeRuneInString(text)
		if id := find(text[:n]); id >= 0 {
			tokens = append(tokens, id)
		} else {
			for _, b := range []byte(text[:n]) {
				tokens = append(tokens, int(b)+3)
			}
		}
		text = text[n:]
	}
	for {
		best, at, score := -1, -1, float32(math.Inf(-1))
		for i := 1; i+1 < len(tokens); i++ {
			if id := find(pieces[tokens[i]] + pieces[tokens[i+1]]); id >= 0 && scores[id] > score {
				best, at, score = id, i, scores[id]
			}
		}
		if best < 0 {
			return tokens
		}
		tokens[at] = best
		tokens = slices.Delete(tokens, at+1, at+2)
	}
}

func pieces(t *testing.T, file []byte) (pieces []string, scores []float32) {
	t.Helper()
	for at := 4; at < len(file); {
		n := int(binary.LittleEndian.Uint32(file[at+4:]))
		scores = append(scores, math.Float32frombits(binary.LittleEndian.Uint32(file[at:])))
		pieces = append(pieces, string(file[at+8:at+8+n]))
		at += 8 + n
	}
	return pieces, scores
}

func TestEncodeIsExhaustive(t *testing.T) {
	file, err := os.ReadFile(tokenizerPath)
	if err != nil {
		t.Fatal(err)
	}
	tok := tokenizer(t)
	r := rand.New(rand.NewPCG(1, 2))
	words, _ := pieces(t, file)
	for range 300 {
		var b strings.Builder
		for range r.IntN(12) {
			switch r.IntN(4) {
			case 0:
				b.WriteByte(byte(r.IntN(256)))
			case 1:
				b.WriteRune(rune(r.IntN(0x3000)))
			default:
				b.WriteString(words[259+r.IntN(len(words)-259)])
			}
		}
		if got, want := tok.Encode(b.String()), slow(t, file, b.String()); !slices.Equal(got, want) {
			t.Fatalf("%q: %v, want %v", b.String(), got, want)
		}
	}
}

func TestHostileTokenizers(t *testing.T) {
	whole, err := os.ReadFile(tokenizerPath)
	if err != nil {
		t.Fatal(err)
	}
	changed := func(at int, to uint32) []byte {
		b := bytes.Clone(whole)
		binary.LittleEndian.PutUint32(b[at:], to)
		return b
	}
	for _, c := range []struct {
		name  string
		file  []byte
		vocab int
		want  string
	}{
		{"empty", nil, 512, "has 0 bytes"},
		{"another model's", whole, 32000, "the 32000 tokens of the model take at least"},
		{"a model of fewer tokens", whole, 400, "behind the 400 tokens"},
		{"a model of too few tokens", whole, 10, "3 and the 256 bytes are the least"},
		{"cut", whole[:len(whole)-1], 512, "bytes are left"},
		{"one more byte", append(bytes.Clone(whole), 1), 512, "has 1 bytes behind"},
		{"long token", changed(8, 1<<30), 512, "token 0 of 512 has the length 1073741824"},
		{"negative length", changed(8, 0xffffffff), 512, "has the length -1"},
		{"longer than the longest", changed(0, 3), 512, "the longest has 3"},
		{"score NaN", changed(4, 0x7fc00000), 512, "the score NaN"},
	} {
		_, err := llama.ReadTokenizer(bytes.NewReader(c.file), int64(len(c.file)), "t.bin", c.vocab)
		var format *llama.FormatError
		if !errors.As(err, &format) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := llama.ReadTokenizer(bytes.NewReader(whole[:99]), int64(len(whole)), "t.bin", 512); err == nil {
		t.Error("a file that ends early is no error")
	}
}

func TestPieceOfNothing(t *testing.T) {
	tok := tokenizer(t)
	for _, id := range []int{-1, tok.Len(), math.MaxInt} {
		if s := tok.Piece(1, id); s != "" {
			t.Errorf("token %d is %q", id, s)
		}
	}
}

func FuzzTokenizer(f *testing.F) {
	whole, err := os.ReadFile(tokenizerPath)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole, "Once upon a time")
	f.Fuzz(func(t *testing.T, file []byte, text string) {
		tok, err := llama.ReadTokenizer(bytes.NewReader(file), int64(len(file)), "t.bin", 512)
		if err != nil {
			var format *llama.FormatError
			if !errors.As(err, &format) {
				t.Fatal(err)
			}
			return
		}
		for _, id := range tok.Encode(text) {
			if id < 0 || id >= tok.Len() {
				t.Fatalf("token %d", id)
			}
		}
	})
}

// TestPrinter: whole characters, and nothing that controls a terminal.
func TestPrinter(t *testing.T) {
	var parts []string
	p := llama.NewPrinter(writer(func(b []byte) { parts = append(parts, string(b)) }))
	for _, s := range []string{"a", "\xe2", "\x82", "\xacb", "\x1b[31m", "\r", "\n", "\xf0\x9f", "z", "\u0085", "\xc3"} {
		if err := p.Write(s); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if want := []string{"a", "€b", "[31m", "\n", "\ufffd\ufffdz", "\ufffd"}; !slices.Equal(parts, want) {
		t.Errorf("%q, want %q", parts, want)
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

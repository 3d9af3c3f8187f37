package llama

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"math"
)

// Tokens that every tokenizer here has.
const (
	unknown = 0
	Begin   = 1 // begins a text, and as a prediction ends it
	End     = 2 // ends a text
	bytes0  = 3 // the first of 256 tokens that stand for single bytes
)

// Tokenizer turns text into tokens and back: byte pair encoding as SentencePiece has it, with tokens for single
// bytes where the vocabulary has no better.
type Tokenizer struct {
	pieces []string
	scores []float32
	ids    map[string]int
}

// OpenTokenizer reads the tokenizer of a model with vocab tokens from a file. A *FormatError says what is wrong with it.
func OpenTokenizer(path string, vocab int) (*Tokenizer, error) {
	f, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadTokenizer(f, size, path, vocab)
}

// ReadTokenizer reads a tokenizer of size bytes: an int32, the length of the longest token, then for each of vocab
// tokens its score as float32, its length as int32 and its bytes, all little endian. The path stands in errors.
func ReadTokenizer(r io.Reader, size int64, path string, vocab int) (*Tokenizer, error) {
	bad := func(format string, args ...any) error { return &FormatError{path, fmt.Sprintf(format, args...)} }
	const perToken = 8 // bytes of an empty token
	switch {
	case vocab < bytes0+256:
		return nil, bad("the model has %d tokens; 3 and the 256 bytes are the least that such a tokenizer has", vocab)
	case size < 4+perToken*int64(vocab):
		return nil, bad("has %d bytes, the %d tokens of the model take at least %d", size, vocab, 4+perToken*int64(vocab))
	}
	in := bufio.NewReader(r)
	word := func() (uint32, error) {
		var b [4]byte
		_, err := io.ReadFull(in, b[:])
		return binary.LittleEndian.Uint32(b[:]), err
	}
	longest, err := word()
	if err != nil {
		return nil, readError(path, err)
	}
	t := &Tokenizer{pieces: make([]string, vocab), scores: make([]float32, vocab), ids: make(map[string]int, vocab)}
	left := size - 4
	for id := range vocab {
		score, err := word()
		if err != nil {
			return nil, readError(path, err)
		}
		length, err := word()
		if err != nil {
			return nil, readError(path, err)
		}
		left -= perToken
		if length > longest || int64(length) > left {
			return nil, bad("token %d of %d has the length %d; the longest has %d, and %d bytes are left", id, vocab, int32(length), int32(longest), left)
		}
		piece := make([]byte, length)
		if _, err := io.ReadFull(in, piece); err != nil {
			return nil, readError(path, err)
		}
		left -= int64(length)
		t.pieces[id], t.scores[id] = string(piece), math.Float32frombits(score)
		if s := t.scores[id]; s != s {
			return nil, bad("token %d of %d has the score NaN", id, vocab)
		}
		if _, taken := t.ids[t.pieces[id]]; !taken && length > 0 {
			t.ids[t.pieces[id]] = id
		}
	}
	if left != 0 {
		return nil, bad("has %d bytes behind the %d tokens of the model", left, vocab)
	}
	return t, nil
}

// Len is the size of the vocabulary.
func (t *Tokenizer) Len() int { return len(t.pieces) }

// byteOf is the byte that a token stands for: its text is <0x41>, say.
func (t *Tokenizer) byteOf(token int) (byte, bool) {
	b := token - bytes0
	if b < 0 || b > 255 || t.pieces[token] != fmt.Sprintf("<0x%02X>", b) {
		return 0, false
	}
	return byte(b), true
}

// Piece is the text of token behind the token before: the space that every word begins with is left out at the
// beginning of a text.
func (t *Tokenizer) Piece(before, token int) string {
	if token < 0 || token >= len(t.pieces) {
		return ""
	}
	if b, ok := t.byteOf(token); ok {
		return string([]byte{b})
	}
	piece := t.pieces[token]
	if before == Begin && len(piece) > 0 && piece[0] == ' ' {
		piece = piece[1:]
	}
	return piece
}

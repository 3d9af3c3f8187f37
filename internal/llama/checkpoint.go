package llama

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// Model is a checkpoint in memory. Matrices are [out, in], row by row.
type Model struct {
	Config
	Path string

	embedding  []float32 // [Vocab, Dim]
	layers     []layer
	norm       []float32 // [Dim]
	classifier []float32 // [Vocab, Dim]
}

// layer is the weights of one block: attention and feed-forward, each behind a norm.
type layer struct {
	attentionNorm []float32 // [Dim]
	wq            []float32 // [Dim, Dim]
	wk, wv        []float32 // [KVHeads*HeadDim, Dim]
	wo            []float32 // [Dim, Dim]
	hiddenNorm    []float32 // [Dim]
	w1, w3        []float32 // [Hidden, Dim]: gate, up
	w2            []float32 // [Dim, Hidden]: down
}

// OpenModel reads the checkpoint in a file. A *FormatError says what is wrong with it.
func OpenModel(path string) (*Model, error) {
	f, size, err := openFile(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadModel(f, size, path)
}

// openFile opens a regular file and says how long it is.
func openFile(path string) (*os.File, int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &FormatError{path, "is no regular file"}
	}
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

const headerBytes = 7 * 4

// ReadModel reads a checkpoint of size bytes: a header of 7 int32 (dim, hidden_dim, n_layers, n_heads, n_kv_heads,
// vocab_size, seq_len; a negative vocab_size says that the classifier has weights of its own), then the weights
// as float32, all little endian. The path stands in errors. Nothing is allocated before the sizes in the header
// agree with size.
func ReadModel(r io.Reader, size int64, path string) (*Model, error) {
	bad := func(format string, args ...any) error { return &FormatError{path, fmt.Sprintf(format, args...)} }
	var header [7]int32
	if size < headerBytes {
		return nil, bad("has %d bytes, the header of a llama2.c checkpoint has %d", size, headerBytes)
	}
	in := &numbers{r: bufio.NewReaderSize(r, 1<<16)}
	if err := binary.Read(in.r, binary.LittleEndian, &header); err != nil {
		return nil, readError(path, err)
	}
	const magic = 0x616b3432 // "ak42"
	if header[0] == magic {
		return nil, bad("is a llama2.c checkpoint of version %d, want the version 0 export", header[1])
	}
	vocab := int(header[5])
	c := Config{
		Dim: int(header[0]), Hidden: int(header[1]), Layers: int(header[2]), Heads: int(header[3]), KVHeads: int(header[4]),
		Vocab: max(vocab, -vocab), Context: int(header[6]), Shared: vocab > 0,
	}
	if err := c.check(); err != nil {
		return nil, bad("is no llama2.c checkpoint: %v", err)
	}
	if want := headerBytes + 4*c.numbers(); want != size {
		return nil, bad("has %d bytes, its header (dim %d, hidden_dim %d, %d layers, %d heads, %d kv heads, vocabulary %d, context %d) makes %d",
			size, c.Dim, c.Hidden, c.Layers, c.Heads, c.KVHeads, c.Vocab, c.Context, want)
	}
	m := &Model{Config: c, Path: path, layers: make([]layer, c.Layers)}
	m.embedding = in.read(c.Vocab * c.Dim)
	// A file has one matrix for all layers behind the other, kind by kind.
	each := func(n int, field func(*layer) *[]float32) {
		for i := range m.layers {
			*field(&m.layers[i]) = in.read(n)
		}
	}
	each(c.Dim, func(l *layer) *[]float32 { return &l.attentionNorm })
	each(c.Dim*c.Dim, func(l *layer) *[]float32 { return &l.wq })
	each(c.Dim*c.kvDim(), func(l *layer) *[]float32 { return &l.wk })
	each(c.Dim*c.kvDim(), func(l *layer) *[]float32 { return &l.wv })
	each(c.Dim*c.Dim, func(l *layer) *[]float32 { return &l.wo })
	each(c.Dim, func(l *layer) *[]float32 { return &l.hiddenNorm })
	each(c.Dim*c.Hidden, func(l *layer) *[]float32 { return &l.w1 })
	each(c.Dim*c.Hidden, func(l *layer) *[]float32 { return &l.w2 })
	each(c.Dim*c.Hidden, func(l *layer) *[]float32 { return &l.w3 })
	m.norm = in.read(c.Dim)
	in.skip(4 * c.angles())
	m.classifier = m.embedding
	if !c.Shared {
		m.classifier = in.read(c.Vocab * c.Dim)
	}
	if in.err != nil {
		return nil, readError(path, in.err)
	}
	return m, nil
}

// readError tells a file that ends too early from one that cannot be read.
func readError(path string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return &FormatError{path, "ends too early"}
	}
	return fmt.Errorf("llama: %s: %w", path, err)
}

// numbers reads float32 numbers until something fails.
type numbers struct {
	r   *bufio.Reader
	err error
}

func (in *numbers) read(n int) []float32 {
	if in.err != nil {
		return nil
	}
	out := make([]float32, n)
	var part [1 << 14]byte
	for rest := out; len(rest) > 0; {
		b := part[:min(len(part), 4*len(rest))]
		if _, in.err = io.ReadFull(in.r, b); in.err != nil {
			return nil
		}
		for i := range len(b) / 4 {
			rest[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		rest = rest[len(b)/4:]
	}
	return out
}

func (in *numbers) skip(bytes int) {
	if in.err == nil {
		_, in.err = io.CopyN(io.Discard, in.r, int64(bytes))
	}
}

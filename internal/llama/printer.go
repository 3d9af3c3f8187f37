package llama

import (
	"io"
	"unicode"
	"unicode/utf8"
)

// Printer writes the text of tokens as they come: whole characters, of which tokens may bring single bytes, and none
// that control a terminal.
type Printer struct {
	w    io.Writer
	rest []byte // the beginning of a character
}

// NewPrinter writes to w.
func NewPrinter(w io.Writer) *Printer { return &Printer{w: w} }

// Write prints what is complete of the text so far.
func (p *Printer) Write(text string) error {
	p.rest = append(p.rest, text...)
	var out []byte
	for len(p.rest) > 0 && utf8.FullRune(p.rest) {
		out = p.take(out)
	}
	return p.flush(out)
}

// Close prints what is left: characters that never were completed are U+FFFD.
func (p *Printer) Close() error {
	var out []byte
	for len(p.rest) > 0 {
		out = p.take(out)
	}
	return p.flush(out)
}

func (p *Printer) take(out []byte) []byte {
	r, n := utf8.DecodeRune(p.rest)
	p.rest = p.rest[n:]
	if unicode.IsControl(r) && r != '\n' && r != '\t' {
		return out
	}
	return utf8.AppendRune(out, r)
}

func (p *Printer) flush(out []byte) error {
	if len(out) == 0 {
		return nil
	}
	_, err := p.w.Write(out)
	return err
}

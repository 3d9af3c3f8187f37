package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"unicode"

	"github.com/vkattn/vkattn"
)

// maxFile bounds what Read takes from one file.
const maxFile = 256 << 20

// A ReadError says where a file is no list of records.
type ReadError struct {
	File string
	Line int // from 1
	Err  error
}

func (e *ReadError) Error() string { return fmt.Sprintf("%s:%d: %v", e.File, e.Line, e.Err) }

func (e *ReadError) Unwrap() error { return e.Err }

// ReadFile reads a file that Write wrote as json or jsonl; "-" is the standard input.
func ReadFile(path string) ([]Record, error) {
	if path == "-" {
		return Read(os.Stdin, "standard input")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f, path)
}

// Read reads a JSON array of records, or records one behind the other (JSON lines). Files are not trusted: what is
// derived is derived again from the samples, and what is shown loses its control characters. Errors are
// *ReadError, or those of r.
func Read(r io.Reader, name string) ([]Record, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return nil, err
	}
	fail := func(at int64, err error) error {
		at = min(max(at, 0), int64(len(data)))
		return &ReadError{name, 1 + bytes.Count(data[:at], []byte{'\n'}), err}
	}
	if len(data) > maxFile {
		return nil, fail(0, fmt.Errorf("is longer than %s", Bytes(maxFile)))
	}
	start := int64(len(data) - len(bytes.TrimLeft(data, " \t\r\n\ufeff")))
	if start == int64(len(data)) {
		return nil, fail(0, errors.New("is empty, want records that vkattn bench -o json or jsonl wrote"))
	}
	end := int64(len(bytes.TrimRight(data, " \t\r\n")))
	d := json.NewDecoder(bytes.NewReader(data[start:]))
	array := data[start] == '['
	if !array && data[start] != '{' {
		return nil, fail(start, errors.New("is no JSON, want records that vkattn bench -o json or jsonl wrote"))
	}
	if array {
		if _, err := d.Token(); err != nil {
			return nil, fail(start, err)
		}
	}
	var records []Record
	for d.More() {
		// The offset is at the end of the last record; blanks and a comma stand before the next.
		at := start + d.InputOffset()
		at += int64(len(data[at:]) - len(bytes.TrimLeft(data[at:], " \t\r\n,")))
		var rec Record
		if err := d.Decode(&rec); err != nil {
			return nil, fail(errorOffset(err, at, start+d.InputOffset(), end), plainJSON(err))
		}
		if err := rec.accept(); err != nil {
			return nil, fail(at, err)
		}
		records = append(records, rec)
	}
	if array {
		if _, err := d.Token(); err != nil {
			return nil, fail(errorOffset(err, start+d.InputOffset(), start+d.InputOffset(), end), plainJSON(err))
		}
	}
	if rest := bytes.TrimSpace(data[start+d.InputOffset():]); len(rest) > 0 {
		return nil, fail(start+d.InputOffset()+1, errors.New("something follows the records"))
	}
	return records, nil
}

// errorOffset is where in the file an error of the decoder is. Offsets of type errors count from the start of the
// record that does not fit, those of syntax errors from the start of the input.
func errorOffset(err error, record, reached, end int64) int64 {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		return record
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return end
	}
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		return max(syntax.Offset-1, record)
	}
	return reached
}

// plainJSON is an error of the decoder in our words.
func plainJSON(err error) error {
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &kind):
		return fmt.Errorf("%s of a record cannot be a %s", kind.Field, kind.Value)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("ends in the middle of a record")
	}
	return err
}

// maxSamples bounds the samples of one record.
const maxSamples = 1 << 20

// accept checks a record that was read, and derives again what can be derived.
func (r *Record) accept() error {
	switch {
	case r.Schema == 0:
		return errors.New("a record without a schema: not written by vkattn bench")
	case r.Schema < 0 || r.Schema > Schema:
		return fmt.Errorf("a record of schema %d, this version knows up to %d", r.Schema, Schema)
	case r.Problem == "":
		return errors.New("a record without a problem")
	case len(r.Samples) > maxSamples:
		return fmt.Errorf("a record with %d samples, want at most %d", len(r.Samples), maxSamples)
	}
	for _, s := range r.Samples {
		if s.Device < 0 || s.Wall < 0 {
			return errors.New("a record with a negative time")
		}
	}
	const maxFLOPs = 1e40
	w := r.Report.Work
	if w.Pairs < 0 || w.Bytes < 0 || w.FLOPs < 0 || w.FLOPsFA < 0 || r.Report.Scratch < 0 || r.Report.DeviceMem < 0 || max(w.Bytes, r.Report.Scratch) > math.MaxInt64/4 ||
		max(w.FLOPs, w.FLOPsFA) > maxFLOPs {
		return errors.New("a record with impossible work or memory")
	}
	if r.Roofs != nil && !sensible(r.Roofs) {
		return errors.New("a record with an impossible roof")
	}
	if err := r.Op.Validate(); err != nil {
		return errors.New("a record whose op is not valid: " + err.Error())
	}
	if len(r.Samples) > 0 && r.Check != nil && !r.Check.OK {
		r.Verified = false
	}
	r.Verified = r.Verified && r.Check != nil && r.Check.OK
	for _, text := range []*string{&r.Label, &r.Shard, &r.Suite, &r.Table, &r.Case, &r.Against, &r.Problem, &r.Asked, &r.Stopped, &r.Cut, &r.Error,
		&r.Report.Backend, &r.Report.Device, &r.Report.Driver, &r.Report.Kernel, &r.Report.Path, &r.Report.Tile, &r.Report.Fallback,
		&r.Build.Version, &r.Build.Commit, &r.Build.Go, &r.Build.OS, &r.Build.Arch} {
		*text = printable(*text)
	}
	r.derive()
	if !(r.Ratio >= 0) {
		r.Ratio = 0
	}
	if !(r.Density > 0 && r.Density <= maxFLOPs) {
		r.Density = 0
	}
	return nil
}

func sensible(r *vkattn.Roofs) bool {
	const most = 1e12
	ok := r.ReadGBps >= 0 && r.CopyGBps >= 0 && r.FMATFLOPs >= 0 && max(r.ReadGBps, r.CopyGBps, r.FMATFLOPs) <= most
	for _, x := range r.Matrix {
		ok = ok && x >= 0 && x <= most
	}
	return ok
}

// printable is s without what could steer a terminal, and not longer than a name has to be.
func printable(s string) string {
	const longest = 1000
	s = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, s)
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest])
	}
	return s
}

package main

import (
	"bytes"
	"io"
	"os"

	"github.com/vkattn/vkattn/internal/bench"
)

// sink takes records as they come: JSON lines go out at once, the other formats at the end.
type sink struct {
	out     io.Writer
	format  string
	save    *os.File // nil without --save
	records []bench.Record
}

// newSink starts with the records of an earlier call.
func newSink(out io.Writer, b *benchFlags, before []bench.Record) (*sink, error) {
	s := &sink{out: out, format: b.format, records: before}
	if b.format == "jsonl" {
		if err := bench.Write(out, "jsonl", before); err != nil {
			return nil, err
		}
	}
	if b.save == "" {
		return s, nil
	}
	var err error
	if b.resume {
		// What was cut or failed is measured or listed again: only what counts stays.
		if err = rewrite(b.save, before); err != nil {
			return nil, err
		}
	}
	s.save, err = os.OpenFile(b.save, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	return s, err
}

// rewrite replaces a file of JSON lines in one step.
func rewrite(path string, records []bench.Record) error {
	var b bytes.Buffer
	if err := bench.Write(&b, "jsonl", records); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, b.Bytes(), 0o666); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// add keeps records, and writes what need not wait.
func (s *sink) add(records []bench.Record) error {
	if len(records) == 0 {
		return nil
	}
	first := len(s.records)
	s.records = append(s.records, records...)
	bench.SetRatios(s.records)
	if s.format == "jsonl" {
		if err := bench.Write(s.out, "jsonl", s.records[first:]); err != nil {
			return err
		}
	}
	if s.save != nil {
		return bench.Write(s.save, "jsonl", s.records[first:])
	}
	return nil
}

// finish writes the formats that need all records.
func (s *sink) finish() error {
	if s.format == "jsonl" {
		return nil
	}
	return bench.Write(s.out, s.format, s.records)
}

func (s *sink) close() {
	if s.save != nil {
		s.save.Close()
	}
}

package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// Formats are the names that Write takes.
var Formats = []string{"md", "csv", "json", "jsonl", "benchstat"}

// Write writes records in a format of Formats. json and jsonl have everything and are what Read takes, Markdown has
// what fits a line, benchstat every sample for golang.org/x/perf/cmd/benchstat.
func Write(w io.Writer, format string, records []Record) error {
	switch format {
	case "md":
		return writeMarkdown(w, records)
	case "csv":
		return writeCSV(w, records)
	case "json":
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if records == nil {
			records = []Record{}
		}
		return e.Encode(records)
	case "jsonl":
		e := json.NewEncoder(w)
		for i := range records {
			if err := e.Encode(&records[i]); err != nil {
				return err
			}
		}
		return nil
	case "benchstat":
		return writeBenchstat(w, records)
	}
	return fmt.Errorf("no output format %q, want one of %s", format, strings.Join(Formats, ", "))
}

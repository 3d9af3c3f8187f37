package main

import (
	"errors"
	"fmt"

	"github.com/vkattn/vkattn/internal/bench"
)

// judgeRecords is the error of the whole command.
func judgeRecords(records []bench.Record) error {
	measured := false
	var first string
	for i := range records {
		r := &records[i]
		if r.Check != nil && !r.Check.OK {
			return &mismatchError{fmt.Errorf("%s on %s: %s", r.Asked, r.Problem, r.Error)}
		}
		measured = measured || len(r.Samples) > 0
		if first == "" {
			first = r.Error
		}
		if first == "" && r.Cut != "" {
			first = "cut: " + r.Cut
		}
	}
	if !measured {
		return &nothingError{errors.New("nothing was measured: " + first)}
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/internal/tensorio"
	"github.com/vkattn/vkattn/vk"
)

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("anything"), exitFailed},
		{usagef("wrong"), exitUsage},
		{&vkattn.ShapeError{Arg: "Q"}, exitUsage},
		{&vkattn.ArgError{Arg: "Q"}, exitUsage},
		{&tensorio.FormatError{}, exitUsage},
		{&fs.PathError{Op: "open", Path: "x", Err: fs.ErrNotExist}, exitUsage},
		{&fs.PathError{Op: "open", Path: "x", Err: fs.ErrPermission}, exitFailed},
		{&fs.PathError{Op: "read", Path: "x", Err: syscall.EISDIR}, exitUsage},
		{&vkattn.UnsupportedError{}, exitNothing},
		{fmt.Errorf("open: %w", vk.ErrUnavailable), exitNothing},
		{&nothingError{errors.New("nothing passed")}, exitNothing},
		{&mismatchError{errors.New("wrong")}, exitMismatch},
		{&interrupted{syscall.SIGINT}, 130},
		{&interrupted{syscall.SIGTERM}, 143},
		{context.DeadlineExceeded, exitFailed},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: exit code %d, want %d", c.err, got, c.want)
		}
	}
}

package vkattn

import (
	"errors"
	"fmt"
	"strings"
)

// Sentinels for errors.Is. Backends wrap them together with their own detail.
var (
	// ErrUnsupported: the problem is valid, this backend or device cannot do it. *UnsupportedError
	// carries the reasons.
	ErrUnsupported = errors.New("vkattn: unsupported")
	// ErrClosed: the object was used after Close.
	ErrClosed = errors.New("vkattn: closed")
	// ErrDeviceLost: the device stopped answering. The backend is dead; open another one.
	ErrDeviceLost = errors.New("vkattn: device lost")
	// ErrOutOfMemory: the device or the host has no room for the call.
	ErrOutOfMemory = errors.New("vkattn: out of memory")
	// ErrInvalid: the call is wrong, whatever the backend. Every *ShapeError and *ArgError is one.
	ErrInvalid = errors.New("vkattn: invalid argument")
)

// ShapeError says that one axis or number of an argument does not fit the problem.
type ShapeError struct {
	Arg  string // the argument, as the Go field is called: "Q", "CuSeqK", "HeadsK"
	Axis string // "batch", "heads", "sequence", "last", "rank", "length", "type", or "" for a scalar
	Got  any
	Want string // what was expected, in words
}

func (e *ShapeError) Error() string {
	name := e.Arg
	if e.Axis != "" {
		name += " " + e.Axis
	}
	return fmt.Sprintf("vkattn: %s is %v, want %s", name, e.Got, e.Want)
}

// Is makes errors.Is(err, ErrInvalid) true.
func (e *ShapeError) Is(target error) bool { return target == ErrInvalid }

// ArgError says what is wrong with an argument when it is not a matter of its shape.
type ArgError struct {
	Arg    string
	Reason string
}

func (e *ArgError) Error() string { return fmt.Sprintf("vkattn: %s: %s", e.Arg, e.Reason) }

// Is makes errors.Is(err, ErrInvalid) true.
func (e *ArgError) Is(target error) bool { return target == ErrInvalid }

// UnsupportedError lists, kernel by kernel, why a backend cannot run an Op.
type UnsupportedError struct {
	Op      string // Op.String()
	Backend string
	Reasons []Refusal
}

// Refusal is one kernel (or rung of the ladder) that was not taken, and why.
type Refusal struct {
	Kernel string `json:"kernel"`
	Reason string `json:"reason"`
}

func (e *UnsupportedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "vkattn: %s cannot run %s", e.Backend, e.Op)
	for i, r := range e.Reasons {
		b.WriteString([2]string{"; ", ": "}[btoi(i == 0)])
		fmt.Fprintf(&b, "%s: %s", r.Kernel, r.Reason)
	}
	return b.String()
}

// Is makes errors.Is(err, ErrUnsupported) true, and the standard library's errors.ErrUnsupported too.
func (e *UnsupportedError) Is(target error) bool {
	return target == ErrUnsupported || target == errors.ErrUnsupported
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

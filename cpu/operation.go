package cpu

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
)

// operation is what plans and batches know of an op. There is one file for each.
type operation interface {
	// kernel and tile name the algorithm and what it does at once, with the inner loops of k.
	kernel() string
	tile(k kernel) string
	// scratchBytes is the memory of one worker.
	scratchBytes(k kernel) int64
	// note is a line for explanations.
	note(workers int) string
	// bind checks args and resolves them.
	bind(args vkattn.Args) (job, error)
}

// job is one recorded call.
type job interface {
	// run computes on all workers of b and returns when none of them works any more. splits is how many parts
	// the keys were cut into.
	run(ctx context.Context, b *Backend) (splits int, err error)
	work() vkattn.Work
}

// operationOf is op made ready, or the reason why this backend cannot run it.
func operationOf(op vkattn.Op) (operation, error) {
	if op == nil {
		return nil, &vkattn.ArgError{Arg: "Op", Reason: "missing"}
	}
	if err := op.Validate(); err != nil {
		return nil, err
	}
	if wide, check := widen(op); wide != op {
		inner, err := operationOf(wide)
		return &widened{inner, check}, err
	}
	switch a := op.(type) {
	case vkattn.Attention:
		for _, t := range []struct {
			name string
			t    vkattn.Type
		}{{"TypeQ", a.TypeQ}, {"TypeOut", a.TypeOut}} {
			if n, _ := t.t.Block(); n > 1 {
				return nil, refuse(op, kernelName, fmt.Sprintf("%s is %s, only keys and values come in blocks", t.name, t.t))
			}
		}
		return newAttention(a), nil
	case vkattn.Linear:
		return newLinear(a), nil
	case vkattn.MoBA:
		return newMoBA(a), nil
	case vkattn.NSA:
		return newNSA(a), nil
	case vkattn.Merge:
		return merging{a}, nil
	case vkattn.Rope:
		return rope{a.Canonical()}, nil
	}
	return nil, refuse(op, kernelName, fmt.Sprintf("computes no %T", op))
}

func refuse(op vkattn.Op, kernel, reason string) error {
	return &vkattn.UnsupportedError{Op: op.String(), Backend: "cpu", Reasons: []vkattn.Refusal{{Kernel: kernel, Reason: reason}}}
}

// argument is a tensor of a call and the slice that its elements go to: floats if they are float32, else bytes.
type argument struct {
	name   string
	t      vkattn.Tensor
	floats *[]float32
	bytes  *[]byte
}

// resolve fills in the slices of the tensors that are given.
func resolve(all []argument) error {
	for _, a := range all {
		if !a.t.Given() {
			continue
		}
		host, ok := a.t.Mem.(*vkattn.Host)
		if !ok {
			return &vkattn.ArgError{Arg: a.name, Reason: fmt.Sprintf("lives in memory of another backend (%T), want host memory", a.t.Mem)}
		}
		if a.floats != nil && a.t.Type == vkattn.Float32 {
			*a.floats = host.Float32s()
		} else {
			*a.bytes = host.Bytes()
		}
	}
	return nil
}

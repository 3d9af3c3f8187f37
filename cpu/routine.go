package cpu

import (
	"context"
	"fmt"

	"github.com/vkattn/vkattn"
)

// routine computes one op.
type routine interface {
	// kernel says what runs, how the work is cut, and the scratch memory of workers.
	kernel(b *Backend, workers int) (name, tile string, scratch int64)
	// notes is what else there is to explain.
	notes(workers int) []string
	// bind checks args and resolves them.
	bind(args vkattn.Args) (task, error)
}

// task is one recorded call.
type task interface {
	// run returns when none of b's workers touches the data any more. splits is how many ways the keys are split.
	run(ctx context.Context, b *Backend) (splits int, err error)
	work() vkattn.Work
}

// newRoutine finds the routine for op, or the reason why there is none.
func newRoutine(op vkattn.Op) (routine, error) {
	if op == nil {
		return nil, &vkattn.ArgError{Arg: "Op", Reason: "missing"}
	}
	if err := op.Validate(); err != nil {
		return nil, err
	}
	switch op := op.(type) {
	case vkattn.Attention:
		if err := onlyFloat32(op, kernelName, []typed{{"TypeQ", op.TypeQ}, {"TypeK", op.TypeK}, {"TypeV", op.TypeV}, {"TypeOut", op.TypeOut}}); err != nil {
			return nil, err
		}
		op = op.Canonical()
		return attention{op, headGroups(op)}, nil
	case vkattn.Rope:
		if err := onlyFloat32(op, ropeName, []typed{{"TypeQ", op.TypeQ}, {"TypeOut", op.TypeOut}}); err != nil {
			return nil, err
		}
		return rope{op.Canonical()}, nil
	}
	return nil, refuse(op, kernelName, fmt.Sprintf("computes the forward pass of attention and rope alone, not %T", op))
}

type typed struct {
	name string
	t    vkattn.Type
}

func onlyFloat32(op vkattn.Op, kernel string, types []typed) error {
	for _, f := range types {
		if f.t != vkattn.Float32 {
			return refuse(op, kernel, fmt.Sprintf("%s is %s, only f32 is implemented", f.name, f.t))
		}
	}
	return nil
}

func refuse(op vkattn.Op, kernel, reason string) error {
	return &vkattn.UnsupportedError{Op: op.String(), Backend: "cpu", Reasons: []vkattn.Refusal{{Kernel: kernel, Reason: reason}}}
}

// hostMemory is the memory of argument name, which has been checked.
func hostMemory(name string, t vkattn.Tensor) (*vkattn.Host, error) {
	host, ok := t.Mem.(*vkattn.Host)
	if !ok {
		return nil, &vkattn.ArgError{Arg: name, Reason: fmt.Sprintf("lives in memory of another backend (%T), want host memory", t.Mem)}
	}
	return host, nil
}

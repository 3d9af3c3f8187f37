package vkattn

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// Backend computes Ops on one device. It is safe for concurrent use. Close gives everything back; plans,
// batches and tensors of a closed backend return ErrClosed.
type Backend interface {
	// Info says which device this is.
	Info() Info
	// Supports returns nil, or an error that says why this backend cannot run op: *ShapeError and
	// *ArgError when nobody can, *UnsupportedError when this backend cannot. It does nothing slow.
	Supports(op Op) error
	// Plan does everything slow for op: chooses the kernel, builds pipelines, warms them up.
	Plan(ctx context.Context, op Op) (Plan, error)
	// NewBatch starts an empty batch.
	NewBatch() Batch
	// NewTensor allocates a contiguous tensor (batch, heads, sequence, last) in the backend's memory.
	// Its content is undefined. Give it back with Tensor.Mem.Close.
	NewTensor(t Type, shape [4]int) (Tensor, error)
	// Copy copies src to dst, which have the same type and shape, in any combination of host memory and
	// this backend's memory, and waits for it.
	Copy(ctx context.Context, dst, src Tensor) error
	// Close waits for running work and releases the device. It is idempotent.
	Close() error
}

// Plan runs one Op with any Args within its capacities. It is safe for concurrent use: runs never
// share scratch memory.
type Plan interface {
	Op() Op
	// Explain says which kernel runs and why the others do not.
	Explain() Explanation
	// Record checks args and adds the call to a batch of the same backend. Nothing runs yet. Errors name
	// the argument; a batch is unchanged by a call that fails.
	Record(b Batch, args Args) error
	// Run is Record into a fresh batch, Submit and Wait. When ctx ends, work that has started finishes on
	// the device, nothing further starts, and the outputs are undefined.
	Run(ctx context.Context, args Args) (Report, error)
	// Close gives back what the plan holds. It is idempotent.
	Close() error
}

// Batch is a list of recorded calls that run in order, each seeing what the ones before it wrote. A
// batch serves one goroutine and is submitted once.
type Batch interface {
	// Len is the number of recorded calls.
	Len() int
	// Submit starts the batch. Batches of one backend run in the order of their submission. After ctx
	// ends no further part of the batch starts.
	Submit(ctx context.Context) (Pending, error)
}

// Pending is a submitted batch.
type Pending interface {
	// Wait returns when the batch is done and its outputs in host memory are written. When ctx ends first
	// it returns ctx's error and the batch goes on; Wait may be called again.
	Wait(ctx context.Context) (Report, error)
}

// Info names a device.
type Info struct {
	Backend string `json:"backend"` // "vulkan" or "cpu"
	Device  string `json:"device"`
	Driver  string `json:"driver"`
	UUID    string `json:"uuid,omitempty"` // of the device, stable over reboots; empty for the CPU
}

// Explanation is the decision behind a plan.
type Explanation struct {
	Op           string    `json:"op"`
	Backend      string    `json:"backend"`
	Path         string    `json:"path"`          // the rung: "subgroup", "plain", "cpu", ...
	Kernel       string    `json:"kernel"`        // the shader variant or the CPU routine
	Tile         string    `json:"tile"`          // what one workgroup does, in words
	Splits       int       `json:"splits"`        // parts that the keys are split into, merged afterwards
	ScratchBytes int64     `json:"scratch_bytes"` // device memory beyond inputs and outputs at full capacity
	SharedBytes  int       `json:"shared_bytes"`  // shared memory of one workgroup
	Notes        []string  `json:"notes,omitempty"`
	NotTaken     []Refusal `json:"not_taken,omitempty"`
}

func (e Explanation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n  runs on %s by %s (%s), tile %s", e.Op, e.Backend, e.Kernel, e.Path, e.Tile)
	if e.Splits > 1 {
		fmt.Fprintf(&b, ", keys split %d ways", e.Splits)
	}
	fmt.Fprintf(&b, ", scratch %d bytes, shared memory %d bytes\n", e.ScratchBytes, e.SharedBytes)
	for _, n := range e.Notes {
		fmt.Fprintf(&b, "  %s\n", n)
	}
	for _, r := range e.NotTaken {
		fmt.Fprintf(&b, "  not %s: %s\n", r.Kernel, r.Reason)
	}
	return b.String()
}

// MatrixUnits reports whether kernels on a Path (of a Report or an Explanation) multiply on matrix units. These round the weights of keys to the
// type of the queries, which results of 16 bits show.
func MatrixUnits(path string) bool { return strings.HasPrefix(path, "matrix") }

// Report says how a batch went. Sums run over the calls of the batch; names are those of the last call.
type Report struct {
	Info
	Op         string        `json:"op"`
	Path       string        `json:"path"`
	Kernel     string        `json:"kernel"`
	Tile       string        `json:"tile"`
	Calls      int           `json:"calls"`
	Splits     int           `json:"splits"`
	Slices     int           `json:"slices"`      // dispatches of the main kernel
	Submits    int           `json:"submits"`     // separate pieces of work handed to the device
	DeviceTime time.Duration `json:"device_ns"`   // by the device's own clock; 0 when it has none
	WallTime   time.Duration `json:"wall_ns"`     // from Submit to the end of Wait, copies included
	CopyBytes  int64         `json:"copy_bytes"`  // moved between host and device
	DeviceMem  int64         `json:"device_mem"`  // bytes of device memory taken for this batch: staged inputs, outputs, scratch
	Scratch    int64         `json:"scratch_mem"` // of it, beyond inputs and outputs
	Work       Work          `json:"work"`
	Notes      []string      `json:"notes,omitempty"`    // how the calls ran, where the plan leaves it open
	Fallback   string        `json:"fallback,omitempty"` // why something slower ran than was asked for
	NotTaken   []Refusal     `json:"not_taken,omitempty"`
}

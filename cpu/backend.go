package cpu

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync"

	"github.com/vkattn/vkattn"
)

// Config says how to run on the CPU. The zero value uses every core.
type Config struct {
	// Workers is the number of goroutines that compute; 0 means GOMAXPROCS. Results do not depend on it.
	Workers int
	// Fallback says what this backend stands in for, and why; reports and explanations repeat it.
	Fallback string
}

// Backend is the float32 CPU backend. It implements vkattn.Backend: any D and Dv, all masks and extras of
// Attention, all of MoBA, NSA, Linear, Merge and Rope, float32 tensors in host memory. Other types and other ops are refused by Supports.
//
// It is exact pair by pair: a key that a row does not see cannot reach it, whatever the key's row holds,
// and a NaN that a row sees does. Batches run one after the other, each call on all workers.
type Backend struct {
	info     vkattn.Info
	kernel   kernel
	fallback string

	mu      sync.Mutex
	closed  bool
	last    chan struct{} // closed when everything submitted so far is done
	workers []worker      // belong to the batch that runs
}

// New starts a CPU backend. It does not fail, holds no goroutine while idle, and keeps the scratch
// memory of its workers until Close.
func New(config Config) *Backend { return start(config, bestKernel) }

func start(config Config, newKernel func() kernel) *Backend {
	n := config.Workers
	if n <= 0 {
		n = runtime.GOMAXPROCS(0)
	}
	b := &Backend{
		info:     vkattn.Info{Backend: "cpu", Device: deviceName(), Driver: runtime.Version()},
		kernel:   newKernel(),
		fallback: config.Fallback,
		last:     make(chan struct{}),
		workers:  make([]worker, n),
	}
	for i := range b.workers {
		b.workers[i].kernel = newKernel()
	}
	close(b.last)
	return b
}

// Info names the CPU.
func (b *Backend) Info() vkattn.Info { return b.info }

// Supports returns nil for a valid op of float32 tensors. It returns *vkattn.ShapeError or
// *vkattn.ArgError for an invalid op, and *vkattn.UnsupportedError for another type or op.
func (b *Backend) Supports(op vkattn.Op) error {
	_, err := operationOf(op)
	return err
}

// Plan prepares op. There is nothing slow to do.
func (b *Backend) Plan(ctx context.Context, op vkattn.Op) (vkattn.Plan, error) {
	if err := b.open(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	o, err := operationOf(op)
	if err != nil {
		return nil, err
	}
	return &plan{backend: b, given: op, op: o}, nil
}

// NewBatch starts an empty batch.
func (b *Backend) NewBatch() vkattn.Batch { return &batch{backend: b} }

// NewTensor allocates a contiguous zeroed tensor in host memory; its Mem is a *vkattn.Host. The last axis
// of the block types q8_0 and q4_0 is a multiple of 32.
func (b *Backend) NewTensor(t vkattn.Type, shape [4]int) (vkattn.Tensor, error) {
	if err := b.open(); err != nil {
		return vkattn.Tensor{}, err
	}
	n := 1
	for i, size := range shape {
		if size < 0 {
			return vkattn.Tensor{}, &vkattn.ShapeError{Arg: "NewTensor", Axis: axisNames[i], Got: size, Want: "0 or more"}
		}
		if size > 0 && n > math.MaxInt/8/size {
			return vkattn.Tensor{}, fmt.Errorf("%w: tensor of shape %v", vkattn.ErrOutOfMemory, shape)
		}
		n *= size
	}
	size, err := byteSize(t, n, shape[3])
	if err != nil {
		return vkattn.Tensor{}, err
	}
	mem := vkattn.Float32s(make([]float32, (size+3)/4)).Bytes() // float32 for its alignment
	return vkattn.BHSD(vkattn.Bytes(mem[:size]), shape[0], shape[1], shape[2], shape[3]).As(t), nil
}

// Close waits for running batches and gives the scratch memory back. It is idempotent.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	last := b.last
	b.mu.Unlock()
	<-last
	b.mu.Lock()
	b.workers = nil
	b.mu.Unlock()
	return nil
}

// open returns ErrClosed after Close.
func (b *Backend) open() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.errClosed()
}

func (b *Backend) errClosed() error {
	if b.closed {
		return fmt.Errorf("%w: cpu backend", vkattn.ErrClosed)
	}
	return nil
}

// turn is a place in the queue of a backend: it may start when ready is closed, and says end when it is done.
type turn struct{ ready, done chan struct{} }

func (t turn) end() { close(t.done) }

// enqueue takes the next place in the queue.
func (b *Backend) enqueue() (turn, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.errClosed(); err != nil {
		return turn{}, err
	}
	t := turn{b.last, make(chan struct{})}
	b.last = t.done
	return t, nil
}

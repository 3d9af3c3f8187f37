package cpu

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
)

var (
	_ vkattn.Backend = (*Backend)(nil)
	_ vkattn.Plan    = (*plan)(nil)
)

// TestWorkers checks that the bits do not depend on the number of workers, for calls with one row tile
// and many keys, which are split, and for calls with many row tiles.
func TestWorkers(t *testing.T) { onKernels(t, testWorkers) }

func testWorkers(t *testing.T, start func(Config) *Backend) {
	for _, op := range []vkattn.Attention{
		{Batch: 1, HeadsQ: 4, HeadsK: 1, SeqQ: 3, SeqK: 3*partKeys + 77, HeadDim: 20, Causal: true, With: vkattn.WithLSE | vkattn.WithSinkLogits},
		{Batch: 2, HeadsQ: 2, SeqQ: 100, SeqK: partKeys + 200, HeadDim: 16, Causal: true, With: vkattn.WithLSE | vkattn.WithMask},
	} {
		r := newRun(newRand(3), op)
		var out, lse []float32
		for _, workers := range []int{1, 2, 5, 32} {
			b := start(Config{Workers: workers})
			report := r.do(t, b)
			b.Close()
			if workers == 1 {
				out, lse = slices.Clone(r.out), slices.Clone(r.lse)
				r.check(t)
			} else if !sameBits(out, r.out) || !sameBits(lse, r.lse) {
				t.Errorf("%s: %d workers give other bits", op, workers)
			}
			if op.SeqQ == 3 && (workers > 1) != (report.Splits > 1) {
				t.Errorf("%s: %d workers split %d ways", op, workers, report.Splits)
			}
		}
	}
}

// TestStrides writes into strided outputs, reads overlapping and broadcast inputs, and leaves what lies
// between the rows alone.
func TestStrides(t *testing.T) { onKernels(t, testStrides) }

func testStrides(t *testing.T, start func(Config) *Backend) {
	rng := newRand(8)
	op := vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 70, SeqK: 90, HeadDim: 24, ValueDim: 10, With: vkattn.WithLSE}
	r := newRun(rng, op)
	r.args.Out = strided(rng, 2, 4, 70, 10)
	clear := floats32(r.args.Out)
	for i := range clear {
		clear[i] = 77
	}
	// K: one head and one sequence for all, rows that overlap by all but one element. V: one row for all keys.
	r.args.K = vkattn.Tensor{Shape: [4]int{2, 2, 90, 24}, Stride: [4]int{0, 0, 1, 1}, Mem: vkattn.Float32s(normal(rng, 200))}
	r.args.V = vkattn.BHSD(vkattn.Float32s(normal(rng, 10)), 1, 1, 1, 10).Broadcast(2, 2, 90, 10)
	b := start(Config{})
	defer b.Close()
	r.do(t, b)
	touched := map[int]bool{}
	n := 0
	each(r.args.Out, func(at int) {
		touched[at] = true
		r.out[n] = clear[at]
		n++
	})
	r.check(t)
	for at, x := range clear {
		if !touched[at] && x != 77 {
			t.Fatalf("element %d beside the output was written", at)
		}
	}
}

func TestRefuses(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	good := vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1, SeqK: 1, HeadDim: 1}
	half, bad := good, good
	half.TypeQ, half.HeadDim, bad.HeadDim = vkattn.Q8_0, 32, 0
	for _, c := range []struct {
		op   vkattn.Op
		want error
	}{{good, nil}, {half, vkattn.ErrUnsupported}, {vkattn.AttentionGrad{Forward: good}, vkattn.ErrUnsupported},
		{bad, vkattn.ErrInvalid}, {nil, vkattn.ErrInvalid}} {
		if err := b.Supports(c.op); !errors.Is(err, c.want) {
			t.Errorf("Supports(%v) = %v, want %v", c.op, err, c.want)
		}
		if _, err := b.Plan(t.Context(), c.op); !errors.Is(err, c.want) {
			t.Errorf("Plan(%v) = %v, want %v", c.op, err, c.want)
		}
	}
}

type alien struct{}

func (alien) Size() int64  { return 1 << 40 }
func (alien) Close() error { return nil }

func TestRecordRefuses(t *testing.T) {
	b, other := New(Config{}), New(Config{})
	defer b.Close()
	defer other.Close()
	r := newRun(newRand(1), vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 4, SeqK: 4, HeadDim: 4})
	p, err := b.Plan(t.Context(), r.op)
	if err != nil {
		t.Fatal(err)
	}
	batch := b.NewBatch()
	strange, wide := r.args, r.args
	strange.V.Mem = alien{}
	wide.Q.Shape[2] = 5
	for name, err := range map[string]error{
		"memory of another backend": p.Record(batch, strange), "beyond capacity": p.Record(batch, wide),
		"batch of another backend": p.Record(other.NewBatch(), r.args), "no batch": p.Record(nil, r.args),
	} {
		if !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if batch.Len() != 0 {
		t.Errorf("a failed Record left %d calls in the batch", batch.Len())
	}
	if _, err := batch.Submit(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := batch.Submit(t.Context()); !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("second Submit: %v", err)
	}
	if err := p.Record(batch, r.args); !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("Record after Submit: %v", err)
	}
	p.Close()
	if err := p.Record(b.NewBatch(), r.args); !errors.Is(err, vkattn.ErrClosed) {
		t.Errorf("Record of a closed plan: %v", err)
	}
}

func TestClosed(t *testing.T) {
	b := New(Config{})
	r := newRun(newRand(1), vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 64, SeqK: 64, HeadDim: 8})
	p, err := b.Plan(t.Context(), r.op)
	if err != nil {
		t.Fatal(err)
	}
	batch, before := b.NewBatch(), b.NewBatch()
	if err := p.Record(before, r.args); err != nil {
		t.Fatal(err)
	}
	pending, err := before.Submit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if report, err := pending.Wait(t.Context()); err != nil || report.Calls != 1 {
		t.Errorf("a batch submitted before Close: %v, %d calls", err, report.Calls)
	}
	_, plan := b.Plan(t.Context(), r.op)
	_, run := p.Run(t.Context(), r.args)
	_, submit := batch.Submit(t.Context())
	_, tensor := b.NewTensor(vkattn.Float32, [4]int{1, 1, 1, 1})
	for name, err := range map[string]error{"Plan": plan, "Run": run, "Submit": submit, "NewTensor": tensor,
		"Copy": b.Copy(t.Context(), r.args.Out, r.args.Out), "Record": p.Record(batch, r.args)} {
		if !errors.Is(err, vkattn.ErrClosed) {
			t.Errorf("%s after Close: %v", name, err)
		}
	}
}

// TestCancel ends a run of many seconds after a few milliseconds, and leaves no goroutine behind.
func TestCancel(t *testing.T) {
	b := New(Config{})
	op := vkattn.Attention{Batch: 1, HeadsQ: 16, HeadsK: 1, SeqQ: 16384, SeqK: 16384, HeadDim: 16}
	big := newRun(newRand(1), op)
	p, err := b.Plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	goroutines := runtime.NumGoroutine()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	start := time.Now()
	if _, err := p.Run(ctx, big.args); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Run: %v", err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("Run took %v after its context had ended", took)
	}

	// A batch that waits in the queue ends with its own context, before its turn.
	running, stop := context.WithCancel(t.Context())
	first, second := b.NewBatch(), b.NewBatch()
	if err := errors.Join(p.Record(first, big.args), p.Record(second, big.args)); err != nil {
		t.Fatal(err)
	}
	long, err := first.Submit(running)
	if err != nil {
		t.Fatal(err)
	}
	queued, leave := context.WithCancel(t.Context())
	short, err := second.Submit(queued)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := short.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Wait with an ended context: %v", err)
	}
	leave()
	if _, err := short.Wait(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait for a cancelled batch: %v", err)
	}
	stop()
	if _, err := long.Wait(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait for a stopped batch: %v", err)
	}
	b.Close()
	for range 100 {
		if runtime.NumGoroutine() <= goroutines {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines left, %d before", runtime.NumGoroutine(), goroutines)
}

// TestConcurrent runs many calls of different sizes on one backend at once.
func TestConcurrent(t *testing.T) {
	b := New(Config{Workers: 4})
	defer b.Close()
	var group sync.WaitGroup
	for seed := range uint64(16) {
		group.Go(func() {
			rng := newRand(seed)
			for range 4 {
				r := newRun(rng, randomOp(rng))
				r.do(t, b)
				r.check(t)
			}
		})
	}
	group.Wait()
}

// TestChain records calls that read what the one before wrote.
func TestChain(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	op := vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 100, SeqK: 100, HeadDim: 8, Causal: true}
	p, err := b.Plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	r := newRun(newRand(4), op)
	var x [4]vkattn.Tensor
	for i := range x {
		if x[i], err = b.NewTensor(vkattn.Float32, r.args.Q.Shape); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Copy(t.Context(), x[0], r.args.Q); err != nil {
		t.Fatal(err)
	}
	batch := b.NewBatch()
	for i := range 3 {
		if err := p.Record(batch, vkattn.Args{Q: x[i], K: x[i], V: x[i], Out: x[i+1]}); err != nil {
			t.Fatal(err)
		}
	}
	report := finish(t, batch)
	if report.Calls != 3 || report.Slices != 3 || report.Submits != 1 || report.Work.Pairs != 3*2*100*101/2 || report.WallTime <= 0 || report.DeviceTime <= 0 {
		t.Errorf("report: %+v", report)
	}
	last := &run{op: op, args: vkattn.Args{Q: x[2], K: x[2], V: x[2], Out: x[3]}, out: floats32(x[3])}
	last.check(t)
}

func TestEmptyBatch(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	pending, err := b.NewBatch().Submit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if report, err := pending.Wait(t.Context()); err != nil || report.Calls != 0 {
		t.Errorf("%v, %d calls", err, report.Calls)
	}
}

// TestMemory checks that a run allocates little, and nothing that grows with Sq times Sk.
func TestMemory(t *testing.T) {
	b := New(Config{Workers: 1})
	defer b.Close()
	r := newRun(newRand(1), vkattn.Attention{Batch: 1, HeadsQ: 1, SeqQ: 1500, SeqK: 1500, HeadDim: 8, Window: vkattn.Window{Left: vkattn.Tokens(100)}})
	r.do(t, b)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r.do(t, b)
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
		t.Errorf("a run allocates %d bytes", got)
	}
}

func TestCopy(t *testing.T) {
	b := New(Config{})
	defer b.Close()
	rng := newRand(6)
	src, dst := strided(rng, 2, 3, 5, 4), strided(rng, 2, 3, 5, 4)
	if err := b.Copy(t.Context(), dst, src); err != nil {
		t.Fatal(err)
	}
	var x, y []float32
	each(src, func(at int) { x = append(x, floats32(src)[at]) })
	each(dst, func(at int) { y = append(y, floats32(dst)[at]) })
	if !slices.Equal(x, y) {
		t.Error("Copy between strided tensors differs")
	}
	for _, typ := range []vkattn.Type{vkattn.Float16, vkattn.F8E4M3, vkattn.Bool, vkattn.Q8_0, vkattn.Q4_0} {
		from, err := b.NewTensor(typ, [4]int{2, 1, 3, 64})
		if err != nil {
			t.Fatal(err)
		}
		bytes := from.Mem.(*vkattn.Host).Bytes()
		for i := range bytes {
			bytes[i] = byte(i)
		}
		to, _ := b.NewTensor(typ, from.Shape)
		if err := b.Copy(t.Context(), to, from); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(bytes, to.Mem.(*vkattn.Host).Bytes()) {
			t.Errorf("Copy of %s differs", typ)
		}
	}
	short := src
	short.Offset += 1000
	for name, err := range map[string]error{
		"type": b.Copy(t.Context(), dst, src.As(vkattn.Float16)), "shape": b.Copy(t.Context(), dst, src.Slice(2, 0, 4)),
		"range": b.Copy(t.Context(), dst, short), "missing": b.Copy(t.Context(), dst, vkattn.Tensor{}),
	} {
		if !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := b.NewTensor(vkattn.Q8_0, [4]int{1, 1, 1, 33}); !errors.Is(err, vkattn.ErrInvalid) {
		t.Errorf("q8_0 of 33: %v", err)
	}
	if _, err := b.NewTensor(vkattn.Float32, [4]int{1 << 30, 1 << 30, 1 << 30, 1}); !errors.Is(err, vkattn.ErrOutOfMemory) {
		t.Errorf("huge tensor: %v", err)
	}
}

package dispatch_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/cpu"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// TestRope runs the conformance suite, on devices with memory of their own and with the least that Vulkan promises, too.
func TestRope(t *testing.T) {
	for name, change := range map[string]func(*vk.Caps){"as it is": nil, "own memory": ownMemory, "small": func(c *vk.Caps) {
		ownMemory(c)
		c.DeviceType = "discrete"
		c.Limits.MaxComputeWorkGroupInvocations = 128
		c.Limits.MaxComputeWorkGroupSize = [3]uint32{128, 128, 64}
		c.Limits.MinStorageBufferOffsetAlignment = 256
		c.Limits.MaxStorageBufferRange = 8 << 10
		c.Limits.MaxComputeWorkGroupCount = [3]uint32{3, 2, 1}
	}} {
		t.Run(name, func(t *testing.T) {
			b := open(t, lowered(change))
			attntest.RunRope(t, b, attntest.Options{RequireAll: true})
			if n := b.PipelinesCreated(); n > 4 {
				t.Errorf("%d pipelines, the budget is 4", n)
			}
		})
	}
}

// TestRopeTypes runs the conformance suite in other types than float32. Rows on the device start anywhere, as packed ones do
// where rows are not padded.
func TestRopeTypes(t *testing.T) {
	for name, change := range map[string]func(*vk.Caps){"as it is": nil, "small": func(c *vk.Caps) {
		ownMemory(c)
		c.Limits.MinStorageBufferOffsetAlignment = 256
		c.Limits.MaxStorageBufferRange = 8 << 10
	}} {
		t.Run(name, func(t *testing.T) {
			b := open(t, lowered(change))
			attntest.RunRopeTypes(t, b, attntest.Options{RequireAll: true})
			if n := b.PipelinesCreated(); n > 12 {
				t.Errorf("%d pipelines, the budget is 12", n)
			}
		})
	}
}

// ropeArgs makes random arguments in host memory, with tables of so many sequences and rows.
func ropeArgs(op vkattn.Rope, tables, rows int, seed uint64) vkattn.Args {
	op = op.Canonical()
	rng := rand.New(rand.NewPCG(seed, 2))
	mk := func(b, h, s, d int) vkattn.Tensor {
		return vkattn.BHSD(vkattn.Float32s(normal(rng, b*h*s*d)), b, h, s, d)
	}
	a := vkattn.Args{Q: mk(op.Batch, op.Heads, op.Seq, op.HeadDim), Out: mk(op.Batch, op.Heads, op.Seq, op.HeadDim),
		Cos: mk(tables, 1, rows, op.RotaryDim/2), Sin: mk(tables, 1, rows, op.RotaryDim/2)}
	if op.Positions {
		for range op.Batch * op.Seq {
			a.Positions = append(a.Positions, int32(rng.IntN(rows)))
		}
	}
	blank(&a)
	return a
}

// checkRope holds the output, dense in host memory, against the oracle.
func checkRope(t *testing.T, op vkattn.Rope, args *vkattn.Args) {
	t.Helper()
	want, err := cpu.OracleRope(op, args)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range args.Out.Mem.(*vkattn.Host).Float32s() {
		if d := math.Abs(float64(x) - want[i]); !(d <= 1e-6*max(1, math.Abs(want[i]))) {
			t.Fatalf("%v: element %d is %g, want %g", op, i, x, want[i])
		}
	}
}

// slicedRope are calls that small limits and budgets cut along each axis.
var slicedRope = []struct {
	op           vkattn.Rope
	tables, rows int
}{
	{op: vkattn.Rope{Batch: 5, Heads: 3, Seq: 257, HeadDim: 128}, tables: 1},
	{op: vkattn.Rope{Batch: 1, Heads: 7, Seq: 1000, HeadDim: 59, RotaryDim: 40, Layout: vkattn.RopeInterleaved}, tables: 1},
	{op: vkattn.Rope{Batch: 3, Heads: 1, Seq: 2000, HeadDim: 80, Positions: true}, tables: 3, rows: 2500},
	{op: vkattn.Rope{Batch: 2, Heads: 40, Seq: 65, HeadDim: 64, RotaryDim: 16, Inverse: true, Positions: true, Layout: vkattn.RopeInterleaved}, tables: 1, rows: 9000},
}

// TestRopeSlices: neither a budget of nothing nor a device that binds little changes a bit.
func TestRopeSlices(t *testing.T) {
	leisure, hurry := lowered(nil), lowered(nil)
	leisure.Budget, hurry.Budget = time.Hour, time.Nanosecond // whatever else the machine is doing
	whole := open(t, leisure)
	tiny := lowered(func(c *vk.Caps) {
		c.Limits.MaxStorageBufferRange = 64 << 10
		c.Limits.MinStorageBufferOffsetAlignment = 256
	})
	for _, b := range []struct {
		name string
		*dispatch.Backend
	}{{"budget", open(t, hurry)}, {"windows", open(t, tiny)}} {
		for i, c := range slicedRope {
			t.Run(fmt.Sprintf("%s/%v", b.name, c.op), func(t *testing.T) {
				args := ropeArgs(c.op, c.tables, max(c.rows, c.op.Seq), uint64(i))
				before := run(t, whole, c.op, args)
				checkRope(t, c.op, &args)
				want := results(&args)
				blank(&args)
				r := run(t, b.Backend, c.op, args)
				if err := sameBits(results(&args), want); err != nil {
					t.Error(err)
				}
				if before.Slices != 1 || r.Slices < 3 {
					t.Errorf("%d slices instead of %d: the call proves nothing", r.Slices, before.Slices)
				}
				t.Logf("%d slices in %d submits", r.Slices, r.Submits)
			})
		}
	}
}

// TestRopeOnDevice: tensors on the device, whatever their strides, amid NaN, in place or not, give the bits of those on the
// host, and nothing is copied.
func TestRopeOnDevice(t *testing.T) {
	b := open(t, lowered(nil))
	rng := rand.New(rand.NewPCG(4, 4))
	for i := range 24 {
		op := vkattn.Rope{Batch: 2, Heads: 3, Seq: []int{1, 17, 65}[i%3], HeadDim: []int{40, 59, 80, 128}[i%4], Layout: vkattn.RopeLayout(i / 12), Inverse: i%5 == 0}
		if op.HeadDim == 59 {
			op.RotaryDim = 38
		}
		args := ropeArgs(op, 1+i%2, op.Seq, uint64(i))
		run(t, b, op, args)
		checkRope(t, op, &args)
		want := results(&args)
		device := args
		for _, x := range []*vkattn.Tensor{&device.Q, &device.Out, &device.Cos, &device.Sin} {
			d := strided(t, rng, b, true, x.Type, x.Shape)
			poison := vkattn.Tensor{Shape: [4]int{1, 1, 1, int(d.Mem.Size() / 4)}, Stride: [4]int{0, 0, 0, 1}, Mem: d.Mem}
			nan := vkattn.BHSD(vkattn.Float32s([]float32{float32(math.NaN())}), 1, 1, 1, 1)
			if err := b.Copy(t.Context(), poison, fill(nan, poison.Shape[3])); err != nil {
				t.Fatal(err)
			}
			if x != &device.Out {
				if err := b.Copy(t.Context(), d, *x); err != nil {
					t.Fatal(err)
				}
			}
			*x = d
		}
		for range 2 {
			if r := run(t, b, op, device); r.CopyBytes != 0 {
				t.Errorf("%v: %d bytes were copied", op, r.CopyBytes)
			}
			blank(&args)
			if err := b.Copy(t.Context(), args.Out, device.Out); err != nil {
				t.Fatal(err)
			}
			if err := sameBits(results(&args), want); err != nil {
				t.Errorf("%v: %v", op, err)
			}
			device.Out = device.Q
		}
	}
}

// fill is a tensor of n times the one number of t.
func fill(t vkattn.Tensor, n int) vkattn.Tensor {
	x := make([]float32, n)
	for i := range x {
		x[i] = t.Mem.(*vkattn.Host).Float32s()[0]
	}
	return vkattn.BHSD(vkattn.Float32s(x), 1, 1, 1, n)
}

// TestRopeThenAttention rotates queries and keys in place on the device, and attends, in one batch.
func TestRopeThenAttention(t *testing.T) {
	b := open(t, lowered(nil))
	op := vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 33, SeqK: 33, HeadDim: 64, Causal: true, With: vkattn.WithLSE}
	host := (&namedCall{op: op}).args(7)
	device := onDevice(t, rand.New(rand.NewPCG(1, 1)), b, host)
	batch := b.NewBatch()
	for _, x := range []struct {
		host, device *vkattn.Tensor
		heads        int
	}{{&host.Q, &device.Q, 4}, {&host.K, &device.K, 2}} {
		rope := vkattn.Rope{Batch: 2, Heads: x.heads, Seq: 33, HeadDim: 64, RotaryDim: 32}
		args := ropeArgs(rope, 1, 33, 3)
		args.Q = *x.host
		turned, err := cpu.OracleRope(rope, &args)
		if err != nil {
			t.Fatal(err)
		}
		args.Q, args.Out = *x.device, *x.device
		plan, err := b.Plan(t.Context(), rope)
		if err == nil {
			err = plan.Record(batch, args)
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range turned {
			x.host.Mem.(*vkattn.Host).Float32s()[i] = float32(v)
		}
	}
	plan, err := b.Plan(t.Context(), op)
	if err == nil {
		err = plan.Record(batch, device)
	}
	if err != nil {
		t.Fatal(err)
	}
	r := finish(t, batch)
	if r.Calls != 3 || r.Submits != 1 {
		t.Errorf("%d calls in %d submits", r.Calls, r.Submits)
	}
	if err := errors.Join(b.Copy(t.Context(), host.Out, device.Out), b.Copy(t.Context(), host.LSE, device.LSE)); err != nil {
		t.Fatal(err)
	}
	checkRows(t, op, &host, 8)
}

// TestRopeCopiesWhatItReads: of long tables on the host, the rows that positions name go to the device.
func TestRopeCopiesWhatItReads(t *testing.T) {
	b := open(t, lowered(nil))
	op := vkattn.Rope{Batch: 3, Heads: 2, Seq: 1, HeadDim: 64, Positions: true}
	args := ropeArgs(op, 1, 100_000, 5)
	args.Positions = []int32{99_990, 99_999, 99_991}
	r := run(t, b, op, args)
	checkRope(t, op, &args)
	if want := int64(4 * (2*3*2*64 + 2*10*32 + 3)); r.CopyBytes != want {
		t.Errorf("%d bytes were copied, want %d", r.CopyBytes, want)
	}
	if r.Kernel != "rope" || r.Scratch != 0 || r.Slices != 1 || r.Splits != 1 || r.Work != op.Work(&args) {
		t.Errorf("%+v", r)
	}
}

// TestRopeKeepsBits: what is copied keeps its bits, NaN with a payload and numbers below the normal ones too; a NaN in a
// pair reaches that pair alone.
func TestRopeKeepsBits(t *testing.T) {
	b := open(t, lowered(nil))
	for _, d := range []int{16, 19} {
		op := vkattn.Rope{Batch: 1, Heads: 2, Seq: 3, HeadDim: d, RotaryDim: 8}
		args := ropeArgs(op, 1, 3, 1)
		q := args.Q.Mem.(*vkattn.Host).Float32s()
		odd := []uint32{0x7fc12345, 0xff812345, 0x80000000, 0x00000001, 0x807fffff, 0x7f800000}
		for i, x := range odd {
			q[args.Q.Index(0, 1, 2, 8+i)] = math.Float32frombits(x)
		}
		q[args.Q.Index(0, 1, 2, 1)] = float32(math.NaN()) // of pair (1, 5)
		run(t, b, op, args)
		out := args.Out.Mem.(*vkattn.Host).Float32s()
		for i, x := range odd {
			if got := math.Float32bits(out[args.Out.Index(0, 1, 2, 8+i)]); got != x {
				t.Errorf("%v: a copied %#08x becomes %#08x", op, x, got)
			}
		}
		for i, x := range out {
			col := i - args.Out.Index(0, 1, 2, 0)
			if want := col == 1 || col == 5 || col == 8 || col == 9; (x != x) != want {
				t.Errorf("%v: element %d is %g", op, i, x)
			}
		}
	}
}

// TestRopeValidation: the layers have nothing to say about calls, whole and in windows.
func TestRopeValidation(t *testing.T) {
	validateRope(t, dispatch.Config{Validation: vk.ValidationCore | vk.ValidationSync, SkipSelfTest: true})
}

// TestValidationGPURope: no invocation reads or writes outside of what is bound.
func TestValidationGPURope(t *testing.T) {
	if os.Getenv("VKATTN_VALIDATE_GPU") != "1" {
		t.Skip("runs instrumented kernels; make validate-gpu runs it")
	}
	validateRope(t, dispatch.Config{Validation: vk.ValidationCore | vk.ValidationGPU, SkipSelfTest: true, VK: vk.DeviceConfig{Robust: true}})
}

func validateRope(t *testing.T, cfg dispatch.Config) {
	t.Helper()
	l := &listener{}
	narrow := cfg
	narrow.Budget = time.Millisecond
	narrow.VK.Override = func(c *vk.Caps) { c.Limits.MaxStorageBufferRange = 64 << 10; ownMemory(c) }
	for _, cfg := range []dispatch.Config{cfg, narrow} {
		b := validated(t, cfg, l)
		attntest.RunRope(t, b, attntest.Options{RequireAll: true})
		for i, c := range slicedRope {
			args := ropeArgs(c.op, c.tables, max(c.rows, c.op.Seq), uint64(i))
			run(t, b, c.op, args)
			args.Out = args.Q
			run(t, b, c.op, args)
		}
	}
	for _, m := range l.heard {
		t.Errorf("%s: %s", m.ID, m.Text)
	}
}

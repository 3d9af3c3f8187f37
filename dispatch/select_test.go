package dispatch_test

import (
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
	"github.com/vkattn/vkattn/internal/attntest"
	"github.com/vkattn/vkattn/vk"
)

// someSparse are cases of one head size: compiling is what takes the time.
var someSparse = regexp.MustCompile(`_d40$`)

// TestSparse runs the conformance suite of MoBA and NSA, on devices with memory of their own that bind little, too.
func TestSparse(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*vk.Caps)
	}{{"as it is", nil}, {"small", func(c *vk.Caps) {
		ownMemory(c)
		c.Limits.MaxStorageBufferRange = 64 << 10
		c.Limits.MinStorageBufferOffsetAlignment = 256
		c.Limits.MaxComputeWorkGroupCount = [3]uint32{60, 20, 3}
	}}} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, lowered(c.change))
			attntest.RunSparse(t, b, attntest.Options{RequireAll: true})
			t.Logf("%d pipelines", b.PipelinesCreated())
		})
	}
}

// someSparseTypes are a few calls of one head size; all with VKATTN_FULL=1.
var someSparseTypes = regexp.MustCompile(`^types/(f16|bf16|f16-f32-bf16-f32|f32-f16-f16-bf16)/(moba|nsa)/(tokens/65|values|offsets|key-lengths|cyclic|ties|strided|top/all|window/0|empty/.*)_.*_d40$`)

// TestSparseTypes runs the conformance suite of MoBA and NSA in other types than float32.
func TestSparseTypes(t *testing.T) {
	o := attntest.Options{RequireAll: true, Filter: someSparseTypes}
	if full {
		o.Filter = nil
	}
	b := open(t, dispatch.Config{CacheDir: "off"})
	attntest.RunSparseTypes(t, b, o)
	t.Logf("%d pipelines", b.PipelinesCreated())
}

// TestSparsePlain: the build of flash without subgroups skips tiles as well, between barriers.
func TestSparsePlain(t *testing.T) {
	attntest.RunSparse(t, open(t, dispatch.Config{CacheDir: "off", Disable: []string{"subgroup"}}), attntest.Options{RequireAll: true, Filter: someSparse})
}

// TestSparseStandard: the unfused baseline reads masks by blocks as well.
func TestSparseStandard(t *testing.T) {
	attntest.RunSparse(t, open(t, dispatch.Config{CacheDir: "off", Kernel: "standard"}), attntest.Options{RequireAll: true, Filter: someSparse})
}

// slicedSparse are calls that small limits and budgets cut along each axis.
var slicedSparse = []vkattn.Op{
	vkattn.MoBA{Attention: vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 700, SeqK: 700, HeadDim: 64, Causal: true, With: vkattn.WithLSE}, Block: 64, TopK: 3},
	vkattn.NSA{Attention: vkattn.Attention{Batch: 1, HeadsQ: 8, HeadsK: 2, SeqQ: 700, SeqK: 700, HeadDim: 64, Causal: true}, Compress: 32, Stride: 16, Select: 64, TopN: 4, Window: 100},
}

// sparseArgs makes random arguments in host memory.
func sparseArgs(op vkattn.Op, seed uint64) vkattn.Args {
	var gates bool
	a, _ := op.(vkattn.MoBA)
	if n, ok := op.(vkattn.NSA); ok {
		a.Attention, gates = n.Attention, true
	}
	args := (&namedCall{op: a.Attention}).args(seed)
	if gates {
		x := make([]float32, 3*args.Q.Shape[0]*args.Q.Shape[1]*args.Q.Shape[2])
		for i := range x {
			x[i] = float32(i%7) / 7
		}
		args.Gates = vkattn.BHSD(vkattn.Float32s(x), args.Q.Shape[0], args.Q.Shape[1], args.Q.Shape[2], 3)
	}
	return args
}

// TestSparseSlices: neither a budget of nothing nor a device that binds little changes a bit.
func TestSparseSlices(t *testing.T) {
	whole, hurry := open(t, lowered(nil)), lowered(nil)
	hurry.Budget = time.Millisecond
	tiny := lowered(func(c *vk.Caps) {
		c.Limits.MaxStorageBufferRange = 256 << 10
		c.Limits.MinStorageBufferOffsetAlignment = 256
	})
	for _, b := range []struct {
		name string
		*dispatch.Backend
	}{{"budget", open(t, hurry)}, {"windows", open(t, tiny)}} {
		for i, op := range slicedSparse {
			args := sparseArgs(op, uint64(i))
			before := run(t, whole, op, args)
			want := results(&args)
			blank(&args)
			r := run(t, b.Backend, op, args)
			if err := sameBits(results(&args), want); err != nil {
				t.Errorf("%s: %v: %v", b.name, op, err)
			}
			if r.Slices <= before.Slices {
				t.Errorf("%s: %v: %d slices instead of %d: the call proves nothing", b.name, op, r.Slices, before.Slices)
			}
			t.Logf("%s: %d slices in %d submits, whole %d in %d", b.name, r.Slices, r.Submits, before.Slices, before.Submits)
		}
	}
}

// TestSparseOnDevice: tensors on the device give the bits of those on the host, and nothing is copied.
func TestSparseOnDevice(t *testing.T) {
	b := open(t, lowered(nil))
	for i, op := range slicedSparse {
		args := sparseArgs(op, uint64(i))
		run(t, b, op, args)
		want := results(&args)
		device := args
		for _, x := range []*vkattn.Tensor{&device.Q, &device.K, &device.V, &device.Out, &device.LSE, &device.Gates} {
			if !x.Given() {
				continue
			}
			d, err := b.NewTensor(x.Type, x.Shape)
			if err == nil {
				err = b.Copy(t.Context(), d, *x)
			}
			if err != nil {
				t.Fatal(err)
			}
			*x = d
		}
		if r := run(t, b, op, device); r.CopyBytes != 0 {
			t.Errorf("%v: %d bytes were copied", op, r.CopyBytes)
		}
		blank(&args)
		if err := b.Copy(t.Context(), args.Out, device.Out); err != nil {
			t.Fatal(err)
		}
		if device.LSE.Given() {
			if err := b.Copy(t.Context(), args.LSE, device.LSE); err != nil {
				t.Fatal(err)
			}
		}
		if err := sameBits(results(&args), want); err != nil {
			t.Errorf("%v: %v", op, err)
		}
	}
}

// TestSparseValidation: the layers have nothing to say about calls, whole and in windows.
func TestSparseValidation(t *testing.T) {
	validateSparse(t, dispatch.Config{Validation: vk.ValidationCore | vk.ValidationSync, SkipSelfTest: true})
}

// TestValidationGPUSparse: no invocation reads or writes outside of what is bound.
func TestValidationGPUSparse(t *testing.T) {
	if os.Getenv("VKATTN_VALIDATE_GPU") != "1" {
		t.Skip("runs instrumented kernels; make validate-gpu runs it")
	}
	validateSparse(t, dispatch.Config{Validation: vk.ValidationCore | vk.ValidationGPU, SkipSelfTest: true, VK: vk.DeviceConfig{Robust: true}})
}

func validateSparse(t *testing.T, cfg dispatch.Config) {
	t.Helper()
	l := &listener{}
	narrow := cfg
	narrow.Budget = time.Millisecond
	narrow.VK.Override = func(c *vk.Caps) { c.Limits.MaxStorageBufferRange = 256 << 10; ownMemory(c) }
	card := narrow
	card.VK.Override = func(c *vk.Caps) { narrow.VK.Override(c); asGraphicsCard(c) }
	for _, cfg := range []dispatch.Config{cfg, narrow, card} {
		b := validated(t, cfg, l)
		attntest.RunSparse(t, b, attntest.Options{RequireAll: true, Filter: someSparse})
		for i, op := range slicedSparse {
			run(t, b, op, sparseArgs(op, uint64(i)))
		}
	}
	for _, m := range l.heard {
		t.Errorf("%s: %s", m.ID, m.Text)
	}
}

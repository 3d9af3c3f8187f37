package dispatch_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/dispatch"
)

// strided is a random view of that shape inside a larger allocation, on the host or the device. The
// order of the axes in memory, gaps between rows and the offset are random.
func strided(t *testing.T, rng *rand.Rand, b *dispatch.Backend, onDevice bool, typ vkattn.Type, shape [4]int) vkattn.Tensor {
	t.Helper()
	unit, _ := typ.Block()
	x := vkattn.Tensor{Type: typ, Shape: shape, Offset: rng.IntN(9) * unit}
	x.Stride[3] = 1
	step := shape[3] + rng.IntN(5)*unit
	for _, a := range rng.Perm(3) {
		x.Stride[a] = step
		step = step*shape[a] + rng.IntN(3)*7*unit
	}
	n := x.Offset + step + rng.IntN(9)*unit
	if !onDevice {
		if typ == vkattn.Bool {
			x.Mem = vkattn.Bools(make([]bool, n))
		} else {
			x.Mem = vkattn.Float32s(make([]float32, n))
		}
		return x
	}
	flat, err := b.NewTensor(typ, [4]int{1, 1, 1, n})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := flat.Mem.Close(); err != nil {
			t.Error(err)
		}
	})
	x.Mem = flat.Mem
	return x
}

// elements lists a host tensor's bytes in the order of its axes.
func elements(x vkattn.Tensor) []byte {
	var all []byte
	unit, size := x.Type.Block()
	raw := x.Mem.(*vkattn.Host).Bytes()
	for b := range x.Shape[0] {
		for h := range x.Shape[1] {
			for i := range x.Shape[2] {
				for j := 0; j < x.Shape[3]; j += unit {
					at := x.Type.Bytes(x.Index(b, h, i, j))
					all = append(all, raw[at:at+size]...)
				}
			}
		}
	}
	return all
}

// TestCopy: host to device to device to host to host gives back what went in, and changes nothing beside it.
func TestCopy(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	rng := rand.New(rand.NewPCG(3, 0))
	for n := range 60 {
		typ := pickType(rng)
		unit, size := typ.Block()
		shape := [4]int{1 + rng.IntN(3), 1 + rng.IntN(4), 1 + rng.IntN(30), (1 + rng.IntN(70)) * unit}
		if n%10 == 9 {
			shape[rng.IntN(4)] = 0
		}
		on := []bool{false, true, true, false, false}
		var chain []vkattn.Tensor
		for _, device := range on {
			chain = append(chain, strided(t, rng, b, device, typ, shape))
		}
		for _, i := range []int{0, 3, 4} {
			raw := chain[i].Mem.(*vkattn.Host).Bytes()
			for k := range raw {
				raw[k] = byte(rng.IntN(2) * (1 + i))
			}
		}
		before := slices.Clone(chain[3].Mem.(*vkattn.Host).Bytes())
		for i := 1; i < len(chain); i++ {
			if err := b.Copy(t.Context(), chain[i], chain[i-1]); err != nil {
				t.Fatalf("%d: copy %d: %v", n, i, err)
			}
		}
		for _, i := range []int{3, 4} {
			if !slices.Equal(elements(chain[i]), elements(chain[0])) {
				t.Fatalf("%d: %v copied %d times differs", n, chain[0], i)
			}
		}
		after := chain[3].Mem.(*vkattn.Host).Bytes()
		inside := make([]bool, len(after))
		marks := chain[3]
		for b := range shape[0] {
			for h := range shape[1] {
				for i := range shape[2] {
					for j := 0; j < shape[3]; j += unit {
						for k := range size {
							inside[typ.Bytes(marks.Index(b, h, i, j))+k] = true
						}
					}
				}
			}
		}
		for k := range after {
			if !inside[k] && after[k] != before[k] {
				t.Fatalf("%d: byte %d outside of %v changed", n, k, chain[3])
			}
		}
	}
}

func pickType(rng *rand.Rand) vkattn.Type {
	return []vkattn.Type{vkattn.Float32, vkattn.Bool, vkattn.Float16, vkattn.F8E4M3, vkattn.Q8_0, vkattn.Q4_0}[rng.IntN(6)]
}

// TestCopyBroadcast: a source that broadcasts is written out in full.
func TestCopyBroadcast(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	row := vkattn.BHSD(vkattn.Float32s([]float32{1, 2, 3}), 1, 1, 1, 3).Broadcast(2, 3, 4, 3)
	d, err := b.NewTensor(vkattn.Float32, row.Shape)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Mem.Close()
	home := vkattn.BHSD(vkattn.Float32s(make([]float32, 72)), 2, 3, 4, 3)
	if err := errors.Join(b.Copy(t.Context(), d, row), b.Copy(t.Context(), home, d)); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(elements(home), elements(row)) {
		t.Error("differs")
	}
}

// TestBadCopies: what cannot be copied is refused with the argument's name.
func TestBadCopies(t *testing.T) {
	b, other := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true}), open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	mk := func(b *dispatch.Backend, shape [4]int) vkattn.Tensor {
		x, err := b.NewTensor(vkattn.Float32, shape)
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	shape := [4]int{1, 2, 3, 4}
	good, foreign, closed := mk(b, shape), mk(other, shape), mk(b, shape)
	defer good.Mem.Close()
	defer foreign.Mem.Close()
	closed.Mem.Close()
	host := vkattn.BHSD(vkattn.Float32s(make([]float32, 24)), 1, 2, 3, 4)
	beyond := good
	beyond.Offset = 1
	for name, x := range map[string]struct {
		dst, src vkattn.Tensor
		want     error
	}{
		"nothing":                 {vkattn.Tensor{}, host, vkattn.ErrInvalid},
		"from nothing":            {good, vkattn.Tensor{}, vkattn.ErrInvalid},
		"another type":            {good, host.As(vkattn.Bool), vkattn.ErrInvalid},
		"another shape":           {good, host.Slice(1, 0, 1), vkattn.ErrInvalid},
		"another backend":         {good, foreign, vkattn.ErrInvalid},
		"to another backend":      {foreign, host, vkattn.ErrInvalid},
		"beyond the memory":       {beyond, host, vkattn.ErrInvalid},
		"from beyond the memory":  {host, beyond, vkattn.ErrInvalid},
		"to broadcast":            {good.Slice(1, 0, 1).Broadcast(1, 2, 3, 4), host, vkattn.ErrInvalid},
		"a closed tensor":         {host, closed, vkattn.ErrClosed},
		"to a closed tensor":      {closed, host, vkattn.ErrClosed},
		"onto itself, shifted":    {good.Slice(1, 0, 1), good.Slice(1, 1, 2), nil},
		"onto itself, overlapped": {good.Slice(2, 0, 2), good.Slice(2, 1, 3), vkattn.ErrInvalid},
	} {
		if err := b.Copy(t.Context(), x.dst, x.src); !errors.Is(err, x.want) {
			t.Errorf("%s: %v, want %v", name, err, x.want)
		}
	}
	for _, typ := range []vkattn.Type{vkattn.Q8_0, vkattn.Q4_0, 77} { // of 4 elements
		if _, err := b.NewTensor(typ, shape); !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("%v: %v", typ, err)
		}
	}
	for _, shape := range [][4]int{{1, -1, 1, 1}, {1 << 40, 1 << 40, 1, 1}} {
		if _, err := b.NewTensor(vkattn.Float32, shape); !errors.Is(err, vkattn.ErrInvalid) {
			t.Errorf("%v: %v", shape, err)
		}
	}
	if _, err := b.NewTensor(vkattn.Float32, [4]int{1, 1, 1 << 30, 1 << 15}); !errors.Is(err, vkattn.ErrOutOfMemory) {
		t.Errorf("128 TiB: %v", err)
	}
}

// onDevice moves the tensors of a call to strided device memory.
func onDevice(t *testing.T, rng *rand.Rand, b *dispatch.Backend, a vkattn.Args) vkattn.Args {
	t.Helper()
	for _, x := range []*vkattn.Tensor{&a.Q, &a.K, &a.V, &a.Bias, &a.Mask, &a.Tree, &a.Slopes, &a.SinkLogits, &a.Out, &a.LSE} {
		if !x.Given() {
			continue
		}
		d := strided(t, rng, b, true, x.Type, x.Shape)
		if err := b.Copy(t.Context(), d, *x); err != nil {
			t.Fatal(err)
		}
		*x = d
	}
	return a
}

// TestDeviceTensors: every tensor in device memory, strided, with head sizes that rows of four do not fit.
func TestDeviceTensors(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	rng := rand.New(rand.NewPCG(8, 0))
	for i := range deviceCalls {
		c := &deviceCalls[i]
		host := c.args(1)
		device := onDevice(t, rng, b, host)
		r := run(t, b, c.op, device)
		for _, x := range [][2]vkattn.Tensor{{host.Out, device.Out}, {host.LSE, device.LSE}} {
			if err := b.Copy(t.Context(), x[0], x[1]); err != nil {
				t.Fatal(err)
			}
		}
		checkRows(t, c.op, &host, 6)
		if r.CopyBytes > 1<<10 && c.op.With&(vkattn.WithTree|vkattn.WithMask) != vkattn.WithTree|vkattn.WithMask {
			t.Errorf("%v: %d bytes were copied", c.op, r.CopyBytes)
		}
	}
}

var deviceCalls = []namedCall{
	{op: vkattn.Attention{Batch: 2, HeadsQ: 4, HeadsK: 2, SeqQ: 33, SeqK: 70, HeadDim: 59, ValueDim: 3, Causal: true, With: vkattn.WithLSE | vkattn.WithSinkLogits}},
	{op: vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 9, SeqK: 300, HeadDim: 3, ValueDim: 59, With: vkattn.WithLSE | vkattn.WithALiBi}},
	{op: vkattn.Attention{Batch: 2, HeadsQ: 2, SeqQ: 17, SeqK: 131, HeadDim: 64, With: vkattn.WithLSE | vkattn.WithMask | vkattn.WithBias}},
	{op: vkattn.Attention{Batch: 2, HeadsQ: 2, SeqQ: 17, SeqK: 131, HeadDim: 64, With: vkattn.WithLSE | vkattn.WithMask | vkattn.WithTree}},
	{op: vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 17, SeqK: 131, HeadDim: 1, With: vkattn.WithLSE | vkattn.WithTree}},
	{op: vkattn.Attention{Batch: 3, HeadsQ: 2, SeqQ: 30, SeqK: 50, Packed: true, TotalQ: 47, TotalK: 90, HeadDim: 59, Causal: true, With: vkattn.WithLSE}, lens: [][2]int{{30, 40}, {0, 0}, {17, 50}}},
}

// TestChain: calls that feed each other in device memory give the same bits in one batch, in batches that
// nobody waits for in between, and one by one through the host; without a copy.
func TestChain(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	op := vkattn.Attention{Batch: 1, HeadsQ: 2, SeqQ: 40, SeqK: 60, HeadDim: 64}
	c := namedCall{op: op}
	p, err := b.Plan(t.Context(), op)
	if err != nil {
		t.Fatal(err)
	}
	const layers = 6
	host := make([]vkattn.Args, layers)
	for i := range host {
		host[i] = c.args(uint64(i))
		if i > 0 {
			host[i].Q = host[i-1].Out
		}
		if _, err := p.Run(t.Context(), host[i]); err != nil {
			t.Fatal(err)
		}
	}
	want := results(&host[layers-1])
	device := make([]vkattn.Args, layers)
	for i := range device {
		device[i] = host[i]
		for _, x := range []*vkattn.Tensor{&device[i].Q, &device[i].K, &device[i].V, &device[i].Out} {
			d, err := b.NewTensor(vkattn.Float32, x.Shape)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Mem.Close()
			if err := b.Copy(t.Context(), d, *x); err != nil {
				t.Fatal(err)
			}
			*x = d
		}
		if i > 0 {
			device[i].Q = device[i-1].Out
		}
	}
	home := c.args(99)
	wipe := func() {
		blank(&home)
		for i := range device {
			if err := b.Copy(t.Context(), device[i].Out, home.Out); err != nil {
				t.Fatal(err)
			}
		}
	}
	look := func(how string) {
		t.Helper()
		if err := b.Copy(t.Context(), home.Out, device[layers-1].Out); err != nil {
			t.Fatal(err)
		}
		if err := sameBits(results(&home), want); err != nil {
			t.Errorf("%s: %v", how, err)
		}
	}
	for range 5 {
		wipe()
		batch := b.NewBatch()
		for i := range device {
			if err := p.Record(batch, device[i]); err != nil {
				t.Fatal(err)
			}
		}
		r := finish(t, batch)
		if r.Calls != layers || r.CopyBytes != 0 || r.Submits > 2 {
			t.Errorf("%d calls, %d bytes copied, %d submits", r.Calls, r.CopyBytes, r.Submits)
		}
		look("one batch")
		wipe()
		var last vkattn.Pending
		for i := range device {
			batch := b.NewBatch()
			if err := p.Record(batch, device[i]); err != nil {
				t.Fatal(err)
			}
			if last, err = batch.Submit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		look("batches behind each other") // the copy goes behind them all
		if _, err := last.Wait(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// TestCloseTensorInUse: closing a tensor takes effect when the work that uses it is done.
func TestCloseTensorInUse(t *testing.T) {
	b := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	p, err := b.Plan(t.Context(), slow.op)
	if err != nil {
		t.Fatal(err)
	}
	host := slow.args(1)
	level := b.Memory().Purposes["tensor"].Bytes
	device := host
	for _, x := range []*vkattn.Tensor{&device.Q, &device.K, &device.V} {
		d, err := b.NewTensor(vkattn.Float32, x.Shape)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Copy(t.Context(), d, *x); err != nil {
			t.Fatal(err)
		}
		*x = d
	}
	recorded, submitted := b.NewBatch(), b.NewBatch()
	if err := errors.Join(p.Record(recorded, device), p.Record(submitted, device)); err != nil {
		t.Fatal(err)
	}
	pending, err := submitted.Submit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := errors.Join(device.Q.Mem.Close(), device.K.Mem.Close(), device.V.Mem.Close()); err != nil {
			t.Error(err)
		}
	}
	if _, err := recorded.Submit(t.Context()); !errors.Is(err, vkattn.ErrClosed) {
		t.Errorf("a batch with closed tensors: %v", err)
	}
	if _, err := pending.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkRows(t, slow.op, &host, 3)
	if now := b.Memory().Purposes["tensor"].Bytes; now != level {
		t.Errorf("%d bytes of tensors, %d before", now, level)
	}
}

// TestForeign: what belongs to another backend is refused by the argument's name.
func TestForeign(t *testing.T) {
	b, other := open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true}), open(t, dispatch.Config{CacheDir: "off", SkipSelfTest: true})
	p, err := b.Plan(t.Context(), small.op)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := other.NewTensor(vkattn.Float32, small.args(1).K.Shape)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Mem.Close()
	args := small.args(1)
	args.K = foreign
	var arg *vkattn.ArgError
	if _, err := p.Run(t.Context(), args); !errors.As(err, &arg) || arg.Arg != "K" {
		t.Errorf("a tensor of another backend: %v", err)
	}
	if err := p.Record(other.NewBatch(), small.args(1)); !errors.As(err, &arg) || arg.Arg != "Batch" {
		t.Errorf("a batch of another backend: %v", err)
	}
	closed, err := b.NewTensor(vkattn.Float32, foreign.Shape)
	if err != nil {
		t.Fatal(err)
	}
	closed.Mem.Close()
	args.K = closed
	if _, err := p.Run(t.Context(), args); !errors.Is(err, vkattn.ErrClosed) {
		t.Errorf("a closed tensor: %v", err)
	}
}

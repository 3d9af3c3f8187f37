//go:build cgo && !novulkan && (linux || windows)

package vk

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"
)

// workload touches every part of the package once and checks its answers.
func workload(t *testing.T, d *Device) {
	const n = 1000
	local := min(d.Caps().Limits.MaxComputeWorkGroupInvocations, 128)
	p := newPipeline(t, d, PipelineSpec{
		Name: "axpy", Code: spirv(t, "axpy"), Bindings: 3, PushBytes: 8,
		Spec: []SpecConstant{{0, local}, {1, 3}, {2, math.Float32bits(0.5)}},
	})
	const size = 4 * n
	upload, back := newBuffer(t, d, 3*size, HeapUpload), newBuffer(t, d, 2*size, HeapReadback)
	align := int64(d.Caps().Limits.MinStorageBufferOffsetAlignment)
	gap := (size + align - 1) / align * align
	work := newBuffer(t, d, 3*gap, HeapDevice)
	for i := range n {
		copy(upload.Bytes()[4*i:], words(math.Float32bits(float32(i))))
		copy(upload.Bytes()[size+4*i:], words(math.Float32bits(float32(10*i))))
	}
	must(t, upload.Flush(0, upload.Size()))
	timed := d.Caps().Limits.TimestampValidBits > 0
	c := newCommands(t, d)
	for round := range 3 { // the same Commands again, growing
		run(t, d, c, func() {
			must(t, c.Copy(upload, work, []Region{{0, 0, size}, {size, gap, size}}))
			must(t, c.Fill(work, 2*gap, size, 0xdeadbeef))
			c.Barrier(TransferToCompute)
			if timed {
				must(t, c.Timestamp(0))
			}
			for range round*round + 1 {
				must(t, c.Bind(p, []Binding{{Buffer: work, Range: size}, {Buffer: work, Offset: gap, Range: size}, {Buffer: work, Offset: 2 * gap, Range: size}}))
				must(t, c.Push(words(n, math.Float32bits(2))))
				must(t, c.Dispatch((n+local-1)/local, 1, 1))
				c.Barrier(ComputeToCompute)
			}
			if timed {
				must(t, c.Timestamp(2))
			}
			c.Barrier(ComputeToTransfer)
			must(t, c.Copy(work, back, []Region{{2 * gap, 0, size}}))
			c.Barrier(TransferToTransfer)
			must(t, c.Update(back, 4, words(1, 2, 3)))
			must(t, c.Fill(back, size, size, 9))
		})
		must(t, back.Invalidate(0, back.Size()))
		got := wordsOf(back.Bytes())
		if !slices.Equal(got[1:4], []uint32{1, 2, 3}) {
			t.Errorf("update: %v", got[:5])
		}
		if got[n] != 9 || got[2*n-1] != 9 {
			t.Errorf("fill: %v", got[n:n+4])
		}
		for i := range n {
			want := math.Float32bits(float32(2*i+30*i) + 0.5)
			if i >= 1 && i <= 3 {
				continue
			}
			if got[i] != want {
				t.Fatalf("round %d: element %d is %v, want %v", round, i, math.Float32frombits(got[i]), math.Float32frombits(want))
			}
		}
		ns, err := c.TimestampsNS()
		if !timed {
			if !errors.Is(err, ErrNoTimestamps) {
				t.Error(err)
			}
			continue
		}
		must(t, err)
		if len(ns) != 3 || ns[0] != 0 || !math.IsNaN(ns[1]) || !(ns[2] >= 0) || ns[2] > 60e9 {
			t.Errorf("timestamps: %v", ns)
		}
	}
}

func TestWorkload(t *testing.T) { workload(t, testDevice(t, DeviceConfig{})) }

func TestResubmit(t *testing.T) {
	d := testDevice(t, DeviceConfig{})
	b, p, c := newBuffer(t, d, 4, HeapDevice), newPipeline(t, d, countSpec(t)), newCommands(t, d)
	run(t, d, c, func() { must(t, c.Fill(b, 0, 0, 0)) })
	must(t, c.Begin(), c.Bind(p, []Binding{{Buffer: b}}), c.Dispatch(1, 1, 1), c.End())
	var last Ticket
	for range 5 {
		ticket, err := d.Submit(c)
		must(t, err)
		if ticket != last+1 && last != 0 {
			t.Errorf("ticket %d after %d", ticket, last)
		}
		last = ticket
		must(t, d.WaitIdle())
		if !d.Done(ticket) {
			t.Error("not done after WaitIdle")
		}
	}
	if got := download(t, d, b, 1); got[0] != 5 {
		t.Errorf("ran %d times, want 5", got[0])
	}
	must(t, b.Close())
	if _, err := d.Submit(c); !errors.Is(err, ErrClosed) {
		t.Error("a closed buffer was submitted:", err)
	}
}

func TestTexels(t *testing.T) {
	d := testDevice(t, DeviceConfig{})
	p := newPipeline(t, d, PipelineSpec{Name: "texel", Code: spirv(t, "texel"), Bindings: 2, Texels: 1})
	const n = 100
	in, out := newBuffer(t, d, 16*n, HeapUpload), newBuffer(t, d, 4*n, HeapDevice)
	for i := range 4 * n {
		copy(in.Bytes()[4*i:], words(math.Float32bits(float32(i))))
	}
	c := newCommands(t, d)
	run(t, d, c, func() {
		for range 2 {
			must(t, c.Bind(p, []Binding{{Buffer: in, Format: TexelRGBA32F}, {Buffer: out}}), c.Dispatch(2, 1, 1))
			c.Barrier(ComputeToCompute)
		}
	})
	if len(c.views) != 1 {
		t.Errorf("%d views for one window", len(c.views))
	}
	for i, v := range download(t, d, out, n) {
		if want := float32(16*i + 6); math.Float32frombits(v) != want {
			t.Fatalf("element %d: %v, want %v", i, math.Float32frombits(v), want)
		}
	}
	must(t, c.Begin())
	for _, b := range []Binding{{Buffer: in}, {Buffer: in, Format: TexelRGBA32F, Range: 20}, {Buffer: in, Format: 200}} {
		if err := c.Bind(p, []Binding{b, {Buffer: out}}); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
	}
	if err := c.Bind(p, []Binding{{Buffer: in, Format: TexelRGBA32F}, {Buffer: out, Format: TexelR32F}}); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestAddress(t *testing.T) {
	d := testDevice(t, DeviceConfig{})
	if !d.Caps().Features.BufferDeviceAddress {
		t.Skip("no buffer device address")
	}
	p := newPipeline(t, d, PipelineSpec{Name: "address", Code: spirv(t, "address"), PushBytes: 12})
	b := newBuffer(t, d, 400, HeapDevice)
	if b.Address() == 0 {
		t.Fatal("no address")
	}
	c := newCommands(t, d)
	run(t, d, c, func() {
		must(t, c.Fill(b, 0, 0, 21))
		c.Barrier(TransferToCompute)
		must(t, c.Bind(p, nil), c.Push(words(uint32(b.Address()), uint32(b.Address()>>32), 100)), c.Dispatch(2, 1, 1))
	})
	for i, v := range download(t, d, b, 100) {
		if v != 42 {
			t.Fatalf("element %d is %d", i, v)
		}
	}
}

func TestSubgroupSize(t *testing.T) {
	d := testDevice(t, DeviceConfig{})
	s := d.Caps().Subgroup
	if !s.RequiredSizeInCompute || !s.FullSubgroups {
		t.Skip("no subgroup size control")
	}
	b, c := newBuffer(t, d, 8, HeapDevice), newCommands(t, d)
	for size := s.Min; size <= s.Max; size *= 2 {
		p := newPipeline(t, d, PipelineSpec{Name: "subgroup", Code: spirv(t, "subgroup"), Bindings: 1, SubgroupSize: size, FullSubgroups: size <= 64})
		run(t, d, c, func() { must(t, c.Bind(p, []Binding{{Buffer: b}}), c.Dispatch(1, 1, 1)) })
		if got := download(t, d, b, 2); got[0] != size || got[1] != max(64/size, 1) {
			t.Errorf("required %d: %v", size, got)
		}
	}
	spec := PipelineSpec{Code: spirv(t, "subgroup"), Bindings: 1, SubgroupSize: 2 * s.Max}
	if _, err := d.NewPipeline(spec); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
}

func TestRecordingRules(t *testing.T) {
	d := testDevice(t, DeviceConfig{Override: func(c *Caps) {
		c.Limits.MaxStorageBufferRange = 1 << 16
		c.Limits.MaxComputeWorkGroupCount = [3]uint32{10, 5, 3}
		c.Limits.MaxPushConstantsSize = 16
		c.Limits.MaxPerStageStorageBuffers = 4
	}})
	if got := d.Caps().Limits.MaxStorageBufferRange; got != 1<<16 {
		t.Fatal(got)
	}
	p := newPipeline(t, d, PipelineSpec{Name: "axpy", Code: spirv(t, "axpy"), Bindings: 3, PushBytes: 8, Spec: []SpecConstant{{0, 64}}})
	b := newBuffer(t, d, 1<<17, HeapDevice)
	align := int64(d.Caps().Limits.MinStorageBufferOffsetAlignment)
	closed := newBuffer(t, d, 64, HeapDevice)
	closed.Close()
	c := newCommands(t, d)

	for name, err := range map[string]error{
		"bind":      c.Bind(p, nil),
		"push":      c.Push(nil),
		"dispatch":  c.Dispatch(1, 1, 1),
		"copy":      c.Copy(b, b, nil),
		"fill":      c.Fill(b, 0, 4, 0),
		"update":    c.Update(b, 0, words(1)),
		"timestamp": c.Timestamp(0),
		"end":       c.End(),
		"submit":    second(d.Submit(c)),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s before Begin: %v", name, err)
		}
	}

	must(t, c.Begin())
	ok := Binding{Buffer: b, Range: 64}
	for name, bad := range map[string]Binding{
		"range over the limit":  {Buffer: b, Range: 1<<16 + 4},
		"whole buffer":          {Buffer: b},
		"misaligned":            {Buffer: b, Offset: align / 2, Range: 64},
		"negative":              {Buffer: b, Offset: -align, Range: 64},
		"negative range":        {Buffer: b, Range: -4},
		"outside":               {Buffer: b, Offset: 1 << 17, Range: 4},
		"over the end":          {Buffer: b, Offset: 1<<17 - align, Range: align + 4},
		"overflow":              {Buffer: b, Offset: align, Range: math.MaxInt64},
		"none":                  {},
		"format without texels": {Buffer: b, Range: 64, Format: TexelR32F},
		"closed":                {Buffer: closed},
	} {
		if name == "misaligned" && align == 1 {
			continue
		}
		err := c.Bind(p, []Binding{ok, bad, ok})
		var bind *BindError
		if !errors.As(err, &bind) || bind.Binding != 1 || bind.Pipeline != "axpy" {
			t.Errorf("%s: %v", name, err)
		}
		if want := map[bool]error{true: ErrClosed, false: ErrInvalid}[name == "closed"]; !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var bind *BindError
	if err := c.Bind(p, []Binding{ok}); !errors.As(err, &bind) || bind.Binding != -1 {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"push unbound":     c.Push(words(1, 2)),
		"dispatch unbound": c.Dispatch(1, 1, 1),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, c.Bind(p, []Binding{ok, ok, {Buffer: b, Offset: 1 << 16}}))
	self := []Region{{0, 8, 16}}
	for name, err := range map[string]error{
		"no push constants": c.Dispatch(1, 1, 1),
		"short push":        c.Push(words(1)),
		"fill misaligned":   c.Fill(b, 2, 4, 0),
		"fill odd":          c.Fill(b, 0, 5, 0),
		"fill outside":      c.Fill(b, 1<<17, 4, 0),
		"fill beyond":       c.Fill(b, 1<<18, 0, 0),
		"fill nothing":      c.Fill(nil, 0, 4, 0),
		"update odd":        c.Update(b, 0, []byte{1}),
		"update misaligned": c.Update(b, 1, words(1)),
		"update empty":      c.Update(b, 0, nil),
		"update outside":    c.Update(b, 1<<17-4, words(1, 2)),
		"update large":      c.Update(b, 0, make([]byte, 65540)),
		"copy onto itself":  c.Copy(b, b, self),
		"copy outside":      c.Copy(b, b, []Region{{0, 1 << 17, 4}}),
		"copy negative":     c.Copy(b, b, []Region{{-4, 64, 4}}),
		"copy nothing":      c.Copy(b, b, []Region{{0, 64, 0}}),
		"copy no buffer":    c.Copy(nil, b, []Region{{0, 64, 4}}),
		"slot":              c.Timestamp(-1),
		"slot beyond":       c.Timestamp(maxSlots),
	} {
		if !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	must(t, c.Push(words(0, 0)))
	for _, n := range [][3]uint32{{11, 1, 1}, {1, 6, 1}, {1, 1, 4}, {math.MaxUint32, 1, 1}} {
		if err := c.Dispatch(n[0], n[1], n[2]); !errors.Is(err, ErrInvalid) {
			t.Errorf("dispatch %v: %v", n, err)
		}
	}
	must(t, c.Dispatch(10, 5, 3), c.Dispatch(0, 1, 1))
	if err := c.End(); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrClosed) {
		t.Error("End forgets the errors:", err)
	}
	if _, err := d.Submit(c); !errors.Is(err, ErrInvalid) {
		t.Error("a broken recording was submitted:", err)
	}
	run(t, d, c, func() {}) // and it still works

	for name, spec := range map[string]PipelineSpec{
		"no code":        {},
		"not SPIR-V":     {Code: []uint32{1, 2, 3, 4, 5}},
		"push limit":     {Code: spirv(t, "axpy"), Bindings: 3, PushBytes: 20},
		"push odd":       {Code: spirv(t, "axpy"), Bindings: 3, PushBytes: 6},
		"buffers":        {Code: spirv(t, "axpy"), Bindings: 5, PushBytes: 8},
		"bindings":       {Code: spirv(t, "axpy"), Bindings: 65},
		"negative":       {Code: spirv(t, "axpy"), Bindings: -1},
		"texels beyond":  {Code: spirv(t, "axpy"), Bindings: 3, Texels: 8},
		"uniform beyond": {Code: spirv(t, "axpy"), Bindings: 3, Uniforms: 8},
		"both kinds":     {Code: spirv(t, "axpy"), Bindings: 3, Uniforms: 1, Texels: 1},
		"many uniforms":  {Code: spirv(t, "axpy"), Bindings: 20, Uniforms: 1<<13 - 1},
		"constant twice": {Code: spirv(t, "axpy"), Bindings: 3, PushBytes: 8, Spec: []SpecConstant{{1, 1}, {1, 2}}},
	} {
		if _, err := d.NewPipeline(spec); !errors.Is(err, ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if d.PipelinesCreated() != 1 {
		t.Errorf("%d pipelines counted", d.PipelinesCreated())
	}
}

func TestCopyWithinOneBuffer(t *testing.T) {
	d := testDevice(t, DeviceConfig{})
	b, c := newBuffer(t, d, 64, HeapDevice), newCommands(t, d)
	run(t, d, c, func() {
		must(t, c.Update(b, 0, bytes.Repeat(words(1, 2, 3, 4), 2)))
		c.Barrier(TransferToTransfer)
		must(t, c.Copy(b, b, []Region{{0, 48, 16}, {4, 36, 4}}))
	})
	got := download(t, d, b, 16)
	if !slices.Equal(got[12:], []uint32{1, 2, 3, 4}) || got[9] != 2 {
		t.Error(got)
	}
}

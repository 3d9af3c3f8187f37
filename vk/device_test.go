//go:build cgo && !novulkan && (linux || windows)

package vk

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestCaps(t *testing.T) {
	p := testPhysical(t, testInstance(t, Config{}))
	c := p.Caps()
	text, err := json.MarshalIndent(c, "", "  ")
	must(t, err)
	if path := os.Getenv("VKATTN_TEST_CAPS_OUT"); path != "" {
		must(t, os.WriteFile(path, append(text, '\n'), 0o644))
	}
	var back Caps
	must(t, json.Unmarshal(text, &back))
	if !reflect.DeepEqual(c, back) {
		t.Errorf("caps do not survive JSON:\n%+v\n%+v", c, back)
	}
	if !reflect.DeepEqual(c, c.Clone()) {
		t.Error("Clone differs")
	}
	t.Logf("%s, Vulkan %s, %s %s", c.Name, c.APIVersion, c.DriverName, c.DriverInfo)
	l := c.Limits
	for name, ok := range map[string]bool{
		"name":              c.Name != "",
		"uuid":              len(c.UUID) == 32 && len(c.PipelineCacheUUID) == 32 && len(c.DriverUUID) == 32,
		"storage range":     l.MaxStorageBufferRange >= 1<<27,
		"allocation":        l.MaxMemoryAllocationSize >= 1<<30,
		"buffer size":       l.MaxBufferSize >= 1<<27,
		"shared memory":     l.MaxComputeSharedMemorySize >= 16384,
		"invocations":       l.MaxComputeWorkGroupInvocations >= 128,
		"work group count":  l.MaxComputeWorkGroupCount[0] >= 65535 && l.MaxComputeWorkGroupCount[2] >= 65535,
		"work group size":   l.MaxComputeWorkGroupSize[2] >= 64,
		"push constants":    l.MaxPushConstantsSize >= 128,
		"storage buffers":   l.MaxPerStageStorageBuffers >= 4,
		"alignment":         l.MinStorageBufferOffsetAlignment <= 256 && l.MinStorageBufferOffsetAlignment&(l.MinStorageBufferOffsetAlignment-1) == 0,
		"timeline distance": l.MaxTimelineDifference >= 1<<31-1,
		"subgroup":          c.Subgroup.Size >= 1 && c.Subgroup.Min <= c.Subgroup.Size && c.Subgroup.Size <= c.Subgroup.Max,
		"subgroup ops":      c.Subgroup.Has("basic"),
		"heaps":             len(c.Heaps) > 0 && c.Heaps[0].Size > 0,
		"memory types":      len(c.MemoryTypes) > 0,
		"queues":            len(c.QueueFamilies) > 0 && c.QueueFamilies[c.ComputeFamily].Compute,
		"extensions":        len(c.Extensions) > 0,
		"timeline":          c.Features.TimelineSemaphore,
		"texel formats":     strings.Contains(strings.Join(c.TexelFormats, ","), "rgba32f"),
	} {
		if !ok {
			t.Errorf("implausible: %s\n%s", name, text)
		}
	}
}

func TestDeviceLifeCycle(t *testing.T) {
	i := testInstance(t, Config{})
	for range 3 {
		d, err := testPhysical(t, i).Open(DeviceConfig{})
		must(t, err)
		b, err := d.NewBuffer(1000, HeapDevice, "weights")
		must(t, err)
		p, err := d.NewPipeline(countSpec(t))
		must(t, err)
		c, err := d.NewCommands()
		must(t, err)
		if m := d.Memory(); m.Total.Count != 1 || m.Total.Bytes < 1000 || m.Purposes["weights"] != m.Total || m.Heaps["device"] != m.Total {
			t.Errorf("memory: %+v", m)
		}
		must(t, b.Close(), b.Close(), p.Close(), p.Close(), c.Close(), c.Close())
		if m := d.Memory(); m.Total.Count != 0 || m.Total.Bytes != 0 || m.Total.Peak < 1000 {
			t.Errorf("memory after Close: %+v", m)
		}
		must(t, d.Close(), d.Close(), b.Close(), p.Close(), c.Close())
		for name, err := range map[string]error{
			"buffer":   second(d.NewBuffer(4, HeapDevice, "")),
			"pipeline": second(d.NewPipeline(countSpec(t))),
			"commands": second(d.NewCommands()),
			"submit":   second(d.Submit(c)),
			"begin":    c.Begin(),
			"flush":    b.Flush(0, 4),
			"heaps":    second(d.Heaps()),
		} {
			if !errors.Is(err, ErrClosed) {
				t.Errorf("%s on a closed device: %v", name, err)
			}
		}
		if err := d.WaitIdle(); err != nil {
			t.Error("nothing to wait for, yet", err)
		}
		d.SaveCache()
	}
}

func second[T any](_ T, err error) error { return err }

func TestInstanceClose(t *testing.T) {
	i := testInstance(t, Config{})
	p := testPhysical(t, i)
	must(t, i.Close(), i.Close())
	if _, err := i.Devices(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if _, err := p.Open(DeviceConfig{}); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	i.Messages()
}

// TestReopen: a service that opens again after each loss of its device does not run out of anything. (See
// keep_drivers in shim_instance.c.)
func TestReopen(t *testing.T) {
	for range 60 {
		i, err := Open(Config{})
		if err != nil {
			skip(t, "%v", err)
		}
		must(t, i.Close())
	}
}

func TestLeaksAreReported(t *testing.T) {
	i, err := Open(Config{})
	if err != nil {
		skip(t, "%v", err)
	}
	d, err := testPhysical(t, i).Open(DeviceConfig{})
	must(t, err)
	b, err := d.NewBuffer(100, HeapUpload, "forgotten")
	must(t, err)
	_, err = d.NewPipeline(countSpec(t))
	must(t, err)
	c, err := d.NewCommands()
	must(t, err)
	err = i.Close()
	var leak *LeakError
	if !errors.Is(err, ErrLeaked) || !errors.As(err, &leak) {
		t.Fatal(err)
	}
	for _, part := range []string{"1 device", "1 buffer", "1 pipeline", "1 commands", `"forgotten"`, "bytes"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is not in: %v", part, err)
		}
	}
	if b.Bytes() != nil {
		t.Error("a buffer closed by its device still shows memory")
	}
	must(t, b.Close(), c.Close(), d.Close(), i.Close())
}

func TestSeveralInstances(t *testing.T) {
	a, b := testDevice(t, DeviceConfig{}), testDevice(t, DeviceConfig{})
	for _, d := range []*Device{a, b, a} {
		buffer, p, c := newBuffer(t, d, 4, HeapDevice), newPipeline(t, d, countSpec(t)), newCommands(t, d)
		run(t, d, c, func() {
			must(t, c.Fill(buffer, 0, 0, 41))
			c.Barrier(TransferToCompute)
			must(t, c.Bind(p, []Binding{{Buffer: buffer}}), c.Dispatch(1, 1, 1))
		})
		if got := download(t, d, buffer, 1); got[0] != 42 {
			t.Errorf("got %d", got[0])
		}
	}
	p, c := newPipeline(t, a, countSpec(t)), newCommands(t, b)
	must(t, c.Begin())
	if err := c.Bind(p, nil); !errors.Is(err, ErrInvalid) {
		t.Error("a pipeline of another device:", err)
	}
	if err := c.End(); !errors.Is(err, ErrInvalid) {
		t.Error("End forgets the error:", err)
	}
	if _, err := a.Submit(c); !errors.Is(err, ErrInvalid) {
		t.Error("commands of another device:", err)
	}
}

func TestUnavailable(t *testing.T) {
	_, err := Open(Config{Library: "libno-such-vulkan.so.7"})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "install") {
		t.Error(err)
	}
	_, err = Open(Config{Library: "libm.so.6"})
	if !errors.Is(err, ErrUnavailable) {
		t.Error("a library that is not Vulkan:", err)
	}
}

// TestNoDriver hides all drivers from the loader.
func TestNoDriver(t *testing.T) {
	none := t.TempDir() + "/none.json"
	t.Setenv("VK_DRIVER_FILES", none)
	t.Setenv("VK_ICD_FILENAMES", none)
	i, err := Open(Config{})
	if err == nil {
		defer i.Close()
		_, err = i.Devices()
	}
	if !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	t.Log(err)
}

func TestOverrideAndOldDevices(t *testing.T) {
	p := testPhysical(t, testInstance(t, Config{}))
	old := *p
	old.have = 0
	if _, err := old.Open(DeviceConfig{}); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	old = *p
	old.caps.Features.TimelineSemaphore = false
	if _, err := old.Open(DeviceConfig{}); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	d, err := p.Open(DeviceConfig{Robust: true, Override: func(c *Caps) {
		c.Features = Features{}
		c.Subgroup.SizeControl, c.Subgroup.FullSubgroups, c.Subgroup.RequiredSizeInCompute = false, false, false
		c.Extensions[0] = "changed"
	}})
	must(t, err)
	defer d.Close()
	if p.Caps().Extensions[0] == "changed" || !p.Caps().Features.TimelineSemaphore {
		t.Error("Override reached the physical device")
	}
	spec := countSpec(t)
	spec.SubgroupSize = 8
	if _, err := d.NewPipeline(spec); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	spec = countSpec(t)
	spec.FullSubgroups = true
	if _, err := d.NewPipeline(spec); !errors.Is(err, ErrUnsupported) {
		t.Error(err)
	}
	b, err := d.NewBuffer(64, HeapDevice, "")
	must(t, err)
	if b.Address() != 0 {
		t.Error("an address without the feature")
	}
	must(t, b.Close())
}

func TestMemory(t *testing.T) {
	d := testDevice(t, DeviceConfig{MaxMemory: 1 << 20})
	for _, heap := range []Heap{HeapDevice, HeapUpload, HeapReadback} {
		b, err := d.NewBuffer(100, heap, "small")
		must(t, err)
		mapped := heap != HeapDevice || d.MappedDevice()
		if (b.Bytes() != nil) != mapped {
			t.Errorf("%s: mapped is %v, want %v", heap, b.Bytes() != nil, mapped)
		}
		if mapped {
			if len(b.Bytes()) != 100 || b.Size() != 100 || b.Heap() != heap {
				t.Errorf("%s: %d bytes", heap, len(b.Bytes()))
			}
			b.Bytes()[99] = 7
			must(t, b.Flush(0, 100), b.Invalidate(99, 1), b.Flush(100, 0))
			for _, r := range [][2]int64{{-1, 1}, {0, 101}, {101, 0}, {1, math.MaxInt64}, {0, -1}} {
				if err := b.Flush(r[0], r[1]); !errors.Is(err, ErrInvalid) {
					t.Errorf("flush %v: %v", r, err)
				}
			}
		} else if err := b.Flush(0, 1); !errors.Is(err, ErrUnsupported) {
			t.Error(err)
		}
		must(t, b.Close())
		if b.Bytes() != nil {
			t.Error("closed, but shows memory")
		}
		if err := b.Flush(0, 1); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	}
	for _, size := range []int64{0, -1} {
		if _, err := d.NewBuffer(size, HeapDevice, ""); !errors.Is(err, ErrInvalid) {
			t.Error(err)
		}
	}
	if _, err := d.NewBuffer(1, 3, ""); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
	one := newBuffer(t, d, 1000, HeapDevice)
	_ = one
	_, err := d.NewBuffer(1<<20, HeapDevice, "big")
	var memory *MemoryError
	if !errors.Is(err, ErrOutOfDeviceMemory) || !errors.As(err, &memory) {
		t.Fatal(err)
	}
	if memory.Size != 1<<20 || memory.Purpose != "big" || memory.Count != 1 || memory.InUse < 1000 || memory.Limit != 1<<20 {
		t.Errorf("%+v", memory)
	}
	if _, err := d.NewBuffer(math.MaxInt64, HeapDevice, "huge"); !errors.Is(err, ErrOutOfDeviceMemory) {
		t.Error(err)
	}
	if m := d.Memory(); m.Total.Count != 1 {
		t.Errorf("failures leave %+v", m)
	}
	heaps, err := d.Heaps()
	must(t, err)
	if len(heaps) != len(d.Caps().Heaps) {
		t.Error(heaps)
	}
}

func TestMessages(t *testing.T) {
	var seen []Message
	i := testInstance(t, Config{OnMessage: func(m Message) { seen = append(seen, m) }})
	i.Messages()
	seen = nil
	i.note(SeverityWarning, "number %d", 7)
	want := []Message{{SeverityWarning, "vkattn", "number 7"}}
	if got := i.Messages(); !reflect.DeepEqual(got, want) || !reflect.DeepEqual(seen, want) {
		t.Error(got, seen)
	}
	if got := i.Messages(); len(got) != 0 {
		t.Error("drained, but", got)
	}
	for range keptMessages + 10 {
		i.note(SeverityInfo, "many")
	}
	if got := i.Messages(); len(got) != keptMessages {
		t.Error(len(got))
	}
}

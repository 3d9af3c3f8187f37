//go:build cgo && !novulkan && (linux || windows)

package vk

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"
)

// Switches of these tests:
//
//	VKATTN_REQUIRE_DEVICE=1       a test that finds nothing to run on fails instead of skipping
//	VKATTN_TEST_DEVICE=substring  picks the device by name
//	VKATTN_TEST_VALIDATION=1      runs every test under the validation layer and fails on its errors
//	VKATTN_TEST_CAPS_OUT=file     TestCaps records the device's capabilities there

func skip(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("VKATTN_REQUIRE_DEVICE") == "1" {
		t.Fatalf("VKATTN_REQUIRE_DEVICE=1: "+format, args...)
	}
	t.Skipf(format, args...)
}

func testInstance(t testing.TB, config Config) *Instance {
	t.Helper()
	if os.Getenv("VKATTN_TEST_VALIDATION") == "1" {
		config.Validation |= ValidationCore | ValidationSync
	}
	i, err := Open(config)
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnsupported) {
		skip(t, "%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
		for _, m := range i.Messages() {
			if m.Severity >= SeverityError && !dated(m) {
				t.Error(m)
			}
		}
	})
	return i
}

func testPhysical(t testing.TB, i *Instance) *PhysicalDevice {
	t.Helper()
	found, err := i.Devices()
	if errors.Is(err, ErrUnavailable) {
		skip(t, "%v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range found {
		if strings.Contains(p.Caps().Name, os.Getenv("VKATTN_TEST_DEVICE")) {
			return p
		}
	}
	skip(t, "no device is called %q", os.Getenv("VKATTN_TEST_DEVICE"))
	return nil
}

func testDeviceOn(t testing.TB, i *Instance, config DeviceConfig) *Device {
	t.Helper()
	d, err := testPhysical(t, i).Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func testDevice(t testing.TB, config DeviceConfig) *Device {
	t.Helper()
	return testDeviceOn(t, testInstance(t, Config{}), config)
}

func spirv(t testing.TB, name string) []uint32 {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name + ".spv")
	if err != nil {
		t.Fatal(err)
	}
	code := make([]uint32, len(b)/4)
	for i := range code {
		code[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return code
}

func words(values ...uint32) []byte {
	var b []byte
	for _, v := range values {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	return b
}

func newBuffer(t testing.TB, d *Device, size int64, heap Heap) *Buffer {
	t.Helper()
	b, err := d.NewBuffer(size, heap, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func newPipeline(t testing.TB, d *Device, spec PipelineSpec) *Pipeline {
	t.Helper()
	p, err := d.NewPipeline(spec)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func newCommands(t testing.TB, d *Device) *Commands {
	t.Helper()
	c, err := d.NewCommands()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// countSpec is a pipeline that adds one to a word.
func countSpec(t testing.TB) PipelineSpec {
	return PipelineSpec{Name: "count", Code: spirv(t, "count"), Bindings: 1}
}

// must stops the test at the first error.
func must(t testing.TB, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

// run records, submits and waits.
func run(t testing.TB, d *Device, c *Commands, record func()) {
	t.Helper()
	must(t, c.Begin())
	record()
	must(t, c.End())
	ticket, err := d.Submit(c)
	must(t, err, d.Wait(context.Background(), ticket))
}

// download reads n words of a buffer through a readback buffer.
func download(t testing.TB, d *Device, b *Buffer, n int) []uint32 {
	t.Helper()
	back := newBuffer(t, d, int64(4*n), HeapReadback)
	c := newCommands(t, d)
	run(t, d, c, func() { must(t, c.Copy(b, back, []Region{{0, 0, int64(4 * n)}})) })
	must(t, back.Invalidate(0, back.Size()))
	return wordsOf(back.Bytes())
}

func wordsOf(b []byte) []uint32 {
	w := make([]uint32, len(b)/4)
	for i := range w {
		w[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return w
}

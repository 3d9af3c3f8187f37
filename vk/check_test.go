package vk

import (
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestResult(t *testing.T) {
	for r, want := range map[Result]string{
		DeviceLost: "VK_ERROR_DEVICE_LOST", OutOfPoolMemory: "VK_ERROR_OUT_OF_POOL_MEMORY", -77: "VkResult(-77)", 12345: "VkResult(12345)", Success: "VK_SUCCESS",
	} {
		if r.String() != want || r.Error() != "vk: "+want {
			t.Errorf("%d: %s, %s", int32(r), r, r.Error())
		}
	}
	err := error(&CallError{Call: "vkQueueSubmit", Result: DeviceLost, Advice: "do something"})
	var call *CallError
	if !errors.Is(err, ErrDeviceLost) || !errors.Is(err, DeviceLost) || errors.Is(err, ErrOutOfDeviceMemory) || !errors.As(err, &call) {
		t.Error(err)
	}
	if err.Error() != "vk: vkQueueSubmit: VK_ERROR_DEVICE_LOST; do something" {
		t.Error(err)
	}
	for r, want := range map[Result]error{
		OutOfDeviceMemory: ErrOutOfDeviceMemory, OutOfHostMemory: ErrOutOfHostMemory, IncompatibleDriver: ErrUnavailable, FeatureNotPresent: ErrUnsupported,
	} {
		if !errors.Is(error(r), want) {
			t.Errorf("%s is not %v", r, want)
		}
	}
	err = &MemoryError{Size: 10, Purpose: "x", InUse: 5, Count: 2, Limit: 12, Err: OutOfDeviceMemory}
	if !errors.Is(err, ErrOutOfDeviceMemory) || !strings.Contains(err.Error(), "in use: 5 bytes in 2 buffers, limit 12 bytes") {
		t.Error(err)
	}
	for _, err := range []error{invalid("a %d", 1), unsupported("a"), unavailable("a")} {
		if !strings.HasPrefix(err.Error(), "vk: ") {
			t.Error(err)
		}
	}
}

func TestCheckRange(t *testing.T) {
	c := Caps{TexelFormats: []string{"rgba32f"}}
	c.Limits.MinStorageBufferOffsetAlignment = 64
	c.Limits.MinTexelBufferOffsetAlignment = 16
	c.Limits.MaxStorageBufferRange = 1000
	c.Limits.MaxTexelBufferElements = 10
	for _, r := range []struct {
		size, offset, length int64
		format               TexelFormat
		texel                bool
		uniform              bool
		want                 int64 // 0: refused
	}{
		{size: 100, want: 112}, // with the padding of the last 16 bytes
		{size: 100, length: 100, want: 100},
		{size: 100, length: 112, want: 112},
		{size: 100, length: 113},
		{size: 1000, want: 1000}, // the limit falls into the padding
		{size: 1001},
		{size: 2000, offset: 1024, want: 976},
		{size: 2000, length: 1001},
		{size: 2000, offset: 32, length: 4},
		{size: 2000, offset: math.MinInt64, length: 4},
		{size: 2000, offset: 64, length: math.MaxInt64},
		{size: 2000, offset: 2000, length: 0},
		{size: 2000, format: TexelRGBA32F, length: 16},
		{size: 100, format: TexelRGBA32F, texel: true, want: 112},
		{size: 2000, offset: 16, length: 160, format: TexelRGBA32F, texel: true, want: 160},
		{size: 2000, length: 176, format: TexelRGBA32F, texel: true},
		{size: 2000, length: 20, format: TexelRGBA32F, texel: true},
		{size: 2000, length: 16, format: TexelR32F, texel: true}, // not among the formats
		{size: 2000, length: 16, texel: true},
		{size: 100, uniform: true, want: 112},
		{size: 1 << 20, uniform: true, want: 16384}, // as much as every device shows
		{size: 1 << 20, offset: 512, length: 16384, uniform: true, want: 16384},
		{size: 1 << 20, length: 16385, uniform: true},
		{size: 1 << 20, offset: 64, length: 16, uniform: true},
		{size: 2000, length: 16, format: TexelRGBA32F, uniform: true},
	} {
		got, err := checkRange(&c, r.size, (r.size+15)&^15, r.offset, r.length, r.format, r.texel, r.uniform)
		if got != r.want || (err == nil) != (r.want > 0) {
			t.Errorf("%+v: %d, %v", r, got, err)
		}
	}
}

func TestOverlap(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		regions := make([]Region, 1+random.IntN(4))
		for i := range regions {
			regions[i] = Region{random.Int64N(30), random.Int64N(30), 1 + random.Int64N(6)}
		}
		want := false
		for _, a := range regions {
			for _, b := range regions {
				want = want || a.Src < b.Dst+b.Size && b.Dst < a.Src+a.Size
			}
		}
		if got := overlap(regions); got != want {
			t.Fatalf("%v: %v, want %v", regions, got, want)
		}
	}
}

func TestNanoseconds(t *testing.T) {
	got := nanoseconds([]uint64{0, 0, 0xff0, 1, 0x10, 1, 0xfe0, 1, 5, 0}, []bool{false, true, true, true, true}, 2.5, 12)
	want := []float64{math.NaN(), 0, 32 * 2.5, -16 * 2.5, math.NaN()}
	for i := range want {
		if got[i] != want[i] && !(math.IsNaN(got[i]) && math.IsNaN(want[i])) {
			t.Errorf("slot %d: %v, want %v", i, got[i], want[i])
		}
	}
	if got := nanoseconds([]uint64{1 << 63, 1, 1<<63 + 7, 1}, []bool{true, true}, 1, 64); got[1] != 7 {
		t.Error("precision lost:", got)
	}
}

func TestAtoms(t *testing.T) {
	for _, c := range [][6]int64{ // offset, bytes, atom, size, first, length
		{0, 1, 64, 1000, 0, 64}, {63, 2, 64, 1000, 0, 128}, {64, 64, 64, 1000, 64, 64}, {990, 10, 64, 1000, 960, 40}, {5, 5, 1, 10, 5, 5},
	} {
		if first, length := atoms(c[0], c[1], c[2], c[3]); first != c[4] || length != c[5] {
			t.Errorf("%v: %d, %d", c, first, length)
		}
	}
}

func TestAccounting(t *testing.T) {
	var a accounting
	if !a.reserve(60, 100, 2, HeapDevice, "a") || a.reserve(60, 100, 2, HeapUpload, "b") || !a.reserve(40, 100, 2, HeapUpload, "b") || a.reserve(1, 0, 2, HeapUpload, "b") {
		t.Error("the limit")
	}
	a.release(60, HeapDevice, "a")
	s := a.stats()
	if s.Total != (MemoryUse{40, 1, 100}) || s.Heaps["device"] != (MemoryUse{0, 0, 60}) || s.Purposes["b"] != (MemoryUse{40, 1, 40}) || len(s.Heaps) != 3 {
		t.Errorf("%+v", s)
	}
	s.Purposes["b"] = MemoryUse{}
	if a.stats().Purposes["b"].Count != 1 {
		t.Error("stats shares its map")
	}
}

func TestCacheCodec(t *testing.T) {
	c := Caps{VendorID: 7, DeviceID: 9, PipelineCacheUUID: "000102030405060708090a0b0c0d0e0f"}
	blob := []byte{32, 0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 'x', 'y'}
	file := encodeCache(blob)
	if got, err := decodeCache(file, &c); err != nil || string(got) != string(blob) {
		t.Error(err)
	}
	for i := range file {
		bad := append([]byte{}, file...)
		bad[i] ^= 0x10
		if _, err := decodeCache(bad, &c); err == nil {
			t.Errorf("a change of byte %d went unseen", i)
		}
		if _, err := decodeCache(file[:i], &c); err == nil {
			t.Errorf("cut to %d bytes", i)
		}
	}
	other := c
	other.DeviceID = 8
	if _, err := decodeCache(file, &other); err == nil {
		t.Error("the file of another device")
	}
	if _, err := decodeCache(encodeCache(blob[:10]), &c); err == nil {
		t.Error("a blob without header")
	}
	if cachePath("d", &c) == cachePath("d", &other) {
		t.Error("two devices, one file")
	}
}

func TestNames(t *testing.T) {
	if HeapUpload.String() != "upload" || Heap(9).String() != "Heap(9)" || TexelRGBA16F.String() != "rgba16f" || TexelNone.String() != "none" || TexelFormat(99).String() == "" {
		t.Error("names")
	}
	if m := (Message{SeverityError, "id", "text"}); m.String() != "error: id: text" {
		t.Error(m)
	}
	if SeverityVerbose.String() != "verbose" || SeverityInfo.String() != "info" || SeverityWarning.String() != "warning" {
		t.Error("severities")
	}
}

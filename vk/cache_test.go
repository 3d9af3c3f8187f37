//go:build cgo && !novulkan && (linux || windows)

package vk

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCacheFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "folder")
	i := testInstance(t, Config{})
	open := func() *Device {
		d, err := testPhysical(t, i).Open(DeviceConfig{CacheDir: dir})
		must(t, err)
		return d
	}
	complaints := func() (text []string) {
		for _, m := range i.Messages() {
			if m.ID == "vkattn" {
				text = append(text, m.Text)
			}
		}
		return text
	}
	use := func() {
		d := open()
		p, err := d.NewPipeline(countSpec(t))
		must(t, err)
		must(t, p.Close(), d.Close())
	}
	use()
	d := open()
	path := d.cache.path
	if blob, err := d.cache.data(d); err == nil && !ownBlob(blob, &d.caps) {
		must(t, d.Close())
		t.Skipf("this driver keeps no pipelines: its cache is %d bytes without a whole header", len(blob))
	}
	if len(d.cache.saved) == 0 {
		t.Fatal("nothing came back from", path)
	}
	must(t, d.Close())
	if c := complaints(); len(c) > 0 {
		t.Error(c)
	}
	good, err := os.ReadFile(path)
	must(t, err)
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Error("left-over files:", files)
	}

	for name, file := range map[string][]byte{
		"empty":     {},
		"truncated": good[:len(good)-1],
		"longer":    append(append([]byte{}, good...), 0),
		"flipped":   flip(good, len(good)-1),
		"header":    flip(good, 3),
		"garbage":   []byte(strings.Repeat("nonsense", 100)),
	} {
		must(t, os.WriteFile(path, file, 0o644))
		d := open()
		if d.cache.saved != nil {
			t.Errorf("%s: was accepted", name)
		}
		if c := complaints(); len(c) != 1 || !strings.Contains(c[0], path) {
			t.Errorf("%s: %q", name, c)
		}
		d.SaveCache()
		complaints()
		must(t, d.Close())
		if now, err := readCacheFile(path, &d.caps); err != nil || len(now) == 0 {
			t.Errorf("%s: was not replaced: %v", name, err)
		}
	}

	// A folder that cannot be made costs a message, not the device.
	complaints()
	blocked := filepath.Join(dir, "file")
	must(t, os.WriteFile(blocked, nil, 0o644))
	dir = filepath.Join(blocked, "below")
	use()
	if c := complaints(); len(c) == 0 {
		t.Error("no word about a folder that cannot be made")
	}
}

// TestCacheMerge: two devices that save to one file keep each other's pipelines, as far as the driver keeps any.
func TestCacheMerge(t *testing.T) {
	dir := t.TempDir()
	i := testInstance(t, Config{})
	a := testDeviceOn(t, i, DeviceConfig{CacheDir: dir})
	b := testDeviceOn(t, i, DeviceConfig{CacheDir: dir})
	newPipeline(t, a, countSpec(t)).Close()
	newPipeline(t, b, PipelineSpec{Name: "texel", Code: spirv(t, "texel"), Bindings: 2, Texels: 1}).Close()
	a.SaveCache()
	one := len(a.cache.saved)
	b.SaveCache()
	if both := len(b.cache.saved); both < one {
		t.Errorf("%d bytes after a merge, %d before", both, one)
	}
	for _, m := range i.Messages() {
		if m.ID == "vkattn" {
			t.Error(m)
		}
	}
}

// TestCacheRefused: a driver that refuses the cache costs time only.
func TestCacheRefused(t *testing.T) {
	f := &fault{}
	f.arm("vkCreatePipelineCache", OutOfHostMemory)
	d := testDevice(t, DeviceConfig{CacheDir: t.TempDir(), Inject: f.inject})
	must(t, newPipeline(t, d, countSpec(t)).Close())
	d.SaveCache()
	if m := d.instance.Messages(); len(m) == 0 {
		t.Error("no word about it")
	}
}

func flip(b []byte, at int) []byte {
	b = append([]byte{}, b...)
	b[at] ^= 1
	return b
}

//go:build cgo && !novulkan && (linux || windows)

package vk

// #include "shim.h"
import "C"

import (
	"bytes"
	"errors"
	"os"
	"sync"
	"unsafe"

	goki "github.com/goki/vulkan"
)

// pipelineCache is the driver's cache of a device; Vulkan synchronises it itself. What goes wrong with it is noted
// and costs only time.
type pipelineCache struct {
	handle goki.PipelineCache // 0 when the driver would not make one, which pipelines accept
	path   string             // "" without a file
	mu     sync.Mutex         // one save at a time
	saved  []byte             // blob last read or written
}

func (c *pipelineCache) open(d *Device) {
	if d.config.CacheDir != "" {
		c.path = cachePath(d.config.CacheDir, &d.caps)
		c.saved = c.read(d)
	}
	handle, r := createCache(d, c.saved)
	if r != Success && c.saved != nil {
		d.instance.note(SeverityWarning, "pipeline cache %s: the driver refused it (%s)", c.path, r.String())
		c.saved = nil
		handle, r = createCache(d, nil)
	}
	if r != Success {
		d.instance.note(SeverityWarning, "vkCreatePipelineCache: %s; compiling without", r.String())
		return
	}
	c.handle = handle
}

func createCache(d *Device, blob []byte) (goki.PipelineCache, Result) {
	if r := d.inject("vkCreatePipelineCache"); r != Success {
		return handleOf[goki.PipelineCache](0), r
	}
	made := C.vkattn_cache_create(d.d, unsafe.Pointer(unsafe.SliceData(blob)), C.uint64_t(len(blob)))
	return handleOf[goki.PipelineCache](made.handle), Result(made.result)
}

// read returns nil for a file that is missing, damaged or foreign.
func (c *pipelineCache) read(d *Device) []byte {
	blob, err := readCacheFile(c.path, &d.caps)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		d.instance.note(SeverityWarning, "pipeline cache %s: %v; ignored", c.path, err)
	}
	return blob
}

// SaveCache writes the pipeline cache to DeviceConfig.CacheDir, merged with what other processes wrote there.
// Close does so too. Without a CacheDir, or on a closed or lost device, it does nothing; failures are only noted
// in Messages.
func (d *Device) SaveCache() {
	if d.enter() != nil {
		return
	}
	defer d.leave()
	d.cache.save(d)
}

func (c *pipelineCache) save(d *Device) {
	if c.path == "" || raw(c.handle) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if other := c.read(d); other != nil && !bytes.Equal(other, c.saved) {
		if handle, r := createCache(d, other); r == Success {
			C.vkattn_cache_merge(d.d, raw(c.handle), raw(handle))
			C.vkattn_cache_destroy(d.d, raw(handle))
		}
	}
	blob, err := c.data(d)
	if err == nil && !ownBlob(blob, &d.caps) {
		return // a driver that keeps nothing: lavapipe of Mesa 26 returns 20 bytes of a header of 32
	}
	if err == nil && !bytes.Equal(blob, c.saved) {
		err = writeCacheFile(c.path, blob)
	}
	if err != nil {
		d.instance.note(SeverityWarning, "pipeline cache %s: %v; not written", c.path, err)
		return
	}
	c.saved = blob
}

// data asks twice, for the size and for the data; another goroutine may compile in between, hence the loop.
func (c *pipelineCache) data(d *Device) ([]byte, error) {
	for range 4 {
		if r := d.inject("vkGetPipelineCacheData"); r != Success {
			return nil, d.fail("vkGetPipelineCacheData", r)
		}
		var n C.uint64_t
		if r := Result(C.vkattn_cache_data(d.d, raw(c.handle), nil, &n)); r != Success {
			return nil, d.fail("vkGetPipelineCacheData", r)
		}
		if n == 0 {
			return nil, nil
		}
		blob := make([]byte, n)
		switch r := Result(C.vkattn_cache_data(d.d, raw(c.handle), unsafe.Pointer(&blob[0]), &n)); r {
		case Success:
			return blob[:n], nil
		case Incomplete:
		default:
			return nil, d.fail("vkGetPipelineCacheData", r)
		}
	}
	return nil, errors.New("it keeps growing")
}

// close saves and destroys. The caller has the device for itself.
func (c *pipelineCache) close(d *Device) {
	if !d.lost.Load() {
		c.save(d)
	}
	if raw(c.handle) != 0 {
		C.vkattn_cache_destroy(d.d, raw(c.handle))
	}
	c.handle = handleOf[goki.PipelineCache](0)
}

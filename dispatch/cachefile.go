package dispatch

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/vkattn/vkattn/vk"
)

// cacheFile is where something is kept that holds for this device, its driver and the code of these kernels, or
// "" where nothing is kept.
func (b *Backend) cacheFile(kind, about string, variants ...string) string {
	if b.cacheDir == "" || b.config.VK.Override != nil || b.config.VK.Inject != nil {
		return ""
	}
	h := sha256.New()
	fmt.Fprintln(h, identity(&b.caps), about)
	for _, v := range variants {
		h.Write(wordBytes(b.planner.modules[v].Code))
	}
	return filepath.Join(b.cacheDir, fmt.Sprintf("%s-%x.json", kind, h.Sum(nil)[:12]))
}

// identity is a device with its driver, as far as what was found out about them holds.
func identity(c *vk.Caps) string {
	return fmt.Sprintln(c.Name, c.UUID, c.DriverName, c.DriverInfo, c.DriverVersion, c.Subgroup.Size, c.PipelineCacheUUID)
}

// loadCache reads a file of the cache into v, if it is there and whole.
func loadCache(name string, v any) bool {
	if name == "" {
		return false
	}
	data, err := os.ReadFile(name)
	return err == nil && json.Unmarshal(data, v) == nil
}

// saveCache writes a file of a cache, all of it or nothing.
func saveCache(name string, v any) error {
	if name == "" {
		return nil
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "vkattn-*.tmp")
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), name)
	}
	if err != nil {
		os.Remove(tmp.Name())
	}
	return err
}

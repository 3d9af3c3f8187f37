package dispatch

import (
	"crypto/sha256"
	"fmt"
	"path/filepath"

	"github.com/vkattn/vkattn/vk"
)

// queryVerdict is how a risky call went in a process of its own, kept on disk for a device and driver.
type queryVerdict struct {
	Call   string `json:"call"`
	Safe   bool   `json:"safe"`
	Reason string `json:"reason,omitempty"`
}

// instance is the part of a Config that the Vulkan instance is opened with.
func (c *Config) instance() vk.Config {
	ask := c.Ask
	if ask == nil {
		dir := cacheDir(c.CacheDir)
		ask = func(caps *vk.Caps, call string) bool {
			var v queryVerdict
			if loadCache(queryFile(dir, caps, call), &v) && v.Call == call {
				return v.Safe
			}
			_, crashes := caps.Quirk(vk.EffectQueryCrashes)
			return !crashes
		}
	}
	return vk.Config{Library: c.Library, Validation: c.Validation, OnMessage: c.OnMessage, Ask: ask}
}

// queryFile is where the verdict on a call lies, or "" where nothing is kept.
func queryFile(dir string, caps *vk.Caps, call string) string {
	if dir == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(identity(caps) + call))
	return filepath.Join(dir, fmt.Sprintf("query-%x.json", sum[:12]))
}

// KeepQuery keeps how a call of vk.RiskyQueries went for a device and its driver: failure is "" where a process that made
// it survived, else what became of that process. Every later Open and Devices with this cache directory goes by it. A
// library cannot run a process of its host's making: this is for programs, such as vkattn doctor, that ask in a process
// of their own. It returns the file, which may be deleted, or "" where CacheDir keeps nothing.
func KeepQuery(cfg Config, caps vk.Caps, call, failure string) (file string, err error) {
	file = queryFile(cacheDir(cfg.CacheDir), &caps, call)
	return file, saveCache(file, queryVerdict{call, failure == "", failure})
}

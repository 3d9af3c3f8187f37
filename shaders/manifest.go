package shaders

import (
	"cmp"

	"github.com/vkattn/vkattn/internal/spirv"
)

// Entry is the record of one variant in spv/manifest.json, which `make shaders` writes: where a module
// came from and what is in it. Tests compare it with the sources and with the modules, so that neither
// can go stale.
type Entry struct {
	Name         string        `json:"name"`
	Source       string        `json:"source"`
	Includes     []string      `json:"includes"`      // all of them, sorted
	SourceSHA256 string        `json:"source_sha256"` // of the source and its includes, see spirv.SourceHash
	Defines      []string      `json:"defines"`
	TargetEnv    string        `json:"target_env"`
	Flags        string        `json:"flags"`    // of glslc
	Compiler     string        `json:"compiler"` // name and version
	SPIRVSHA256  string        `json:"spirv_sha256"`
	Bytes        int           `json:"bytes"`        // of SPIR-V
	SharedBytes  int           `json:"shared_bytes"` // of shared memory, with default constants
	Module       *spirv.Module `json:"module"`       // reflection
}

// Env is the target environment of a variant.
func (v Variant) Env() string { return cmp.Or(v.TargetEnv, "vulkan1.2") }

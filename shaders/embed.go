// Package shaders holds the compute kernels: GLSL sources, the table of variants that they are compiled
// to, and the committed SPIR-V, embedded, so that neither a build nor a user needs a shader compiler.
//
// It knows nothing of Vulkan or of attention's options: packages that plan and dispatch read the
// reflection of a module for its specialization ids, bindings and shared memory.
package shaders

import (
	"embed"
	"encoding/json"
	"fmt"

	"github.com/vkattn/vkattn/internal/spirv"
)

//go:embed spv
var files embed.FS

// Module is one compiled variant.
type Module struct {
	Name string
	Code []uint32      // the caller's own copy
	Info *spirv.Module // reflection of Code
}

// Load returns the compiled variant of a name, decoded anew by each call. It fails for a name that is
// not in the table. It is safe for concurrent use.
func Load(name string) (Module, error) {
	b, err := files.ReadFile("spv/" + name + ".spv")
	if err != nil {
		return Module{}, fmt.Errorf("shaders: no variant %q", name)
	}
	code, err := spirv.Words(b)
	if err != nil {
		return Module{}, fmt.Errorf("shaders: %s: %w", name, err)
	}
	info, err := spirv.Parse(code)
	if err != nil {
		return Module{}, fmt.Errorf("shaders: %s: %w", name, err)
	}
	return Module{Name: name, Code: code, Info: info}, nil
}

// Names returns the names of all variants, in the order of the table.
func Names() []string {
	names := make([]string, len(variants))
	for i, v := range variants {
		names[i] = v.Name
	}
	return names
}

// Manifest returns the record of how the embedded modules were made, in the order of the table.
func Manifest() ([]Entry, error) {
	b, err := files.ReadFile("spv/manifest.json")
	if err != nil {
		return nil, fmt.Errorf("shaders: %w", err)
	}
	var entries []Entry
	if err := json.Unmarshal(b, &entries); err != nil {
		return nil, fmt.Errorf("shaders: spv/manifest.json: %w", err)
	}
	return entries, nil
}

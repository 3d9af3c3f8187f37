package main

import (
	"strings"
	"sync"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/shaders"
)

// manifest reads the shaders' manifest once.
var manifest = sync.OnceValue(func() []shaders.Entry {
	entries, err := shaders.Manifest()
	if err != nil {
		return nil // a test of package shaders sees to it
	}
	return entries
})

// spirvOf gives the hashes of the modules that ran: the kernel of that name or, where a kernel has several, all whose
// names begin with it; and merge, when there were parts to merge.
func spirvOf(r *vkattn.Report) map[string]string {
	if r.Backend != "vulkan" || r.Kernel == "" {
		return nil
	}
	kernel, _, _ := strings.Cut(r.Kernel, " ")
	hashes := map[string]string{}
	for _, e := range manifest() {
		if e.Name == kernel || e.Name == "merge" && r.Splits > 1 {
			hashes[e.Name] = e.SPIRVSHA256
		}
	}
	if hashes[kernel] == "" {
		for _, e := range manifest() {
			if strings.HasPrefix(e.Name, kernel+"_") {
				hashes[e.Name] = e.SPIRVSHA256
			}
		}
	}
	return hashes
}

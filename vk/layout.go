//go:build cgo && !novulkan && (linux || windows)

package vk

// #include "shim.h"
import "C"

import (
	"slices"
	"unsafe"
)

// shimLayout gives the sizes ("Struct") and offsets ("Struct.field") of the shim's declarations, in order. For
// tests, in which cgo cannot be used.
func shimLayout() (names []string, values []uint64) {
	var n C.int
	p := C.vkattn_layout(&n)
	for _, e := range unsafe.Slice(p, n) {
		names = append(names, C.GoString(e.name))
		values = append(values, uint64(e.value))
	}
	return names, slices.Clip(values)
}

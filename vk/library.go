//go:build cgo && !novulkan && (linux || windows)

package vk

/*
#cgo CFLAGS: -std=gnu11
#cgo linux LDFLAGS: -ldl -lpthread
#include <stdlib.h>
#include "shim.h"
*/
import "C"

import (
	"runtime"
	"strings"
	"unsafe"
)

// loadLibrary opens the Vulkan loader and returns its vkGetInstanceProcAddr, a C pointer.
func loadLibrary(name string) (unsafe.Pointer, error) {
	names := []string{name}
	if name == "" {
		names = []string{"libvulkan.so.1", "libvulkan.so"}
		if runtime.GOOS == "windows" {
			names = []string{"vulkan-1.dll"}
		}
	}
	var reasons []string
	for _, name := range names {
		cname := C.CString(name)
		const size = 512
		reason := (*C.char)(C.calloc(1, size))
		p := C.vkattn_load(cname, reason, size)
		text := C.GoString(reason)
		C.free(unsafe.Pointer(cname))
		C.free(unsafe.Pointer(reason))
		if p != nil {
			return p, nil
		}
		reasons = append(reasons, text)
	}
	return nil, unavailable("no loader (%s); install libvulkan1, or the Vulkan runtime that comes with the GPU's driver", strings.Join(reasons, "; "))
}

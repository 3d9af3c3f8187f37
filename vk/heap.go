//go:build cgo && !novulkan && (linux || windows)

package vk

// #include <stdlib.h>
// #ifdef __GLIBC__
// #include <malloc.h>
// static void give_back(void) { malloc_trim(0); }
// #else
// static void give_back(void) {}
// #endif
import "C"

// TrimHeap gives back to the system what the C library keeps of the memory that drivers have freed, where it can be told to: glibc.
func TrimHeap() { C.give_back() }

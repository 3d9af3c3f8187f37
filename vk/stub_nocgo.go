//go:build !cgo && !novulkan && (linux || windows)

package vk

var errStub = unavailable("built without cgo; build with CGO_ENABLED=1 and a C compiler to use the GPU")

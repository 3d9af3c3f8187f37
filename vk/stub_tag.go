//go:build novulkan

package vk

var errStub = unavailable("built with the tag novulkan; build without it to use the GPU")

//go:build cgo && (linux || windows) && !novulkan

package main

// vulkanCompiled says whether package vk has Vulkan in it.
const vulkanCompiled = true

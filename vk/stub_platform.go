//go:build !novulkan && !(linux || windows)

package vk

import "runtime"

var errStub = unavailable("not supported on %s; use Linux or Windows", runtime.GOOS)

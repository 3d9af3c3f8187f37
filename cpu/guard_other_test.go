//go:build !linux

package cpu

import "testing"

func guarded(t testing.TB, n int) []float32 { return make([]float32, n) }

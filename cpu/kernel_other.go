//go:build !amd64

package cpu

// bestKernel makes the fastest kernel of this CPU.
func bestKernel() kernel { return newGonumKernel() }

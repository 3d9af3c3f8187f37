package cpu

import "golang.org/x/sys/cpu"

// hasAVX2 says that the CPU and the operating system let the assembly run.
var hasAVX2 = cpu.X86.HasAVX2 && cpu.X86.HasFMA

// bestKernel makes the fastest kernel of this CPU.
func bestKernel() kernel {
	if hasAVX2 {
		return newAVX2Kernel()
	}
	return newGonumKernel()
}

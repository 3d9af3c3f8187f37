// Package cpu computes attention on the CPU, twice.
//
// Oracle is the float64 reference: one short function per step of SEMANTICS.md, in its order, meant to
// be read beside it. It is exact pair by pair and slow; every backend is checked against it.
//
// Backend is the float32 fallback: tiled online softmax on all cores, with memory proportional to the
// inputs and outputs, behind the same interface as the Vulkan backend. Its inner loops are assembly where the
// CPU has AVX2 and FMA, which is found out at run time, and gonum's blas32 elsewhere. The masks, the merge of
// partial results and all else are plain Go.
package cpu

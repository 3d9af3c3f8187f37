// Package cpu computes attention on the CPU, twice.
//
// Oracle is the float64 reference: one short function per step of SEMANTICS.md, in its order, meant to
// be read beside it. It is exact pair by pair and slow; every backend is checked against it.
//
// OracleLinear is the same for linear attention: the recurrence, token by token.
//
// Backend is the float32 fallback: tiled online softmax on all cores, with memory proportional to the
// inputs and outputs, behind the same interface as the Vulkan backend. Its inner loops are assembly where the
// CPU has AVX2 and FMA, which is found out at run time, and gonum's blas32 elsewhere. The masks, the merge of
// partial results and all else are plain Go. Linear attention is computed chunk by chunk as products of matrices on
// the same assembly, and token by token where numbers are not finite or decays exceed 1.
package cpu

package dispatch

import (
	"math/bits"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// Facts about drivers that no query tells.

// llvmpipe ends the loops of an invocation when all of them together have made 65,535 iterations, and says
// nothing: LP_MAX_TGSI_LOOP_ITERATIONS in gallium/auxiliary/gallivm/lp_bld_limits.h. Measured on Mesa 22.3.6:
// flash sees 67,616 to 72,316 of 400,000 keys, 29 to 31 iterations for each tile of 32.
const (
	driverLLVMpipe     = 13 // VK_DRIVER_ID_MESA_LLVMPIPE
	llvmpipeIterations = 65535
)

// sliceKeys is the most keys that a row tile may visit in one dispatch, or 0 where there is no such bound.
func sliceKeys(caps *vk.Caps, op vkattn.Attention, longest, globals int) int {
	if caps.DriverID != driverLLVMpipe {
		return 0
	}
	left, perTile := llvmpipeIterations, 2*keyTile
	if op.With.Has(vkattn.WithBlocks) {
		perTile += 2 + bits.Len(uint(longest/keyTile)) // a binary search for each tile
	}
	if globals > 0 {
		perTile += keyTile * (2 + bits.Len(uint(globals))) // a binary search for each key
	}
	return max(1, left/perTile) * keyTile
}

// mergeParts is the most parts that merge can join, or 0 where there is no such bound.
func mergeParts(caps *vk.Caps) int {
	if caps.DriverID != driverLLVMpipe {
		return 0
	}
	return llvmpipeIterations / 4
}

// doubleRows says whether a lane owns two rows, so that twice the rows share the keys they read. Current llvmpipe
// gains 10 to 15% of the time with head sizes of up to 64, and compiles for twice as long (6 s). That of Mesa 22.3,
// whose multiply-adds take twice the code, loses as much; SwiftShader gains 20% with head sizes of 64 and
// 128, and loses 50% with ALiBi and the like or small ones.
func doubleRows(caps *vk.Caps, op vkattn.Attention) bool {
	const mesa24 = 24 << 22
	return caps.DriverID == driverLLVMpipe && caps.DriverVersion >= mesa24 && max(op.HeadDim, op.ValueDim) <= 64 && op.SeqQ >= 256
}

// bufferSize keeps a size that a buffer may have off the powers of two: llvmpipe compiles a kernel anew, for
// seconds, when the size of one of its texel buffers becomes one or is none any more (pot_width in
// gallium/auxiliary/gallivm/lp_bld_sample.c; measured on Mesa 22.3.6: 6 s in the middle of a run).
func bufferSize(n int64) int64 {
	if n&(n-1) == 0 {
		return n + 16
	}
	return n
}

// ropeCost is the time that a pair of Rope takes in FLOPs of attention, by which budgets count. Mesa 22.3's llvmpipe
// turns 25 million pairs a second in the vector kernel, 17 million in the scalar one, where flash does 10 GFLOP/s. A
// graphics card moves the 16 bytes of a pair in the time of about 100 FLOPs.
func ropeCost(caps *vk.Caps) float64 {
	if caps.DeviceType == "cpu" {
		return 400
	}
	return 100
}

// selectCost is the time that a step of the kernels of select_*.comp (a number read, and what is done with it) takes in FLOPs of
// attention, by which budgets count. Mesa 22.3's llvmpipe spends some 180 cycles on a read of 8 lanes.
func selectCost(caps *vk.Caps) float64 {
	if caps.DeviceType == "cpu" {
		return 100
	}
	return 8
}

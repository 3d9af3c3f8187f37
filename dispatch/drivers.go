package dispatch

import (
	"math/bits"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
	"golang.org/x/sys/cpu"
)

// What drivers get wrong is in vk.Quirks. Here is what follows for kernels, and what drivers are slow at: facts that no
// query tells.

// distrust adds the rungs that the quirks of a device's driver turn off, with the reason, to those that are off.
func distrust(off map[string]string, caps *vk.Caps) {
	turn := func(why string, rungs ...string) {
		for _, r := range rungs {
			if off[r] == "" {
				off[r] = why
			}
		}
	}
	if len(caps.Unasked) > 0 {
		turn("the driver was not asked for the shapes of its matrices, it may crash: 'vkattn doctor' asks in a process of its own", rungMatrix, rungMatrix2)
	}
	if caps.DriverID == driverSwiftShader {
		turn("SwiftShader's compiler takes gigabytes of memory and minutes for it", linearChunk)
	}
	for _, q := range vk.Quirks(caps) {
		why := q.What + ": " + q.Evidence[0]
		switch q.Effect {
		case vk.EffectMatrixWrong:
			turn(why, rungMatrix)
		case vk.EffectMatrixHangs, vk.EffectMatrixSlow:
			turn(why, rungMatrix, rungMatrix2)
		case vk.EffectShuffleWrong:
			turn(why, rungSubgroup)
		}
	}
}

// The rungs by what they need of a device; see rungs.
const (
	rungMatrix2  = "matrix2"
	rungMatrix   = "matrix"
	rungSubgroup = "subgroup"
)

// sliceKeys is the most keys that a row tile may visit in one dispatch, or 0 where there is no such bound. On Mesa 22.3.6
// (vk.EffectLoopsEnd) flash sees 67,616 to 72,316 of 400,000 keys, 29 to 31 iterations for each tile of 32.
func sliceKeys(caps *vk.Caps, op vkattn.Attention, longest, globals int) int {
	if _, end := caps.Quirk(vk.EffectLoopsEnd); !end {
		return 0
	}
	left, perTile := vk.MaxLoopIterations, 2*keyTile
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
	if _, end := caps.Quirk(vk.EffectLoopsEnd); !end {
		return 0
	}
	return vk.MaxLoopIterations / 4
}

const (
	driverSwiftShader = 10 // VK_DRIVER_ID_GOOGLE_SWIFTSHADER
	driverLLVMpipe    = 13 // VK_DRIVER_ID_MESA_LLVMPIPE
)

// doubleRows says whether a lane owns two rows, so that twice the rows share the keys they read. Current llvmpipe
// gains 10 to 15% of the time with head sizes of up to 64, and compiles for twice as long (6 s). That of Mesa 22.3,
// whose multiply-adds take twice the code, loses as much with 16 vector registers. With 32 (Zen 4) it gains 16%, causal 10%;
// with ALiBi and the like it loses 10% there, too. SwiftShader gains 20% with head sizes of 64 and 128, and loses 50% with
// ALiBi and the like or small ones.
func (p *planner) doubleRows(caps *vk.Caps, op vkattn.Attention) bool {
	const mesa24 = 24 << 22
	return caps.DriverID == driverLLVMpipe && max(op.HeadDim, op.ValueDim) <= 64 && op.SeqQ >= 256 &&
		(caps.DriverVersion >= mesa24 || p.manyRegisters && extrasOf(op) == 0)
}

// manyRegisters reports whether this processor, which software drivers compile for, has 32 vector registers.
func manyRegisters() bool { return cpu.X86.HasAVX512VL }

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

package vk

import (
	"slices"
	"strings"
)

// Effect is what is wrong with a driver, as far as a caller has to act on it.
type Effect string

const (
	// EffectQueryCrashes: asking for the shapes of cooperative matrices ends the process. Devices does not ask unless
	// Config.Ask says so.
	EffectQueryCrashes Effect = "query_crashes"
	// EffectMatrixWrong: VK_KHR_cooperative_matrix computes something else.
	EffectMatrixWrong Effect = "matrix_wrong"
	// EffectMatrixHangs: work with cooperative matrices loses the device.
	EffectMatrixHangs Effect = "matrix_hangs"
	// EffectMatrixSlow: cooperative matrices are there without matrix units, or run slower than the same arithmetic without.
	EffectMatrixSlow Effect = "matrix_slow"
	// EffectShuffleWrong: subgroup operations between distant invocations give something else.
	EffectShuffleWrong Effect = "shuffle_wrong"
	// EffectLoopsEnd: the loops of an invocation end, silently, when all together have made MaxLoopIterations.
	EffectLoopsEnd Effect = "loops_end"
)

// MaxLoopIterations is where EffectLoopsEnd strikes.
const MaxLoopIterations = 65535

// Quirk is something that a driver says of itself, or promises by being a Vulkan driver, and that does not hold.
type Quirk struct {
	Effect   Effect   `json:"effect"`
	What     string   `json:"what"`
	Evidence []string `json:"evidence"` // where it was reported or measured

	of func(c *Caps) bool
}

// The values of VkDriverId that the table tells apart.
const (
	driverAMD        = 1 // Windows
	driverAMDVLK     = 2
	driverNVIDIA     = 4
	driverIntel      = 5 // Windows
	driverIntelMesa  = 6
	driverQualcomm   = 8
	driverLLVMpipe   = 13
	driverMoltenVK   = 14
	vendorAMD        = 0x1002
	turingFirst      = 0x1e00 // device ids of TU102 ...
	turingLast       = 0x21ff // ... to TU117
	xe2SmallestGroup = 16     // Intel before Xe2 also runs subgroups of 8
)

// Quirks lists what is known to be wrong with a device's driver. It is one table for all drivers; a device that is not
// in it is not known to be right: that is what self-tests are for.
func Quirks(c *Caps) []Quirk {
	return slices.DeleteFunc(slices.Clone(knownQuirks), func(q Quirk) bool { return !q.of(c) })
}

// Quirk reports whether one of a device's quirks has the effect, and returns the first that has.
func (c *Caps) Quirk(e Effect) (Quirk, bool) {
	for _, q := range knownQuirks {
		if q.Effect == e && q.of(c) {
			return q, true
		}
	}
	return Quirk{}, false
}

func amdDriver(c *Caps) bool { return c.DriverID == driverAMD || c.DriverID == driverAMDVLK }

var knownQuirks = []Quirk{
	{EffectQueryCrashes, "AMD's own driver crashes on integrated GPUs when asked for the shapes of cooperative matrices (Radeon 860M, 26.3.1)",
		[]string{"https://github.com/GPUOpen-Drivers/AMDVLK/issues/422", "https://github.com/ggml-org/llama.cpp/pull/22750"},
		func(c *Caps) bool { return amdDriver(c) && c.DeviceType == "integrated" }},
	// What tells GPUs with matrix units (RDNA 3 and later) from others is the 8-bit dot product of mixed signs, which came
	// with them: of the records of internal/caps, the RX 7900 XTX and the RX 9070 XT have it, the RX 6800 has not.
	{EffectMatrixSlow, "AMD's own driver offers cooperative matrices on GPUs without matrix units",
		[]string{"https://github.com/ggml-org/llama.cpp/pull/11074"},
		func(c *Caps) bool { return amdDriver(c) && !c.Features.DotAcceleratedMixed }},
	{EffectMatrixHangs, "Intel's Windows driver loses the Arc Pro B70 at the first use of cooperative matrices (32.0.101.8826)",
		[]string{"https://github.com/IGCIT/Intel-GPU-Community-Issue-Tracker-IGCIT/issues/1487"},
		func(c *Caps) bool { return c.DriverID == driverIntel && strings.Contains(c.Name, "B70") }},
	{EffectMatrixSlow, "Mesa emulates cooperative matrices on Intel GPUs before Xe2",
		[]string{"https://github.com/ggml-org/llama.cpp/pull/10597", "https://gitlab.freedesktop.org/mesa/mesa/-/issues/9250"},
		func(c *Caps) bool { return c.DriverID == driverIntelMesa && c.Subgroup.Min < xe2SmallestGroup }},
	{EffectMatrixSlow, "on discrete Intel GPUs before Xe2 products by cooperative matrices run down to 0.0007 times as fast (Arc A770, 32.0.101.8826)",
		[]string{"https://github.com/ggml-org/llama.cpp/pull/24404"},
		func(c *Caps) bool {
			return c.DriverID == driverIntel && c.DeviceType == "discrete" && c.Subgroup.Min < xe2SmallestGroup
		}},
	{EffectMatrixWrong, "NVIDIA's compiler gets flash attention by KHR cooperative matrices wrong on Turing",
		[]string{"https://github.com/ggml-org/llama.cpp/pull/19290", "https://github.com/ggml-org/llama.cpp/pull/19075"},
		func(c *Caps) bool { return c.DriverID == driverNVIDIA && turing(c) }},
	{EffectMatrixWrong, "masked attention by cooperative matrices is wrong on Qualcomm's driver (maximum error 0.009 of 0.003 allowed)",
		[]string{"https://github.com/Tencent/ncnn/pull/6972"},
		func(c *Caps) bool { return c.DriverID == driverQualcomm }},
	{EffectShuffleWrong, "MoltenVK says that AMD GPUs have subgroups of 64, Metal's have 32: shuffles across the halves return something else",
		[]string{"https://github.com/KhronosGroup/MoltenVK/issues/2750", "https://github.com/KhronosGroup/MoltenVK/issues/2756", "https://github.com/ggml-org/llama.cpp/pull/23218"},
		func(c *Caps) bool {
			return c.DriverID == driverMoltenVK && c.VendorID == vendorAMD && c.Subgroup.Size > 32
		}},
	// LP_MAX_TGSI_LOOP_ITERATIONS in gallium/auxiliary/gallivm/lp_bld_limits.h.
	{EffectLoopsEnd, "llvmpipe ends the loops of an invocation after 65,535 iterations of all of them together, and says nothing (measured on Mesa 22.3.6)",
		[]string{"https://gitlab.freedesktop.org/mesa/mesa/-/blob/main/src/gallium/auxiliary/gallivm/lp_bld_limits.h"},
		func(c *Caps) bool { return c.DriverID == driverLLVMpipe }},
}

// turing reports whether an NVIDIA GPU is of that architecture, by its device id, or by its name where a record lacks that.
func turing(c *Caps) bool {
	if c.DeviceID != 0 {
		return c.DeviceID >= turingFirst && c.DeviceID <= turingLast
	}
	return slices.ContainsFunc([]string{"RTX 206", "RTX 207", "RTX 208", "GTX 16", "TITAN RTX", "Quadro RTX", "Tesla T4"}, func(s string) bool {
		return strings.Contains(c.Name, s)
	})
}

// The calls in which drivers have crashed.
const (
	queryShapes        = "vkGetPhysicalDeviceCooperativeMatrixPropertiesKHR"
	queryGranularities = "vkGetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV"
)

// RiskyQueries are the Vulkan functions that Config.Ask is asked about.
func RiskyQueries() []string { return []string{queryShapes, queryGranularities} }

// askByQuirks makes the calls that no quirk warns of.
func askByQuirks(c *Caps, _ string) bool {
	_, crashes := c.Quirk(EffectQueryCrashes)
	return !crashes
}

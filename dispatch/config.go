// Package dispatch is the Vulkan backend of vkattn: it plans an Op for a device, executes it in
// submits bounded by a time budget, and reports what ran and why.
package dispatch

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/vkattn/vkattn"
	"github.com/vkattn/vkattn/vk"
)

// Config says which device to open and how. The zero value opens the first real GPU and never falls back.
type Config struct {
	// Device is "" or "gpu" (a real GPU: discrete first, then integrated, then virtual), "auto" (a real
	// GPU if there is one, else the CPU backend), "cpu", the index of a device in Devices, or any part of
	// a device's name, case ignored. A software driver runs only when it is named or given by its index.
	Device string
	// Strict makes every fallback an error: to the CPU, and from a kernel rung to a lower one after a
	// failed self-test.
	Strict bool
	// Budget is the longest time that one submit may take by prediction. 0 means 50 ms.
	Budget time.Duration
	// Disable names what may not serve, of Rungs: rungs such as "subgroup" and "plain"; "registers", weights that
	// become matrices without passing through shared memory; "texels", texel buffers on software drivers; "integer-dot",
	// scores by integer dot products; "few-rows", the build for few rows; "range" and "decode", the
	// kernels of matrix units for many and for few rows that see one range of keys; and kernels that have no rungs. Open adds those in the environment variable
	// VKATTN_DISABLE, a comma-separated list. Names that nothing has are an error, on every device.
	Disable []string
	// Kernel forces one kernel family of Kernels: "" (planner's choice), "flash" (without integer dot products), "flash_dot" (with
	// them wherever keys are q8_0 or q4_0, accelerated or not) or "standard" (the unfused baseline) for attention;
	// "linear_recurrent" or "linear_chunk" for linear attention, the latter on matrix units where it can. Ops of the other kind are planned as with "".
	Kernel string
	// Splits forces the number of parts that the keys are split into; 0 lets the planner choose.
	Splits int
	// SplitKeys fixes the size of a part in keys, rounded up to a multiple of 32: the bits of a sequence
	// then do not depend on the other sequences of its batch. Linear attention takes them in one part. 0 lets the planner
	// choose. Not with Splits.
	SplitKeys int
	// Tiles are kernel shapes to take instead of the planner's, by class, as in "subgroup d128" (many rows of
	// head size 97 to 128) or "plain d64 rows4" (at most 4). What does not fit the device shrinks until it does.
	// nil takes what Tune has found on this device and driver.
	Tiles map[string]Tile
	// CacheDir holds pipeline caches and self-test verdicts. "" is the user's cache directory, "off" none.
	CacheDir string
	// Validation turns on Vulkan's validation layers; their messages go to OnMessage.
	Validation vk.ValidationLevel
	OnMessage  func(vk.Message)
	// Logger receives what is worth knowing about Open; nil is silent.
	Logger *slog.Logger
	// SkipSelfTest opens without the known-answer tests of the rungs.
	SkipSelfTest bool
	// VK holds test hooks of the device: lowered limits, memory limit, fault injection.
	VK vk.DeviceConfig
	// Library is the Vulkan loader to open; "" is the system's.
	Library string
	// Ask decides about the calls in which drivers have crashed, as vk.Config.Ask does. nil makes them unless vk.Quirks
	// warns of the driver or KeepQuery has kept that one crashed; where a process of its own has survived it (KeepQuery
	// again), the warning is void.
	Ask func(caps *vk.Caps, call string) bool
}

// Kernels are the names that Config.Kernel takes.
func Kernels() []string {
	return []string{"flash", dotVariant, "standard", linearRecurrent, linearChunk}
}

// Rungs are the names that Config.Disable takes: the rungs of all ladders, best first, and what has none.
func Rungs() []string {
	var names []string
	for _, r := range slices.Concat(rungsOf(matrixRungs), rungs, linearRungs) {
		if !slices.Contains(names, r.path) {
			names = append(names, r.path)
		}
	}
	return append(names, rangeRung, decodeRung, matrixRegisters, "texels", integerDot, fewRung, linearChunk, ropeVariant, mergeVariant, appendVariant, linearChunkMatrix)
}

// checkNames refuses a kernel that there is not.
func checkNames(kernel string) error {
	if kernel != "" && !slices.Contains(Kernels(), kernel) {
		return &vkattn.ArgError{Arg: "Config.Kernel", Reason: fmt.Sprintf("is %q, want one of %s", kernel, strings.Join(Kernels(), ", "))}
	}
	return nil
}

// disabledBy are the rungs that a caller and the environment turn off, with the reason.
func disabledBy(caller []string, environment string) (map[string]string, error) {
	off := map[string]string{}
	for _, from := range []struct {
		names    []string
		arg, why string
	}{{caller, "Config.Disable", "disabled by the caller"}, {strings.Split(environment, ","), "VKATTN_DISABLE", "disabled by VKATTN_DISABLE"}} {
		for _, name := range from.names {
			switch name = strings.TrimSpace(name); {
			case name == "":
			case !slices.Contains(Rungs(), name):
				return nil, &vkattn.ArgError{Arg: from.arg, Reason: fmt.Sprintf("names %q, want some of %s", name, strings.Join(Rungs(), ", "))}
			case off[name] == "":
				off[name] = from.why
			}
		}
	}
	return off, nil
}

// Device is one entry of Devices.
type Device struct {
	Index    int     `json:"index"`
	Software bool    `json:"software"` // a driver that runs on the CPU: used only when named
	Caps     vk.Caps `json:"caps"`
}

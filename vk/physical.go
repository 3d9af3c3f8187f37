//go:build cgo && !novulkan && (linux || windows)

package vk

// #include "shim.h"
import "C"

import (
	"encoding/hex"
	"fmt"
	"slices"
	"sort"
	"unsafe"

	goki "github.com/goki/vulkan"
)

// PhysicalDevice is a device that the loader found, not yet opened.
type PhysicalDevice struct {
	instance *Instance
	handle   uint64
	have     C.uint32_t
	caps     Caps
}

// Caps says what the device can do. The value was read when Devices ran; the caller may change it freely.
func (p *PhysicalDevice) Caps() Caps { return p.caps.Clone() }

// chainOf says for a device extension which structure of the shim's chain it brings.
var chainOf = map[string]C.uint32_t{
	"VK_EXT_subgroup_size_control":            C.VKATTN_SIZE_CONTROL,
	"VK_KHR_maintenance4":                     C.VKATTN_MAINTENANCE_4,
	"VK_KHR_shader_integer_dot_product":       C.VKATTN_DOT_PRODUCT,
	"VK_KHR_synchronization2":                 C.VKATTN_SYNCHRONIZATION_2,
	"VK_KHR_workgroup_memory_explicit_layout": C.VKATTN_EXPLICIT_LAYOUT,
	"VK_KHR_shader_subgroup_rotate":           C.VKATTN_ROTATE,
	"VK_KHR_shader_bfloat16":                  C.VKATTN_BFLOAT16,
	"VK_EXT_shader_float8":                    C.VKATTN_FLOAT8,
	"VK_KHR_cooperative_matrix":               C.VKATTN_MATRIX,
	"VK_NV_cooperative_matrix2":               C.VKATTN_MATRIX_2,
	"VK_EXT_memory_budget":                    C.VKATTN_BUDGET,
	"VK_KHR_portability_subset":               C.VKATTN_PORTABILITY,
}

func newPhysicalDevice(i *Instance, handle uint64) *PhysicalDevice {
	p := &PhysicalDevice{instance: i, handle: handle}
	h := C.uint64_t(handle)
	version := decodeVersion(uint32(C.vkattn_api_version(i.t, h)))
	if i.api.AtLeast(1, 1) && version.AtLeast(1, 2) {
		p.have |= C.VKATTN_API_1_2
		if version.AtLeast(1, 3) {
			p.have |= C.VKATTN_API_1_3
		}
	}
	p.caps.Extensions = queryExtensions(i, h)
	if p.have != 0 {
		for _, name := range p.caps.Extensions {
			p.have |= chainOf[name]
		}
	}
	p.queryCaps()
	p.queryMatrix()
	p.queryQueues()
	p.caps.Heaps, p.caps.MemoryTypes = p.queryMemory()
	p.caps.UnifiedMemory = unified(p.caps)
	p.caps.TexelFormats = []string{}
	for _, f := range texelFormats[1:] {
		if C.vkattn_texel_format(i.t, h, C.uint32_t(f.format)) != 0 {
			p.caps.TexelFormats = append(p.caps.TexelFormats, f.name)
		}
	}
	sort.Strings(p.caps.TexelFormats)
	return p
}

func queryExtensions(i *Instance, h C.uint64_t) []string {
	names := []string{}
	n := C.vkattn_extensions(i.t, h, nil, 0)
	if n <= 0 {
		return names
	}
	list := make([]C.vkattn_name, n)
	n = min(n, C.vkattn_extensions(i.t, h, &list[0], C.uint32_t(n)))
	for j := range max(n, 0) {
		names = append(names, C.GoString(&list[j].name[0]))
	}
	sort.Strings(names)
	return slices.Compact(names)
}

var deviceTypes = map[uint32]string{
	uint32(goki.PhysicalDeviceTypeIntegratedGpu): "integrated",
	uint32(goki.PhysicalDeviceTypeDiscreteGpu):   "discrete",
	uint32(goki.PhysicalDeviceTypeVirtualGpu):    "virtual",
	uint32(goki.PhysicalDeviceTypeCpu):           "cpu",
}

func (p *PhysicalDevice) queryCaps() {
	var c C.vkattn_caps
	var f C.vkattn_features
	C.vkattn_query(p.instance.t, C.uint64_t(p.handle), p.have, &c, &f)
	caps := &p.caps
	caps.Name = C.GoString(&c.name[0])
	caps.DriverName = C.GoString(&c.driver_name[0])
	caps.DriverInfo = C.GoString(&c.driver_info[0])
	caps.DriverID = uint32(c.driver_id)
	caps.DriverVersion = uint32(c.driver_version)
	caps.VendorID = uint32(c.vendor)
	caps.DeviceID = uint32(c.device)
	caps.APIVersion = decodeVersion(uint32(c.api))
	caps.DeviceType = deviceTypes[uint32(c.kind)]
	if caps.DeviceType == "" {
		caps.DeviceType = "other"
	}
	caps.UUID = hexUUID(c.uuid)
	caps.DriverUUID = hexUUID(c.driver_uuid)
	caps.PipelineCacheUUID = hexUUID(c.cache_uuid)
	caps.Limits = Limits{
		MaxStorageBufferRange:           uint64(c.max_storage_range),
		MaxMemoryAllocationSize:         uint64(c.max_allocation),
		MaxMemoryAllocationCount:        uint32(c.max_allocations),
		MaxBufferSize:                   uint64(c.max_buffer),
		MinStorageBufferOffsetAlignment: max(uint64(c.storage_alignment), 1),
		MinTexelBufferOffsetAlignment:   max(uint64(c.texel_alignment), 1),
		NonCoherentAtomSize:             max(uint64(c.atom), 1),
		MaxPushConstantsSize:            uint32(c.max_push),
		MaxComputeSharedMemorySize:      uint32(c.max_shared),
		MaxComputeWorkGroupInvocations:  uint32(c.max_invocations),
		MaxComputeWorkGroupSize:         triple(c.max_size),
		MaxComputeWorkGroupCount:        triple(c.max_count),
		MaxPerStageStorageBuffers:       uint32(c.max_storage_buffers),
		MaxPerStageResources:            uint32(c.max_resources),
		MaxBoundDescriptorSets:          uint32(c.max_sets),
		MaxTexelBufferElements:          uint32(c.max_texels),
		TimestampPeriod:                 float64(c.timestamp_period),
		MaxTimelineDifference:           uint64(c.max_timeline_difference),
	}
	if caps.Limits.MaxBufferSize == 0 { // no maintenance4
		caps.Limits.MaxBufferSize = caps.Limits.MaxMemoryAllocationSize
	}
	const compute = C.uint32_t(goki.ShaderStageComputeBit)
	caps.Subgroup = Subgroup{
		Size:                  uint32(c.subgroup_size),
		Min:                   uint32(c.subgroup_min),
		Max:                   uint32(c.subgroup_max),
		Compute:               c.subgroup_stages&compute != 0,
		Ops:                   subgroupOps(uint32(c.subgroup_ops)),
		ExtendedTypes:         f.subgroup_extended_types != 0,
		SizeControl:           f.size_control != 0,
		FullSubgroups:         f.full_subgroups != 0,
		RequiredSizeInCompute: f.size_control != 0 && c.required_stages&compute != 0,
		MaxWorkgroupSubgroups: uint32(c.max_subgroups),
	}
	if caps.Subgroup.Max == 0 { // no subgroup size control
		caps.Subgroup.Min, caps.Subgroup.Max = caps.Subgroup.Size, caps.Subgroup.Size
	}
	eachFeature(&caps.Features, &f, func(g *bool, c *C.uint32_t) { *g = *c != 0 })
	caps.Features.CooperativeMatrix = f.matrix != 0 && c.matrix_stages&compute != 0
	caps.Features.DotAcceleratedSigned = c.dot_signed != 0
	caps.Features.DotAcceleratedUnsigned = c.dot_unsigned != 0
	caps.Features.DotAcceleratedMixed = c.dot_mixed != 0
	caps.Features.SignedZeroInfNanPreserve16 = c.preserve16 != 0
	caps.Features.SignedZeroInfNanPreserve32 = c.preserve32 != 0
	caps.Features.DenormPreserve16 = c.denorm16 != 0
	caps.Features.DenormPreserve32 = c.denorm32 != 0
	caps.Features.DenormFlushToZero16 = c.flush16 != 0
	caps.Features.DenormFlushToZero32 = c.flush32 != 0
	caps.Features.RoundingModeRTE16 = c.rte16 != 0
	caps.Features.RoundingModeRTE32 = c.rte32 != 0
	caps.Features.MemoryBudget = p.have&C.VKATTN_BUDGET != 0
	caps.Features.CooperativeMatrix2Properties = CooperativeMatrix2Properties{
		WorkgroupScopeMaxWorkgroupSize:     uint32(c.m2_max_workgroup),
		FlexibleDimensionsMaxDimension:     uint32(c.m2_max_dimension),
		WorkgroupScopeReservedSharedMemory: uint32(c.m2_reserved_shared),
	}
}

// eachFeature pairs the features that a device is opened with in Go's and the shim's form.
func eachFeature(g *Features, c *C.vkattn_features, pair func(*bool, *C.uint32_t)) {
	pair(&g.Float16, &c.float16)
	pair(&g.Float64, &c.float64)
	pair(&g.Int8, &c.int8)
	pair(&g.Int16, &c.int16)
	pair(&g.Int64, &c.int64)
	pair(&g.Storage16, &c.storage16)
	pair(&g.Storage8, &c.storage8)
	pair(&g.Storage16Uniform, &c.storage16_uniform)
	pair(&g.Storage8Uniform, &c.storage8_uniform)
	pair(&g.Push16, &c.push16)
	pair(&g.Push8, &c.push8)
	pair(&g.TimelineSemaphore, &c.timeline)
	pair(&g.HostQueryReset, &c.host_query_reset)
	pair(&g.BufferDeviceAddress, &c.address)
	pair(&g.VulkanMemoryModel, &c.memory_model)
	pair(&g.VulkanMemoryModelDeviceScope, &c.memory_model_device)
	pair(&g.Maintenance4, &c.maintenance4)
	pair(&g.Synchronization2, &c.synchronization2)
	pair(&g.ScalarBlockLayout, &c.scalar_layout)
	pair(&g.UniformBufferStandardLayout, &c.uniform_layout)
	pair(&g.VariablePointersStorage, &c.variable_pointers)
	pair(&g.ZeroInitializeWorkgroup, &c.zero_workgroup)
	pair(&g.WorkgroupExplicitLayout, &c.explicit_layout)
	pair(&g.WorkgroupExplicitLayout8, &c.explicit_layout8)
	pair(&g.WorkgroupExplicitLayout16, &c.explicit_layout16)
	pair(&g.IntegerDotProduct, &c.dot_product)
	pair(&g.SubgroupRotate, &c.rotate)
	pair(&g.SubgroupRotateClustered, &c.rotate_clustered)
	pair(&g.BFloat16, &c.bfloat16)
	pair(&g.BFloat16DotProduct, &c.bfloat16_dot)
	pair(&g.BFloat16CooperativeMatrix, &c.bfloat16_matrix)
	pair(&g.Float8, &c.float8)
	pair(&g.Float8CooperativeMatrix, &c.float8_matrix)
	pair(&g.RobustBufferAccess, &c.robust)
	pair(&g.CooperativeMatrix, &c.matrix)
	pair(&g.CooperativeMatrixRobust, &c.matrix_robust)
	pair(&g.CooperativeMatrix2.WorkgroupScope, &c.m2_workgroup)
	pair(&g.CooperativeMatrix2.FlexibleDimensions, &c.m2_flexible)
	pair(&g.CooperativeMatrix2.Reductions, &c.m2_reductions)
	pair(&g.CooperativeMatrix2.Conversions, &c.m2_conversions)
	pair(&g.CooperativeMatrix2.PerElementOperations, &c.m2_per_element)
	pair(&g.CooperativeMatrix2.TensorAddressing, &c.m2_addressing)
	pair(&g.CooperativeMatrix2.BlockLoads, &c.m2_block_loads)
}

func (p *PhysicalDevice) queryMatrix() {
	p.caps.CooperativeMatrix = []MatrixShape{}
	p.caps.CooperativeMatrixFlexible = []MatrixGranularity{}
	h := C.uint64_t(p.handle)
	if p.caps.Features.CooperativeMatrix && p.ask(queryShapes) {
		for _, s := range shapes(func(out *C.vkattn_shape, n C.uint32_t) C.int32_t { return C.vkattn_shapes(p.instance.t, h, out, n) }) {
			p.caps.CooperativeMatrix = append(p.caps.CooperativeMatrix, MatrixShape{
				uint32(s.m), uint32(s.n), uint32(s.k), componentType(s.a), componentType(s.b), componentType(s.c), componentType(s.result),
				s.saturating != 0, scope(s.scope)})
		}
	}
	if p.caps.Features.CooperativeMatrix2.FlexibleDimensions && p.ask(queryGranularities) {
		for _, s := range shapes(func(out *C.vkattn_shape, n C.uint32_t) C.int32_t {
			return C.vkattn_granularities(p.instance.t, h, out, n)
		}) {
			p.caps.CooperativeMatrixFlexible = append(p.caps.CooperativeMatrixFlexible, MatrixGranularity{
				uint32(s.m), uint32(s.n), uint32(s.k), componentType(s.a), componentType(s.b), componentType(s.c), componentType(s.result),
				s.saturating != 0, scope(s.scope), uint32(s.invocations)})
		}
	}
}

// ask decides whether a risky call is made.
func (p *PhysicalDevice) ask(call string) bool {
	decide := p.instance.config.Ask
	if decide == nil {
		decide = askByQuirks
	}
	if decide(&p.caps, call) {
		return true
	}
	p.caps.Unasked = append(p.caps.Unasked, call)
	return false
}

func shapes(query func(*C.vkattn_shape, C.uint32_t) C.int32_t) []C.vkattn_shape {
	n := query(nil, 0)
	if n <= 0 {
		return nil
	}
	list := make([]C.vkattn_shape, n)
	n = min(n, query(&list[0], C.uint32_t(n)))
	return list[:max(n, 0)]
}

func (p *PhysicalDevice) queryQueues() {
	var list [64]C.vkattn_family
	n := C.vkattn_families(p.instance.t, C.uint64_t(p.handle), &list[0], C.uint32_t(len(list)))
	p.caps.QueueFamilies = []QueueFamily{}
	for _, f := range list[:min(int(n), len(list))] {
		p.caps.QueueFamilies = append(p.caps.QueueFamilies, QueueFamily{
			Count:              uint32(f.count),
			Graphics:           f.flags&C.uint32_t(goki.QueueGraphicsBit) != 0,
			Compute:            f.flags&C.uint32_t(goki.QueueComputeBit) != 0,
			Transfer:           f.flags&C.uint32_t(goki.QueueTransferBit) != 0,
			Flags:              uint32(f.flags),
			TimestampValidBits: uint32(f.timestamp_bits),
		})
	}
	p.caps.ComputeFamily = computeFamily(p.caps.QueueFamilies, p.caps.DeviceType)
	if int(p.caps.ComputeFamily) < len(p.caps.QueueFamilies) {
		p.caps.Limits.TimestampValidBits = p.caps.QueueFamilies[p.caps.ComputeFamily].TimestampValidBits
	}
}

func (p *PhysicalDevice) queryMemory() ([]MemoryHeap, []MemoryType) {
	var m C.vkattn_memory
	C.vkattn_query_memory(p.instance.t, C.uint64_t(p.handle), p.have, &m)
	heaps, types := []MemoryHeap{}, []MemoryType{}
	for j := range int(m.heap_count) {
		heaps = append(heaps, MemoryHeap{
			Size:        uint64(m.size[j]),
			DeviceLocal: m.heap_flags[j]&C.uint32_t(goki.MemoryHeapDeviceLocalBit) != 0,
			Budget:      uint64(m.budget[j]),
			Usage:       uint64(m.usage[j]),
		})
	}
	for j := range int(m.type_count) {
		flags := goki.MemoryPropertyFlagBits(m.type_flags[j])
		types = append(types, MemoryType{
			Heap:         uint32(m.type_heap[j]),
			DeviceLocal:  flags&goki.MemoryPropertyDeviceLocalBit != 0,
			HostVisible:  flags&goki.MemoryPropertyHostVisibleBit != 0,
			HostCoherent: flags&goki.MemoryPropertyHostCoherentBit != 0,
			HostCached:   flags&goki.MemoryPropertyHostCachedBit != 0,
			Flags:        uint32(flags),
		})
	}
	return heaps, types
}

func hexUUID(b [16]C.uint8_t) string { return hex.EncodeToString((*[16]byte)(unsafe.Pointer(&b))[:]) }

func triple(v [3]C.uint32_t) [3]uint32 { return [3]uint32{uint32(v[0]), uint32(v[1]), uint32(v[2])} }

// subgroupNames are the bits of VkSubgroupFeatureFlags; the rotate bits are newer than goki.
var subgroupNames = map[uint32]string{
	uint32(goki.SubgroupFeatureBasicBit):           "basic",
	uint32(goki.SubgroupFeatureVoteBit):            "vote",
	uint32(goki.SubgroupFeatureArithmeticBit):      "arithmetic",
	uint32(goki.SubgroupFeatureBallotBit):          "ballot",
	uint32(goki.SubgroupFeatureShuffleBit):         "shuffle",
	uint32(goki.SubgroupFeatureShuffleRelativeBit): "shuffle_relative",
	uint32(goki.SubgroupFeatureClusteredBit):       "clustered",
	uint32(goki.SubgroupFeatureQuadBit):            "quad",
	uint32(goki.SubgroupFeaturePartitionedBitNv):   "partitioned",
	0x200: "rotate",
	0x400: "rotate_clustered",
}

func subgroupOps(bits uint32) []string {
	ops := []string{}
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if bits&bit == 0 {
			continue
		}
		name, ok := subgroupNames[bit]
		if !ok {
			name = fmt.Sprintf("bit(%#x)", bit)
		}
		ops = append(ops, name)
	}
	sort.Strings(ops)
	return ops
}

// componentTypes are the values of VkComponentTypeKHR, which is newer than goki.
var componentTypes = map[C.uint32_t]string{
	0: "f16", 1: "f32", 2: "f64", 3: "s8", 4: "s16", 5: "s32", 6: "s64", 7: "u8", 8: "u16", 9: "u32", 10: "u64",
	1000141000: "bf16", 1000491000: "s8_packed", 1000491001: "u8_packed", 1000491002: "e4m3", 1000491003: "e5m2",
}

func componentType(t C.uint32_t) string {
	if name, ok := componentTypes[t]; ok {
		return name
	}
	return fmt.Sprintf("type(%d)", uint32(t))
}

func scope(s C.uint32_t) string {
	switch s {
	case 1:
		return "device"
	case 2:
		return "workgroup"
	case 3:
		return "subgroup"
	case 5:
		return "queue_family"
	}
	return fmt.Sprintf("scope(%d)", uint32(s))
}

package vk

import (
	"fmt"
	"slices"
)

// Caps is what a device and its driver can do, as plain data: no handles, no methods that reach a driver. It
// survives JSON unchanged, so that a record taken on one machine drives the planner's tests on any other.
// The same GPU differs by driver and by driver version: a record belongs to all three.
type Caps struct {
	Name              string  `json:"name"`
	DriverName        string  `json:"driver_name"`
	DriverInfo        string  `json:"driver_info"`
	DriverID          uint32  `json:"driver_id"`      // VkDriverId
	DriverVersion     uint32  `json:"driver_version"` // encoded in the vendor's own way
	VendorID          uint32  `json:"vendor_id"`
	DeviceID          uint32  `json:"device_id"`
	APIVersion        Version `json:"api_version"`
	DeviceType        string  `json:"device_type"` // discrete, integrated, virtual, cpu or other
	UUID              string  `json:"uuid"`        // hex, 32 digits
	DriverUUID        string  `json:"driver_uuid"`
	PipelineCacheUUID string  `json:"pipeline_cache_uuid"`

	Limits   Limits   `json:"limits"`
	Subgroup Subgroup `json:"subgroup"`
	Features Features `json:"features"`

	// CooperativeMatrix lists the fixed shapes of VK_KHR_cooperative_matrix in the driver's order, unchecked:
	// advertised is neither fast nor correct.
	CooperativeMatrix []MatrixShape `json:"cooperative_matrix"`
	// CooperativeMatrixFlexible lists the granularities of VK_NV_cooperative_matrix2.
	CooperativeMatrixFlexible []MatrixGranularity `json:"cooperative_matrix_flexible"`
	// Unasked names the Vulkan functions that were not called because a driver may crash in them; see Config.Ask. What
	// they would have told is missing here.
	Unasked []string `json:"unasked,omitempty"`
	// TexelFormats lists, sorted, which of the formats of TexelFormat can be read through a uniform texel buffer.
	TexelFormats []string `json:"texel_formats"`

	Heaps         []MemoryHeap  `json:"heaps"`
	MemoryTypes   []MemoryType  `json:"memory_types"`
	UnifiedMemory bool          `json:"unified_memory"` // all device memory can be mapped by the host: integrated, cpu
	QueueFamilies []QueueFamily `json:"queue_families"`
	ComputeFamily uint32        `json:"compute_family"` // index of the queue family that a Device uses
	Extensions    []string      `json:"extensions"`     // device extensions, sorted
}

// Version of the Vulkan API.
type Version struct {
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
	Patch uint32 `json:"patch"`
}

// String is "1.3.230".
func (v Version) String() string { return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch) }

// AtLeast compares major and minor.
func (v Version) AtLeast(major, minor uint32) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// Limits are in bytes unless the name says otherwise.
type Limits struct {
	MaxStorageBufferRange           uint64    `json:"max_storage_buffer_range"`
	MaxMemoryAllocationSize         uint64    `json:"max_memory_allocation_size"`
	MaxMemoryAllocationCount        uint32    `json:"max_memory_allocation_count"`
	MaxBufferSize                   uint64    `json:"max_buffer_size"` // without maintenance4: MaxMemoryAllocationSize
	MinStorageBufferOffsetAlignment uint64    `json:"min_storage_buffer_offset_alignment"`
	MinTexelBufferOffsetAlignment   uint64    `json:"min_texel_buffer_offset_alignment"`
	NonCoherentAtomSize             uint64    `json:"non_coherent_atom_size"`
	MaxPushConstantsSize            uint32    `json:"max_push_constants_size"`
	MaxComputeSharedMemorySize      uint32    `json:"max_compute_shared_memory_size"`
	MaxComputeWorkGroupInvocations  uint32    `json:"max_compute_work_group_invocations"`
	MaxComputeWorkGroupSize         [3]uint32 `json:"max_compute_work_group_size"`
	MaxComputeWorkGroupCount        [3]uint32 `json:"max_compute_work_group_count"`
	MaxPerStageStorageBuffers       uint32    `json:"max_per_stage_storage_buffers"`
	MaxPerStageResources            uint32    `json:"max_per_stage_resources"`
	MaxBoundDescriptorSets          uint32    `json:"max_bound_descriptor_sets"`
	MaxTexelBufferElements          uint32    `json:"max_texel_buffer_elements"` // elements
	TimestampPeriod                 float64   `json:"timestamp_period"`          // nanoseconds per tick
	TimestampValidBits              uint32    `json:"timestamp_valid_bits"`      // of ComputeFamily; 0: no timestamps
	MaxTimelineDifference           uint64    `json:"max_timeline_difference"`
}

// Subgroup says what the invocations of a subgroup can do together.
type Subgroup struct {
	Size                  uint32   `json:"size"` // what a kernel gets that asks for nothing
	Min                   uint32   `json:"min"`
	Max                   uint32   `json:"max"`
	Compute               bool     `json:"compute"`                  // operations work in compute shaders
	Ops                   []string `json:"ops"`                      // sorted: arithmetic, ballot, basic, clustered, partitioned, quad, rotate, rotate_clustered, shuffle, shuffle_relative, vote
	ExtendedTypes         bool     `json:"extended_types"`           // operations on 8- and 16-bit types and 64-bit integers
	SizeControl           bool     `json:"size_control"`             // feature subgroupSizeControl
	FullSubgroups         bool     `json:"full_subgroups"`           // feature computeFullSubgroups
	RequiredSizeInCompute bool     `json:"required_size_in_compute"` // PipelineSpec.SubgroupSize is honoured; SizeControl alone does not promise that
	MaxWorkgroupSubgroups uint32   `json:"max_workgroup_subgroups"`  // binds once a size is required; 0: unknown
}

// Has reports whether op is among Ops and works in compute shaders.
func (s Subgroup) Has(op string) bool { return s.Compute && slices.Contains(s.Ops, op) }

// Features are those a kernel may need. All that are true are enabled on an open Device.
type Features struct {
	Float16                      bool `json:"float16"`
	Float64                      bool `json:"float64"`
	Int8                         bool `json:"int8"`
	Int16                        bool `json:"int16"`
	Int64                        bool `json:"int64"`
	Storage16                    bool `json:"storage16"` // storageBuffer16BitAccess
	Storage8                     bool `json:"storage8"`
	Storage16Uniform             bool `json:"storage16_uniform"` // uniformAndStorageBuffer16BitAccess
	Storage8Uniform              bool `json:"storage8_uniform"`
	Push16                       bool `json:"push16"` // storagePushConstant16
	Push8                        bool `json:"push8"`
	TimelineSemaphore            bool `json:"timeline_semaphore"`
	HostQueryReset               bool `json:"host_query_reset"`
	BufferDeviceAddress          bool `json:"buffer_device_address"`
	VulkanMemoryModel            bool `json:"vulkan_memory_model"`
	VulkanMemoryModelDeviceScope bool `json:"vulkan_memory_model_device_scope"`
	Maintenance4                 bool `json:"maintenance4"`
	Synchronization2             bool `json:"synchronization2"`
	ScalarBlockLayout            bool `json:"scalar_block_layout"`
	UniformBufferStandardLayout  bool `json:"uniform_buffer_standard_layout"`
	VariablePointersStorage      bool `json:"variable_pointers_storage"`
	ZeroInitializeWorkgroup      bool `json:"zero_initialize_workgroup"`
	WorkgroupExplicitLayout      bool `json:"workgroup_explicit_layout"` // VK_KHR_workgroup_memory_explicit_layout
	WorkgroupExplicitLayout8     bool `json:"workgroup_explicit_layout8"`
	WorkgroupExplicitLayout16    bool `json:"workgroup_explicit_layout16"`
	IntegerDotProduct            bool `json:"integer_dot_product"`
	DotAcceleratedSigned         bool `json:"dot_accelerated_signed"`   // 4x8-bit packed, signed
	DotAcceleratedUnsigned       bool `json:"dot_accelerated_unsigned"` // 4x8-bit packed, unsigned
	DotAcceleratedMixed          bool `json:"dot_accelerated_mixed"`    // 4x8-bit packed, mixed signs
	SubgroupRotate               bool `json:"subgroup_rotate"`          // VK_KHR_shader_subgroup_rotate
	SubgroupRotateClustered      bool `json:"subgroup_rotate_clustered"`
	BFloat16                     bool `json:"bfloat16"`
	BFloat16DotProduct           bool `json:"bfloat16_dot_product"`
	BFloat16CooperativeMatrix    bool `json:"bfloat16_cooperative_matrix"`
	Float8                       bool `json:"float8"`
	Float8CooperativeMatrix      bool `json:"float8_cooperative_matrix"`
	SignedZeroInfNanPreserve16   bool `json:"signed_zero_inf_nan_preserve16"`
	SignedZeroInfNanPreserve32   bool `json:"signed_zero_inf_nan_preserve32"`
	DenormPreserve16             bool `json:"denorm_preserve16"`
	DenormPreserve32             bool `json:"denorm_preserve32"`
	DenormFlushToZero16          bool `json:"denorm_flush_to_zero16"`
	DenormFlushToZero32          bool `json:"denorm_flush_to_zero32"`
	RoundingModeRTE16            bool `json:"rounding_mode_rte16"`
	RoundingModeRTE32            bool `json:"rounding_mode_rte32"`
	RobustBufferAccess           bool `json:"robust_buffer_access"` // available; enabled only by DeviceConfig.Robust
	CooperativeMatrix            bool `json:"cooperative_matrix"`   // VK_KHR_cooperative_matrix, in compute shaders
	CooperativeMatrixRobust      bool `json:"cooperative_matrix_robust"`
	MemoryBudget                 bool `json:"memory_budget"` // MemoryHeap.Budget and Usage are known

	CooperativeMatrix2           CooperativeMatrix2           `json:"cooperative_matrix2"`
	CooperativeMatrix2Properties CooperativeMatrix2Properties `json:"cooperative_matrix2_properties"`
}

// CooperativeMatrix2 are the features of VK_NV_cooperative_matrix2; all false without it.
type CooperativeMatrix2 struct {
	WorkgroupScope       bool `json:"workgroup_scope"`
	FlexibleDimensions   bool `json:"flexible_dimensions"`
	Reductions           bool `json:"reductions"`
	Conversions          bool `json:"conversions"`
	PerElementOperations bool `json:"per_element_operations"`
	TensorAddressing     bool `json:"tensor_addressing"`
	BlockLoads           bool `json:"block_loads"`
}

// CooperativeMatrix2Properties are the limits of VK_NV_cooperative_matrix2.
type CooperativeMatrix2Properties struct {
	WorkgroupScopeMaxWorkgroupSize     uint32 `json:"workgroup_scope_max_workgroup_size"`     // invocations
	FlexibleDimensionsMaxDimension     uint32 `json:"flexible_dimensions_max_dimension"`      // elements
	WorkgroupScopeReservedSharedMemory uint32 `json:"workgroup_scope_reserved_shared_memory"` // bytes, to be taken off the shared memory
}

// MatrixShape is one product D(MxN) = A(MxK) B(KxN) + C(MxN) that the matrix unit does. Types are f16, f32, f64,
// bf16, s8, s16, s32, s64, u8, u16, u32, u64, e4m3, e5m2, or type(n) for one without a name here.
type MatrixShape struct {
	M          uint32 `json:"m"`
	N          uint32 `json:"n"`
	K          uint32 `json:"k"`
	A          string `json:"a"`
	B          string `json:"b"`
	C          string `json:"c"`
	Result     string `json:"result"`
	Saturating bool   `json:"saturating"`
	Scope      string `json:"scope"` // subgroup, workgroup, device or queue_family
}

// MatrixGranularity is what M, N and K must be multiples of when dimensions are flexible; types as in MatrixShape.
type MatrixGranularity struct {
	M           uint32 `json:"m"`
	N           uint32 `json:"n"`
	K           uint32 `json:"k"`
	A           string `json:"a"`
	B           string `json:"b"`
	C           string `json:"c"`
	Result      string `json:"result"`
	Saturating  bool   `json:"saturating"`
	Scope       string `json:"scope"`
	Invocations uint32 `json:"invocations"` // workgroup size this holds for; 0 for subgroup scope
}

// MemoryHeap is one pool of memory. Budget and Usage are of this process at the time of the query, 0 when unknown.
type MemoryHeap struct {
	Size        uint64 `json:"size"`
	DeviceLocal bool   `json:"device_local"`
	Budget      uint64 `json:"budget"`
	Usage       uint64 `json:"usage"`
}

// MemoryType is one way to use a heap.
type MemoryType struct {
	Heap         uint32 `json:"heap"`
	DeviceLocal  bool   `json:"device_local"`
	HostVisible  bool   `json:"host_visible"`
	HostCoherent bool   `json:"host_coherent"`
	HostCached   bool   `json:"host_cached"`
	Flags        uint32 `json:"flags"` // VkMemoryPropertyFlags, whole
}

// QueueFamily is a kind of queue.
type QueueFamily struct {
	Count              uint32 `json:"count"`
	Graphics           bool   `json:"graphics"`
	Compute            bool   `json:"compute"`
	Transfer           bool   `json:"transfer"`
	Flags              uint32 `json:"flags"` // VkQueueFlags, whole
	TimestampValidBits uint32 `json:"timestamp_valid_bits"`
}

// Clone returns a copy that shares no slice with c.
func (c Caps) Clone() Caps {
	c.Subgroup.Ops = slices.Clone(c.Subgroup.Ops)
	c.CooperativeMatrix = slices.Clone(c.CooperativeMatrix)
	c.CooperativeMatrixFlexible = slices.Clone(c.CooperativeMatrixFlexible)
	c.Unasked = slices.Clone(c.Unasked)
	c.TexelFormats = slices.Clone(c.TexelFormats)
	c.Heaps = slices.Clone(c.Heaps)
	c.MemoryTypes = slices.Clone(c.MemoryTypes)
	c.QueueFamilies = slices.Clone(c.QueueFamilies)
	c.Extensions = slices.Clone(c.Extensions)
	return c
}

// HasExtension reports whether the device extension name is present.
func (c Caps) HasExtension(name string) bool { return slices.Contains(c.Extensions, name) }

// Our own declarations of the part of Vulkan that the shim calls, so that no system header is needed and
// structures newer than any installed header are there. Names and order are those of the specification; a Go test
// compares sizes and offsets with goki's copy of the official header where that has the structure.
#ifndef VKATTN_SHIM_VK_H
#define VKATTN_SHIM_VK_H

#include <stddef.h>
#include <stdint.h>

#ifdef _WIN32
#define VKAPI __stdcall
#else
#define VKAPI
#endif

typedef uint32_t Bool;
typedef uint64_t Size;
typedef uint64_t Handle; // of a non-dispatchable object
typedef void *Object;    // a dispatchable object: instance, device, queue, command buffer
typedef void(VKAPI *Function)(void);

enum {
  API_1_2 = (1u << 22) | (2u << 12),
  API_1_3 = (1u << 22) | (3u << 12),
};

enum {
  TYPE_APPLICATION_INFO = 0,
  TYPE_INSTANCE_CREATE_INFO = 1,
  TYPE_DEVICE_QUEUE_CREATE_INFO = 2,
  TYPE_DEVICE_CREATE_INFO = 3,
  TYPE_SUBMIT_INFO = 4,
  TYPE_MEMORY_ALLOCATE_INFO = 5,
  TYPE_MAPPED_MEMORY_RANGE = 6,
  TYPE_SEMAPHORE_CREATE_INFO = 9,
  TYPE_QUERY_POOL_CREATE_INFO = 11,
  TYPE_BUFFER_CREATE_INFO = 12,
  TYPE_BUFFER_VIEW_CREATE_INFO = 13,
  TYPE_SHADER_MODULE_CREATE_INFO = 16,
  TYPE_PIPELINE_CACHE_CREATE_INFO = 17,
  TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO = 18,
  TYPE_COMPUTE_PIPELINE_CREATE_INFO = 29,
  TYPE_PIPELINE_LAYOUT_CREATE_INFO = 30,
  TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO = 32,
  TYPE_DESCRIPTOR_POOL_CREATE_INFO = 33,
  TYPE_DESCRIPTOR_SET_ALLOCATE_INFO = 34,
  TYPE_WRITE_DESCRIPTOR_SET = 35,
  TYPE_COMMAND_POOL_CREATE_INFO = 39,
  TYPE_COMMAND_BUFFER_ALLOCATE_INFO = 40,
  TYPE_COMMAND_BUFFER_BEGIN_INFO = 42,
  TYPE_MEMORY_BARRIER = 46,
  TYPE_VULKAN_11_FEATURES = 49,
  TYPE_VULKAN_11_PROPERTIES = 50,
  TYPE_VULKAN_12_FEATURES = 51,
  TYPE_VULKAN_12_PROPERTIES = 52,
  TYPE_VULKAN_13_FEATURES = 53,
  TYPE_VULKAN_13_PROPERTIES = 54,
  TYPE_FEATURES_2 = 1000059000,
  TYPE_PROPERTIES_2 = 1000059001,
  TYPE_MEMORY_PROPERTIES_2 = 1000059006,
  TYPE_MEMORY_ALLOCATE_FLAGS_INFO = 1000060000,
  TYPE_DEBUG_UTILS_OBJECT_NAME_INFO = 1000128000,
  TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO = 1000128004,
  TYPE_SHADER_BFLOAT16_FEATURES = 1000141000,
  TYPE_SEMAPHORE_TYPE_CREATE_INFO = 1000207002,
  TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO = 1000207003,
  TYPE_SEMAPHORE_WAIT_INFO = 1000207004,
  TYPE_SUBGROUP_SIZE_CONTROL_PROPERTIES = 1000225000,
  TYPE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO = 1000225001,
  TYPE_SUBGROUP_SIZE_CONTROL_FEATURES = 1000225002,
  TYPE_MEMORY_BUDGET_PROPERTIES = 1000237000,
  TYPE_BUFFER_DEVICE_ADDRESS_INFO = 1000244001,
  TYPE_VALIDATION_FEATURES = 1000247000,
  TYPE_INTEGER_DOT_PRODUCT_FEATURES = 1000280000,
  TYPE_INTEGER_DOT_PRODUCT_PROPERTIES = 1000280001,
  TYPE_SYNCHRONIZATION_2_FEATURES = 1000314007,
  TYPE_WORKGROUP_EXPLICIT_LAYOUT_FEATURES = 1000336000,
  TYPE_MAINTENANCE_4_FEATURES = 1000413000,
  TYPE_MAINTENANCE_4_PROPERTIES = 1000413001,
  TYPE_SUBGROUP_ROTATE_FEATURES = 1000416000,
  TYPE_LAYER_SETTINGS_CREATE_INFO = 1000496000,
  TYPE_COOPERATIVE_MATRIX_FEATURES = 1000506000,
  TYPE_COOPERATIVE_MATRIX_SHAPE = 1000506001,
  TYPE_COOPERATIVE_MATRIX_PROPERTIES = 1000506002,
  TYPE_SHADER_FLOAT8_FEATURES = 1000567000,
  TYPE_COOPERATIVE_MATRIX_2_FEATURES = 1000593000,
  TYPE_COOPERATIVE_MATRIX_2_GRANULARITY = 1000593001,
  TYPE_COOPERATIVE_MATRIX_2_PROPERTIES = 1000593002,
};

enum {
  STAGE_COMPUTE = 0x20, // VK_SHADER_STAGE_COMPUTE_BIT

  DESCRIPTOR_UNIFORM_TEXEL = 4,
  DESCRIPTOR_UNIFORM_BUFFER = 6,
  DESCRIPTOR_STORAGE_BUFFER = 7,

  PIPELINE_STAGE_BOTTOM = 0x2000,

  FORMAT_UNIFORM_TEXEL = 0x8, // VK_FORMAT_FEATURE_UNIFORM_TEXEL_BUFFER_BIT
};

typedef struct { uint32_t type; void *next; } Base;

// --- instance ---------------------------------------------------------------------------------------------------

typedef struct { uint32_t type; const void *next; const char *name; uint32_t version; const char *engine; uint32_t engine_version; uint32_t api; } ApplicationInfo;
typedef struct { uint32_t type; const void *next; uint32_t flags; const ApplicationInfo *app; uint32_t layer_count; const char *const *layers; uint32_t extension_count; const char *const *extensions; } InstanceCreateInfo;
typedef struct { char name[256]; uint32_t version; } ExtensionProperties;
typedef struct { char name[256]; uint32_t spec, version; char description[256]; } LayerProperties;
typedef struct { uint32_t type; const void *next; uint32_t enabled_count; const uint32_t *enabled; uint32_t disabled_count; const uint32_t *disabled; } ValidationFeatures;
typedef struct { const char *layer, *name; uint32_t type, count; const void *values; } LayerSetting;
typedef struct { uint32_t type; const void *next; uint32_t count; const LayerSetting *settings; } LayerSettingsCreateInfo;

typedef struct { uint32_t type; const void *next; uint32_t flags; const char *id; int32_t number; const char *text; uint32_t queue_label_count; const void *queue_labels; uint32_t command_label_count; const void *command_labels; uint32_t object_count; const void *objects; } MessageData;
typedef Bool(VKAPI *MessageCallback)(uint32_t severity, uint32_t types, const MessageData *data, void *user);
typedef struct { uint32_t type; const void *next; uint32_t flags, severities, types; MessageCallback callback; void *user; } MessengerCreateInfo;
typedef struct { uint32_t type; const void *next; uint32_t object_type; uint64_t object; const char *name; } ObjectNameInfo;

// --- physical device --------------------------------------------------------------------------------------------

typedef struct {
  Bool robustBufferAccess, fullDrawIndexUint32, imageCubeArray, independentBlend, geometryShader, tessellationShader, sampleRateShading,
      dualSrcBlend, logicOp, multiDrawIndirect, drawIndirectFirstInstance, depthClamp, depthBiasClamp, fillModeNonSolid, depthBounds,
      wideLines, largePoints, alphaToOne, multiViewport, samplerAnisotropy, textureCompressionETC2, textureCompressionASTC_LDR,
      textureCompressionBC, occlusionQueryPrecise, pipelineStatisticsQuery, vertexPipelineStoresAndAtomics, fragmentStoresAndAtomics,
      shaderTessellationAndGeometryPointSize, shaderImageGatherExtended, shaderStorageImageExtendedFormats, shaderStorageImageMultisample,
      shaderStorageImageReadWithoutFormat, shaderStorageImageWriteWithoutFormat, shaderUniformBufferArrayDynamicIndexing,
      shaderSampledImageArrayDynamicIndexing, shaderStorageBufferArrayDynamicIndexing, shaderStorageImageArrayDynamicIndexing,
      shaderClipDistance, shaderCullDistance, shaderFloat64, shaderInt64, shaderInt16, shaderResourceResidency, shaderResourceMinLod,
      sparseBinding, sparseResidencyBuffer, sparseResidencyImage2D, sparseResidencyImage3D, sparseResidency2Samples,
      sparseResidency4Samples, sparseResidency8Samples, sparseResidency16Samples, sparseResidencyAliased, variableMultisampleRate,
      inheritedQueries;
} Features10;

typedef struct { uint32_t type; void *next; Features10 features; } Features2;

typedef struct {
  uint32_t type; void *next;
  Bool storageBuffer16BitAccess, uniformAndStorageBuffer16BitAccess, storagePushConstant16, storageInputOutput16, multiview,
      multiviewGeometryShader, multiviewTessellationShader, variablePointersStorageBuffer, variablePointers, protectedMemory,
      samplerYcbcrConversion, shaderDrawParameters;
} Features11;

typedef struct {
  uint32_t type; void *next;
  Bool samplerMirrorClampToEdge, drawIndirectCount, storageBuffer8BitAccess, uniformAndStorageBuffer8BitAccess, storagePushConstant8,
      shaderBufferInt64Atomics, shaderSharedInt64Atomics, shaderFloat16, shaderInt8, descriptorIndexing,
      shaderInputAttachmentArrayDynamicIndexing, shaderUniformTexelBufferArrayDynamicIndexing,
      shaderStorageTexelBufferArrayDynamicIndexing, shaderUniformBufferArrayNonUniformIndexing,
      shaderSampledImageArrayNonUniformIndexing, shaderStorageBufferArrayNonUniformIndexing, shaderStorageImageArrayNonUniformIndexing,
      shaderInputAttachmentArrayNonUniformIndexing, shaderUniformTexelBufferArrayNonUniformIndexing,
      shaderStorageTexelBufferArrayNonUniformIndexing, descriptorBindingUniformBufferUpdateAfterBind,
      descriptorBindingSampledImageUpdateAfterBind, descriptorBindingStorageImageUpdateAfterBind,
      descriptorBindingStorageBufferUpdateAfterBind, descriptorBindingUniformTexelBufferUpdateAfterBind,
      descriptorBindingStorageTexelBufferUpdateAfterBind, descriptorBindingUpdateUnusedWhilePending, descriptorBindingPartiallyBound,
      descriptorBindingVariableDescriptorCount, runtimeDescriptorArray, samplerFilterMinmax, scalarBlockLayout, imagelessFramebuffer,
      uniformBufferStandardLayout, shaderSubgroupExtendedTypes, separateDepthStencilLayouts, hostQueryReset, timelineSemaphore,
      bufferDeviceAddress, bufferDeviceAddressCaptureReplay, bufferDeviceAddressMultiDevice, vulkanMemoryModel,
      vulkanMemoryModelDeviceScope, vulkanMemoryModelAvailabilityVisibilityChains, shaderOutputViewportIndex, shaderOutputLayer,
      subgroupBroadcastDynamicId;
} Features12;

typedef struct {
  uint32_t type; void *next;
  Bool robustImageAccess, inlineUniformBlock, descriptorBindingInlineUniformBlockUpdateAfterBind, pipelineCreationCacheControl,
      privateData, shaderDemoteToHelperInvocation, shaderTerminateInvocation, subgroupSizeControl, computeFullSubgroups,
      synchronization2, textureCompressionASTC_HDR, shaderZeroInitializeWorkgroupMemory, dynamicRendering, shaderIntegerDotProduct,
      maintenance4;
} Features13;

typedef struct { uint32_t type; void *next; Bool subgroupSizeControl, computeFullSubgroups; } SizeControlFeatures;
typedef struct { uint32_t type; void *next; Bool on; } OneFeature; // maintenance4, integer dot product, synchronization2
typedef struct { uint32_t type; void *next; Bool layout, scalar, access8, access16; } ExplicitLayoutFeatures;
typedef struct { uint32_t type; void *next; Bool rotate, clustered; } RotateFeatures;
typedef struct { uint32_t type; void *next; Bool bfloat16, dot_product, cooperative_matrix; } BFloat16Features;
typedef struct { uint32_t type; void *next; Bool float8, cooperative_matrix; } Float8Features;
typedef struct { uint32_t type; void *next; Bool on, robust; } MatrixFeatures;
typedef struct { uint32_t type; void *next; Bool workgroup_scope, flexible_dimensions, reductions, conversions, per_element_operations, tensor_addressing, block_loads; } Matrix2Features;

typedef struct {
  uint32_t maxImageDimension1D, maxImageDimension2D, maxImageDimension3D, maxImageDimensionCube, maxImageArrayLayers,
      maxTexelBufferElements, maxUniformBufferRange, maxStorageBufferRange, maxPushConstantsSize, maxMemoryAllocationCount,
      maxSamplerAllocationCount;
  Size bufferImageGranularity, sparseAddressSpaceSize;
  uint32_t maxBoundDescriptorSets, maxPerStageDescriptorSamplers, maxPerStageDescriptorUniformBuffers,
      maxPerStageDescriptorStorageBuffers, maxPerStageDescriptorSampledImages, maxPerStageDescriptorStorageImages,
      maxPerStageDescriptorInputAttachments, maxPerStageResources, maxDescriptorSetSamplers, maxDescriptorSetUniformBuffers,
      maxDescriptorSetUniformBuffersDynamic, maxDescriptorSetStorageBuffers, maxDescriptorSetStorageBuffersDynamic,
      maxDescriptorSetSampledImages, maxDescriptorSetStorageImages, maxDescriptorSetInputAttachments, maxVertexInputAttributes,
      maxVertexInputBindings, maxVertexInputAttributeOffset, maxVertexInputBindingStride, maxVertexOutputComponents,
      maxTessellationGenerationLevel, maxTessellationPatchSize, maxTessellationControlPerVertexInputComponents,
      maxTessellationControlPerVertexOutputComponents, maxTessellationControlPerPatchOutputComponents,
      maxTessellationControlTotalOutputComponents, maxTessellationEvaluationInputComponents,
      maxTessellationEvaluationOutputComponents, maxGeometryShaderInvocations, maxGeometryInputComponents,
      maxGeometryOutputComponents, maxGeometryOutputVertices, maxGeometryTotalOutputComponents, maxFragmentInputComponents,
      maxFragmentOutputAttachments, maxFragmentDualSrcAttachments, maxFragmentCombinedOutputResources, maxComputeSharedMemorySize,
      maxComputeWorkGroupCount[3], maxComputeWorkGroupInvocations, maxComputeWorkGroupSize[3], subPixelPrecisionBits,
      subTexelPrecisionBits, mipmapPrecisionBits, maxDrawIndexedIndexValue, maxDrawIndirectCount;
  float maxSamplerLodBias, maxSamplerAnisotropy;
  uint32_t maxViewports, maxViewportDimensions[2];
  float viewportBoundsRange[2];
  uint32_t viewportSubPixelBits;
  size_t minMemoryMapAlignment;
  Size minTexelBufferOffsetAlignment, minUniformBufferOffsetAlignment, minStorageBufferOffsetAlignment;
  int32_t minTexelOffset;
  uint32_t maxTexelOffset;
  int32_t minTexelGatherOffset;
  uint32_t maxTexelGatherOffset;
  float minInterpolationOffset, maxInterpolationOffset;
  uint32_t subPixelInterpolationOffsetBits, maxFramebufferWidth, maxFramebufferHeight, maxFramebufferLayers,
      framebufferColorSampleCounts, framebufferDepthSampleCounts, framebufferStencilSampleCounts, framebufferNoAttachmentsSampleCounts,
      maxColorAttachments, sampledImageColorSampleCounts, sampledImageIntegerSampleCounts, sampledImageDepthSampleCounts,
      sampledImageStencilSampleCounts, storageImageSampleCounts, maxSampleMaskWords;
  Bool timestampComputeAndGraphics;
  float timestampPeriod;
  uint32_t maxClipDistances, maxCullDistances, maxCombinedClipAndCullDistances, discreteQueuePriorities;
  float pointSizeRange[2], lineWidthRange[2], pointSizeGranularity, lineWidthGranularity;
  Bool strictLines, standardSampleLocations;
  Size optimalBufferCopyOffsetAlignment, optimalBufferCopyRowPitchAlignment, nonCoherentAtomSize;
} DeviceLimits;

typedef struct {
  uint32_t apiVersion, driverVersion, vendorID, deviceID, deviceType;
  char deviceName[256];
  uint8_t pipelineCacheUUID[16];
  DeviceLimits limits;
  Bool sparse[5];
} Properties10;

typedef struct { uint32_t type; void *next; Properties10 properties; } Properties2;

typedef struct {
  uint32_t type; void *next;
  uint8_t deviceUUID[16], driverUUID[16], deviceLUID[8];
  uint32_t deviceNodeMask;
  Bool deviceLUIDValid;
  uint32_t subgroupSize, subgroupSupportedStages, subgroupSupportedOperations;
  Bool subgroupQuadOperationsInAllStages;
  uint32_t pointClippingBehavior, maxMultiviewViewCount, maxMultiviewInstanceIndex;
  Bool protectedNoFault;
  uint32_t maxPerSetDescriptors;
  Size maxMemoryAllocationSize;
} Properties11;

typedef struct {
  uint32_t type; void *next;
  uint32_t driverID;
  char driverName[256], driverInfo[256];
  uint8_t conformanceVersion[4];
  uint32_t denormBehaviorIndependence, roundingModeIndependence;
  Bool shaderSignedZeroInfNanPreserveFloat16, shaderSignedZeroInfNanPreserveFloat32, shaderSignedZeroInfNanPreserveFloat64,
      shaderDenormPreserveFloat16, shaderDenormPreserveFloat32, shaderDenormPreserveFloat64, shaderDenormFlushToZeroFloat16,
      shaderDenormFlushToZeroFloat32, shaderDenormFlushToZeroFloat64, shaderRoundingModeRTEFloat16, shaderRoundingModeRTEFloat32,
      shaderRoundingModeRTEFloat64, shaderRoundingModeRTZFloat16, shaderRoundingModeRTZFloat32, shaderRoundingModeRTZFloat64;
  uint32_t maxUpdateAfterBindDescriptorsInAllPools;
  Bool shaderUniformBufferArrayNonUniformIndexingNative, shaderSampledImageArrayNonUniformIndexingNative,
      shaderStorageBufferArrayNonUniformIndexingNative, shaderStorageImageArrayNonUniformIndexingNative,
      shaderInputAttachmentArrayNonUniformIndexingNative, robustBufferAccessUpdateAfterBind, quadDivergentImplicitLod;
  uint32_t maxPerStageDescriptorUpdateAfterBindSamplers, maxPerStageDescriptorUpdateAfterBindUniformBuffers,
      maxPerStageDescriptorUpdateAfterBindStorageBuffers, maxPerStageDescriptorUpdateAfterBindSampledImages,
      maxPerStageDescriptorUpdateAfterBindStorageImages, maxPerStageDescriptorUpdateAfterBindInputAttachments,
      maxPerStageUpdateAfterBindResources, maxDescriptorSetUpdateAfterBindSamplers, maxDescriptorSetUpdateAfterBindUniformBuffers,
      maxDescriptorSetUpdateAfterBindUniformBuffersDynamic, maxDescriptorSetUpdateAfterBindStorageBuffers,
      maxDescriptorSetUpdateAfterBindStorageBuffersDynamic, maxDescriptorSetUpdateAfterBindSampledImages,
      maxDescriptorSetUpdateAfterBindStorageImages, maxDescriptorSetUpdateAfterBindInputAttachments, supportedDepthResolveModes,
      supportedStencilResolveModes;
  Bool independentResolveNone, independentResolve, filterMinmaxSingleComponentFormats, filterMinmaxImageComponentMapping;
  uint64_t maxTimelineSemaphoreValueDifference;
  uint32_t framebufferIntegerColorSampleCounts;
} Properties12;

typedef struct { uint32_t minSubgroupSize, maxSubgroupSize, maxComputeWorkgroupSubgroups, requiredSubgroupSizeStages; } SizeControl;

// The thirty integer dot product flags in their order; we read the three of the 4x8 bit packed kind.
typedef struct { Bool unsigned8, signed8, mixed8, packed_unsigned, packed_signed, packed_mixed, others[24]; } DotProduct;

typedef struct {
  uint32_t type; void *next;
  SizeControl sizes;
  uint32_t maxInlineUniformBlockSize, maxPerStageDescriptorInlineUniformBlocks, maxPerStageDescriptorUpdateAfterBindInlineUniformBlocks,
      maxDescriptorSetInlineUniformBlocks, maxDescriptorSetUpdateAfterBindInlineUniformBlocks, maxInlineUniformTotalSize;
  DotProduct dot;
  Size storageTexelBufferOffsetAlignmentBytes;
  Bool storageTexelBufferOffsetSingleTexelAlignment;
  Size uniformTexelBufferOffsetAlignmentBytes;
  Bool uniformTexelBufferOffsetSingleTexelAlignment;
  Size maxBufferSize;
} Properties13;

typedef struct { uint32_t type; void *next; SizeControl sizes; } SizeControlProperties;
typedef struct { uint32_t type; void *next; DotProduct dot; } DotProductProperties;
typedef struct { uint32_t type; void *next; Size maxBufferSize; } Maintenance4Properties;
typedef struct { uint32_t type; void *next; uint32_t stages; } MatrixProperties;
typedef struct { uint32_t type; void *next; uint32_t max_workgroup, max_dimension, reserved_shared; } Matrix2Properties;
typedef struct { uint32_t type; void *next; uint32_t m, n, k, a, b, c, result; Bool saturating; uint32_t scope; } MatrixShape;
typedef struct { uint32_t type; void *next; uint32_t m, n, k, a, b, c, result; Bool saturating; uint32_t scope, invocations; } MatrixGranularity;

typedef struct { uint32_t flags, heap; } MemoryType;
typedef struct { Size size; uint32_t flags; } MemoryHeap;
typedef struct { uint32_t type_count; MemoryType types[32]; uint32_t heap_count; MemoryHeap heaps[16]; } MemoryProperties;
typedef struct { uint32_t type; void *next; MemoryProperties memory; } MemoryProperties2;
typedef struct { uint32_t type; void *next; Size budget[16], usage[16]; } MemoryBudget;
typedef struct { uint32_t flags, count, timestamp_bits, granularity[3]; } QueueFamily;
typedef struct { uint32_t linear, optimal, buffer; } FormatProperties;

// --- device -----------------------------------------------------------------------------------------------------

typedef struct { uint32_t type; const void *next; uint32_t flags, family, count; const float *priorities; } DeviceQueueCreateInfo;
typedef struct { uint32_t type; const void *next; uint32_t flags, queue_count; const DeviceQueueCreateInfo *queues; uint32_t layer_count; const char *const *layers; uint32_t extension_count; const char *const *extensions; const Features10 *features; } DeviceCreateInfo;
typedef struct { uint32_t type; const void *next; uint32_t flags; Size size; uint32_t usage, sharing, family_count; const uint32_t *families; } BufferCreateInfo;
typedef struct { uint32_t type; const void *next; uint32_t flags; Handle buffer; uint32_t format; Size offset, range; } BufferViewCreateInfo;
typedef struct { Size size, alignment; uint32_t types; } MemoryRequirements;
typedef struct { uint32_t type; const void *next; Size size; uint32_t memory_type; } MemoryAllocateInfo;
typedef struct { uint32_t type; const void *next; uint32_t flags, device_mask; } MemoryAllocateFlagsInfo;
typedef struct { uint32_t type; const void *next; Handle memory; Size offset, size; } MappedMemoryRange;
typedef struct { uint32_t type; const void *next; Handle buffer; } BufferAddressInfo;

typedef struct { uint32_t type; const void *next; uint32_t flags; size_t bytes; const uint32_t *code; } ShaderModuleCreateInfo;
typedef struct { uint32_t binding, type, count, stages; const Handle *samplers; } SetLayoutBinding;
typedef struct { uint32_t type; const void *next; uint32_t flags, count; const SetLayoutBinding *bindings; } SetLayoutCreateInfo;
typedef struct { uint32_t stages, offset, size; } PushRange;
typedef struct { uint32_t type; const void *next; uint32_t flags, set_count; const Handle *sets; uint32_t push_count; const PushRange *pushes; } PipelineLayoutCreateInfo;
typedef struct { uint32_t id, offset; size_t size; } SpecEntry;
typedef struct { uint32_t count; const SpecEntry *entries; size_t bytes; const void *data; } SpecInfo;
typedef struct { uint32_t type; const void *next; uint32_t flags, stage; Handle module; const char *name; const SpecInfo *spec; } StageCreateInfo;
typedef struct { uint32_t type; void *next; uint32_t size; } RequiredSubgroupSize;
typedef struct { uint32_t type; const void *next; uint32_t flags; StageCreateInfo stage; Handle layout, base; int32_t base_index; } ComputePipelineCreateInfo;
typedef struct { uint32_t type; const void *next; uint32_t flags; size_t bytes; const void *data; } PipelineCacheCreateInfo;

typedef struct { uint32_t type, count; } PoolSize;
typedef struct { uint32_t type; const void *next; uint32_t flags, max_sets, size_count; const PoolSize *sizes; } DescriptorPoolCreateInfo;
typedef struct { uint32_t type; const void *next; Handle pool; uint32_t count; const Handle *layouts; } SetAllocateInfo;
typedef struct { Handle buffer; Size offset, range; } DescriptorBuffer;
typedef struct { uint32_t type; const void *next; Handle set; uint32_t binding, element, count, kind; const void *images; const DescriptorBuffer *buffers; const Handle *views; } WriteSet;

typedef struct { uint32_t type; const void *next; uint32_t flags, family; } CommandPoolCreateInfo;
typedef struct { uint32_t type; const void *next; Handle pool; uint32_t level, count; } CommandBufferAllocateInfo;
typedef struct { uint32_t type; const void *next; uint32_t flags; const void *inheritance; } CommandBufferBeginInfo;
typedef struct { uint32_t type; const void *next; uint32_t src, dst; } MemoryBarrier;
typedef struct { Size src, dst, size; } BufferCopy;
typedef struct { uint32_t type; const void *next; uint32_t flags, kind, count, statistics; } QueryPoolCreateInfo;

typedef struct { uint32_t type; const void *next; uint32_t flags; } SemaphoreCreateInfo;
typedef struct { uint32_t type; const void *next; uint32_t kind; uint64_t value; } SemaphoreTypeCreateInfo;
typedef struct { uint32_t type; const void *next; uint32_t wait_count; const Handle *waits; const uint32_t *stages; uint32_t command_count; const Object *commands; uint32_t signal_count; const Handle *signals; } SubmitInfo;
typedef struct { uint32_t type; const void *next; uint32_t wait_count; const uint64_t *waits; uint32_t signal_count; const uint64_t *signals; } TimelineSubmitInfo;
typedef struct { uint32_t type; const void *next; uint32_t flags, count; const Handle *semaphores; const uint64_t *values; } SemaphoreWaitInfo;

#endif

//go:build cgo && !novulkan && (linux || windows)

// Sizes and offsets of our declarations, for the test that compares them with an official header.

#include "shim_chain.h"

#define SIZE(ours, official) {official, sizeof(ours)},
#define FIELD(ours, field, official) {official "." #field, offsetof(ours, field)},

static const vkattn_layout_entry entries[] = {
    SIZE(ApplicationInfo, "ApplicationInfo")
    SIZE(InstanceCreateInfo, "InstanceCreateInfo")
    SIZE(ExtensionProperties, "ExtensionProperties")
    SIZE(LayerProperties, "LayerProperties")
    SIZE(ValidationFeatures, "ValidationFeatures")
    SIZE(Features10, "PhysicalDeviceFeatures")
    SIZE(Features2, "PhysicalDeviceFeatures2")
    SIZE(Features11, "PhysicalDeviceVulkan11Features")
    SIZE(Features12, "PhysicalDeviceVulkan12Features")
    SIZE(Features13, "PhysicalDeviceVulkan13Features")
    SIZE(SizeControlFeatures, "PhysicalDeviceSubgroupSizeControlFeatures")
    SIZE(OneFeature, "PhysicalDeviceMaintenance4Features")
    SIZE(OneFeature, "PhysicalDeviceShaderIntegerDotProductFeatures")
    SIZE(OneFeature, "PhysicalDeviceSynchronization2Features")
    SIZE(ExplicitLayoutFeatures, "PhysicalDeviceWorkgroupMemoryExplicitLayoutFeatures")
    SIZE(DeviceLimits, "PhysicalDeviceLimits")
    SIZE(Properties10, "PhysicalDeviceProperties")
    SIZE(Properties2, "PhysicalDeviceProperties2")
    SIZE(Properties11, "PhysicalDeviceVulkan11Properties")
    SIZE(Properties12, "PhysicalDeviceVulkan12Properties")
    SIZE(Properties13, "PhysicalDeviceVulkan13Properties")
    SIZE(SizeControlProperties, "PhysicalDeviceSubgroupSizeControlProperties")
    SIZE(DotProductProperties, "PhysicalDeviceShaderIntegerDotProductProperties")
    SIZE(Maintenance4Properties, "PhysicalDeviceMaintenance4Properties")
    SIZE(MemoryType, "MemoryType")
    SIZE(MemoryHeap, "MemoryHeap")
    SIZE(MemoryProperties, "PhysicalDeviceMemoryProperties")
    SIZE(MemoryProperties2, "PhysicalDeviceMemoryProperties2")
    SIZE(MemoryBudget, "PhysicalDeviceMemoryBudgetProperties")
    SIZE(QueueFamily, "QueueFamilyProperties")
    SIZE(FormatProperties, "FormatProperties")
    SIZE(DeviceQueueCreateInfo, "DeviceQueueCreateInfo")
    SIZE(DeviceCreateInfo, "DeviceCreateInfo")
    SIZE(BufferCreateInfo, "BufferCreateInfo")
    SIZE(BufferViewCreateInfo, "BufferViewCreateInfo")
    SIZE(MemoryRequirements, "MemoryRequirements")
    SIZE(MemoryAllocateInfo, "MemoryAllocateInfo")
    SIZE(MemoryAllocateFlagsInfo, "MemoryAllocateFlagsInfo")
    SIZE(MappedMemoryRange, "MappedMemoryRange")
    SIZE(BufferAddressInfo, "BufferDeviceAddressInfo")
    SIZE(ShaderModuleCreateInfo, "ShaderModuleCreateInfo")
    SIZE(SetLayoutBinding, "DescriptorSetLayoutBinding")
    SIZE(SetLayoutCreateInfo, "DescriptorSetLayoutCreateInfo")
    SIZE(PushRange, "PushConstantRange")
    SIZE(PipelineLayoutCreateInfo, "PipelineLayoutCreateInfo")
    SIZE(SpecEntry, "SpecializationMapEntry")
    SIZE(SpecInfo, "SpecializationInfo")
    SIZE(StageCreateInfo, "PipelineShaderStageCreateInfo")
    SIZE(RequiredSubgroupSize, "PipelineShaderStageRequiredSubgroupSizeCreateInfo")
    SIZE(ComputePipelineCreateInfo, "ComputePipelineCreateInfo")
    SIZE(PipelineCacheCreateInfo, "PipelineCacheCreateInfo")
    SIZE(PoolSize, "DescriptorPoolSize")
    SIZE(DescriptorPoolCreateInfo, "DescriptorPoolCreateInfo")
    SIZE(SetAllocateInfo, "DescriptorSetAllocateInfo")
    SIZE(DescriptorBuffer, "DescriptorBufferInfo")
    SIZE(WriteSet, "WriteDescriptorSet")
    SIZE(CommandPoolCreateInfo, "CommandPoolCreateInfo")
    SIZE(CommandBufferAllocateInfo, "CommandBufferAllocateInfo")
    SIZE(CommandBufferBeginInfo, "CommandBufferBeginInfo")
    SIZE(MemoryBarrier, "MemoryBarrier")
    SIZE(BufferCopy, "BufferCopy")
    SIZE(QueryPoolCreateInfo, "QueryPoolCreateInfo")
    SIZE(SemaphoreCreateInfo, "SemaphoreCreateInfo")
    SIZE(SemaphoreTypeCreateInfo, "SemaphoreTypeCreateInfo")
    SIZE(SubmitInfo, "SubmitInfo")
    SIZE(TimelineSubmitInfo, "TimelineSemaphoreSubmitInfo")
    SIZE(SemaphoreWaitInfo, "SemaphoreWaitInfo")

    FIELD(Features10, robustBufferAccess, "PhysicalDeviceFeatures")
    FIELD(Features10, shaderFloat64, "PhysicalDeviceFeatures")
    FIELD(Features10, shaderInt64, "PhysicalDeviceFeatures")
    FIELD(Features10, shaderInt16, "PhysicalDeviceFeatures")
    FIELD(Features11, storageBuffer16BitAccess, "PhysicalDeviceVulkan11Features")
    FIELD(Features11, uniformAndStorageBuffer16BitAccess, "PhysicalDeviceVulkan11Features")
    FIELD(Features11, storagePushConstant16, "PhysicalDeviceVulkan11Features")
    FIELD(Features11, variablePointersStorageBuffer, "PhysicalDeviceVulkan11Features")
    FIELD(Features12, shaderFloat16, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, shaderInt8, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, storageBuffer8BitAccess, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, uniformAndStorageBuffer8BitAccess, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, storagePushConstant8, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, timelineSemaphore, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, hostQueryReset, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, bufferDeviceAddress, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, vulkanMemoryModel, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, vulkanMemoryModelDeviceScope, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, scalarBlockLayout, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, uniformBufferStandardLayout, "PhysicalDeviceVulkan12Features")
    FIELD(Features12, shaderSubgroupExtendedTypes, "PhysicalDeviceVulkan12Features")
    FIELD(Features13, maintenance4, "PhysicalDeviceVulkan13Features")
    FIELD(Features13, synchronization2, "PhysicalDeviceVulkan13Features")
    FIELD(Features13, shaderIntegerDotProduct, "PhysicalDeviceVulkan13Features")
    FIELD(Features13, subgroupSizeControl, "PhysicalDeviceVulkan13Features")
    FIELD(Features13, computeFullSubgroups, "PhysicalDeviceVulkan13Features")
    FIELD(Features13, shaderZeroInitializeWorkgroupMemory, "PhysicalDeviceVulkan13Features")
    FIELD(Properties10, limits, "PhysicalDeviceProperties")
    FIELD(Properties10, deviceName, "PhysicalDeviceProperties")
    FIELD(Properties10, pipelineCacheUUID, "PhysicalDeviceProperties")
    FIELD(DeviceLimits, maxTexelBufferElements, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, maxStorageBufferRange, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, maxPushConstantsSize, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, maxMemoryAllocationCount, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, maxBoundDescriptorSets, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, maxPerStageDescriptorStorageBuffers, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, maxPerStageResources, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, maxComputeSharedMemorySize, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, maxComputeWorkGroupCount, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, maxComputeWorkGroupInvocations, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, maxComputeWorkGroupSize, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, minTexelBufferOffsetAlignment, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, minStorageBufferOffsetAlignment, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, timestampPeriod, "PhysicalDeviceLimits")
    FIELD(DeviceLimits, nonCoherentAtomSize, "PhysicalDeviceLimits")
    FIELD(Properties11, deviceUUID, "PhysicalDeviceVulkan11Properties")
    FIELD(Properties11, driverUUID, "PhysicalDeviceVulkan11Properties")
    FIELD(Properties11, subgroupSize, "PhysicalDeviceVulkan11Properties")
    FIELD(Properties11, subgroupSupportedStages, "PhysicalDeviceVulkan11Properties")
    FIELD(Properties11, subgroupSupportedOperations, "PhysicalDeviceVulkan11Properties")
    FIELD(Properties11, maxMemoryAllocationSize, "PhysicalDeviceVulkan11Properties")
    FIELD(Properties12, driverID, "PhysicalDeviceVulkan12Properties")
    FIELD(Properties12, driverName, "PhysicalDeviceVulkan12Properties")
    FIELD(Properties12, driverInfo, "PhysicalDeviceVulkan12Properties")
    FIELD(Properties12, shaderSignedZeroInfNanPreserveFloat16, "PhysicalDeviceVulkan12Properties")
    FIELD(Properties12, shaderDenormPreserveFloat32, "PhysicalDeviceVulkan12Properties")
    FIELD(Properties12, shaderDenormFlushToZeroFloat32, "PhysicalDeviceVulkan12Properties")
    FIELD(Properties12, shaderRoundingModeRTEFloat16, "PhysicalDeviceVulkan12Properties")
    FIELD(Properties12, maxTimelineSemaphoreValueDifference, "PhysicalDeviceVulkan12Properties")
    FIELD(Properties13, maxBufferSize, "PhysicalDeviceVulkan13Properties")
    {"PhysicalDeviceVulkan13Properties.minSubgroupSize", offsetof(Properties13, sizes.minSubgroupSize)},
    {"PhysicalDeviceVulkan13Properties.maxSubgroupSize", offsetof(Properties13, sizes.maxSubgroupSize)},
    {"PhysicalDeviceVulkan13Properties.maxComputeWorkgroupSubgroups", offsetof(Properties13, sizes.maxComputeWorkgroupSubgroups)},
    {"PhysicalDeviceVulkan13Properties.requiredSubgroupSizeStages", offsetof(Properties13, sizes.requiredSubgroupSizeStages)},
    {"PhysicalDeviceVulkan13Properties.integerDotProduct4x8BitPackedUnsignedAccelerated", offsetof(Properties13, dot.packed_unsigned)},
    {"PhysicalDeviceVulkan13Properties.integerDotProduct4x8BitPackedSignedAccelerated", offsetof(Properties13, dot.packed_signed)},
    {"PhysicalDeviceVulkan13Properties.integerDotProduct4x8BitPackedMixedSignednessAccelerated", offsetof(Properties13, dot.packed_mixed)},
    {"WriteDescriptorSet.descriptorType", offsetof(WriteSet, kind)},
    {"WriteDescriptorSet.pBufferInfo", offsetof(WriteSet, buffers)},
    {"WriteDescriptorSet.pTexelBufferView", offsetof(WriteSet, views)},
    {"ComputePipelineCreateInfo.stage", offsetof(ComputePipelineCreateInfo, stage)},
    {"ComputePipelineCreateInfo.layout", offsetof(ComputePipelineCreateInfo, layout)},
    {"PipelineShaderStageCreateInfo.module", offsetof(StageCreateInfo, module)},
    {"PipelineShaderStageCreateInfo.pSpecializationInfo", offsetof(StageCreateInfo, spec)},
    {"SubmitInfo.pCommandBuffers", offsetof(SubmitInfo, commands)},
    {"SubmitInfo.pSignalSemaphores", offsetof(SubmitInfo, signals)},
    {"DeviceCreateInfo.ppEnabledExtensionNames", offsetof(DeviceCreateInfo, extensions)},
    {"BufferCreateInfo.usage", offsetof(BufferCreateInfo, usage)},
    {"BufferViewCreateInfo.offset", offsetof(BufferViewCreateInfo, offset)},
};

const vkattn_layout_entry *vkattn_layout(int *count) {
  *count = (int)(sizeof entries / sizeof *entries);
  return entries;
}

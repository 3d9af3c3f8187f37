// The function tables, shared by the shim's C files only.
#ifndef VKATTN_SHIM_INTERNAL_H
#define VKATTN_SHIM_INTERNAL_H

#include "shim.h"
#include "shim_vk.h"

#define INSTANCE_FUNCTIONS(X)                                                                                                   \
  X(void, DestroyInstance, (Object, const void *))                                                                              \
  X(int32_t, EnumeratePhysicalDevices, (Object, uint32_t *, Object *))                                                          \
  X(int32_t, EnumerateDeviceExtensionProperties, (Object, const char *, uint32_t *, ExtensionProperties *))                     \
  X(void, GetPhysicalDeviceProperties, (Object, Properties10 *))                                                                \
  X(void, GetPhysicalDeviceFeatures, (Object, Features10 *))                                                                    \
  X(void, GetPhysicalDeviceProperties2, (Object, Properties2 *))                                                                \
  X(void, GetPhysicalDeviceFeatures2, (Object, Features2 *))                                                                    \
  X(void, GetPhysicalDeviceMemoryProperties, (Object, MemoryProperties *))                                                      \
  X(void, GetPhysicalDeviceMemoryProperties2, (Object, MemoryProperties2 *))                                                    \
  X(void, GetPhysicalDeviceQueueFamilyProperties, (Object, uint32_t *, QueueFamily *))                                          \
  X(void, GetPhysicalDeviceFormatProperties, (Object, uint32_t, FormatProperties *))                                            \
  X(int32_t, GetPhysicalDeviceCooperativeMatrixPropertiesKHR, (Object, uint32_t *, MatrixShape *))                              \
  X(int32_t, GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV, (Object, uint32_t *, MatrixGranularity *))       \
  X(int32_t, CreateDevice, (Object, const DeviceCreateInfo *, const void *, Object *))                                          \
  X(Function, GetDeviceProcAddr, (Object, const char *))                                                                        \
  X(int32_t, CreateDebugUtilsMessengerEXT, (Object, const MessengerCreateInfo *, const void *, Handle *))                       \
  X(void, DestroyDebugUtilsMessengerEXT, (Object, Handle, const void *))                                                        \
  X(int32_t, SetDebugUtilsObjectNameEXT, (Object, const ObjectNameInfo *))

#define DEVICE_FUNCTIONS(X)                                                                                                     \
  X(void, DestroyDevice, (Object, const void *))                                                                                \
  X(void, GetDeviceQueue, (Object, uint32_t, uint32_t, Object *))                                                               \
  X(int32_t, DeviceWaitIdle, (Object))                                                                                          \
  X(int32_t, QueueSubmit, (Object, uint32_t, const SubmitInfo *, Handle))                                                       \
  X(int32_t, CreateSemaphore, (Object, const SemaphoreCreateInfo *, const void *, Handle *))                                    \
  X(void, DestroySemaphore, (Object, Handle, const void *))                                                                     \
  X(int32_t, WaitSemaphores, (Object, const SemaphoreWaitInfo *, uint64_t))                                                     \
  X(int32_t, GetSemaphoreCounterValue, (Object, Handle, uint64_t *))                                                            \
  X(int32_t, CreateBuffer, (Object, const BufferCreateInfo *, const void *, Handle *))                                          \
  X(void, DestroyBuffer, (Object, Handle, const void *))                                                                        \
  X(void, GetBufferMemoryRequirements, (Object, Handle, MemoryRequirements *))                                                  \
  X(uint64_t, GetBufferDeviceAddress, (Object, const BufferAddressInfo *))                                                      \
  X(int32_t, CreateBufferView, (Object, const BufferViewCreateInfo *, const void *, Handle *))                                  \
  X(void, DestroyBufferView, (Object, Handle, const void *))                                                                    \
  X(int32_t, AllocateMemory, (Object, const MemoryAllocateInfo *, const void *, Handle *))                                      \
  X(void, FreeMemory, (Object, Handle, const void *))                                                                           \
  X(int32_t, BindBufferMemory, (Object, Handle, Handle, Size))                                                                  \
  X(int32_t, MapMemory, (Object, Handle, Size, Size, uint32_t, void **))                                                        \
  X(int32_t, FlushMappedMemoryRanges, (Object, uint32_t, const MappedMemoryRange *))                                            \
  X(int32_t, InvalidateMappedMemoryRanges, (Object, uint32_t, const MappedMemoryRange *))                                       \
  X(int32_t, CreateShaderModule, (Object, const ShaderModuleCreateInfo *, const void *, Handle *))                              \
  X(void, DestroyShaderModule, (Object, Handle, const void *))                                                                  \
  X(int32_t, CreateDescriptorSetLayout, (Object, const SetLayoutCreateInfo *, const void *, Handle *))                          \
  X(void, DestroyDescriptorSetLayout, (Object, Handle, const void *))                                                           \
  X(int32_t, CreatePipelineLayout, (Object, const PipelineLayoutCreateInfo *, const void *, Handle *))                          \
  X(void, DestroyPipelineLayout, (Object, Handle, const void *))                                                                \
  X(int32_t, CreateComputePipelines, (Object, Handle, uint32_t, const ComputePipelineCreateInfo *, const void *, Handle *))     \
  X(void, DestroyPipeline, (Object, Handle, const void *))                                                                      \
  X(int32_t, CreatePipelineCache, (Object, const PipelineCacheCreateInfo *, const void *, Handle *))                            \
  X(void, DestroyPipelineCache, (Object, Handle, const void *))                                                                 \
  X(int32_t, MergePipelineCaches, (Object, Handle, uint32_t, const Handle *))                                                   \
  X(int32_t, GetPipelineCacheData, (Object, Handle, size_t *, void *))                                                          \
  X(int32_t, CreateDescriptorPool, (Object, const DescriptorPoolCreateInfo *, const void *, Handle *))                          \
  X(void, DestroyDescriptorPool, (Object, Handle, const void *))                                                                \
  X(int32_t, ResetDescriptorPool, (Object, Handle, uint32_t))                                                                   \
  X(int32_t, AllocateDescriptorSets, (Object, const SetAllocateInfo *, Handle *))                                               \
  X(void, UpdateDescriptorSets, (Object, uint32_t, const WriteSet *, uint32_t, const void *))                                   \
  X(int32_t, CreateCommandPool, (Object, const CommandPoolCreateInfo *, const void *, Handle *))                                \
  X(void, DestroyCommandPool, (Object, Handle, const void *))                                                                   \
  X(int32_t, ResetCommandPool, (Object, Handle, uint32_t))                                                                      \
  X(int32_t, AllocateCommandBuffers, (Object, const CommandBufferAllocateInfo *, Object *))                                     \
  X(int32_t, BeginCommandBuffer, (Object, const CommandBufferBeginInfo *))                                                      \
  X(int32_t, EndCommandBuffer, (Object))                                                                                        \
  X(int32_t, CreateQueryPool, (Object, const QueryPoolCreateInfo *, const void *, Handle *))                                    \
  X(void, DestroyQueryPool, (Object, Handle, const void *))                                                                     \
  X(int32_t, GetQueryPoolResults, (Object, Handle, uint32_t, uint32_t, size_t, void *, Size, uint32_t))                         \
  X(void, CmdBindPipeline, (Object, uint32_t, Handle))                                                                          \
  X(void, CmdBindDescriptorSets, (Object, uint32_t, Handle, uint32_t, uint32_t, const Handle *, uint32_t, const uint32_t *))    \
  X(void, CmdPushConstants, (Object, Handle, uint32_t, uint32_t, uint32_t, const void *))                                       \
  X(void, CmdDispatch, (Object, uint32_t, uint32_t, uint32_t))                                                                  \
  X(void, CmdPipelineBarrier, (Object, uint32_t, uint32_t, uint32_t, uint32_t, const MemoryBarrier *, uint32_t, const void *, uint32_t, const void *)) \
  X(void, CmdCopyBuffer, (Object, Handle, Handle, uint32_t, const BufferCopy *))                                                \
  X(void, CmdFillBuffer, (Object, Handle, Size, Size, uint32_t))                                                                \
  X(void, CmdUpdateBuffer, (Object, Handle, Size, Size, const void *))                                                          \
  X(void, CmdResetQueryPool, (Object, Handle, uint32_t, uint32_t))                                                              \
  X(void, CmdWriteTimestamp, (Object, uint32_t, Handle, uint32_t))                                                              \
  X(void, CmdCopyQueryPoolResults, (Object, Handle, uint32_t, uint32_t, Handle, Size, Size, uint32_t))

#define DECLARE(result, name, arguments) result(VKAPI *name) arguments;

typedef struct vkattn_messages vkattn_messages;

struct vkattn_instance {
  Object handle;
  Function(VKAPI *GetInstanceProcAddr)(Object, const char *);
  INSTANCE_FUNCTIONS(DECLARE)
  vkattn_messages *messages;
  Handle messenger;
};

struct vkattn_device {
  Object handle, queue;
  uint32_t family;
  Handle timeline;
  int32_t(VKAPI *SetDebugUtilsObjectNameEXT)(Object, const ObjectNameInfo *); // NULL unless messages are wanted
  DEVICE_FUNCTIONS(DECLARE)
};

static inline Object vkattn_object(uint64_t handle) { return (Object)(uintptr_t)handle; }

vkattn_messages *vkattn_messages_create(void);
void vkattn_messages_free(vkattn_messages *);
Bool VKAPI vkattn_on_message(uint32_t severity, uint32_t types, const MessageData *data, void *messages);

#endif

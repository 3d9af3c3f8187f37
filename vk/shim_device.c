//go:build cgo && !novulkan && (linux || windows)

// The device, its queue with one timeline semaphore, and its memory.

#include <stdlib.h>

#include "shim_chain.h"

static const struct { uint32_t bit; const char *name; int core_in_1_3; } extension_of[] = {
    {VKATTN_SIZE_CONTROL, "VK_EXT_subgroup_size_control", 1},
    {VKATTN_MAINTENANCE_4, "VK_KHR_maintenance4", 1},
    {VKATTN_DOT_PRODUCT, "VK_KHR_shader_integer_dot_product", 1},
    {VKATTN_SYNCHRONIZATION_2, "VK_KHR_synchronization2", 1},
    {VKATTN_EXPLICIT_LAYOUT, "VK_KHR_workgroup_memory_explicit_layout", 0},
    {VKATTN_ROTATE, "VK_KHR_shader_subgroup_rotate", 0},
    {VKATTN_BFLOAT16, "VK_KHR_shader_bfloat16", 0},
    {VKATTN_FLOAT8, "VK_EXT_shader_float8", 0},
    {VKATTN_MATRIX, "VK_KHR_cooperative_matrix", 0},
    {VKATTN_MATRIX_2, "VK_NV_cooperative_matrix2", 0},
    {VKATTN_BUDGET, "VK_EXT_memory_budget", 0},
    {VKATTN_PORTABILITY, "VK_KHR_portability_subset", 0},
};

vkattn_device_made vkattn_device_create(vkattn_instance *t, uint64_t physical, uint32_t have, const vkattn_features *enable, uint32_t family) {
  vkattn_device_made made = {-1, "calloc", NULL};
  vkattn_device *d = calloc(1, sizeof *d);
  if (!d) return made;
  d->family = family;

  FeatureChain c;
  vkattn_chain(&c, have);
#define WRITE(field, path) c.path = enable->field;
  EACH_FEATURE(WRITE)
  if (!(have & VKATTN_API_1_3)) vkattn_chain_demote(&c);

  const char *names[32];
  uint32_t count = 0;
  for (unsigned i = 0; i < sizeof extension_of / sizeof *extension_of; i++)
    if ((have & extension_of[i].bit) && !(extension_of[i].core_in_1_3 && (have & VKATTN_API_1_3))) names[count++] = extension_of[i].name;

  float priority = 1;
  DeviceQueueCreateInfo queue = {TYPE_DEVICE_QUEUE_CREATE_INFO, NULL, 0, family, 1, &priority};
  DeviceCreateInfo info = {TYPE_DEVICE_CREATE_INFO, &c.f2, 0, 1, &queue, 0, NULL, count, names, NULL};
  made.call = "vkCreateDevice";
  made.result = t->CreateDevice(vkattn_object(physical), &info, NULL, &d->handle);
  if (made.result != 0) {
    free(d);
    return made;
  }
#define LOAD(result, name, arguments) d->name = (result(VKAPI *) arguments)t->GetDeviceProcAddr(d->handle, "vk" #name);
  DEVICE_FUNCTIONS(LOAD)
  // Through the instance: the loader answers for drivers that lack it.
  d->SetDebugUtilsObjectNameEXT = t->SetDebugUtilsObjectNameEXT;
  d->GetDeviceQueue(d->handle, family, 0, &d->queue);

  SemaphoreTypeCreateInfo kind = {TYPE_SEMAPHORE_TYPE_CREATE_INFO, NULL, 1, 0}; // timeline, from 0
  SemaphoreCreateInfo semaphore = {TYPE_SEMAPHORE_CREATE_INFO, &kind, 0};
  made.call = "vkCreateSemaphore";
  made.result = d->CreateSemaphore(d->handle, &semaphore, NULL, &d->timeline);
  if (made.result != 0) {
    vkattn_device_destroy(d);
    return made;
  }
  made.device = d;
  return made;
}

void vkattn_device_destroy(vkattn_device *d) {
  d->DestroySemaphore(d->handle, d->timeline, NULL);
  d->DestroyDevice(d->handle, NULL);
  free(d);
}

int32_t vkattn_device_wait_idle(vkattn_device *d) { return d->DeviceWaitIdle(d->handle); }

int32_t vkattn_submit(vkattn_device *d, uint64_t command_buffer, uint64_t value) {
  Object commands = vkattn_object(command_buffer);
  TimelineSubmitInfo timeline = {TYPE_TIMELINE_SEMAPHORE_SUBMIT_INFO, NULL, 0, NULL, 1, &value};
  SubmitInfo info = {TYPE_SUBMIT_INFO, &timeline, 0, NULL, NULL, 1, &commands, 1, &d->timeline};
  return d->QueueSubmit(d->queue, 1, &info, 0);
}

int32_t vkattn_wait(vkattn_device *d, uint64_t value, uint64_t nanoseconds) {
  SemaphoreWaitInfo info = {TYPE_SEMAPHORE_WAIT_INFO, NULL, 0, 1, &d->timeline, &value};
  return d->WaitSemaphores(d->handle, &info, nanoseconds);
}

vkattn_progress vkattn_completed(vkattn_device *d) {
  vkattn_progress p = {0, 0};
  p.result = d->GetSemaphoreCounterValue(d->handle, d->timeline, &p.value);
  return p;
}

vkattn_buffer_made vkattn_buffer_create(vkattn_device *d, uint64_t size, uint32_t usage) {
  vkattn_buffer_made made = {0, 0, 0, 0, 0};
  BufferCreateInfo info = {TYPE_BUFFER_CREATE_INFO, NULL, 0, size, usage, 0, 0, NULL};
  made.result = d->CreateBuffer(d->handle, &info, NULL, &made.buffer);
  if (made.result != 0) return made;
  MemoryRequirements r = {0, 0, 0};
  d->GetBufferMemoryRequirements(d->handle, made.buffer, &r);
  made.size = r.size;
  made.alignment = r.alignment;
  made.types = r.types;
  return made;
}

int32_t vkattn_buffer_bind(vkattn_device *d, uint64_t buffer, uint64_t memory) { return d->BindBufferMemory(d->handle, buffer, memory, 0); }

uint64_t vkattn_buffer_address(vkattn_device *d, uint64_t buffer) {
  BufferAddressInfo info = {TYPE_BUFFER_DEVICE_ADDRESS_INFO, NULL, buffer};
  return d->GetBufferDeviceAddress(d->handle, &info);
}

void vkattn_buffer_destroy(vkattn_device *d, uint64_t buffer) { d->DestroyBuffer(d->handle, buffer, NULL); }

vkattn_made vkattn_view_create(vkattn_device *d, uint64_t buffer, uint32_t format, uint64_t offset, uint64_t range) {
  vkattn_made made = {0, "vkCreateBufferView", 0};
  BufferViewCreateInfo info = {TYPE_BUFFER_VIEW_CREATE_INFO, NULL, 0, buffer, format, offset, range};
  made.result = d->CreateBufferView(d->handle, &info, NULL, &made.handle);
  return made;
}

void vkattn_view_destroy(vkattn_device *d, uint64_t view) { d->DestroyBufferView(d->handle, view, NULL); }

vkattn_made vkattn_memory_allocate(vkattn_device *d, uint64_t size, uint32_t type, uint32_t address) {
  vkattn_made made = {0, "vkAllocateMemory", 0};
  MemoryAllocateFlagsInfo flags = {TYPE_MEMORY_ALLOCATE_FLAGS_INFO, NULL, 2, 0}; // VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT
  MemoryAllocateInfo info = {TYPE_MEMORY_ALLOCATE_INFO, address ? &flags : NULL, size, type};
  made.result = d->AllocateMemory(d->handle, &info, NULL, &made.handle);
  return made;
}

void vkattn_memory_free(vkattn_device *d, uint64_t memory) { d->FreeMemory(d->handle, memory, NULL); }

vkattn_mapped vkattn_memory_map(vkattn_device *d, uint64_t memory) {
  vkattn_mapped mapped = {0, NULL};
  mapped.result = d->MapMemory(d->handle, memory, 0, UINT64_MAX, 0, &mapped.pointer); // VK_WHOLE_SIZE
  return mapped;
}

int32_t vkattn_memory_flush(vkattn_device *d, uint64_t memory, uint64_t offset, uint64_t size) {
  MappedMemoryRange range = {TYPE_MAPPED_MEMORY_RANGE, NULL, memory, offset, size};
  return d->FlushMappedMemoryRanges(d->handle, 1, &range);
}

int32_t vkattn_memory_invalidate(vkattn_device *d, uint64_t memory, uint64_t offset, uint64_t size) {
  MappedMemoryRange range = {TYPE_MAPPED_MEMORY_RANGE, NULL, memory, offset, size};
  return d->InvalidateMappedMemoryRanges(d->handle, 1, &range);
}

void vkattn_set_name(vkattn_device *d, uint32_t object_type, uint64_t object, const char *name) {
  if (!d->SetDebugUtilsObjectNameEXT) return;
  ObjectNameInfo info = {TYPE_DEBUG_UTILS_OBJECT_NAME_INFO, NULL, object_type, object, name};
  d->SetDebugUtilsObjectNameEXT(d->handle, &info);
}

//go:build cgo && !novulkan && (linux || windows)

// What a physical device can do, and the chain of feature structures that both the question and the creation of a
// device need.

#include <stdlib.h>
#include <string.h>

#include "shim_chain.h"

int32_t vkattn_extensions(vkattn_instance *t, uint64_t device, vkattn_name *out, uint32_t capacity) {
  uint32_t n = 0;
  int32_t result = t->EnumerateDeviceExtensionProperties(vkattn_object(device), NULL, &n, NULL);
  if (result < 0 || n == 0) return result < 0 ? result : 0;
  ExtensionProperties *list = calloc(n, sizeof *list);
  if (!list) return -1;
  result = t->EnumerateDeviceExtensionProperties(vkattn_object(device), NULL, &n, list);
  for (uint32_t i = 0; result >= 0 && i < n && i < capacity; i++) memcpy(out[i].name, list[i].name, sizeof out[i].name);
  free(list);
  return result < 0 ? result : (int32_t)n;
}

int32_t vkattn_families(vkattn_instance *t, uint64_t device, vkattn_family *out, uint32_t capacity) {
  QueueFamily list[64];
  uint32_t n = 64;
  t->GetPhysicalDeviceQueueFamilyProperties(vkattn_object(device), &n, list);
  for (uint32_t i = 0; i < n && i < capacity; i++) out[i] = (vkattn_family){list[i].flags, list[i].count, list[i].timestamp_bits};
  return (int32_t)n;
}

// Some drivers have crashed inside this query (GPUOpen-Drivers/AMDVLK issue 422), so it stands alone.
int32_t vkattn_shapes(vkattn_instance *t, uint64_t device, vkattn_shape *out, uint32_t capacity) {
  if (!t->GetPhysicalDeviceCooperativeMatrixPropertiesKHR) return 0;
  uint32_t n = 0;
  int32_t result = t->GetPhysicalDeviceCooperativeMatrixPropertiesKHR(vkattn_object(device), &n, NULL);
  if (result < 0 || n == 0) return result < 0 ? result : 0;
  MatrixShape *list = calloc(n, sizeof *list);
  if (!list) return -1;
  for (uint32_t i = 0; i < n; i++) list[i].type = TYPE_COOPERATIVE_MATRIX_SHAPE;
  result = t->GetPhysicalDeviceCooperativeMatrixPropertiesKHR(vkattn_object(device), &n, list);
  for (uint32_t i = 0; result >= 0 && i < n && i < capacity; i++) {
    MatrixShape *s = &list[i];
    out[i] = (vkattn_shape){s->m, s->n, s->k, s->a, s->b, s->c, s->result, s->saturating, s->scope, 0};
  }
  free(list);
  return result < 0 ? result : (int32_t)n;
}

int32_t vkattn_granularities(vkattn_instance *t, uint64_t device, vkattn_shape *out, uint32_t capacity) {
  if (!t->GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV) return 0;
  uint32_t n = 0;
  int32_t result = t->GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV(vkattn_object(device), &n, NULL);
  if (result < 0 || n == 0) return result < 0 ? result : 0;
  MatrixGranularity *list = calloc(n, sizeof *list);
  if (!list) return -1;
  for (uint32_t i = 0; i < n; i++) list[i].type = TYPE_COOPERATIVE_MATRIX_2_GRANULARITY;
  result = t->GetPhysicalDeviceCooperativeMatrixFlexibleDimensionsPropertiesNV(vkattn_object(device), &n, list);
  for (uint32_t i = 0; result >= 0 && i < n && i < capacity; i++) {
    MatrixGranularity *s = &list[i];
    out[i] = (vkattn_shape){s->m, s->n, s->k, s->a, s->b, s->c, s->result, s->saturating, s->scope, s->invocations};
  }
  free(list);
  return result < 0 ? result : (int32_t)n;
}

uint32_t vkattn_api_version(vkattn_instance *t, uint64_t device) {
  Properties10 p;
  memset(&p, 0, sizeof p);
  t->GetPhysicalDeviceProperties(vkattn_object(device), &p);
  return p.apiVersion;
}

static void query_features(vkattn_instance *t, Object device, uint32_t have, vkattn_features *out) {
  FeatureChain c;
  vkattn_chain(&c, have);
  if (have & VKATTN_API_1_2)
    t->GetPhysicalDeviceFeatures2(device, &c.f2);
  else
    t->GetPhysicalDeviceFeatures(device, &c.f2.features);
  if (!(have & VKATTN_API_1_3)) vkattn_chain_promote(&c);
#define READ(field, path) out->field = c.path;
  EACH_FEATURE(READ)
}

static void query_properties(vkattn_instance *t, Object device, uint32_t have, vkattn_caps *out) {
  Properties2 p2 = {.type = TYPE_PROPERTIES_2};
  Properties11 p11 = {.type = TYPE_VULKAN_11_PROPERTIES};
  Properties12 p12 = {.type = TYPE_VULKAN_12_PROPERTIES};
  Properties13 p13 = {.type = TYPE_VULKAN_13_PROPERTIES};
  SizeControlProperties sizes = {.type = TYPE_SUBGROUP_SIZE_CONTROL_PROPERTIES};
  DotProductProperties dot = {.type = TYPE_INTEGER_DOT_PRODUCT_PROPERTIES};
  Maintenance4Properties m4 = {.type = TYPE_MAINTENANCE_4_PROPERTIES};
  MatrixProperties matrix = {.type = TYPE_COOPERATIVE_MATRIX_PROPERTIES};
  Matrix2Properties matrix2 = {.type = TYPE_COOPERATIVE_MATRIX_2_PROPERTIES};
  void **end = &p2.next;
  if (have & VKATTN_API_1_2) {
    LINK(p11);
    LINK(p12);
    if (have & VKATTN_API_1_3) {
      LINK(p13);
    } else {
      if (have & VKATTN_SIZE_CONTROL) LINK(sizes);
      if (have & VKATTN_DOT_PRODUCT) LINK(dot);
      if (have & VKATTN_MAINTENANCE_4) LINK(m4);
    }
    if (have & VKATTN_MATRIX) LINK(matrix);
    if (have & VKATTN_MATRIX_2) LINK(matrix2);
    t->GetPhysicalDeviceProperties2(device, &p2);
  } else {
    t->GetPhysicalDeviceProperties(device, &p2.properties);
  }
  if (!(have & VKATTN_API_1_3)) {
    p13.sizes = sizes.sizes;
    p13.dot = dot.dot;
    p13.maxBufferSize = m4.maxBufferSize;
  }

  const Properties10 *p = &p2.properties;
  const DeviceLimits *l = &p->limits;
  out->api = p->apiVersion;
  out->driver_version = p->driverVersion;
  out->vendor = p->vendorID;
  out->device = p->deviceID;
  out->kind = p->deviceType;
  memcpy(out->name, p->deviceName, sizeof out->name);
  memcpy(out->cache_uuid, p->pipelineCacheUUID, sizeof out->cache_uuid);
  memcpy(out->driver_name, p12.driverName, sizeof out->driver_name);
  memcpy(out->driver_info, p12.driverInfo, sizeof out->driver_info);
  out->driver_id = p12.driverID;
  memcpy(out->uuid, p11.deviceUUID, sizeof out->uuid);
  memcpy(out->driver_uuid, p11.driverUUID, sizeof out->driver_uuid);

  out->max_storage_range = l->maxStorageBufferRange;
  out->max_allocation = p11.maxMemoryAllocationSize;
  out->max_buffer = p13.maxBufferSize;
  out->storage_alignment = l->minStorageBufferOffsetAlignment;
  out->texel_alignment = l->minTexelBufferOffsetAlignment;
  out->atom = l->nonCoherentAtomSize;
  out->max_timeline_difference = p12.maxTimelineSemaphoreValueDifference;
  out->max_push = l->maxPushConstantsSize;
  out->max_shared = l->maxComputeSharedMemorySize;
  out->max_invocations = l->maxComputeWorkGroupInvocations;
  memcpy(out->max_size, l->maxComputeWorkGroupSize, sizeof out->max_size);
  memcpy(out->max_count, l->maxComputeWorkGroupCount, sizeof out->max_count);
  out->max_storage_buffers = l->maxPerStageDescriptorStorageBuffers;
  out->max_resources = l->maxPerStageResources;
  out->max_sets = l->maxBoundDescriptorSets;
  out->max_texels = l->maxTexelBufferElements;
  out->max_allocations = l->maxMemoryAllocationCount;
  out->timestamp_period = l->timestampPeriod;

  out->subgroup_size = p11.subgroupSize;
  out->subgroup_stages = p11.subgroupSupportedStages;
  out->subgroup_ops = p11.subgroupSupportedOperations;
  out->subgroup_min = p13.sizes.minSubgroupSize;
  out->subgroup_max = p13.sizes.maxSubgroupSize;
  out->max_subgroups = p13.sizes.maxComputeWorkgroupSubgroups;
  out->required_stages = p13.sizes.requiredSubgroupSizeStages;
  out->dot_signed = p13.dot.packed_signed;
  out->dot_unsigned = p13.dot.packed_unsigned;
  out->dot_mixed = p13.dot.packed_mixed;

  out->preserve16 = p12.shaderSignedZeroInfNanPreserveFloat16;
  out->preserve32 = p12.shaderSignedZeroInfNanPreserveFloat32;
  out->denorm16 = p12.shaderDenormPreserveFloat16;
  out->denorm32 = p12.shaderDenormPreserveFloat32;
  out->flush16 = p12.shaderDenormFlushToZeroFloat16;
  out->flush32 = p12.shaderDenormFlushToZeroFloat32;
  out->rte16 = p12.shaderRoundingModeRTEFloat16;
  out->rte32 = p12.shaderRoundingModeRTEFloat32;
  out->matrix_stages = matrix.stages;
  out->m2_max_workgroup = matrix2.max_workgroup;
  out->m2_max_dimension = matrix2.max_dimension;
  out->m2_reserved_shared = matrix2.reserved_shared;
}

void vkattn_query(vkattn_instance *t, uint64_t device, uint32_t have, vkattn_caps *caps, vkattn_features *features) {
  memset(caps, 0, sizeof *caps);
  memset(features, 0, sizeof *features);
  query_properties(t, vkattn_object(device), have, caps);
  query_features(t, vkattn_object(device), have, features);
}

void vkattn_query_memory(vkattn_instance *t, uint64_t device, uint32_t have, vkattn_memory *out) {
  MemoryProperties2 m = {.type = TYPE_MEMORY_PROPERTIES_2};
  MemoryBudget budget = {.type = TYPE_MEMORY_BUDGET_PROPERTIES};
  memset(out, 0, sizeof *out);
  if (have & VKATTN_API_1_2) {
    if (have & VKATTN_BUDGET) m.next = &budget;
    t->GetPhysicalDeviceMemoryProperties2(vkattn_object(device), &m);
  } else {
    t->GetPhysicalDeviceMemoryProperties(vkattn_object(device), &m.memory);
  }
  out->type_count = m.memory.type_count;
  out->heap_count = m.memory.heap_count;
  for (uint32_t i = 0; i < m.memory.type_count && i < 32; i++) {
    out->type_flags[i] = m.memory.types[i].flags;
    out->type_heap[i] = m.memory.types[i].heap;
  }
  for (uint32_t i = 0; i < m.memory.heap_count && i < 16; i++) {
    out->size[i] = m.memory.heaps[i].size;
    out->heap_flags[i] = m.memory.heaps[i].flags;
    out->budget[i] = budget.budget[i];
    out->usage[i] = budget.usage[i];
  }
}

uint32_t vkattn_texel_format(vkattn_instance *t, uint64_t device, uint32_t format) {
  FormatProperties p = {0, 0, 0};
  t->GetPhysicalDeviceFormatProperties(vkattn_object(device), format, &p);
  return (p.buffer & FORMAT_UNIFORM_TEXEL) != 0;
}

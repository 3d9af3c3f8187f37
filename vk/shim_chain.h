// The chain of feature structures. The question what a device has and the creation of a device link the same
// structures, so what was read is what is enabled.
#ifndef VKATTN_SHIM_CHAIN_H
#define VKATTN_SHIM_CHAIN_H

#include <string.h>

#include "shim_internal.h"

typedef struct {
  Features2 f2;
  Features11 f11;
  Features12 f12;
  Features13 f13;
  SizeControlFeatures sizes; // these four carry parts of f13 on a 1.2 device
  OneFeature m4, dot, sync2;
  ExplicitLayoutFeatures layout;
  RotateFeatures rotate;
  BFloat16Features bfloat16;
  Float8Features float8;
  MatrixFeatures matrix;
  Matrix2Features matrix2;
} FeatureChain;

// Appends a structure to the chain that ends at *end.
#define LINK(s) (*end = &(s), end = &(s).next)

static inline void vkattn_chain(FeatureChain *c, uint32_t have) {
  memset(c, 0, sizeof *c);
  c->f2.type = TYPE_FEATURES_2;
  c->f11.type = TYPE_VULKAN_11_FEATURES;
  c->f12.type = TYPE_VULKAN_12_FEATURES;
  c->f13.type = TYPE_VULKAN_13_FEATURES;
  c->sizes.type = TYPE_SUBGROUP_SIZE_CONTROL_FEATURES;
  c->m4.type = TYPE_MAINTENANCE_4_FEATURES;
  c->dot.type = TYPE_INTEGER_DOT_PRODUCT_FEATURES;
  c->sync2.type = TYPE_SYNCHRONIZATION_2_FEATURES;
  c->layout.type = TYPE_WORKGROUP_EXPLICIT_LAYOUT_FEATURES;
  c->rotate.type = TYPE_SUBGROUP_ROTATE_FEATURES;
  c->bfloat16.type = TYPE_SHADER_BFLOAT16_FEATURES;
  c->float8.type = TYPE_SHADER_FLOAT8_FEATURES;
  c->matrix.type = TYPE_COOPERATIVE_MATRIX_FEATURES;
  c->matrix2.type = TYPE_COOPERATIVE_MATRIX_2_FEATURES;
  void **end = &c->f2.next;
  if (!(have & VKATTN_API_1_2)) return;
  LINK(c->f11);
  LINK(c->f12);
  if (have & VKATTN_API_1_3) {
    LINK(c->f13);
  } else {
    if (have & VKATTN_SIZE_CONTROL) LINK(c->sizes);
    if (have & VKATTN_MAINTENANCE_4) LINK(c->m4);
    if (have & VKATTN_DOT_PRODUCT) LINK(c->dot);
    if (have & VKATTN_SYNCHRONIZATION_2) LINK(c->sync2);
  }
  if (have & VKATTN_EXPLICIT_LAYOUT) LINK(c->layout);
  if (have & VKATTN_ROTATE) LINK(c->rotate);
  if (have & VKATTN_BFLOAT16) LINK(c->bfloat16);
  if (have & VKATTN_FLOAT8) LINK(c->float8);
  if (have & VKATTN_MATRIX) LINK(c->matrix);
  if (have & VKATTN_MATRIX_2) LINK(c->matrix2);
}

// After a query on a 1.2 device: reads the extensions' structures into f13.
static inline void vkattn_chain_promote(FeatureChain *c) {
  c->f13.subgroupSizeControl = c->sizes.subgroupSizeControl;
  c->f13.computeFullSubgroups = c->sizes.computeFullSubgroups;
  c->f13.maintenance4 = c->m4.on;
  c->f13.shaderIntegerDotProduct = c->dot.on;
  c->f13.synchronization2 = c->sync2.on;
}

// Before a device is made: the other way.
static inline void vkattn_chain_demote(FeatureChain *c) {
  c->sizes.subgroupSizeControl = c->f13.subgroupSizeControl;
  c->sizes.computeFullSubgroups = c->f13.computeFullSubgroups;
  c->m4.on = c->f13.maintenance4;
  c->dot.on = c->f13.shaderIntegerDotProduct;
  c->sync2.on = c->f13.synchronization2;
}

// X(field of vkattn_features, path in FeatureChain)
#define EACH_FEATURE(X)                                          \
  X(float16, f12.shaderFloat16)                                  \
  X(float64, f2.features.shaderFloat64)                          \
  X(int8, f12.shaderInt8)                                        \
  X(int16, f2.features.shaderInt16)                              \
  X(int64, f2.features.shaderInt64)                              \
  X(storage16, f11.storageBuffer16BitAccess)                     \
  X(storage8, f12.storageBuffer8BitAccess)                       \
  X(storage16_uniform, f11.uniformAndStorageBuffer16BitAccess)   \
  X(storage8_uniform, f12.uniformAndStorageBuffer8BitAccess)     \
  X(push16, f11.storagePushConstant16)                           \
  X(push8, f12.storagePushConstant8)                             \
  X(timeline, f12.timelineSemaphore)                             \
  X(host_query_reset, f12.hostQueryReset)                        \
  X(address, f12.bufferDeviceAddress)                            \
  X(memory_model, f12.vulkanMemoryModel)                         \
  X(memory_model_device, f12.vulkanMemoryModelDeviceScope)       \
  X(maintenance4, f13.maintenance4)                              \
  X(synchronization2, f13.synchronization2)                      \
  X(scalar_layout, f12.scalarBlockLayout)                        \
  X(uniform_layout, f12.uniformBufferStandardLayout)             \
  X(variable_pointers, f11.variablePointersStorageBuffer)        \
  X(zero_workgroup, f13.shaderZeroInitializeWorkgroupMemory)     \
  X(explicit_layout, layout.layout)                              \
  X(explicit_layout8, layout.access8)                            \
  X(explicit_layout16, layout.access16)                          \
  X(dot_product, f13.shaderIntegerDotProduct)                    \
  X(subgroup_extended_types, f12.shaderSubgroupExtendedTypes)    \
  X(size_control, f13.subgroupSizeControl)                       \
  X(full_subgroups, f13.computeFullSubgroups)                    \
  X(rotate, rotate.rotate)                                       \
  X(rotate_clustered, rotate.clustered)                          \
  X(bfloat16, bfloat16.bfloat16)                                 \
  X(bfloat16_dot, bfloat16.dot_product)                          \
  X(bfloat16_matrix, bfloat16.cooperative_matrix)                \
  X(float8, float8.float8)                                       \
  X(float8_matrix, float8.cooperative_matrix)                    \
  X(robust, f2.features.robustBufferAccess)                      \
  X(matrix, matrix.on)                                           \
  X(matrix_robust, matrix.robust)                                \
  X(m2_workgroup, matrix2.workgroup_scope)                       \
  X(m2_flexible, matrix2.flexible_dimensions)                    \
  X(m2_reductions, matrix2.reductions)                           \
  X(m2_conversions, matrix2.conversions)                         \
  X(m2_per_element, matrix2.per_element_operations)              \
  X(m2_addressing, matrix2.tensor_addressing)                    \
  X(m2_block_loads, matrix2.block_loads)

#endif

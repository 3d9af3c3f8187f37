// What Go sees of the shim: flat arguments in, plain structures out. Nothing here keeps a pointer it was
// given, and no call reaches Go, so every pointer may be to Go memory without pointers in it.
#ifndef VKATTN_SHIM_H
#define VKATTN_SHIM_H

#include <stdint.h>

typedef struct vkattn_instance vkattn_instance;
typedef struct vkattn_device vkattn_device;

// A call that made something; call is a static string, the name of the Vulkan function that result is of.
typedef struct { int32_t result; const char *call; uint64_t handle; } vkattn_made;

// --- loader and instance (shim_instance.c) ----------------------------------------------------------------------

// Opens the loader and returns its vkGetInstanceProcAddr, or NULL with the reason in error. The library is never
// unloaded.
void *vkattn_load(const char *library, char *error, int error_size);

enum { VKATTN_VALIDATE_CORE = 1, VKATTN_VALIDATE_SYNC = 2, VKATTN_VALIDATE_GPU = 4, VKATTN_VALIDATE_RACES = 8 };

typedef struct { int32_t result; const char *call; vkattn_instance *instance; uint32_t api; uint32_t layer_missing; } vkattn_instance_made;
vkattn_instance_made vkattn_instance_create(void *get_proc, const char *app, uint32_t validation, uint32_t messages);
void vkattn_instance_destroy(vkattn_instance *); // destroys the VkInstance, keeps the messages
void vkattn_instance_free(vkattn_instance *);    // and frees them and the table

// Fills up to capacity physical devices and returns how many there are, or a negative VkResult.
int32_t vkattn_physical_devices(vkattn_instance *, uint64_t *out, uint32_t capacity);

// --- messages (shim_message.c) ----------------------------------------------------------------------------------

typedef struct vkattn_message { struct vkattn_message *next; uint32_t severity; char *id, *text; } vkattn_message;
const uint32_t *vkattn_message_count(vkattn_instance *); // to be read atomically
vkattn_message *vkattn_message_pop(vkattn_instance *);   // NULL when there is none
void vkattn_message_free(vkattn_message *);
void vkattn_message_push(vkattn_instance *, uint32_t severity, const char *id, const char *text); // for tests

// --- capabilities (shim_caps.c) ---------------------------------------------------------------------------------

// Which structures may be put in a chain: the version and the extensions of a device.
enum {
  VKATTN_API_1_2 = 1 << 0,
  VKATTN_API_1_3 = 1 << 1,
  VKATTN_SIZE_CONTROL = 1 << 2,
  VKATTN_MAINTENANCE_4 = 1 << 3,
  VKATTN_DOT_PRODUCT = 1 << 4,
  VKATTN_SYNCHRONIZATION_2 = 1 << 5,
  VKATTN_EXPLICIT_LAYOUT = 1 << 6,
  VKATTN_ROTATE = 1 << 7,
  VKATTN_BFLOAT16 = 1 << 8,
  VKATTN_FLOAT8 = 1 << 9,
  VKATTN_MATRIX = 1 << 10,
  VKATTN_MATRIX_2 = 1 << 11,
  VKATTN_BUDGET = 1 << 12,
  VKATTN_PORTABILITY = 1 << 13,
};

typedef struct {
  uint32_t float16, float64, int8, int16, int64, storage16, storage8, storage16_uniform, storage8_uniform, push16, push8,
      timeline, host_query_reset, address, memory_model, memory_model_device, maintenance4, synchronization2, scalar_layout,
      uniform_layout, variable_pointers, zero_workgroup, explicit_layout, explicit_layout8, explicit_layout16, dot_product,
      subgroup_extended_types, size_control, full_subgroups, rotate, rotate_clustered, bfloat16, bfloat16_dot, bfloat16_matrix,
      float8, float8_matrix, robust, matrix, matrix_robust, m2_workgroup, m2_flexible, m2_reductions, m2_conversions,
      m2_per_element, m2_addressing, m2_block_loads;
} vkattn_features;

typedef struct {
  uint32_t api, driver_version, vendor, device, kind;
  char name[256], driver_name[256], driver_info[256];
  uint32_t driver_id;
  uint8_t uuid[16], driver_uuid[16], cache_uuid[16];

  uint64_t max_storage_range, max_allocation, max_buffer, storage_alignment, texel_alignment, atom, max_timeline_difference;
  uint32_t max_push, max_shared, max_invocations, max_size[3], max_count[3], max_storage_buffers, max_resources, max_sets,
      max_texels, max_allocations;
  float timestamp_period;

  uint32_t subgroup_size, subgroup_min, subgroup_max, subgroup_stages, subgroup_ops, required_stages, max_subgroups;
  uint32_t dot_signed, dot_unsigned, dot_mixed;
  uint32_t preserve16, preserve32, denorm16, denorm32, flush16, flush32, rte16, rte32;
  uint32_t matrix_stages, m2_max_workgroup, m2_max_dimension, m2_reserved_shared;
} vkattn_caps;

typedef struct { uint32_t m, n, k, a, b, c, result, saturating, scope, invocations; } vkattn_shape;

typedef struct {
  uint32_t type_count, heap_count;
  uint32_t type_flags[32], type_heap[32], heap_flags[16];
  uint64_t size[16], budget[16], usage[16];
} vkattn_memory;

typedef struct { uint32_t flags, count, timestamp_bits; } vkattn_family;
typedef struct { char name[256]; } vkattn_name;

// Each fills up to capacity entries and returns how many there are, or a negative VkResult.
int32_t vkattn_extensions(vkattn_instance *, uint64_t device, vkattn_name *out, uint32_t capacity);
int32_t vkattn_families(vkattn_instance *, uint64_t device, vkattn_family *out, uint32_t capacity);
int32_t vkattn_shapes(vkattn_instance *, uint64_t device, vkattn_shape *out, uint32_t capacity);
int32_t vkattn_granularities(vkattn_instance *, uint64_t device, vkattn_shape *out, uint32_t capacity);

uint32_t vkattn_api_version(vkattn_instance *, uint64_t device);
void vkattn_query(vkattn_instance *, uint64_t device, uint32_t have, vkattn_caps *, vkattn_features *);
void vkattn_query_memory(vkattn_instance *, uint64_t device, uint32_t have, vkattn_memory *);
uint32_t vkattn_texel_format(vkattn_instance *, uint64_t device, uint32_t format); // 1: readable as a uniform texel buffer

// --- device, submission, memory (shim_device.c) -----------------------------------------------------------------

typedef struct { int32_t result; const char *call; vkattn_device *device; } vkattn_device_made;
vkattn_device_made vkattn_device_create(vkattn_instance *, uint64_t physical, uint32_t have, const vkattn_features *enable, uint32_t family);
void vkattn_device_destroy(vkattn_device *);
int32_t vkattn_device_wait_idle(vkattn_device *);

int32_t vkattn_submit(vkattn_device *, uint64_t command_buffer, uint64_t value); // caller holds the queue
int32_t vkattn_wait(vkattn_device *, uint64_t value, uint64_t nanoseconds);
typedef struct { int32_t result; uint64_t value; } vkattn_progress;
vkattn_progress vkattn_completed(vkattn_device *);

typedef struct { int32_t result; uint64_t buffer, size, alignment; uint32_t types; } vkattn_buffer_made;
vkattn_buffer_made vkattn_buffer_create(vkattn_device *, uint64_t size, uint32_t usage);
int32_t vkattn_buffer_bind(vkattn_device *, uint64_t buffer, uint64_t memory);
uint64_t vkattn_buffer_address(vkattn_device *, uint64_t buffer);
void vkattn_buffer_destroy(vkattn_device *, uint64_t buffer);
vkattn_made vkattn_view_create(vkattn_device *, uint64_t buffer, uint32_t format, uint64_t offset, uint64_t range);
void vkattn_view_destroy(vkattn_device *, uint64_t view);
vkattn_made vkattn_memory_allocate(vkattn_device *, uint64_t size, uint32_t type, uint32_t address);
void vkattn_memory_free(vkattn_device *, uint64_t memory);
typedef struct { int32_t result; void *pointer; } vkattn_mapped;
vkattn_mapped vkattn_memory_map(vkattn_device *, uint64_t memory);
int32_t vkattn_memory_flush(vkattn_device *, uint64_t memory, uint64_t offset, uint64_t size);
int32_t vkattn_memory_invalidate(vkattn_device *, uint64_t memory, uint64_t offset, uint64_t size);
void vkattn_set_name(vkattn_device *, uint32_t object_type, uint64_t object, const char *name);

// --- pipelines (shim_pipeline.c) --------------------------------------------------------------------------------

typedef struct { int32_t result; const char *call; uint64_t set_layout, layout, pipeline; } vkattn_pipeline_made;
typedef struct { uint32_t id, value; } vkattn_spec;
enum { VKATTN_MAX_BINDINGS = 64 };
vkattn_pipeline_made vkattn_pipeline_create(vkattn_device *, uint64_t cache, const uint32_t *code, uint64_t words, uint32_t bindings,
                                            uint64_t texels, uint64_t uniforms, uint32_t push, const vkattn_spec *spec, uint32_t spec_count,
                                            uint32_t subgroup_size, uint32_t full_subgroups);
void vkattn_pipeline_destroy(vkattn_device *, uint64_t set_layout, uint64_t layout, uint64_t pipeline);

vkattn_made vkattn_cache_create(vkattn_device *, const void *data, uint64_t bytes);
void vkattn_cache_destroy(vkattn_device *, uint64_t cache);
int32_t vkattn_cache_merge(vkattn_device *, uint64_t into, uint64_t from);
int32_t vkattn_cache_data(vkattn_device *, uint64_t cache, void *data, uint64_t *bytes);

// --- recording (shim_record.c) ----------------------------------------------------------------------------------

// A recorded program is a list of words: opcode | number of words that follow << 32, then those words.
enum {
  VKATTN_OP_PIPELINE = 1, // pipeline
  VKATTN_OP_BIND,         // layout, set layout, masks of texel views and of uniform buffers, then (buffer, offset, range) or (view, 0, 0) each
  VKATTN_OP_PUSH,         // layout, bytes, data
  VKATTN_OP_DISPATCH,     // x, y, z
  VKATTN_OP_BARRIER,      // source stages, source access, destination stages, destination access
  VKATTN_OP_COPY,         // source, destination, then (source offset, destination offset, size) each
  VKATTN_OP_FILL,         // buffer, offset, size, word
  VKATTN_OP_UPDATE,       // buffer, offset, bytes, data
  VKATTN_OP_TIMESTAMP,    // slot
  VKATTN_OP_COPY_TIMES,   // first slot, slots, destination, offset
};

typedef struct { int32_t result; const char *call; uint64_t pool, buffer; } vkattn_commands_made;
vkattn_commands_made vkattn_commands_create(vkattn_device *);
void vkattn_commands_destroy(vkattn_device *, uint64_t pool);
vkattn_made vkattn_sets_create(vkattn_device *, uint32_t sets, uint32_t buffers, uint32_t uniforms, uint32_t texels);
void vkattn_sets_destroy(vkattn_device *, uint64_t pool);
vkattn_made vkattn_queries_create(vkattn_device *, uint32_t count);
void vkattn_queries_destroy(vkattn_device *, uint64_t pool);
// Pairs of (value, available) for each query.
int32_t vkattn_queries_read(vkattn_device *, uint64_t pool, uint32_t count, uint64_t *out);

vkattn_made vkattn_record(vkattn_device *, uint64_t command_pool, uint64_t command_buffer, uint64_t set_pool, uint64_t query_pool,
                          uint32_t queries, const uint64_t *program, uint64_t words);

// --- layouts, for tests (shim_layout.c) -------------------------------------------------------------------------

typedef struct { const char *name; uint64_t value; } vkattn_layout_entry;
const vkattn_layout_entry *vkattn_layout(int *count);

#endif

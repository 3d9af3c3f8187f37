//go:build cgo && !novulkan && (linux || windows)

// Command buffers. Go checks a recording and writes it down as words; here the whole of it is played to the driver
// in one call.

#include "shim_internal.h"

vkattn_commands_made vkattn_commands_create(vkattn_device *d) {
  vkattn_commands_made made = {0, "vkCreateCommandPool", 0, 0};
  CommandPoolCreateInfo pool = {TYPE_COMMAND_POOL_CREATE_INFO, NULL, 0, d->family};
  if ((made.result = d->CreateCommandPool(d->handle, &pool, NULL, &made.pool)) != 0) return made;
  CommandBufferAllocateInfo info = {TYPE_COMMAND_BUFFER_ALLOCATE_INFO, NULL, made.pool, 0, 1};
  Object buffer = NULL;
  made.call = "vkAllocateCommandBuffers";
  if ((made.result = d->AllocateCommandBuffers(d->handle, &info, &buffer)) != 0) {
    d->DestroyCommandPool(d->handle, made.pool, NULL);
    made.pool = 0;
    return made;
  }
  made.buffer = (uint64_t)(uintptr_t)buffer;
  return made;
}

void vkattn_commands_destroy(vkattn_device *d, uint64_t pool) { d->DestroyCommandPool(d->handle, pool, NULL); }

vkattn_made vkattn_sets_create(vkattn_device *d, uint32_t sets, uint32_t buffers, uint32_t uniforms, uint32_t texels) {
  vkattn_made made = {0, "vkCreateDescriptorPool", 0};
  PoolSize sizes[3];
  DescriptorPoolCreateInfo info = {TYPE_DESCRIPTOR_POOL_CREATE_INFO, NULL, 0, sets, 0, sizes};
  if (buffers) sizes[info.size_count++] = (PoolSize){DESCRIPTOR_STORAGE_BUFFER, buffers};
  if (uniforms) sizes[info.size_count++] = (PoolSize){DESCRIPTOR_UNIFORM_BUFFER, uniforms};
  if (texels) sizes[info.size_count++] = (PoolSize){DESCRIPTOR_UNIFORM_TEXEL, texels};
  made.result = d->CreateDescriptorPool(d->handle, &info, NULL, &made.handle);
  return made;
}

void vkattn_sets_destroy(vkattn_device *d, uint64_t pool) { d->DestroyDescriptorPool(d->handle, pool, NULL); }

vkattn_made vkattn_queries_create(vkattn_device *d, uint32_t count) {
  vkattn_made made = {0, "vkCreateQueryPool", 0};
  QueryPoolCreateInfo info = {TYPE_QUERY_POOL_CREATE_INFO, NULL, 0, 2, count, 0}; // timestamps
  made.result = d->CreateQueryPool(d->handle, &info, NULL, &made.handle);
  return made;
}

void vkattn_queries_destroy(vkattn_device *d, uint64_t pool) { d->DestroyQueryPool(d->handle, pool, NULL); }

int32_t vkattn_queries_read(vkattn_device *d, uint64_t pool, uint32_t count, uint64_t *out) {
  // 64-bit results with availability; not available yet is no error.
  return d->GetQueryPoolResults(d->handle, pool, 0, count, (size_t)count * 16, out, 16, 1 | 4);
}

static int32_t bind(vkattn_device *d, Object cb, Handle set_pool, const uint64_t *w, uint64_t words, const char **call) {
  uint32_t n = (uint32_t)((words - 4) / 3);
  if (n > VKATTN_MAX_BINDINGS) return -13;
  SetAllocateInfo info = {TYPE_DESCRIPTOR_SET_ALLOCATE_INFO, NULL, set_pool, 1, &w[1]};
  Handle set = 0;
  *call = "vkAllocateDescriptorSets";
  int32_t result = d->AllocateDescriptorSets(d->handle, &info, &set);
  if (result != 0) return result;
  WriteSet writes[VKATTN_MAX_BINDINGS];
  DescriptorBuffer buffers[VKATTN_MAX_BINDINGS];
  for (uint32_t i = 0; i < n; i++) {
    const uint64_t *b = w + 4 + 3 * i;
    writes[i] = (WriteSet){TYPE_WRITE_DESCRIPTOR_SET, NULL, set, i, 0, 1, w[3] >> i & 1 ? DESCRIPTOR_UNIFORM_BUFFER : DESCRIPTOR_STORAGE_BUFFER, NULL, &buffers[i], NULL};
    buffers[i] = (DescriptorBuffer){b[0], b[1], b[2]};
    if (w[2] >> i & 1) {
      writes[i].kind = DESCRIPTOR_UNIFORM_TEXEL;
      writes[i].buffers = NULL;
      writes[i].views = &b[0];
    }
  }
  d->UpdateDescriptorSets(d->handle, n, writes, 0, NULL);
  d->CmdBindDescriptorSets(cb, 1, w[0], 0, 1, &set, 0, NULL);
  return 0;
}

vkattn_made vkattn_record(vkattn_device *d, uint64_t command_pool, uint64_t command_buffer, uint64_t set_pool, uint64_t query_pool,
                          uint32_t queries, const uint64_t *program, uint64_t words) {
  vkattn_made made = {0, "vkResetCommandPool", 0};
  Object cb = vkattn_object(command_buffer);
  if ((made.result = d->ResetCommandPool(d->handle, command_pool, 0)) != 0) return made;
  made.call = "vkResetDescriptorPool";
  if (set_pool && (made.result = d->ResetDescriptorPool(d->handle, set_pool, 0)) != 0) return made;
  CommandBufferBeginInfo begin = {TYPE_COMMAND_BUFFER_BEGIN_INFO, NULL, 0, NULL};
  made.call = "vkBeginCommandBuffer";
  if ((made.result = d->BeginCommandBuffer(cb, &begin)) != 0) return made;
  if (queries) d->CmdResetQueryPool(cb, query_pool, 0, queries);

  for (uint64_t at = 0; at < words;) {
    uint32_t op = (uint32_t)program[at];
    uint64_t n = program[at] >> 32;
    const uint64_t *w = &program[at + 1];
    at += 1 + n;
    switch (op) {
    case VKATTN_OP_PIPELINE:
      d->CmdBindPipeline(cb, 1, w[0]);
      break;
    case VKATTN_OP_BIND:
      if ((made.result = bind(d, cb, set_pool, w, n, &made.call)) != 0) return made;
      break;
    case VKATTN_OP_PUSH:
      d->CmdPushConstants(cb, w[0], STAGE_COMPUTE, 0, (uint32_t)w[1], &w[2]);
      break;
    case VKATTN_OP_DISPATCH:
      d->CmdDispatch(cb, (uint32_t)w[0], (uint32_t)w[1], (uint32_t)w[2]);
      break;
    case VKATTN_OP_BARRIER: {
      MemoryBarrier barrier = {TYPE_MEMORY_BARRIER, NULL, (uint32_t)w[1], (uint32_t)w[3]};
      d->CmdPipelineBarrier(cb, (uint32_t)w[0], (uint32_t)w[2], 0, 1, &barrier, 0, NULL, 0, NULL);
      break;
    }
    case VKATTN_OP_COPY:
      d->CmdCopyBuffer(cb, w[0], w[1], (uint32_t)((n - 2) / 3), (const BufferCopy *)&w[2]);
      break;
    case VKATTN_OP_FILL:
      d->CmdFillBuffer(cb, w[0], w[1], w[2], (uint32_t)w[3]);
      break;
    case VKATTN_OP_UPDATE:
      d->CmdUpdateBuffer(cb, w[0], w[1], w[2], &w[3]);
      break;
    case VKATTN_OP_TIMESTAMP:
      d->CmdWriteTimestamp(cb, PIPELINE_STAGE_BOTTOM, query_pool, (uint32_t)w[0]);
      break;
    case VKATTN_OP_COPY_TIMES: // as vkattn_queries_read has them, and each waited for
      d->CmdCopyQueryPoolResults(cb, query_pool, (uint32_t)w[0], (uint32_t)w[1], w[2], w[3], 16, 1 | 2 | 4);
      break;
    }
  }
  made.call = "vkEndCommandBuffer";
  made.result = d->EndCommandBuffer(cb);
  return made;
}

//go:build cgo && !novulkan && (linux || windows)

// Compute pipelines and the pipeline cache.

#include <stdlib.h>

#include "shim_internal.h"

vkattn_pipeline_made vkattn_pipeline_create(vkattn_device *d, uint64_t cache, const uint32_t *code, uint64_t words, uint32_t bindings,
                                            uint64_t texels, uint64_t uniforms, uint32_t push, const vkattn_spec *spec, uint32_t spec_count,
                                            uint32_t subgroup_size, uint32_t full_subgroups) {
  vkattn_pipeline_made made = {-1, "calloc", 0, 0, 0};
  Handle module = 0;
  SpecEntry *entries = NULL;
  if (spec_count && !(entries = calloc(spec_count, sizeof *entries))) return made;
  // The value stands in the caller's array of (id, value) pairs, so the entries point into that.
  for (uint32_t i = 0; i < spec_count; i++)
    entries[i] = (SpecEntry){spec[i].id, (uint32_t)(i * sizeof *spec + sizeof spec->id), sizeof spec->value};
  SpecInfo spec_info = {spec_count, entries, spec_count * sizeof *spec, spec};

  ShaderModuleCreateInfo module_info = {TYPE_SHADER_MODULE_CREATE_INFO, NULL, 0, words * 4, code};
  made.call = "vkCreateShaderModule";
  if ((made.result = d->CreateShaderModule(d->handle, &module_info, NULL, &module)) != 0) goto out;

  PipelineLayoutCreateInfo layout = {TYPE_PIPELINE_LAYOUT_CREATE_INFO, NULL, 0, 0, NULL, 0, NULL};
  if (bindings) {
    SetLayoutBinding list[VKATTN_MAX_BINDINGS];
    for (uint32_t i = 0; i < bindings && i < VKATTN_MAX_BINDINGS; i++) {
      uint32_t type = texels >> i & 1 ? DESCRIPTOR_UNIFORM_TEXEL : uniforms >> i & 1 ? DESCRIPTOR_UNIFORM_BUFFER : DESCRIPTOR_STORAGE_BUFFER;
      list[i] = (SetLayoutBinding){i, type, 1, STAGE_COMPUTE, NULL};
    }
    SetLayoutCreateInfo set = {TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO, NULL, 0, bindings, list};
    made.call = "vkCreateDescriptorSetLayout";
    if ((made.result = d->CreateDescriptorSetLayout(d->handle, &set, NULL, &made.set_layout)) != 0) goto out;
    layout.set_count = 1;
    layout.sets = &made.set_layout;
  }
  PushRange range = {STAGE_COMPUTE, 0, push};
  if (push) {
    layout.push_count = 1;
    layout.pushes = &range;
  }
  made.call = "vkCreatePipelineLayout";
  if ((made.result = d->CreatePipelineLayout(d->handle, &layout, NULL, &made.layout)) != 0) goto out;

  RequiredSubgroupSize required = {TYPE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO, NULL, subgroup_size};
  ComputePipelineCreateInfo info = {
      TYPE_COMPUTE_PIPELINE_CREATE_INFO, NULL, 0,
      {TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO, subgroup_size ? &required : NULL, full_subgroups ? 2 : 0, STAGE_COMPUTE, module, "main", spec_count ? &spec_info : NULL},
      made.layout, 0, -1};
  made.call = "vkCreateComputePipelines";
  made.result = d->CreateComputePipelines(d->handle, cache, 1, &info, NULL, &made.pipeline);

out:
  if (module) d->DestroyShaderModule(d->handle, module, NULL);
  free(entries);
  if (made.result != 0) {
    vkattn_pipeline_destroy(d, made.set_layout, made.layout, made.pipeline);
    made.set_layout = made.layout = made.pipeline = 0;
  }
  return made;
}

void vkattn_pipeline_destroy(vkattn_device *d, uint64_t set_layout, uint64_t layout, uint64_t pipeline) {
  d->DestroyPipeline(d->handle, pipeline, NULL); // a null handle is ignored, by the specification
  d->DestroyPipelineLayout(d->handle, layout, NULL);
  d->DestroyDescriptorSetLayout(d->handle, set_layout, NULL);
}

vkattn_made vkattn_cache_create(vkattn_device *d, const void *data, uint64_t bytes) {
  vkattn_made made = {0, "vkCreatePipelineCache", 0};
  PipelineCacheCreateInfo info = {TYPE_PIPELINE_CACHE_CREATE_INFO, NULL, 0, (size_t)bytes, data};
  made.result = d->CreatePipelineCache(d->handle, &info, NULL, &made.handle);
  return made;
}

void vkattn_cache_destroy(vkattn_device *d, uint64_t cache) { d->DestroyPipelineCache(d->handle, cache, NULL); }

int32_t vkattn_cache_merge(vkattn_device *d, uint64_t into, uint64_t from) { return d->MergePipelineCaches(d->handle, into, 1, &from); }

int32_t vkattn_cache_data(vkattn_device *d, uint64_t cache, void *data, uint64_t *bytes) {
  size_t n = (size_t)*bytes;
  int32_t result = d->GetPipelineCacheData(d->handle, cache, &n, data);
  *bytes = n;
  return result;
}

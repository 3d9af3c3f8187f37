package shaders

import "slices"

// Variant is one SPIR-V module: a GLSL source, the macros that it is compiled with, and what it needs.
// Numbers (tile sizes, flags) are specialization constants and make no variants; element types,
// extensions and access paths do.
type Variant struct {
	Name      string   // of the module: spv/NAME.spv
	Source    string   // a file in this folder
	Defines   []string // "NAME" or "NAME=VALUE"
	TargetEnv string   // of glslc and spirv-val; "" is vulkan1.2, that is SPIR-V 1.5

	// Requires lists the SPIR-V capabilities that the module declares beside Shader. A test compares
	// it with the module, so that no shader starts to need more of a device unnoticed.
	Requires []string
}

// Variants returns the table of all variants, in the order of the file. To add a variant, add a line
// and run `make shaders`.
func Variants() []Variant { return slices.Clone(variants) }

var variants = []Variant{
	{Name: "flash_subgroup", Source: "flash.comp", Defines: []string{"SUBGROUP=1"},
		Requires: []string{"GroupNonUniform", "GroupNonUniformShuffle"}},
	{Name: "flash_texels", Source: "flash.comp", Defines: []string{"SUBGROUP=1", "TEXELS=1"},
		Requires: []string{"GroupNonUniform", "GroupNonUniformShuffle", "SampledBuffer"}},
	{Name: "flash_codes", Source: "flash.comp", Defines: []string{"SUBGROUP=1", "TEXELS=2"},
		Requires: []string{"GroupNonUniform", "GroupNonUniformShuffle", "SampledBuffer"}},
	{Name: "flash_dot", Source: "flash.comp", Defines: []string{"SUBGROUP=1", "INTEGER_DOT=1"},
		Requires: []string{"DotProduct", "DotProductInput4x8BitPacked", "GroupNonUniform", "GroupNonUniformShuffle"}},
	{Name: "flash_few", Source: "flash.comp", Defines: []string{"SUBGROUP=1", "TEAMS=1"},
		Requires: []string{"GroupNonUniform", "GroupNonUniformShuffle"}},
	{Name: "flash_plain", Source: "flash.comp", Defines: []string{"SUBGROUP=0"}},
	{Name: "flash_matrix2", Source: "flash_matrix2.comp", Defines: []string{"BFLOAT=0", "TENSOR=0"}, TargetEnv: "vulkan1.3",
		Requires: []string{"CooperativeMatrixConversionsNV", "CooperativeMatrixKHR", "CooperativeMatrixPerElementOperationsEXT", "CooperativeMatrixReductionsEXT",
			"Float16", "GroupNonUniform", "GroupNonUniformVote", "StorageBuffer16BitAccess", "VulkanMemoryModel"}},
	{Name: "flash_matrix2_bf16", Source: "flash_matrix2.comp", Defines: []string{"BFLOAT=1", "TENSOR=0"}, TargetEnv: "vulkan1.3",
		Requires: []string{"BFloat16CooperativeMatrixKHR", "BFloat16TypeKHR", "CooperativeMatrixConversionsNV", "CooperativeMatrixKHR", "CooperativeMatrixPerElementOperationsEXT", "CooperativeMatrixReductionsEXT",
			"Float16", "GroupNonUniform", "GroupNonUniformVote", "VulkanMemoryModel"}},
	{Name: "flash_matrix2_tensor", Source: "flash_matrix2.comp", Defines: []string{"BFLOAT=0", "TENSOR=1"}, TargetEnv: "vulkan1.3",
		Requires: []string{"CooperativeMatrixBlockLoadsNV", "CooperativeMatrixConversionsNV", "CooperativeMatrixKHR", "CooperativeMatrixPerElementOperationsEXT", "CooperativeMatrixReductionsEXT",
			"CooperativeMatrixTensorAddressingNV", "Float16", "GroupNonUniform", "GroupNonUniformVote", "PhysicalStorageBufferAddresses", "StorageBuffer16BitAccess", "TensorAddressingNV", "VulkanMemoryModel"}},
	{Name: "flash_matrix2_tensor_bf16", Source: "flash_matrix2.comp", Defines: []string{"BFLOAT=1", "TENSOR=1"}, TargetEnv: "vulkan1.3",
		Requires: []string{"BFloat16CooperativeMatrixKHR", "BFloat16TypeKHR", "CooperativeMatrixBlockLoadsNV", "CooperativeMatrixConversionsNV", "CooperativeMatrixKHR", "CooperativeMatrixPerElementOperationsEXT", "CooperativeMatrixReductionsEXT",
			"CooperativeMatrixTensorAddressingNV", "Float16", "GroupNonUniform", "GroupNonUniformVote", "PhysicalStorageBufferAddresses", "TensorAddressingNV", "VulkanMemoryModel"}},
	{Name: "flash_matrix", Source: "flash_matrix.comp", Defines: []string{"BFLOAT=0"},
		Requires: []string{"CooperativeMatrixKHR", "Float16", "GroupNonUniform", "GroupNonUniformShuffle", "GroupNonUniformVote", "RoundingModeRTE", "VulkanMemoryModel"}},
	{Name: "flash_matrix_bf16", Source: "flash_matrix.comp", Defines: []string{"BFLOAT=1"},
		Requires: []string{"BFloat16CooperativeMatrixKHR", "BFloat16TypeKHR", "CooperativeMatrixKHR", "Float16", "GroupNonUniform",
			"GroupNonUniformShuffle", "GroupNonUniformVote", "VulkanMemoryModel"}},
	{Name: "flash_range", Source: "flash_range.comp", Defines: []string{"BFLOAT=0"},
		Requires: []string{"CooperativeMatrixKHR", "Float16", "GroupNonUniform", "GroupNonUniformShuffle", "GroupNonUniformVote", "RoundingModeRTE", "VulkanMemoryModel"}},
	{Name: "flash_range_bf16", Source: "flash_range.comp", Defines: []string{"BFLOAT=1"},
		Requires: []string{"BFloat16CooperativeMatrixKHR", "BFloat16TypeKHR", "CooperativeMatrixKHR", "Float16", "GroupNonUniform",
			"GroupNonUniformShuffle", "GroupNonUniformVote", "VulkanMemoryModel"}},
	{Name: "flash_decode", Source: "flash_decode.comp", Defines: []string{"BFLOAT=0"},
		Requires: []string{"CooperativeMatrixKHR", "Float16", "GroupNonUniform", "GroupNonUniformShuffle", "GroupNonUniformVote", "RoundingModeRTE", "VulkanMemoryModel"}},
	{Name: "flash_decode_bf16", Source: "flash_decode.comp", Defines: []string{"BFLOAT=1"},
		Requires: []string{"BFloat16CooperativeMatrixKHR", "BFloat16TypeKHR", "CooperativeMatrixKHR", "Float16", "GroupNonUniform",
			"GroupNonUniformShuffle", "GroupNonUniformVote", "VulkanMemoryModel"}},
	{Name: "matrix_probe", Source: "matrix_probe.comp", Defines: []string{"BFLOAT=0"},
		Requires: []string{"CooperativeMatrixKHR", "Float16", "VulkanMemoryModel"}},
	{Name: "matrix_probe_bf16", Source: "matrix_probe.comp", Defines: []string{"BFLOAT=1"},
		Requires: []string{"BFloat16CooperativeMatrixKHR", "BFloat16TypeKHR", "CooperativeMatrixKHR", "Float16", "VulkanMemoryModel"}},
	{Name: "linear_recurrent_subgroup", Source: "linear_recurrent.comp", Defines: []string{"SUBGROUP=1"},
		Requires: []string{"GroupNonUniform", "GroupNonUniformShuffle"}},
	{Name: "linear_recurrent_texels", Source: "linear_recurrent.comp", Defines: []string{"SUBGROUP=1", "TEXELS=1"},
		Requires: []string{"GroupNonUniform", "GroupNonUniformShuffle", "SampledBuffer"}},
	{Name: "linear_recurrent_plain", Source: "linear_recurrent.comp", Defines: []string{"SUBGROUP=0"}},
	{Name: "linear_chunk", Source: "linear_chunk.comp", Defines: []string{"MATRIX=0"}},
	{Name: "linear_chunk_matrix", Source: "linear_chunk.comp", Defines: []string{"MATRIX=1", "BFLOAT=0"},
		Requires: []string{"CooperativeMatrixKHR", "Float16", "GroupNonUniform", "VulkanMemoryModel"}},
	{Name: "linear_chunk_matrix_bf16", Source: "linear_chunk.comp", Defines: []string{"MATRIX=1", "BFLOAT=1"},
		Requires: []string{"BFloat16CooperativeMatrixKHR", "BFloat16TypeKHR", "CooperativeMatrixKHR", "GroupNonUniform", "VulkanMemoryModel"}},
	{Name: "linear_features", Source: "linear_features.comp"},
	{Name: "linear_entry", Source: "linear_entry.comp"},
	{Name: "linear_favor", Source: "linear_favor.comp"},
	{Name: "linear_join", Source: "linear_join.comp"},
	{Name: "linear_srms", Source: "linear_srms.comp"},
	{Name: "convert", Source: "convert.comp"},
	{Name: "merge", Source: "merge.comp"},
	{Name: "merge_parts", Source: "merge_parts.comp"},
	{Name: "cache_append", Source: "cache_append.comp"},
	{Name: "rope", Source: "rope.comp"},
	{Name: "select_pool", Source: "select_pool.comp"},
	{Name: "select_scores", Source: "select_scores.comp"},
	{Name: "select_top", Source: "select_top.comp"},
	{Name: "select_gate", Source: "select_gate.comp"},
	{Name: "standard_scores", Source: "standard_scores.comp"},
	{Name: "standard_softmax", Source: "standard_softmax.comp"},
	{Name: "standard_values", Source: "standard_values.comp"},
	{Name: "peak_fma", Source: "peak_fma.comp"},
	{Name: "peak_matrix", Source: "peak_matrix.comp", Defines: []string{"BFLOAT=0"},
		Requires: []string{"CooperativeMatrixKHR", "Float16", "VulkanMemoryModel"}},
	{Name: "peak_matrix_bf16", Source: "peak_matrix.comp", Defines: []string{"BFLOAT=1"},
		Requires: []string{"BFloat16CooperativeMatrixKHR", "BFloat16TypeKHR", "CooperativeMatrixKHR", "Float16", "VulkanMemoryModel"}},
	{Name: "peak_copy", Source: "peak_copy.comp"},
	{Name: "peak_read", Source: "peak_read.comp"},
	{Name: "peak_read_texels", Source: "peak_read.comp", Defines: []string{"TEXELS=1"}, Requires: []string{"SampledBuffer"}},
}

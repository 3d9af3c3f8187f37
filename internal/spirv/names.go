package spirv

import "fmt"

var classNames = map[uint32]string{
	classUniformConstant: "UniformConstant", classUniform: "Uniform", classStorageBuffer: "StorageBuffer",
}

var modeNames = map[uint32]string{
	4421: "SubgroupUniformControlFlowKHR", 4459: "DenormPreserve", 4460: "DenormFlushToZero",
	4461: "SignedZeroInfNanPreserve", 4462: "RoundingModeRTE", 4463: "RoundingModeRTZ",
	5289: "DerivativeGroupQuadsKHR", 5290: "DerivativeGroupLinearKHR", 6023: "MaximallyReconvergesKHR",
}

func capability(n uint32) string {
	if name, ok := capabilityNames[n]; ok {
		return name
	}
	return fmt.Sprintf("Capability(%d)", n)
}

// The capabilities that a compute shader may ask for, named as in the specification.
var capabilityNames = map[uint32]string{
	0: "Matrix", 1: "Shader", 4: "Addresses", 5: "Linkage", 9: "Float16", 10: "Float64", 11: "Int64",
	12: "Int64Atomics", 21: "AtomicStorage", 22: "Int16", 25: "ImageGatherExtended",
	27: "StorageImageMultisample", 28: "UniformBufferArrayDynamicIndexing",
	29: "SampledImageArrayDynamicIndexing", 30: "StorageBufferArrayDynamicIndexing",
	31: "StorageImageArrayDynamicIndexing", 39: "Int8", 43: "Sampled1D", 44: "Image1D",
	46: "SampledBuffer", 47: "ImageBuffer", 49: "StorageImageExtendedFormats", 50: "ImageQuery",
	55: "StorageImageReadWithoutFormat", 56: "StorageImageWriteWithoutFormat",
	61: "GroupNonUniform", 62: "GroupNonUniformVote", 63: "GroupNonUniformArithmetic",
	64: "GroupNonUniformBallot", 65: "GroupNonUniformShuffle", 66: "GroupNonUniformShuffleRelative",
	67: "GroupNonUniformClustered", 68: "GroupNonUniformQuad",
	4212: "Float8EXT", 4213: "Float8CooperativeMatrixEXT", 4423: "SubgroupBallotKHR",
	4428: "WorkgroupMemoryExplicitLayoutKHR", 4429: "WorkgroupMemoryExplicitLayout8BitAccessKHR",
	4430: "WorkgroupMemoryExplicitLayout16BitAccessKHR", 4431: "SubgroupVoteKHR",
	4433: "StorageBuffer16BitAccess", 4434: "UniformAndStorageBuffer16BitAccess",
	4435: "StoragePushConstant16", 4441: "VariablePointersStorageBuffer", 4442: "VariablePointers",
	4448: "StorageBuffer8BitAccess", 4449: "UniformAndStorageBuffer8BitAccess",
	4450: "StoragePushConstant8", 4464: "DenormPreserve", 4465: "DenormFlushToZero",
	4466: "SignedZeroInfNanPreserve", 4467: "RoundingModeRTE", 4468: "RoundingModeRTZ",
	4473: "UntypedPointersKHR", 5055: "ShaderClockKHR", 5116: "BFloat16TypeKHR",
	5117: "BFloat16DotProductKHR", 5118: "BFloat16CooperativeMatrixKHR",
	5297: "GroupNonUniformPartitionedEXT", 5301: "ShaderNonUniform", 5302: "RuntimeDescriptorArray",
	5304: "UniformTexelBufferArrayDynamicIndexing", 5305: "StorageTexelBufferArrayDynamicIndexing",
	5306: "UniformBufferArrayNonUniformIndexing", 5308: "StorageBufferArrayNonUniformIndexing",
	5311: "UniformTexelBufferArrayNonUniformIndexing", 5312: "StorageTexelBufferArrayNonUniformIndexing",
	5345: "VulkanMemoryModel", 5346: "VulkanMemoryModelDeviceScope",
	5347: "PhysicalStorageBufferAddresses", 5357: "CooperativeMatrixNV", 5394: "CooperativeVectorNV",
	5404: "AtomicFloat16VectorNV", 5425: "LongVectorEXT", 5426: "Shader64BitIndexingEXT",
	5429: "CooperativeMatrixConversionsEXT", 5430: "CooperativeMatrixReductionsEXT",
	5431: "CooperativeMatrixConversionsNV", 5432: "CooperativeMatrixPerElementOperationsEXT",
	5433: "CooperativeMatrixTensorAddressingNV", 5434: "CooperativeMatrixBlockLoadsNV",
	5438: "CooperativeMatrixGetCoordinateEXT", 5439: "TensorAddressingNV",
	5612: "AtomicFloat32MinMaxEXT", 5616: "AtomicFloat16MinMaxEXT", 5629: "ExpectAssumeKHR",
	6016: "DotProductInputAll", 6017: "DotProductInput4x8Bit", 6018: "DotProductInput4x8BitPacked",
	6019: "DotProduct", 6022: "CooperativeMatrixKHR", 6024: "ReplicatedCompositesEXT",
	6025: "BitInstructions", 6026: "GroupNonUniformRotateKHR", 6029: "FloatControls2", 6030: "FMAKHR",
	6033: "AtomicFloat32AddEXT", 6095: "AtomicFloat16AddEXT", 6400: "GroupUniformArithmeticKHR",
	6912: "DotProductFloat16AccFloat32VALVE", 6913: "DotProductFloat16AccFloat16VALVE",
	6914: "DotProductBFloat16AccVALVE",
}

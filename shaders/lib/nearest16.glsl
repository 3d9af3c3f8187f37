// What becomes float16 is rounded to nearest. Unless a module says so (RoundingModeRTE of float controls) a driver may cut it off, and all weights and
// results would be a little too small. NVIDIA's rounds either way.
#extension GL_EXT_spirv_intrinsics : require
spirv_execution_mode(capabilities = [4467], 4462, 16);

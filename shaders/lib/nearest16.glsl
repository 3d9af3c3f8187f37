// What becomes float16 is rounded to nearest. Unless a module says so (RoundingModeRTE of float controls) drivers may cut it off, and NVIDIA's does: weights
// and results would all be a little too small.
#extension GL_EXT_spirv_intrinsics : require
spirv_execution_mode(capabilities = [4467], 4462, 16);

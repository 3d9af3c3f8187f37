#version 450
#extension GL_KHR_shader_subgroup_basic : require
// Invocation 0 writes the size of its subgroup and the number of subgroups.
// Rebuild: glslc --target-env=vulkan1.2 -O subgroup.comp -o subgroup.spv
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) writeonly buffer X { uint x[]; };
void main() {
  if (gl_LocalInvocationIndex == 0) {
    x[0] = gl_SubgroupSize;
    x[1] = gl_NumSubgroups;
  }
}

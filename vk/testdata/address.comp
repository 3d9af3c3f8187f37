#version 450
#extension GL_EXT_buffer_reference : require
#extension GL_EXT_buffer_reference_uvec2 : require
// Doubles n values at an address.
// Rebuild: glslc --target-env=vulkan1.2 -O address.comp -o address.spv
layout(local_size_x = 64) in;
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Values { uint v[]; };
layout(push_constant) uniform Push { uvec2 address; uint n; } push;
void main() {
  uint i = gl_GlobalInvocationID.x;
  if (i < push.n) Values(push.address).v[i] *= 2u;
}

#version 450
// y[i] = sum of the four components of element i of a uniform texel buffer.
// Rebuild: glslc --target-env=vulkan1.2 -O texel.comp -o texel.spv
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) uniform samplerBuffer x;
layout(set = 0, binding = 1) writeonly buffer Y { float y[]; };
void main() {
  uint i = gl_GlobalInvocationID.x;
  if (i < textureSize(x)) y[i] = dot(texelFetch(x, int(i)), vec4(1.0));
}

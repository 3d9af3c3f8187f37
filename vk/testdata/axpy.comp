#version 450
// y[i] = a*x[i] + scale*y[i] + bias for i < n. One invocation per element.
// Rebuild: glslc --target-env=vulkan1.2 -O axpy.comp -o axpy.spv
layout(local_size_x_id = 0) in;
layout(constant_id = 1) const int scale = 1;
layout(constant_id = 2) const float bias = 0.0;
layout(set = 0, binding = 0) readonly buffer X { float x[]; };
layout(set = 0, binding = 1) readonly buffer Y { float y[]; };
layout(set = 0, binding = 2) writeonly buffer Z { float z[]; };
layout(push_constant) uniform Push { uint n; float a; } push;
void main() {
  uint i = gl_GlobalInvocationID.x;
  if (i < push.n) z[i] = push.a * x[i] + float(scale) * y[i] + bias;
}

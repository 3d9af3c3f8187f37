#version 450
// Keeps the device busy: n rounds of a generator whose end value the compiler cannot know, in each workgroup. The workgroups race; nobody reads the result.
// Rebuild: glslc --target-env=vulkan1.2 -O spin.comp -o spin.spv
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) buffer X { uint x[]; };
layout(push_constant) uniform Push { uint n; } push;
void main() {
  uint v = x[0];
  for (uint i = 0; i < push.n; i++) v = v * 1664525u + 1013904223u;
  x[0] = v;
}

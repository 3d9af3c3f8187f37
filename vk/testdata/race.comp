#version 450
// A broken kernel: each invocation writes a word of shared memory, and reads that of its neighbour with no barrier between. With
// SAFE it has one. Rebuild: glslc --target-env=vulkan1.2 -O race.comp -o race.spv
layout(constant_id = 0) const bool SAFE = false;
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) writeonly buffer X { uint x[]; };
shared uint words[64];
void main() {
  const uint i = gl_LocalInvocationIndex;
  words[i] = i * 3;
  if (SAFE) barrier();
  x[i] = words[(i + 1) % 64];
}

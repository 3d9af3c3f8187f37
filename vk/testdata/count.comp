#version 450
// x[0] += 1, to see how often and in which order work ran.
// Rebuild: glslc --target-env=vulkan1.2 -O count.comp -o count.spv
layout(local_size_x = 1) in;
layout(set = 0, binding = 0) buffer X { uint x[]; };
void main() { x[0] += 1u; }

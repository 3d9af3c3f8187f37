#version 450
#extension GL_GOOGLE_include_directive : require

// What the device copies at best by a kernel: key_end words of 16 bytes by each invocation, a stretch for each workgroup,
// four of them under way at once. out[i] = k[i]. No shared memory.

layout(local_size_x_id = 0) in;

#include "lib/slice.glsl"

layout(std430, set = 0, binding = 2) readonly buffer K4 { uvec4 k_words4[]; };
layout(std430, set = 0, binding = 4) writeonly buffer Out4 { uvec4 out_words4[]; };

void main() {
    if (slice.tile_count == 0u) {
        return;
    }
    uint step = gl_WorkGroupSize.x, at = gl_WorkGroupID.x * uint(slice.key_end) * step + gl_LocalInvocationID.x;
    for (int i = 0; i < slice.key_end; i += 4) {
        uvec4 a = k_words4[at], b = k_words4[at + step], c = k_words4[at + 2u * step], d = k_words4[at + 3u * step];
        out_words4[at] = a;
        out_words4[at + step] = b;
        out_words4[at + 2u * step] = c;
        out_words4[at + 3u * step] = d;
        at += 4u * step;
    }
}

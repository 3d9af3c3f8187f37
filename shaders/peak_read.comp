#version 450
#extension GL_GOOGLE_include_directive : require
#if TEXELS
#extension GL_EXT_samplerless_texture_functions : require
#endif

// What the device reads at best: key_end vec4 by each invocation, a stretch for each workgroup, through the loads that
// the attention kernels use for keys and values. out[i] is the sum. No shared memory.

layout(local_size_x_id = 0) in;

#include "lib/slice.glsl"

#if TEXELS
layout(set = 0, binding = 2) uniform textureBuffer k_texels;
vec4 load(uint i) { return texelFetch(k_texels, int(i)); }
#else
layout(std430, set = 0, binding = 2) readonly buffer K4 { vec4 k_data4[]; };
vec4 load(uint i) { return k_data4[i]; }
#endif
layout(std430, set = 0, binding = 4) buffer Out { float out_data[]; };

void main() {
    if (slice.tile_count == 0u) {
        return;
    }
    uint step = gl_WorkGroupSize.x, at = gl_WorkGroupID.x * uint(slice.key_end) * step + gl_LocalInvocationID.x;
    vec4 a = vec4(0.0), b = vec4(0.0), c = vec4(0.0), d = vec4(0.0);
    for (int i = 0; i < slice.key_end; i += 4) {
        a += load(at);
        b += load(at + step);
        c += load(at + 2u * step);
        d += load(at + 3u * step);
        at += 4u * step;
    }
    vec4 sum = a + b + c + d;
    out_data[gl_GlobalInvocationID.x] = sum.x + sum.y + sum.z + sum.w;
}

#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

// What the device computes at best: key_end * 192 float32 multiply-adds for each component of 4 in each invocation,
// in 12 chains that nothing else holds up. Every chain converges to 2, so every out[i] is 24. No shared memory.

layout(local_size_x_id = 0) in;

#include "lib/slice.glsl"

layout(std430, set = 0, binding = 4) buffer Out { float out_data[]; };

void main() {
    if (slice.tile_count == 0u) {
        return;
    }
    vec4 a = vec4(float(gl_LocalInvocationID.x)), b = a + 1.0, c = a + 2.0;
    vec4 half_ = vec4(uintBitsToFloat(slice.state_base));   // 0.5, which no compiler can know
    for (int i = 0; i < slice.key_end; i++) {
        [[unroll]] for (int n = 0; n < 16; n++) {
            a = a * half_ + 1.0;
            b = b * half_ + 1.0;
            c = c * half_ + 1.0;
        }
    }
    vec4 sum = a + b + c;
    out_data[gl_GlobalInvocationID.x] = sum.x + sum.y + sum.z + sum.w;
}

#version 450
#extension GL_GOOGLE_include_directive : require

// TransNormer's norm: each token of out divided by its root mean square over all heads and values, plus eps.
//
// out [B,H,Sq,Dv], any strides, in place. One workgroup has one token of one sequence. Shared memory: one float per
// invocation. Qin et al., arXiv:2210.10340, equation 11.

layout(local_size_x_id = 0) in;     // a power of two

#include "lib/linear.glsl"

layout(std430, set = 0, binding = 4) buffer Out { float out_data[]; };

shared float exchanged[gl_WorkGroupSize.x];

float over_workgroup(float x, bool maximum) {
    uint me = gl_LocalInvocationID.x;
    barrier();
    exchanged[me] = x;
    barrier();
    float y = exchanged[0];
    for (uint i = 1u; i < gl_WorkGroupSize.x; i++) {
        y = maximum ? max(y, exchanged[i]) : y + exchanged[i];
    }
    return y;
}

void main() {
    uint index = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (index >= slice.count) {
        return;
    }
    uint tokens = uint(slice.token_end - slice.token_first);
    LinearSequence seq = load_sequence(slice.seq_first + index / tokens);
    int t = slice.token_first + int(index % tokens);
    if (t >= seq.sq) {
        return;
    }
    uint base = slice.out_base + seq.batch * out_batch + (seq.q0 + uint(t)) * out_row;
    uint n = heads * value_dim, step = gl_WorkGroupSize.x, width = value_dim, stride = out_head;
    float top = 0.0, sum = 0.0;
    for (uint i = gl_LocalInvocationID.x; i < n; i += step) {
        top = max(top, abs(out_data[base + i / width * stride + i % width]));
    }
    // Squares of what is scaled to 1 neither overflow nor vanish.
    top = over_workgroup(top, true);
    float down = top > 0.0 ? top : 1.0;
    for (uint i = gl_LocalInvocationID.x; i < n; i += step) {
        float x = out_data[base + i / width * stride + i % width] / down;
        sum += x * x;
    }
    sum = over_workgroup(sum, false);
    float size = down * sqrt(sum / float(n)) + eps;
    for (uint i = gl_LocalInvocationID.x; i < n; i += step) {
        uint at = base + i / width * stride + i % width;
        out_data[at] = size == 0.0 ? 0.0 : out_data[at] / size;
    }
}

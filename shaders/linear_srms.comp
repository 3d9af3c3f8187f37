#version 450
#extension GL_GOOGLE_include_directive : require

// TransNormer's norm: each token of out divided by its root mean square over all heads and values, plus eps.
//
// in [B,H,Sq,Dv] float32, out of any float type, any strides; they may be the same. One workgroup has one token of one sequence. Where not all heads can be bound
// at once, dispatches with PHASE_ADVANCE alone collect, and those with PHASE_READ alone divide: sums [Sq] keeps the
// largest value and the sum of squares of what is scaled by it. Shared memory: one float per invocation. Qin et al., arXiv:2210.10340, equation 11.

layout(local_size_x_id = 0) in;     // a power of two
layout(constant_id = 1) const uint TYPE_OUT = 0u;

#include "lib/linear.glsl"
#include "lib/types.glsl"
const bool VECTOR = false;
#include "lib/out.glsl"

layout(std430, set = 0, binding = 1) readonly buffer In { float in_data[]; };
layout(std430, set = 0, binding = 5) buffer Sums { vec2 sums[]; };

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

// head_at is the i-th head of those that read the states of this dispatch.
uint head_at(uint i, uint some) { return output_head(slice.head_first + i / some, slice.read_first + i % some); }

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
    uint from = slice.q_base + seq.batch * q_batch + (seq.q0 + uint(t)) * q_row;
    uint to = slice.out_base + seq.batch * out_batch + (seq.q0 + uint(t)) * out_row;
    uint some = slice.read_end - slice.read_first, width = value_dim, step = gl_WorkGroupSize.x, me = gl_LocalInvocationID.x;
    uint n = slice.head_count * some * width;
    bool collect = (slice.phase & PHASE_ADVANCE) != 0u, divide = (slice.phase & PHASE_READ) != 0u;
    float top = 0.0, sum = 0.0;
    if (collect) {
        for (uint i = me; i < n; i += step) {
            top = max(top, abs(in_data[from + head_at(i / width, some) * q_head + i % width]));
        }
        // Squares of what is scaled to 1 neither overflow nor vanish.
        top = over_workgroup(top, true);
        for (uint i = me; i < n; i += step) {
            float x = in_data[from + head_at(i / width, some) * q_head + i % width] / (top > 0.0 ? top : 1.0);
            sum += x * x;
        }
        sum = over_workgroup(sum, false);
    }
    if (!divide) {
        vec2 before = sums[t];
        float both = max(top, before.x), down = both > 0.0 ? both : 1.0;
        sum = sum * (top / down) * (top / down) + before.y * (before.x / down) * (before.x / down);
        barrier();
        if (me == 0u) {
            sums[t] = vec2(both, sum);
        }
        return;
    }
    if (!collect) {
        top = sums[t].x;
        sum = sums[t].y;
    }
    float size = (top > 0.0 ? top : 1.0) * sqrt(sum / float(heads * width)) + eps;
    for (uint i = me; i < n; i += step) {
        uint head = head_at(i / width, some), column = i % width;
        float x = in_data[from + head * q_head + column];
        store_out1(to + head * out_head + column, size == 0.0 ? 0.0 : x / size);
    }
}

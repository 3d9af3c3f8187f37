#version 450
#extension GL_GOOGLE_include_directive : require

// The unfused baseline, kernel 2 of 3: softmax of each row of the score matrix, in place,
//
//   P[r, j] = exp(S[r, j] - max) / (sum + exp(sink - max)),   lse_r = max + log of the denominator
//
// A hidden key (-inf) becomes -1, so that kernel 3 can tell it from a weight that underflowed. Rows lie
// part_keys floats apart. One workgroup does one row. Shared memory: one float per invocation.

layout(local_size_x_id = 0) in;

#include "lib/params.glsl"
#include "lib/slice.glsl"
#include "lib/sequence.glsl"

layout(std430, set = 0, binding = 4) buffer Out { float out_data[]; };
layout(std430, set = 0, binding = 5) buffer Lse { float lse_data[]; };

shared float partial[gl_WorkGroupSize.x];

float row_max(float x) {
    barrier();
    partial[gl_LocalInvocationID.x] = x;
    barrier();
    for (uint n = 0u; n < gl_WorkGroupSize.x; n++) {
        x = max(x, partial[n]);
    }
    return x;
}

float row_sum(float x) {
    barrier();
    partial[gl_LocalInvocationID.x] = x;
    barrier();
    float sum = 0.0;
    for (uint n = 0u; n < gl_WorkGroupSize.x; n++) {
        sum += partial[n];
    }
    return sum;
}

void main() {
    uint index = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (index >= slice.tile_count) {
        return;
    }
    RowTile tile = find_row_tile(slice.tile_first + index);
    uint row = slice.out_base + index * uint(slice.part_keys);
    uint first = gl_LocalInvocationID.x, step = gl_WorkGroupSize.x, keys = uint(tile.seq.sk);
    float hidden = minus_infinity();

    float top = LOWEST;
    for (uint j = first; j < keys; j += step) {
        float s = out_data[row + j];
        top = s != hidden ? max(top, s) : top;
    }
    top = row_max(top);
    float sum = 0.0;
    for (uint j = first; j < keys; j += step) {
        float s = out_data[row + j];
        float p = s != hidden ? exp_difference(s, top) : -1.0;
        out_data[row + j] = p;
        sum += p != -1.0 ? p : 0.0;
    }
    sum = row_sum(sum);
    bool empty = sum == 0.0;
    float factor = empty ? 0.0 : 1.0 / sum;
    float lse = empty ? hidden : log_sum(top, sum);
    if ((flags & FLAG_SINK) != 0u) {
        float sink = uintBitsToFloat(lists[sink_list + tile.seq.index * sink_batch + tile.head]);
        if (empty) {
            lse = sink;
        } else {
            float both = max(top, sink);
            float kept = exp_difference(top, both);
            float total = sum * kept + exp_difference(sink, both);
            factor = kept / total;
            lse = log_sum(both, total);
        }
    }
    for (uint j = first; j < keys; j += step) {
        float p = out_data[row + j];
        out_data[row + j] = p != -1.0 ? p * factor : p;
    }
    if (gl_LocalInvocationID.x == 0u && (flags & FLAG_LSE) != 0u) {
        lse_data[slice.lse_base + tile.seq.batch * lse_batch + tile.head * lse_head + (tile.seq.q0 + uint(tile.row)) * lse_row] = lse;
    }
}

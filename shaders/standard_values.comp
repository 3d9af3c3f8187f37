#version 450
#extension GL_GOOGLE_include_directive : require

// The unfused baseline, kernel 3 of 3: out_r = sum_j P[r, j] v_j over keys [key_first, key_end), added to
// what is there when the slice resumes. P lies where q is bound, rows part_keys floats apart; entries of
// -1 are hidden keys, whose values are not looked at. One invocation computes one element. No shared memory.

layout(local_size_x_id = 0) in;

#include "lib/params.glsl"
#include "lib/slice.glsl"
#include "lib/sequence.glsl"

layout(std430, set = 0, binding = 1) readonly buffer P { float weights[]; };
layout(std430, set = 0, binding = 3) readonly buffer V { float v_data[]; };
layout(std430, set = 0, binding = 4) buffer Out { float out_data[]; };

void main() {
    uint d = gl_GlobalInvocationID.x, index = gl_WorkGroupID.y;
    if (index >= slice.tile_count || d >= value_dim) {
        return;
    }
    RowTile tile = find_row_tile(slice.tile_first + index);
    Sequence seq = tile.seq;
    uint v = slice.v_base + seq.batch * v_batch + kv_head(tile.head, heads_v) * v_head + seq.k0 * v_row + d;
    uint at = slice.out_base + seq.batch * out_batch + tile.head * out_head + (seq.q0 + uint(tile.row)) * out_row + d;
    uint row = slice.q_base + index * uint(slice.part_keys);
    float sum = (slice.phase & PHASE_RESUME) != 0u ? out_data[at] : 0.0;
    for (int j = slice.key_first; j < min(slice.key_end, seq.sk); j++) {
        float p = weights[row + uint(j)];
        if (p != -1.0) {
            sum += p * v_data[v + uint(j) * v_row];
        }
    }
    out_data[at] = sum;
}

#version 450
#extension GL_GOOGLE_include_directive : require

// Merges the parts of a split: out = sum_p w_p O_p / sum_p w_p, w_p = sum_p exp(max_p - max), over the parts
// that saw a key (the sum of the others is 0, and their O may hold anything), and counts the sink logit once.
//
// parts [splits, rows, Dv] and part_state [splits, rows, 2], a maximum and a sum, as flash wrote them, rows being
// tile_count tiles of tile_rows; out [B,Hq,Sq,Dv], lse [B,Hq,Sq], any strides. One workgroup merges 32 columns of
// one row: each 32 of its invocations take a share of the parts. Shared memory: one float per invocation.
//
// Dao et al., FlashDecoding; the formula is the softmax state's own merge, as in docs/semantics.md.

layout(local_size_x_id = 0) in;     // a power of two, at least 32
layout(constant_id = 5) const bool VECTOR = false;      // as in flash.comp; of use only where out is not float32
layout(constant_id = 12) const uint TYPE_OUT = 0u;

#include "lib/params.glsl"
#include "lib/slice.glsl"
#include "lib/items.glsl"
#include "lib/sequence.glsl"
#include "lib/types.glsl"
#include "lib/out.glsl"

layout(std430, set = 0, binding = 1) readonly buffer Parts { float parts[]; };
layout(std430, set = 0, binding = 2) readonly buffer PartState { vec2 part_state[]; };
layout(std430, set = 0, binding = 5) buffer Lse { float lse_data[]; };
layout(std430, set = 0, binding = 6) readonly buffer Left { float left[]; };     // bias and mask of PHASE_JOIN
layout(std430, set = 0, binding = 7) readonly buffer LeftOut { float left_out[]; };

const uint COLUMNS = 32u;

shared float exchanged[gl_WorkGroupSize.x];

// over_workgroup adds x up over the invocations that are distance, 2 * distance, ... apart, or takes their maximum.
float over_workgroup(float x, uint distance, bool maximum) {
    uint me = gl_LocalInvocationID.x;
    barrier();
    exchanged[me] = x;
    barrier();
    float y = exchanged[me % distance];
    for (uint i = me % distance + distance; i < gl_WorkGroupSize.x; i += distance) {
        y = maximum ? max(y, exchanged[i]) : y + exchanged[i];
    }
    return y;
}

void main() {
    uint slot = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    uint rows = slice.tile_count * tile_rows;
    if (slot >= rows) {
        return;
    }
    // A row's parts lie so many rows apart, from its first part on.
    uint flat_tile = slice.tile_first + slot / tile_rows, first = slot, apart = rows, count = splits;
    if ((slice.phase & PHASE_ITEMS) != 0u) {
        uvec3 joined = joined_at(flat_tile);
        flat_tile = joined.x;
        first = joined.y * tile_rows + slot % tile_rows;
        apart = tile_rows;
        count = joined.z;
    }
    RowTile tile = find_row_tile(flat_tile);
    int row = tile.row + int(slot % tile_rows);
    if (row < slice.row_first || row >= min(tile.rows, slice.row_end)) {
        return;
    }
    Row at = find_row(tile, row);
    uint me = gl_LocalInvocationID.x, step = gl_WorkGroupSize.x;
    float top = LOWEST, weight = 0.0;
    for (uint p = me; p < count; p += step) {
        vec2 part = part_state[first + p * apart];
        if (part.y != 0.0) {
            top = max(top, part.x);
            weight = 1.0;
        }
    }
    top = over_workgroup(top, 1u, true);
    bool any = over_workgroup(weight, 1u, true) != 0.0;
    uint i = tile.seq.q0 + at.i;
    vec2 before = vec2(0.0);
    if ((slice.phase & PHASE_JOIN) != 0u) {
        uint b = slice.bias_base + tile.seq.batch * bias_batch + at.head * bias_head + i * bias_row;
        before = vec2(left[b], left[b + 1u]);
    }
    bool joins = before.y != 0.0;
    if (joins) {
        top = any ? max(top, before.x) : before.x;
        any = true;
    }
    float sink = 0.0, sum = 0.0;
    bool has_sink = (flags & FLAG_SINK) != 0u;
    if (has_sink) {
        sink = uintBitsToFloat(lists[sink_list + tile.seq.index * sink_batch + at.head]);
        top = any ? max(top, sink) : top;
    }
    for (uint p = me; p < count; p += step) {
        vec2 part = part_state[first + p * apart];
        sum += part.y != 0.0 ? part.y * exp_difference(part.x, top) : 0.0;
    }
    sum = over_workgroup(sum, 1u, false);
    float share = joins ? before.y * exp_difference(before.x, top) : 0.0;
    sum += share;
    if (has_sink && any) {
        sum += exp_difference(sink, top);
    }
    uint d = gl_WorkGroupID.z * COLUMNS + me % COLUMNS;
    float x = 0.0;
    for (uint p = me / COLUMNS; p < count; p += step / COLUMNS) {
        vec2 part = part_state[first + p * apart];
        if (part.y != 0.0) {
            x += part.y * exp_difference(part.x, top) * parts[(first + p * apart) * value_dim + min(d, value_dim - 1u)];
        }
    }
    x = over_workgroup(x, COLUMNS, false);
    if (joins) {
        x += share * left_out[slice.mask_base + tile.seq.batch * mask_batch + at.head * mask_head + i * mask_row + min(d, value_dim - 1u)];
    }
    x = any ? x / sum : 0.0;
    uint base = slice.out_base + tile.seq.batch * out_batch + at.head * out_head + i * out_row;
    if (TYPE_OUT == TYPE_FLOAT32) {
        if (me < COLUMNS && d < value_dim) {
            out_data[base + d] = x;
        }
    } else {
        barrier();
        exchanged[me] = x;
        barrier();
        if (me % 4u == 0u && me < COLUMNS) {
            store_out(base, d, value_dim, vec4(x, exchanged[me + 1u], exchanged[me + 2u], exchanged[me + 3u]));
        }
    }
    if (me == 0u && gl_WorkGroupID.z == 0u && (slice.phase & PHASE_LEAVE) != 0u) {
        uint l = slice.lse_base + tile.seq.batch * lse_batch + at.head * lse_head + i * lse_row;
        lse_data[l] = top;
        lse_data[l + 1u] = sum;
    } else if (me == 0u && gl_WorkGroupID.z == 0u && (flags & FLAG_LSE) != 0u) {
        float l = any ? log_sum(top, sum) : (has_sink ? sink : minus_infinity());
        lse_data[slice.lse_base + tile.seq.batch * lse_batch + at.head * lse_head + i * lse_row] = l;
    }
}

#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

// Merges the parts of a split: out = sum_p w_p O_p / sum_p w_p, w_p = sum_p exp(max_p - max), over the parts
// that saw a key (the sum of the others is 0, and their O may hold anything), and counts the sink logit once.
//
// parts [splits, rows, Dv] and part_state [splits, rows, 2], a maximum and a sum, as flash wrote them, rows being
// tile_count tiles of tile_rows; out [B,Hq,Sq,Dv], lse [B,Hq,Sq], any strides. One workgroup merges 32 columns of
// one row: each 32 of its invocations take a share of the parts, TOGETHER of them at a time if there are several such groups.
// Shared memory: three floats per invocation.
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

const uint TOGETHER = 8u;   // loads of an invocation that are under way at once

shared vec2 exchanged[gl_WorkGroupSize.x];
shared float weights[gl_WorkGroupSize.x];   // of as many parts, negative for those that saw no key

// over adds x up over the invocations below end that are distance, 2 * distance, ... apart, or takes their maximum.
vec2 over(vec2 x, uint distance, uint end, bool maximum) {
    uint me = gl_LocalInvocationID.x;
    barrier();
    exchanged[me] = x;
    barrier();
    vec2 y = exchanged[me % distance];
    for (uint i = me % distance + distance; i < end; i += distance) {
        y = maximum ? max(y, exchanged[i]) : y + exchanged[i];
    }
    return y;
}

// over_groups is over all invocations that have a column, over_columns then over all columns.
vec2 over_groups(vec2 x, bool maximum) { return gl_WorkGroupSize.x > COLUMNS ? over(x, COLUMNS, gl_WorkGroupSize.x, maximum) : x; }
vec2 over_columns(vec2 x, bool maximum) { return over(x, 1u, COLUMNS, maximum); }

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
    vec2 found = vec2(LOWEST, 0.0);
    for (uint p = me; p < count; p += step) {
        vec2 part = part_state[first + p * apart];
        if (part.y != 0.0) {
            found = vec2(max(found.x, part.x), 1.0);
        }
    }
    found = over_columns(over_groups(found, true), true);
    float top = found.x;
    bool any = found.y != 0.0;
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
    float sink = 0.0;
    bool has_sink = (flags & FLAG_SINK) != 0u;
    if (has_sink) {
        sink = uintBitsToFloat(lists[sink_list + tile.seq.index * sink_batch + at.head]);
        top = any ? max(top, sink) : top;
    }
    uint d = gl_WorkGroupID.z * COLUMNS + me % COLUMNS, column = min(d, value_dim - 1u), groups = step / COLUMNS;
    float sum = 0.0, x = 0.0;
    if (step > COLUMNS) {
        for (uint p0 = 0u; p0 < count; p0 += step) {
            float own = -1.0;
            if (p0 + me < count) {
                vec2 part = part_state[first + (p0 + me) * apart];
                if (part.y != 0.0) {
                    own = part.y * exp_difference(part.x, top);
                    sum += own;
                }
            }
            barrier();
            weights[me] = own;
            barrier();
            uint n = min(step, count - p0);
            for (uint p = me / COLUMNS; p < n; p += TOGETHER * groups) {
                float values[TOGETHER];
                [[unroll]] for (uint i = 0u; i < TOGETHER; i++) {
                    values[i] = parts[(first + (p0 + min(p + i * groups, n - 1u)) * apart) * value_dim + column];
                }
                [[unroll]] for (uint i = 0u; i < TOGETHER; i++) {
                    float weight = p + i * groups < n ? weights[p + i * groups] : -1.0;
                    if (!(weight < 0.0)) {
                        x += weight * values[i];
                    }
                }
            }
        }
    } else { // few parts, or software drivers, to which barriers are dear
        for (uint p = me; p < count; p += step) {
            vec2 part = part_state[first + p * apart];
            sum += part.y != 0.0 ? part.y * exp_difference(part.x, top) : 0.0;
        }
        for (uint p = 0u; p < count; p++) {
            vec2 part = part_state[first + p * apart];
            if (part.y != 0.0) {
                x += part.y * exp_difference(part.x, top) * parts[(first + p * apart) * value_dim + column];
            }
        }
    }
    vec2 sums = over_groups(vec2(sum, x), false);
    x = sums.y;
    sum = over_columns(sums, false).x;
    float share = joins ? before.y * exp_difference(before.x, top) : 0.0;
    sum += share;
    if (has_sink && any) {
        sum += exp_difference(sink, top);
    }
    if (joins) {
        x += share * left_out[slice.mask_base + tile.seq.batch * mask_batch + at.head * mask_head + i * mask_row + column];
    }
    x = any ? x / sum : 0.0;
    uint base = slice.out_base + tile.seq.batch * out_batch + at.head * out_head + i * out_row;
    if (TYPE_OUT == TYPE_FLOAT32) {
        if (me < COLUMNS && d < value_dim) {
            out_data[base + d] = x;
        }
    } else {
        barrier();
        weights[me] = x;
        barrier();
        if (me % 4u == 0u && me < COLUMNS) {
            store_out(base, d, value_dim, vec4(x, weights[me + 1u], weights[me + 2u], weights[me + 3u]));
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

#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

// What the rows of query heads make of pooled keys: for every block that the row may choose
//
//   MoBA   out[b,h,i,n] = q[b,h,i] . k[b,g,n]
//   NSA    out[b,g,i,n] = sum over the heads h of group g of exp(scale q[b,h,i] . k[b,g,n] - lse[b,h,i])
//
// and 0 for the others. q [B,Hq,Sq,D] of 32 or 16 bits, k [B,G,blocks,D padded to fours, with zeros], lse, out [.., Sq, blocks], any strides. The
// heads of a group are its members, which may come in several dispatches: then WEIGH adds to what is there.
// One invocation has one block and ROWS rows; workgroups in y are fours of rows, in z groups of sequences. No shared memory.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE_Q = 0u;

const uint ROWS = 4u;

layout(push_constant) uniform Slice {
    uint rows, columns;     // of the area; columns are blocks
    uint groups;            // of the area, in z
    uint members;           // of each group
    uint dim;
    uint q_batch, q_group, q_row, q_member;     // strides, in elements
    uint k_batch, k_group, k_row;
    uint out_batch, out_group, out_row, out_member;
    uint lse_batch, lse_group, lse_member;      // its rows are 1 apart
    uint q_base, k_base, out_base, lse_base;    // of the first element of the area
    uint row_first, column_first, batch_first;
    uint span, stride;    // keys of a block, and between the starts of two
    uint flags;
    float scale;
} slice;

const uint FLAG_WEIGH = 1u;     // NSA
const uint FLAG_RESUME = 2u;    // add to what is there

layout(std430, set = 0, binding = 0) readonly buffer Lists { int lists[]; };    // a sequence: keys, off
#include "lib/numbers.glsl"
#define TYPES 1
const bool VECTOR = false;
const uint TYPE_K = 0u, TYPE_V = 0u, TYPE_OUT = 0u;
#include "lib/access.glsl"

// candidates is how many blocks a row may choose from, or weighs: whole ones in the past, or for MoBA those before its own.
int candidates(int row, int keys, int off) {
    int t = row + off;
    if ((slice.flags & FLAG_WEIGH) == 0u) {
        return t < 0 ? 0 : t / int(slice.span);
    }
    int end = min(t, keys - 1) + 1 - int(slice.span);
    return end < 0 ? 0 : end / int(slice.stride) + 1;
}

void main() {
    uint n = gl_GlobalInvocationID.x, row = gl_WorkGroupID.y * ROWS;
    if (n >= slice.columns) {
        return;
    }
    uint batch = gl_WorkGroupID.z / slice.groups, group = gl_WorkGroupID.z - batch * slice.groups;
    int keys = lists[2u * (slice.batch_first + batch)], off = lists[2u * (slice.batch_first + batch) + 1u];
    uint last = slice.rows - 1u;
    bool weigh = (slice.flags & FLAG_WEIGH) != 0u;
    int block = int(slice.column_first + n);
    int most = candidates(int(slice.row_first + min(row + ROWS - 1u, last)), keys, off);
    uint key = (slice.k_base + batch * slice.k_batch + group * slice.k_group + n * slice.k_row) >> 2;
    float total[ROWS];
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        total[r] = 0.0;
    }
    uint to = slice.out_base + batch * slice.out_batch + group * slice.out_group + n;
    if (weigh && (slice.flags & FLAG_RESUME) != 0u) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            total[r] = out_data[to + min(row + r, last) * slice.out_row];
        }
    }
    for (uint m = 0u; m < slice.members; m++) {
        float sum[ROWS];
        uint at[ROWS];
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            sum[r] = 0.0;
            at[r] = slice.q_base + batch * slice.q_batch + group * slice.q_group + min(row + r, last) * slice.q_row + m * slice.q_member;
        }
        if (block < most) {
            uint whole = slice.dim / 4u;
            for (uint d = 0u; d < whole; d++) {
                vec4 k = k_data4[key + d];
                [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                    sum[r] += load_q1(at[r]) * k.x + load_q1(at[r] + 1u) * k.y + load_q1(at[r] + 2u) * k.z + load_q1(at[r] + 3u) * k.w;
                    at[r] += 4u;
                }
            }
            if (4u * whole < slice.dim) {
                vec4 k = k_data4[key + whole];
                for (uint d = 4u * whole; d < slice.dim; d++) {
                    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                        sum[r] += load_q1(at[r]) * k[d & 3u];
                        at[r]++;
                    }
                }
            }
        }
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            uint i = min(row + r, last);
            bool seen = block < candidates(int(slice.row_first + i), keys, off);
            if (weigh) {
                if (seen) {
                    precise float s = slice.scale * sum[r];
                    precise float x = s - lse_data[slice.lse_base + batch * slice.lse_batch + group * slice.lse_group + i + m * slice.lse_member];
                    total[r] += is_nan(x) ? x : exp2(x * 1.44269504088896340736);
                }
            } else if (row + r <= last) {
                out_data[to + i * slice.out_row + m * slice.out_member] = seen ? sum[r] : 0.0;
            }
        }
    }
    if (weigh) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            if (row + r <= last) {
                out_data[to + (row + r) * slice.out_row] = total[r];
            }
        }
    }
}

#version 450
#extension GL_GOOGLE_include_directive : require

// Means of rows over blocks of keys,
//
//   out[b,h,n] = mean of in[b,h,j] over j in [n stride, min(n stride + span, Sk))
//
// in [B,H,Sk,D] of 32 or 16 bits, out [B,H,blocks,padded], any strides; columns from D on become 0. With WHOLE blocks, those that the keys of
// their sequence do not fill are left alone. One invocation has one column of a block; workgroups in y are blocks, in z heads of
// sequences. No shared memory. Lu et al., "MoBA" (2025); Yuan et al., "Native Sparse Attention" (2025).

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE_Q = 0u;     // of in

layout(push_constant) uniform Slice {
    uint columns, padded;   // D, and what of a row is written; 0: nothing to do
    uint heads;             // of the area, in z
    uint block_first, batch_first;
    uint span, stride;    // keys
    uint whole;
    uint in_batch, in_head, in_row;     // strides, in elements
    uint out_batch, out_head, out_row;
    uint in_base, out_base; // of the first block of the area
} slice;

layout(std430, set = 0, binding = 0) readonly buffer Lists { int lists[]; };    // a sequence: keys, off
#define TYPES 1
const bool VECTOR = false;
const uint TYPE_K = 0u, TYPE_V = 0u, TYPE_OUT = 0u;
#include "lib/access.glsl"

void main() {
    uint d = gl_GlobalInvocationID.x, n = gl_WorkGroupID.y;
    if (d >= slice.padded) {
        return;
    }
    uint batch = gl_WorkGroupID.z / slice.heads, head = gl_WorkGroupID.z - batch * slice.heads;
    uint keys = uint(lists[2u * (slice.batch_first + batch)]);
    uint first = (slice.block_first + n) * slice.stride;
    if (first >= keys || slice.whole != 0u && slice.span > keys - first) {
        return;
    }
    uint count = min(slice.span, keys - first);
    uint at = slice.in_base + batch * slice.in_batch + head * slice.in_head + n * slice.stride * slice.in_row + d;
    float mean = 0.0;
    if (d < slice.columns) {
        // In runs of 64, so that long blocks do not lose digits.
        float sum = 0.0;
        for (uint j = 0u; j < count; j += 64u) {
            float part = 0.0;
            uint end = min(j + 64u, count);
            for (uint k = j; k < end; k++) {
                part += load_q1(at);
                at += slice.in_row;
            }
            sum += part;
        }
        mean = sum / float(count);
    }
    out_data[slice.out_base + batch * slice.out_batch + head * slice.out_head + n * slice.out_row + d] = mean;
}

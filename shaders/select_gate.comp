#version 450
#extension GL_GOOGLE_include_directive : require

// The gated sum of the branches of native sparse attention,
//
//   out = g_0 compressed + g_1 selected + g_2 window
//
// compressed, selected, window [B,H,S,D], out of any float type, which may be window if that is float32, gates [B,H,S,3], any strides; bases are of the first element of the area. One
// invocation has one column of a row; workgroups in y are heads, in z sequences. No shared memory. Yuan et al., "Native
// Sparse Attention" (2025).

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint TYPE_OUT = 0u;

layout(push_constant) uniform Slice {
    uint count;             // rows * columns; 0: nothing to do
    uint columns;
    uint c_batch, c_head, c_row;        // strides, in elements
    uint s_batch, s_head, s_row;
    uint w_batch, w_head, w_row;
    uint gate_batch, gate_head, gate_row, gate_step;
    uint out_batch, out_head, out_row;
    uint c_base, s_base, w_base, gate_base, out_base;
} slice;

layout(std430, set = 0, binding = 1) readonly buffer Compressed { float c_data[]; };
layout(std430, set = 0, binding = 2) readonly buffer Selected { float s_data[]; };
layout(std430, set = 0, binding = 3) readonly buffer Gates { float gate_data[]; };
layout(std430, set = 0, binding = 5) readonly buffer Window { float w_data[]; };

#include "lib/types.glsl"
const bool VECTOR = false;
#include "lib/out.glsl"

void main() {
    uint index = gl_GlobalInvocationID.x, head = gl_WorkGroupID.y, batch = gl_WorkGroupID.z;
    if (index >= slice.count) {
        return;
    }
    uint row = index / slice.columns, d = index - row * slice.columns;
    uint gate = slice.gate_base + batch * slice.gate_batch + head * slice.gate_head + row * slice.gate_row;
    uint to = slice.out_base + batch * slice.out_batch + head * slice.out_head + row * slice.out_row + d;
    float c = c_data[slice.c_base + batch * slice.c_batch + head * slice.c_head + row * slice.c_row + d];
    float s = s_data[slice.s_base + batch * slice.s_batch + head * slice.s_head + row * slice.s_row + d];
    float w = w_data[slice.w_base + batch * slice.w_batch + head * slice.w_head + row * slice.w_row + d];
    store_out1(to, gate_data[gate] * c + gate_data[gate + slice.gate_step] * s + gate_data[gate + 2u * slice.gate_step] * w);
}

#version 450
#extension GL_GOOGLE_include_directive : require

// Joins two results of attention over parts of the keys to that over both: with m = max(la, lb), wa = exp(la - m), wb = exp(lb - m),
//
//   out = (wa A + wb B) / (wa + wb),   lse = m + log(wa + wb)
//
// A part whose lse is -inf is absent, whatever its numbers are; where both are, out is 0 and lse -inf.
//
// a, b, out [B,H,S,Dv], lses [B,H,S], any strides; bases are of the first element of the area that the dispatch has. out may be a, lse
// may not be la. One invocation has one column of a row; workgroups in y are heads, in z sequences. No shared memory.
//
// Dao et al., FlashDecoding; the formula is that of docs/semantics.md.

#include "lib/numbers.glsl"

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Slice {
    uint count;             // invocations that have something to do, in x: tokens * columns; 0: none
    uint columns;
    uint single;            // 1: there is no b
    uint a_batch, a_head, a_row, b_batch, b_head, b_row, out_batch, out_head, out_row;  // strides, in elements
    uint la_batch, la_head, la_row, lb_batch, lb_head, lb_row, lse_batch, lse_head, lse_row;
    uint a_base, b_base, out_base, la_base, lb_base, lse_base;
} slice;

layout(std430, set = 0, binding = 1) readonly buffer A { float a_data[]; };
layout(std430, set = 0, binding = 2) readonly buffer B { float b_data[]; };
layout(std430, set = 0, binding = 3) readonly buffer La { float la_data[]; };
layout(std430, set = 0, binding = 4) buffer Out { float out_data[]; };
layout(std430, set = 0, binding = 5) buffer Lse { float lse_data[]; };
layout(std430, set = 0, binding = 6) readonly buffer Lb { float lb_data[]; };

bool absent(float lse) { return floatBitsToUint(lse) == 0xff800000u; }

// weight is exp(l - m): the difference comes first and exactly.
float weight(float l, float m) {
    precise float d = l - m;
    precise float x = d * LOG2E;
    return is_nan(d) ? d : exp2(x);
}

void main() {
    uint index = gl_GlobalInvocationID.x;
    if (index >= slice.count) {
        return;
    }
    uint token = index / slice.columns, d = index - token * slice.columns, head = gl_WorkGroupID.y, batch = gl_WorkGroupID.z;
    float la = la_data[slice.la_base + batch * slice.la_batch + head * slice.la_head + token * slice.la_row];
    float lb = uintBitsToFloat(0xff800000u);
    if (slice.single == 0u) {
        lb = lb_data[slice.lb_base + batch * slice.lb_batch + head * slice.lb_head + token * slice.lb_row];
    }
    float m = is_nan(la) || absent(la) ? lb : (is_nan(lb) || absent(lb) ? la : max(la, lb));
    float out_of_both = 0.0, sum = 0.0;
    if (!absent(la)) {
        sum = weight(la, m);
        out_of_both = sum * a_data[slice.a_base + batch * slice.a_batch + head * slice.a_head + token * slice.a_row + d];
    }
    if (!absent(lb)) {
        float w = weight(lb, m);
        sum += w;
        out_of_both += w * b_data[slice.b_base + batch * slice.b_batch + head * slice.b_head + token * slice.b_row + d];
    }
    bool any = !(absent(la) && absent(lb));
    out_data[slice.out_base + batch * slice.out_batch + head * slice.out_head + token * slice.out_row + d] = any ? out_of_both / sum : 0.0;
    if (d == 0u) {
        float l = is_nan(sum) ? sum : m + log2(sum) * (1.0 / LOG2E);
        lse_data[slice.lse_base + batch * slice.lse_batch + head * slice.lse_head + token * slice.lse_row] = any ? l : uintBitsToFloat(0xff800000u);
    }
}

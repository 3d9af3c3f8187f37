#version 450
#extension GL_GOOGLE_include_directive : require

// Numbers of one type become those of another, rounded as vkattn.Type.Encode does: out[b,h,s,d] = in[b,h,s,d].
//
// in and out [B,H,S,D], any strides; bases are of the first element of the area. One invocation has four columns of a row, or
// a block of 32 where out comes in blocks; workgroups in y are heads, in z sequences. No shared memory.
//
// Blocks are quantised as ggml's quantize_row_q8_0_ref and quantize_row_q4_0_ref do.

layout(local_size_x_id = 0) in;
layout(constant_id = 5) const bool VECTOR = true;
layout(constant_id = 9) const uint TYPE_Q = 0u;         // of in
layout(constant_id = 12) const uint TYPE_OUT = 0u;

layout(push_constant) uniform Slice {
    uint count;             // rows * chunks; 0: nothing to do
    uint chunks;            // invocations of a row
    uint columns;
    uint in_batch, in_head, in_row;     // strides, in elements
    uint out_batch, out_head, out_row;
    uint in_base, out_base;
} slice;

#define TYPES 1
const uint TYPE_K = 0u, TYPE_V = 0u;
#include "lib/numbers.glsl"
#include "lib/access.glsl"

// store_half writes 16 bits and leaves the other half of their word alone.
void store_half(uint i, uint code) {
    uint shift = (i & 1u) * 16u;
    atomicAnd(out_words[i >> 1], ~(0xffffu << shift));
    atomicOr(out_words[i >> 1], code << shift);
}

// nearest rounds ties away from 0.
vec4 nearest(vec4 x) {
    vec4 size = abs(x), whole = floor(size);
    return sign(x) * mix(whole, whole + 1.0, greaterThanEqual(size - whole, vec4(0.5)));
}

uint magnitude(float x) { return floatBitsToUint(x) & 0x7fffffffu; }

uint packed(uvec4 bytes) { return bytes.x | bytes.y << 8 | bytes.z << 16 | bytes.w << 24; }

void store_block(uint to, uint from, uint first) {
    vec4 x[8];
    float extreme = 0.0; // the first of the largest size, or NaN
    for (uint i = 0u; i < 8u; i++) {
        x[i] = load_q(from, first + 4u * i, slice.columns);
        for (uint c = 0u; c < 4u; c++) {
            extreme = !is_nan(extreme) && (is_nan(x[i][c]) || abs(x[i][c]) > abs(extreme)) ? x[i][c] : extreme;
        }
    }
    bool nibbled = TYPE_OUT == TYPE_Q4_0;
    float scale = nibbled ? extreme / -8.0 : abs(extreme) / 127.0;
    uint code = to_codes(TYPE_FLOAT16, vec4(scale)).x;
    if (!is_nan(scale) && magnitude(scale) >= 0x477ff000u) { // 65520, which rounds beyond float16
        code = code & 0x8000u | 0x7bffu;
        scale = scale < 0.0 ? -65504.0 : 65504.0;
    }
    float inverse = 1.0 / scale;
    if (magnitude(inverse) >= 0x7f800000u) { // all elements are to be 0, or NaN with the scale
        inverse = 0.0;
    }
    uint halves[18];
    halves[0] = code;
    uint count = 1u;
    for (uint i = 0u; i < (nibbled ? 4u : 8u); i++) {
        uint codes;
        if (nibbled) {
            precise vec4 low = x[i] * inverse, high = x[i + 4u] * inverse;
            low = inverse == 0.0 ? vec4(8.0) : low + 8.5;
            high = inverse == 0.0 ? vec4(8.0) : high + 8.5;
            codes = packed(uvec4(clamp(low, 0.0, 15.0)) | uvec4(clamp(high, 0.0, 15.0)) << 4);
        } else {
            vec4 q = inverse == 0.0 ? vec4(0.0) : clamp(nearest(x[i] * inverse), -127.0, 127.0);
            codes = packed(uvec4(ivec4(q)) & 0xffu);
        }
        halves[count] = codes & 0xffffu;
        halves[count + 1u] = codes >> 16;
        count += 2u;
    }
    uint at = ((to + first) >> 5) * count, i = 0u;
    if ((at & 1u) != 0u) {
        store_half(at, halves[0]);
        i = 1u;
    }
    for (; i + 1u < count; i += 2u) {
        out_words[(at + i) >> 1] = halves[i] | halves[i + 1u] << 16;
    }
    if (i < count) {
        store_half(at + i, halves[i]);
    }
}

void main() {
    uint index = gl_GlobalInvocationID.x, head = gl_WorkGroupID.y, batch = gl_WorkGroupID.z;
    if (index >= slice.count) {
        return;
    }
    uint row = index / slice.chunks, chunk = index - row * slice.chunks;
    uint from = slice.in_base + batch * slice.in_batch + head * slice.in_head + row * slice.in_row;
    uint to = slice.out_base + batch * slice.out_batch + head * slice.out_head + row * slice.out_row;
    if (TYPE_OUT >= TYPE_Q8_0) {
        store_block(to, from, chunk * 32u);
    } else {
        store_out(to, chunk * 4u, slice.columns, load_q(from, chunk * 4u, slice.columns));
    }
}

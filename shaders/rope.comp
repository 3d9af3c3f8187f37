#version 450
#extension GL_GOOGLE_include_directive : require

// Rotary position embedding: in every row of a head, pair i of columns (x, y) is turned by the angle of the row's position,
//
//   x' = x cos - y sin,   y' = y cos + x sin
//
// and the columns behind the pairs are copied, bit by bit if q and out are of one type.
//
// q, out [B,H,S,D] of 32 or 16 bits, cos, sin [1 or B,1,rows,R/2], positions [1 or B,S], any strides; bases are of the first element of the
// area that the dispatch has. One invocation has one pair of a row or two of the columns behind; with VECTOR, where all rows
// start at multiples of four elements, four pairs or eight columns. Workgroups in y are heads, in z sequences. Products are
// rounded, so that all ways of running this give the same bits. No shared memory. Su et al., arXiv:2104.09864, section 3.4.2.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool VECTOR = true;
layout(constant_id = 2) const bool IN_PLACE = false;    // q is out: a load through another binding may come too late
layout(constant_id = 3) const uint TYPE_Q = 0u;
layout(constant_id = 4) const uint TYPE_OUT = 0u;

layout(push_constant) uniform Slice {
    uint count;             // invocations that have something to do, in x: tokens * units; 0: none
    uint units;             // of a row
    uint turned;            // of these, the first: pairs, or fours of them
    uint pairs, columns;    // R/2, D
    uint pair_step, pair_beside;        // columns from one pair to the next, and from x to y
    uint flip;              // what inverts the sign of sin, or 0
    uint row_count;         // rows of the tables that are bound, from row_first; tokens of others are left alone. 0: row s is token s
    uint row_first;
    uint q_batch, q_head, q_row;        // strides, in elements
    uint out_batch, out_head, out_row;
    uint cos_batch, cos_row, sin_batch, sin_row;
    uint position_batch;
    uint q_base, out_base, cos_base, sin_base, position_base;
} slice;

layout(std430, set = 0, binding = 0) readonly buffer Positions { uint positions[]; };
#include "lib/types.glsl"
#include "lib/out.glsl"

layout(std430, set = 0, binding = 1) readonly buffer QWords { uint q_words[]; };
layout(std430, set = 0, binding = 1) readonly buffer QWords2 { uvec2 q_words2[]; };
layout(std430, set = 0, binding = 1) readonly buffer QWords4 { uvec4 q_words4[]; };
layout(std430, set = 0, binding = 2) readonly buffer Cos { float cos_data[]; };
layout(std430, set = 0, binding = 2) readonly buffer Cos4 { vec4 cos_data4[]; };
layout(std430, set = 0, binding = 3) readonly buffer Sin { uint sin_data[]; };
layout(std430, set = 0, binding = 3) readonly buffer Sin4 { uvec4 sin_data4[]; };
layout(std430, set = 0, binding = 4) buffer OutWords4 { uvec4 out_words4[]; };

// code is the bits of an element, codes2 and codes4 those of four, of 16 and 32 bits.
uint code(uint at) {
    if (TYPE_Q == TYPE_FLOAT32) {
        return IN_PLACE ? out_words[at] : q_words[at];
    }
    return (IN_PLACE ? out_words[at >> 1] : q_words[at >> 1]) >> (at & 1u) * 16u & 0xffffu;
}

uvec2 codes2(uint at) { return IN_PLACE ? out_words2[at >> 2] : q_words2[at >> 2]; }
uvec4 codes4(uint at) { return IN_PLACE ? out_words4[at >> 2] : q_words4[at >> 2]; }

float load(uint at) { return TYPE_Q == TYPE_FLOAT32 ? uintBitsToFloat(code(at)) : from_halves(TYPE_Q, uvec2(code(at), 0u)).x; }
vec4 load4(uint at) { return TYPE_Q == TYPE_FLOAT32 ? uintBitsToFloat(codes4(at)) : from_halves(TYPE_Q, codes2(at)); }

void store(uint at, float x) {
    if (TYPE_OUT == TYPE_FLOAT32) {
        out_words[at] = floatBitsToUint(x);
    } else {
        store_code(at, to_codes(TYPE_OUT, vec4(x)).x);
    }
}

void store4(uint at, vec4 x) {
    if (TYPE_OUT == TYPE_FLOAT32) {
        out_words4[at >> 2] = floatBitsToUint(x);
    } else {
        store_out(at, 0u, 4u, x);
    }
}

void copy(uint from, uint to) {
    if (TYPE_Q != TYPE_OUT) {
        store(to, load(from));
    } else if (TYPE_OUT == TYPE_FLOAT32) {
        out_words[to] = code(from);
    } else {
        store_code(to, code(from));
    }
}

void copy4(uint from, uint to) {
    if (TYPE_Q != TYPE_OUT) {
        store4(to, load4(from));
    } else if (TYPE_OUT == TYPE_FLOAT32) {
        out_words4[to >> 2] = codes4(from);
    } else {
        out_words2[to >> 2] = codes2(from);
    }
}

void turn(uint q, uint to, uint angle, uint sines, uint i) {
    float c = cos_data[angle + i], s = uintBitsToFloat(sin_data[sines + i] ^ slice.flip);
    uint at = i * slice.pair_step, beside = at + slice.pair_beside;
    float x = load(q + at), y = load(q + beside);
    precise float x1 = x * c - y * s, y1 = y * c + x * s;
    store(to + at, x1);
    store(to + beside, y1);
}

void turn4(uint q, uint to, uint angle, uint sines, uint i) {
    vec4 c = cos_data4[(angle + i) >> 2], s = uintBitsToFloat(sin_data4[(sines + i) >> 2] ^ slice.flip);
    bool interleaved = slice.pair_step == 2u;
    uint at = i * slice.pair_step, beside = at + (interleaved ? 4u : slice.pair_beside);
    vec4 a = load4(q + at), b = load4(q + beside);
    vec4 x = interleaved ? vec4(a.xz, b.xz) : a, y = interleaved ? vec4(a.yw, b.yw) : b;
    precise vec4 x1 = x * c - y * s, y1 = y * c + x * s;
    a = interleaved ? vec4(x1.x, y1.x, x1.y, y1.y) : x1;
    b = interleaved ? vec4(x1.z, y1.z, x1.w, y1.w) : y1;
    store4(to + at, a);
    store4(to + beside, b);
}

void main() {
    uint index = gl_GlobalInvocationID.x;
    if (index >= slice.count) {
        return;
    }
    uint token = index / slice.units, unit = index - token * slice.units, head = gl_WorkGroupID.y, batch = gl_WorkGroupID.z;
    uint row = token;
    if (slice.row_count != 0u) {
        row = positions[slice.position_base + batch * slice.position_batch + token] - slice.row_first;
        if (row >= slice.row_count) {
            return;
        }
    }
    uint to = slice.out_base + batch * slice.out_batch + head * slice.out_head + token * slice.out_row;
    uint q = IN_PLACE ? to : slice.q_base + batch * slice.q_batch + head * slice.q_head + token * slice.q_row;
    if (unit < slice.turned) {
        uint angle = slice.cos_base + batch * slice.cos_batch + row * slice.cos_row;
        uint sines = slice.sin_base + batch * slice.sin_batch + row * slice.sin_row;
        if (VECTOR) {
            turn4(q, to, angle, sines, 4u * unit);
        } else {
            turn(q, to, angle, sines, unit);
        }
        return;
    }
    uint behind = 2u * slice.pairs + (unit - slice.turned) * (VECTOR ? 8u : 2u);
    if (VECTOR) {
        copy4(q + behind, to + behind);
        copy4(q + behind + 4u, to + behind + 4u);
        return;
    }
    copy(q + behind, to + behind);
    if (behind + 1u < slice.columns) {
        copy(q + behind + 1u, to + behind + 1u);
    }
}

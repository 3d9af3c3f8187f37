#version 450

// Rotary position embedding: in every row of a head, pair i of columns (x, y) is turned by the angle of the row's position,
//
//   x' = x cos - y sin,   y' = y cos + x sin
//
// and the columns behind the pairs are copied, bit by bit.
//
// q, out [B,H,S,D], cos, sin [1 or B,1,rows,R/2], positions [1 or B,S], any strides; bases are of the first element of the
// area that the dispatch has. One invocation has one pair of a row or two of the columns behind; with VECTOR, where all rows
// start at multiples of four elements, four pairs or eight columns. Workgroups in y are heads, in z sequences. Products are
// rounded, so that all ways of running this give the same bits. No shared memory. Su et al., arXiv:2104.09864, section 3.4.2.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const bool VECTOR = true;
layout(constant_id = 2) const bool IN_PLACE = false;    // q is out: a load through another binding may come too late

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
layout(std430, set = 0, binding = 1) readonly buffer Q { uint q_data[]; };
layout(std430, set = 0, binding = 1) readonly buffer Q4 { uvec4 q_data4[]; };
layout(std430, set = 0, binding = 2) readonly buffer Cos { float cos_data[]; };
layout(std430, set = 0, binding = 2) readonly buffer Cos4 { vec4 cos_data4[]; };
layout(std430, set = 0, binding = 3) readonly buffer Sin { uint sin_data[]; };
layout(std430, set = 0, binding = 3) readonly buffer Sin4 { uvec4 sin_data4[]; };
layout(std430, set = 0, binding = 4) buffer Out { uint out_data[]; };
layout(std430, set = 0, binding = 4) buffer Out4 { uvec4 out_data4[]; };

float load(uint at) { return uintBitsToFloat(IN_PLACE ? out_data[at] : q_data[at]); }
vec4 load4(uint at) { return uintBitsToFloat(IN_PLACE ? out_data4[at >> 2] : q_data4[at >> 2]); }

void turn(uint q, uint to, uint angle, uint sines, uint i) {
    float c = cos_data[angle + i], s = uintBitsToFloat(sin_data[sines + i] ^ slice.flip);
    uint at = i * slice.pair_step, beside = at + slice.pair_beside;
    float x = load(q + at), y = load(q + beside);
    precise float x1 = x * c - y * s, y1 = y * c + x * s;
    out_data[to + at] = floatBitsToUint(x1);
    out_data[to + beside] = floatBitsToUint(y1);
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
    out_data4[(to + at) >> 2] = floatBitsToUint(a);
    out_data4[(to + beside) >> 2] = floatBitsToUint(b);
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
        out_data4[(to + behind) >> 2] = q_data4[(q + behind) >> 2];
        out_data4[((to + behind) >> 2) + 1u] = q_data4[((q + behind) >> 2) + 1u];
        return;
    }
    out_data[to + behind] = q_data[q + behind];
    if (behind + 1u < slice.columns) {
        out_data[to + behind + 1u] = q_data[q + behind + 1u];
    }
}

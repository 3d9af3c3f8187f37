#version 450
#extension GL_GOOGLE_include_directive : require

// New tokens enter a key-value cache: keys are rotated by their positions and written, with the values, to the rows of the pool that
// the host has found for them, in the pool's types; queries are rotated on the way.
//
// q [Hq,T,D], k [Hk,T,D], v [Hv,T,Dv], any strides, T tokens of all sequences; pools [Hk,rows,D] and [Hv,rows,Dv], whose rows are whole
// words; turned queries [Hq,T,D]; angles [positions,R/2] cosines, and behind them as many sines; entries a position and a row for
// each token. One invocation has one unit of a token: a column, as many as fill a word, or two blocks of 32; workgroups in y are heads:
// first those of q, then of k, then of v. Products are rounded one by one, as in rope.comp, so that a token has the same bits
// however it came in. No shared memory.
//
// Su et al., arXiv:2104.09864, section 3.4.2.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint KEY_TYPE = 0u;       // of the pools
layout(constant_id = 2) const uint VALUE_TYPE = 0u;

#include "lib/numbers.glsl"
#include "lib/types.glsl"

layout(push_constant) uniform Slice {
    uint first, tokens;     // of the step, in this dispatch; no tokens: nothing to do
    uint units;             // invocations of a token
    uint heads_q, heads_k, heads_v;     // of this dispatch
    uint dim, value_dim;
    uint pairs, pair_step;  // as in rope.comp; no pairs: nothing is rotated
    uint positions;         // of the tables
    uint rows;              // of the pool
    uint q_head, q_row, k_head, k_row, v_head, v_row;   // strides, in elements
    uint key_head, key_row, value_head, value_row;      // of the pools, in words
    uint turned_head;
    uint q_base, k_base, v_base;
    uint key_base, value_base;          // in words
} slice;

layout(std430, set = 0, binding = 0) readonly buffer Entries { uvec2 entries[]; };
layout(std430, set = 0, binding = 1) readonly buffer Q { float q_data[]; };
layout(std430, set = 0, binding = 2) readonly buffer K { float k_data[]; };
layout(std430, set = 0, binding = 3) readonly buffer V { float v_data[]; };
layout(std430, set = 0, binding = 4) buffer Keys { uint key_data[]; };
layout(std430, set = 0, binding = 5) buffer Values { uint value_data[]; };
layout(std430, set = 0, binding = 6) buffer Turned { float turned_data[]; };
layout(std430, set = 0, binding = 7) readonly buffer Angles { float angles[]; };

const uint OF_Q = 0u, OF_K = 1u, OF_V = 2u;

float load(uint of, uint at) { return of == OF_Q ? q_data[at] : (of == OF_K ? k_data[at] : v_data[at]); }

// column is a column of the row at base, rotated by a position unless it is one of v; 0 behind the row.
float column(uint of, uint base, uint c, uint position) {
    if (c >= (of == OF_V ? slice.value_dim : slice.dim)) {
        return 0.0;
    }
    float x = load(of, base + c);
    if (of == OF_V || c >= 2u * slice.pairs) {
        return x;
    }
    bool interleaved = slice.pair_step == 2u;
    bool first = interleaved ? (c & 1u) == 0u : c < slice.pairs;
    uint pair = interleaved ? c >> 1u : (first ? c : c - slice.pairs);
    uint beside = interleaved ? c ^ 1u : (first ? c + slice.pairs : c - slice.pairs);
    uint at = position * slice.pairs + pair;
    precise float a = x * angles[at], b = load(of, base + beside) * angles[at + slice.positions * slice.pairs];
    precise float turned = first ? a - b : a + b;
    return turned;
}

void store(uint of, uint at, uint word) {
    if (of == OF_K) {
        key_data[at] = word;
    } else {
        value_data[at] = word;
    }
}

// scale_of is the code of the scale of a block of q8_0 or q4_0 and the factor that takes its numbers to codes, 0 where all of
// them mean 0, or NaN with a scale of NaN. most is the number of the largest magnitude.
uint scale_of(uint type, float most, out float inverse) {
    float scale = type == TYPE_Q8_0 ? abs(most) / 127.0 : most / -8.0;
    uint code = to_codes(TYPE_FLOAT16, vec4(scale)).x;
    bool beyond = !is_nan(scale) && abs(scale) > 65504.0;
    scale = beyond ? (scale < 0.0 ? -65504.0 : 65504.0) : scale;
    bool usable = !is_nan(scale) && abs(scale) > 2.9387359e-39;
    inverse = usable ? 1.0 / scale : 0.0;
    return code;
}

// store_blocks writes two blocks of columns from c on, whose bytes fill whole words.
void store_blocks(uint of, uint type, uint to, uint base, uint c, uint position) {
    uint words[17];
    for (uint i = 0u; i < 17u; i++) {
        words[i] = 0u;
    }
    uint bytes = type == TYPE_Q8_0 ? 34u : 18u;
    for (uint block = 0u; block < 2u; block++) {
        float most = 0.0;
        for (uint i = 0u; i < 32u; i++) {
            float x = column(of, base, c + 32u * block + i, position);
            most = is_nan(most) ? most : (is_nan(x) || abs(x) > abs(most) ? x : most);
        }
        float inverse;
        uint at = block * bytes, scale = scale_of(type, most, inverse);
        words[at >> 2] |= scale << (8u * (at & 2u));
        at += 2u;
        for (uint i = 0u; i < 32u; i++) {
            float x = column(of, base, c + 32u * block + i, position) * inverse;
            if (type == TYPE_Q8_0) {
                float size = min(floor(abs(x) + 0.5), 127.0);
                uint code = uint(int(x < 0.0 ? -size : size)) & 0xffu;
                words[at + i >> 2] |= inverse == 0.0 ? 0u : code << (8u * (at + i & 3u));
            } else {
                uint code = inverse == 0.0 ? 8u : uint(clamp(x + 8.5, 0.0, 15.0));
                uint byte = at + (i & 15u);
                words[byte >> 2] |= code << (8u * (byte & 3u) + (i < 16u ? 0u : 4u));
            }
        }
    }
    for (uint i = 0u; i < 2u * bytes / 4u; i++) {
        store(of, to + i, words[i]);
    }
}

// enter writes a unit of the row at base to the row of a pool that begins at word to.
void enter(uint of, uint type, uint to, uint base, uint unit, uint position) {
    if (type >= TYPE_Q8_0) {
        store_blocks(of, type, to + unit * (type == TYPE_Q8_0 ? 17u : 9u), base, 64u * unit, position);
    } else if (type == TYPE_FLOAT32) {
        store(of, to + unit, floatBitsToUint(column(of, base, unit, position)));
    } else {
        uint in_word = 32u / code_bits(type), c = unit * in_word;
        vec4 x = vec4(column(of, base, c, position), column(of, base, c + 1u, position), 0.0, 0.0);
        if (in_word == 4u) {
            x.zw = vec2(column(of, base, c + 2u, position), column(of, base, c + 3u, position));
        }
        uvec4 codes = to_codes(type, x);
        store(of, to + unit, in_word == 4u ? codes.x | codes.y << 8 | codes.z << 16 | codes.w << 24 : codes.x | codes.y << 16);
    }
}

// unit_of is the columns of a unit.
uint unit_of(uint type) { return type >= TYPE_Q8_0 ? 64u : 32u / code_bits(type); }

void main() {
    uint index = gl_GlobalInvocationID.x;
    if (index >= slice.tokens * slice.units) {
        return;
    }
    uint token = index / slice.units, unit = index - token * slice.units, head = gl_WorkGroupID.y;
    token += slice.first;
    uvec2 entry = entries[token];
    uint position = min(entry.x, max(slice.positions, 1u) - 1u), row = min(entry.y, slice.rows - 1u);
    if (head < slice.heads_q) {
        if (unit < slice.dim) {
            uint base = slice.q_base + head * slice.q_head + token * slice.q_row;
            turned_data[head * slice.turned_head + token * slice.dim + unit] = column(OF_Q, base, unit, position);
        }
        return;
    }
    head -= slice.heads_q;
    if (head < slice.heads_k) {
        if (unit * unit_of(KEY_TYPE) < slice.dim) {
            enter(OF_K, KEY_TYPE, slice.key_base + head * slice.key_head + row * slice.key_row,
                  slice.k_base + head * slice.k_head + token * slice.k_row, unit, position);
        }
        return;
    }
    head -= slice.heads_k;
    if (unit * unit_of(VALUE_TYPE) < slice.value_dim) {
        enter(OF_V, VALUE_TYPE, slice.value_base + head * slice.value_head + row * slice.value_row,
              slice.v_base + head * slice.v_head + token * slice.v_row, unit, position);
    }
}

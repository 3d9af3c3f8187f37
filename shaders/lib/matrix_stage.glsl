// Tiles of keys and values in shared memory, in sixteen bits, rows of them for the operands of products. Needs access.glsl,
// OPERAND (the type that is multiplied), DIM, VALUE_DIM, KEY_TILE, PAD and WIDE.

layout(std430, set = 0, binding = 1) readonly buffer QWords4 { uvec4 q_words4[]; };
layout(std430, set = 0, binding = 2) readonly buffer KWords4 { uvec4 k_words4[]; };
layout(std430, set = 0, binding = 3) readonly buffer VWords4 { uvec4 v_words4[]; };

// In sixteen bytes.
const uint DIM8 = DIM / 8u;
const uint VALUE8 = VALUE_DIM / 8u;
const uint KEY_ROW = DIM8 + PAD;
const uint VALUE_ROW = VALUE8 + PAD;

shared uvec4 key_tile[KEY_TILE * KEY_ROW];
shared uvec4 value_tile[KEY_TILE * VALUE_ROW];

uvec4 operands(vec4 a, vec4 b) {
    if (OPERAND == TYPE_FLOAT16) {
        return uvec4(packHalf2x16(a.xy), packHalf2x16(a.zw), packHalf2x16(b.xy), packHalf2x16(b.zw));
    }
    uvec4 x = to_codes(TYPE_BFLOAT16, a), y = to_codes(TYPE_BFLOAT16, b);
    return uvec4(x.xz | x.yw << 16, y.xz | y.yw << 16);
}

// Each reads elements [d, d+8) of the row at base as operands, 0 for those at or beyond size.
#define LOAD8(name, load, TYPE, words4)                                                 \
    uvec4 name(uint base, uint d, uint size) {                                          \
        if (WIDE && TYPE == OPERAND) {                                                  \
            uvec4 x = words4[(base + min(d, size - 8u)) >> 3];                          \
            return d < size ? x : uvec4(0u);                                            \
        }                                                                               \
        return operands(inside(load(base, d, size), d, size), inside(load(base, d + 4u, size), d + 4u, size)); \
    }

LOAD8(query_operands, load_q, TYPE_Q, q_words4)
LOAD8(key_operands, load_k, TYPE_K, k_words4)
LOAD8(value_operands, load_v, TYPE_V, v_words4)

// stage brings the tile to shared memory. A key that nobody here sees may hold anything, NaN included.
void stage(bool masked) {
    [[unroll]] for (uint i = 0u; i < (KEY_TILE * DIM8 + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x; i++) {
        uint at = i * gl_WorkGroupSize.x + gl_LocalInvocationID.x, key = at / DIM8, d = at % DIM8;
        if (key < KEY_TILE) {
            key_tile[key * KEY_ROW + d] = key_operands(k_base + uint(clamp(tile_first + int(key), key_first, key_last)) * k_stride, d * 8u, query_dim);
        }
    }
    [[unroll]] for (uint i = 0u; i < (KEY_TILE * VALUE8 + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x; i++) {
        uint at = i * gl_WorkGroupSize.x + gl_LocalInvocationID.x, key = at / VALUE8, d = at % VALUE8;
        if (key < KEY_TILE) {
            uvec4 x = value_operands(v_base + uint(clamp(tile_first + int(key), key_first, key_last)) * v_stride, d * 8u, out_dim);
            value_tile[key * VALUE_ROW + d] = masked && !seen_at_all(key) ? uvec4(0u) : x;
        }
    }
}

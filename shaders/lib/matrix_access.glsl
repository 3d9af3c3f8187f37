// How matrix kernels read their tensors: eight elements at a time, as the operands of a product have them, whatever type
// they are of in memory. Needs access.glsl and OPERAND, the type that is multiplied. WIDE: D, Dv and all strides, bases
// and offsets are multiples of 8.

layout(std430, set = 0, binding = 1) readonly buffer QWords4 { uvec4 q_words4[]; };
layout(std430, set = 0, binding = 2) readonly buffer KWords4 { uvec4 k_words4[]; };
layout(std430, set = 0, binding = 3) readonly buffer VWords4 { uvec4 v_words4[]; };

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

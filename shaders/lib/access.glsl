// The one place where q, k, v and the score-shaped inputs are read.
// VECTOR: D, Dv and all strides, bases and offsets are multiples of 4, so rows are read four elements at a time.
// Elements are of the types TYPE_Q, TYPE_K and TYPE_V. Those in blocks always come four at a time: rows are whole blocks.
// TEXELS reads k and v through uniform texel buffers instead (VECTOR only): on software drivers that turn every storage
// buffer access into a bounds-checked loop over the lanes this is several times faster. 1: their formats decode float32 and
// float16, and TYPE_K and TYPE_V do not count. 2: they show the bits of any type, 16 bytes of float32 at a time, 8 of the
// 16-bit types, 4 of the others.
// QUERY_TEXELS 1 does the same as TEXELS 1 for q.

#include "types.glsl"
#ifndef TYPES // 1: the kernel is specialised on them
const uint TYPE_Q = TYPE_FLOAT32, TYPE_K = TYPE_FLOAT32, TYPE_V = TYPE_FLOAT32, TYPE_OUT = TYPE_FLOAT32;
#endif
#include "out.glsl"

#if QUERY_TEXELS
layout(set = 0, binding = 1) uniform textureBuffer q_texels;
#else
layout(std430, set = 0, binding = 1) readonly buffer Q { float q_data[]; };
layout(std430, set = 0, binding = 1) readonly buffer Q4 { vec4 q_data4[]; };
layout(std430, set = 0, binding = 1) readonly buffer QWords { uint q_words[]; };
layout(std430, set = 0, binding = 1) readonly buffer QWords2 { uvec2 q_words2[]; };
#endif
#if TEXELS == 1
layout(set = 0, binding = 2) uniform textureBuffer k_texels;
layout(set = 0, binding = 3) uniform textureBuffer v_texels;
#elif TEXELS == 2
layout(set = 0, binding = 2) uniform utextureBuffer k_codes;
layout(set = 0, binding = 3) uniform utextureBuffer v_codes;
#else
layout(std430, set = 0, binding = 2) readonly buffer K { float k_data[]; };
layout(std430, set = 0, binding = 2) readonly buffer K4 { vec4 k_data4[]; };
layout(std430, set = 0, binding = 2) readonly buffer KWords { uint k_words[]; };
layout(std430, set = 0, binding = 2) readonly buffer KWords2 { uvec2 k_words2[]; };
layout(std430, set = 0, binding = 3) readonly buffer V { float v_data[]; };
layout(std430, set = 0, binding = 3) readonly buffer V4 { vec4 v_data4[]; };
layout(std430, set = 0, binding = 3) readonly buffer VWords { uint v_words[]; };
layout(std430, set = 0, binding = 3) readonly buffer VWords2 { uvec2 v_words2[]; };
#endif
layout(std430, set = 0, binding = 5) buffer Lse { float lse_data[]; };
layout(std430, set = 0, binding = 6) readonly buffer Bias { float bias_data[]; };
layout(std430, set = 0, binding = 7) readonly buffer Mask { uint mask_data[]; };

// How the words of a tensor are had, one, two and four at a time.
#define Q_WORD(i) q_words[i]
#define Q_WORDS2(i) q_words2[i]
#define Q_DATA4(i) q_data4[i]
#define Q_DATA(i) q_data[i]
#if TEXELS == 2
#define K_WORD(i) texelFetch(k_codes, int(i)).x
#define K_WORDS2(i) texelFetch(k_codes, int(i)).xy
#define K_DATA4(i) uintBitsToFloat(texelFetch(k_codes, int(i)))
#define V_WORD(i) texelFetch(v_codes, int(i)).x
#define V_WORDS2(i) texelFetch(v_codes, int(i)).xy
#define V_DATA4(i) uintBitsToFloat(texelFetch(v_codes, int(i)))
#define K_DATA(i) 0.0
#define V_DATA(i) 0.0
#else
#define K_WORD(i) k_words[i]
#define K_WORDS2(i) k_words2[i]
#define K_DATA4(i) k_data4[i]
#define K_DATA(i) k_data[i]
#define V_WORD(i) v_words[i]
#define V_WORDS2(i) v_words2[i]
#define V_DATA4(i) v_data4[i]
#define V_DATA(i) v_data[i]
#endif

// Each reads elements [d, d+4) of the row at base; those at or beyond size are anything, and what they read
// never lies outside the row.
#define LOAD4(name, TYPE, DATA, DATA4, WORD, WORDS2)                                                                   \
    vec4 name(uint base, uint d, uint size) {                                                                          \
        if (TYPE >= TYPE_Q8_0) {                                                                                       \
            uint i = base + min(d, size - 4u), in_block = i & 31u, block = (i >> 5) * (TYPE == TYPE_Q8_0 ? 34u : 18u); \
            uint at = block + 2u + (TYPE == TYPE_Q8_0 ? in_block : in_block & 15u);                                    \
            uint codes = WORD(at >> 2);                                                                                \
            codes = (at & 2u) == 0u ? codes : codes >> 16 | WORD((at + 2u) >> 2) << 16;                                \
            float scale = unpackHalf2x16(WORD(block >> 2) >> (block & 2u) * 8u).x;                                     \
            return scale * (TYPE == TYPE_Q8_0 ? signed_bytes(codes) : nibbles(codes, in_block));                       \
        }                                                                                                              \
        if (TYPE == TYPE_FLOAT32) {                                                                                    \
            if (VECTOR) {                                                                                              \
                return DATA4((base + min(d, size - 4u)) >> 2);                                                         \
            }                                                                                                          \
            return vec4(DATA(base + min(d, size - 1u)), DATA(base + min(d + 1u, size - 1u)),                           \
                        DATA(base + min(d + 2u, size - 1u)), DATA(base + min(d + 3u, size - 1u)));                     \
        }                                                                                                              \
        uint i = base + min(d, size - (VECTOR ? 4u : 1u));                                                             \
        if (code_bits(TYPE) == 16u) {                                                                                  \
            if (VECTOR) {                                                                                              \
                return from_halves(TYPE, WORDS2(i >> 2));                                                              \
            }                                                                                                          \
            uint at = i >> 1, last = (base + size - 1u) >> 1;                                                          \
            uvec3 w = uvec3(WORD(at), WORD(min(at + 1u, last)), WORD(min(at + 2u, last)));                             \
            return from_halves(TYPE, (i & 1u) == 0u ? w.xy : w.xy >> 16 | w.yz << 16);                                 \
        }                                                                                                              \
        uint at = i >> 2, shift = VECTOR ? 0u : (i & 3u) * 8u, codes = WORD(at) >> shift;                              \
        if (shift != 0u) {                                                                                             \
            codes |= WORD(min(at + 1u, (base + size - 1u) >> 2)) << (32u - shift);                                     \
        }                                                                                                              \
        return from_bytes(TYPE, codes);                                                                                \
    }

#if QUERY_TEXELS
vec4 load_q(uint base, uint d, uint size) { return texelFetch(q_texels, int((base + min(d, size - 4u)) >> 2)); }
#else
LOAD4(load_q, TYPE_Q, Q_DATA, Q_DATA4, Q_WORD, Q_WORDS2)
#endif

#if TEXELS == 1
vec4 load_k(uint base, uint d, uint size) { return texelFetch(k_texels, int((base + min(d, size - 4u)) >> 2)); }
vec4 load_v(uint base, uint d, uint size) { return texelFetch(v_texels, int((base + min(d, size - 4u)) >> 2)); }
#else
LOAD4(load_k, TYPE_K, K_DATA, K_DATA4, K_WORD, K_WORDS2)
LOAD4(load_v, TYPE_V, V_DATA, V_DATA4, V_WORD, V_WORDS2)
#endif

#if INTEGER_DOT
// load_run reads half a block of keys, 16 elements from i on: their codes in signed bytes, and their scale.
float load_run(uint i, out int codes[4]) {
    uint in_block = i & 31u, block = (i >> 5) * (TYPE_K == TYPE_Q8_0 ? 34u : 18u);
    uint at = block + 2u + (TYPE_K == TYPE_Q8_0 ? in_block : 0u);
    uint words[5];
    [[unroll]] for (uint w = 0u; w < 4u; w++) {
        words[w] = K_WORD((at >> 2) + w);
    }
    words[4] = K_WORD((at + 14u) >> 2);
    [[unroll]] for (uint w = 0u; w < 4u; w++) {
        uint word = (at & 2u) == 0u ? words[w] : words[w] >> 16 | words[w + 1u] << 16;
        codes[w] = int(TYPE_K == TYPE_Q8_0 ? word : nibble_bytes(word, in_block));
    }
    return unpackHalf2x16(K_WORD(block >> 2) >> (block & 2u) * 8u).x;
}
#endif

// Each is element i of a tensor whose type has 16 or 32 bits.
#define LOAD1(name, TYPE, DATA, WORD)                                                   \
    float name(uint i) {                                                                \
        return TYPE == TYPE_FLOAT32 ? DATA(i) : from_halves(TYPE, uvec2(WORD(i >> 1) >> (i & 1u) * 16u, 0u)).x; \
    }

#if !QUERY_TEXELS
LOAD1(load_q1, TYPE_Q, Q_DATA, Q_WORD)
#endif
#if !TEXELS
LOAD1(load_k1, TYPE_K, K_DATA, K_WORD)
LOAD1(load_v1, TYPE_V, V_DATA, V_WORD)
#endif

// inside is x with 0 for the elements of [d, d+4) at or beyond size.
vec4 inside(vec4 x, uint d, uint size) {
    if (VECTOR) {
        return d < size ? x : vec4(0.0);
    }
    return vec4(d < size ? x.x : 0.0, d + 1u < size ? x.y : 0.0, d + 2u < size ? x.z : 0.0, d + 3u < size ? x.w : 0.0);
}

// load_mask reads one byte: true keeps.
bool load_mask(uint index) { return ((mask_data[index >> 2] >> ((index & 3u) * 8u)) & 0xffu) != 0u; }

// STEPS 1: keys and values in two steps. load_raw_k and load_raw_v are the words of four elements, from_raw_k and from_raw_v the
// numbers that load_k and load_v of access.glsl make of them. What lies between the two need not wait for the memory, and a driver's
// compiler is not trusted to see that. Needs access.glsl.

#if STEPS

#define RAW uvec4

// Words of one element are in x, of more in xyz; w says how elements lie in them, where it is not always the same.
#define LOAD_RAW(name, TYPE, DATA, DATA4, WORD, WORDS2)                                                                \
    uvec4 name(uint base, uint d, uint size) {                                                                         \
        if (TYPE >= TYPE_Q8_0) {                                                                                       \
            uint i = base + min(d, size - 4u), in_block = i & 31u, block = (i >> 5) * (TYPE == TYPE_Q8_0 ? 34u : 18u); \
            uint at = block + 2u + (TYPE == TYPE_Q8_0 ? in_block : in_block & 15u);                                    \
            uvec4 raw = uvec4(WORD(at >> 2), 0u, WORD(block >> 2), in_block | (block & 2u) << 5 | (at & 2u) << 6);     \
            if ((at & 2u) != 0u) {                                                                                     \
                raw.y = WORD((at + 2u) >> 2);                                                                          \
            }                                                                                                          \
            return raw;                                                                                                \
        }                                                                                                              \
        if (TYPE == TYPE_FLOAT32) {                                                                                    \
            if (VECTOR) {                                                                                              \
                return floatBitsToUint(DATA4((base + min(d, size - 4u)) >> 2));                                        \
            }                                                                                                          \
            return floatBitsToUint(vec4(DATA(base + min(d, size - 1u)), DATA(base + min(d + 1u, size - 1u)),           \
                                        DATA(base + min(d + 2u, size - 1u)), DATA(base + min(d + 3u, size - 1u))));    \
        }                                                                                                              \
        uint i = base + min(d, size - (VECTOR ? 4u : 1u));                                                             \
        if (code_bits(TYPE) == 16u) {                                                                                  \
            if (VECTOR) {                                                                                              \
                return uvec4(WORDS2(i >> 2), 0u, 0u);                                                                  \
            }                                                                                                          \
            uint at = i >> 1, last = (base + size - 1u) >> 1;                                                          \
            return uvec4(WORD(at), WORD(min(at + 1u, last)), WORD(min(at + 2u, last)), i & 1u);                        \
        }                                                                                                              \
        uint at = i >> 2, shift = VECTOR ? 0u : (i & 3u) * 8u;                                                         \
        uvec4 raw = uvec4(WORD(at), 0u, 0u, shift);                                                                    \
        if (shift != 0u) {                                                                                             \
            raw.y = WORD(min(at + 1u, (base + size - 1u) >> 2));                                                       \
        }                                                                                                              \
        return raw;                                                                                                    \
    }

vec4 from_raw(uint type, uvec4 raw) {
    if (type >= TYPE_Q8_0) {
        uint codes = (raw.w & 128u) == 0u ? raw.x : raw.x >> 16 | raw.y << 16;
        float scale = unpackHalf2x16(raw.z >> ((raw.w & 64u) >> 2)).x;
        return scale * (type == TYPE_Q8_0 ? signed_bytes(codes) : nibbles(codes, raw.w & 31u));
    }
    if (type == TYPE_FLOAT32) {
        return uintBitsToFloat(raw);
    }
    if (code_bits(type) == 16u) {
        return from_halves(type, VECTOR || raw.w == 0u ? raw.xy : raw.xy >> 16 | raw.yz << 16);
    }
    uint codes = VECTOR ? raw.x : raw.x >> raw.w;
    if (!VECTOR && raw.w != 0u) {
        codes |= raw.y << (32u - raw.w);
    }
    return from_bytes(type, codes);
}

LOAD_RAW(load_raw_k, TYPE_K, K_DATA, K_DATA4, K_WORD, K_WORDS2)
LOAD_RAW(load_raw_v, TYPE_V, V_DATA, V_DATA4, V_WORD, V_WORDS2)
vec4 from_raw_k(uvec4 raw) { return from_raw(TYPE_K, raw); }
vec4 from_raw_v(uvec4 raw) { return from_raw(TYPE_V, raw); }

#else

#define RAW vec4
vec4 load_raw_k(uint base, uint d, uint size) { return load_k(base, d, size); }
vec4 load_raw_v(uint base, uint d, uint size) { return load_v(base, d, size); }
vec4 from_raw_k(vec4 raw) { return raw; }
vec4 from_raw_v(vec4 raw) { return raw; }

#endif

// The one place where q, k, v and the score-shaped inputs are read and where results are written.
// VECTOR: D, Dv and all strides, bases and offsets are multiples of 4, so rows are read as vec4.
// TEXELS 1 reads k and v through uniform texel buffers instead (VECTOR only): on software drivers that
// turn every storage buffer access into a bounds-checked loop over the lanes this is several times faster.
// QUERY_TEXELS 1 does the same for q.

#if QUERY_TEXELS
layout(set = 0, binding = 1) uniform textureBuffer q_texels;
#else
layout(std430, set = 0, binding = 1) readonly buffer Q { float q_data[]; };
layout(std430, set = 0, binding = 1) readonly buffer Q4 { vec4 q_data4[]; };
#endif
#if TEXELS
layout(set = 0, binding = 2) uniform textureBuffer k_texels;
layout(set = 0, binding = 3) uniform textureBuffer v_texels;
#else
layout(std430, set = 0, binding = 2) readonly buffer K { float k_data[]; };
layout(std430, set = 0, binding = 2) readonly buffer K4 { vec4 k_data4[]; };
layout(std430, set = 0, binding = 3) readonly buffer V { float v_data[]; };
layout(std430, set = 0, binding = 3) readonly buffer V4 { vec4 v_data4[]; };
#endif
layout(std430, set = 0, binding = 4) buffer Out { float out_data[]; };
layout(std430, set = 0, binding = 4) buffer Out4 { vec4 out_data4[]; };
layout(std430, set = 0, binding = 5) buffer Lse { float lse_data[]; };
layout(std430, set = 0, binding = 6) readonly buffer Bias { float bias_data[]; };
layout(std430, set = 0, binding = 7) readonly buffer Mask { uint mask_data[]; };

// Each reads elements [d, d+4) of the row at base; those at or beyond size are anything, and what they read
// never lies outside the row.
#define LOAD4(name, data, data4)                                     \
    vec4 name(uint base, uint d, uint size) {                        \
        if (VECTOR) {                                                \
            return data4[(base + min(d, size - 4u)) >> 2];           \
        }                                                            \
        return vec4(data[base + min(d, size - 1u)], data[base + min(d + 1u, size - 1u)], \
                    data[base + min(d + 2u, size - 1u)], data[base + min(d + 3u, size - 1u)]); \
    }

#if QUERY_TEXELS
vec4 load_q(uint base, uint d, uint size) { return texelFetch(q_texels, int((base + min(d, size - 4u)) >> 2)); }
#else
LOAD4(load_q, q_data, q_data4)
#endif

#if TEXELS
vec4 load_k(uint base, uint d, uint size) { return texelFetch(k_texels, int((base + min(d, size - 4u)) >> 2)); }
vec4 load_v(uint base, uint d, uint size) { return texelFetch(v_texels, int((base + min(d, size - 4u)) >> 2)); }
#else
LOAD4(load_k, k_data, k_data4)
LOAD4(load_v, v_data, v_data4)
#endif

// inside is x with 0 for the elements of [d, d+4) at or beyond size.
vec4 inside(vec4 x, uint d, uint size) {
    if (VECTOR) {
        return d < size ? x : vec4(0.0);
    }
    return vec4(d < size ? x.x : 0.0, d + 1u < size ? x.y : 0.0, d + 2u < size ? x.z : 0.0, d + 3u < size ? x.w : 0.0);
}

void store_out(uint base, uint d, uint size, vec4 x) {
    if (d >= size) {
        return;
    }
    if (VECTOR) {
        out_data4[(base + d) >> 2] = x;
        return;
    }
    out_data[base + d] = x.x;
    if (d + 1u < size) { out_data[base + d + 1u] = x.y; }
    if (d + 2u < size) { out_data[base + d + 2u] = x.z; }
    if (d + 3u < size) { out_data[base + d + 3u] = x.w; }
}

// load_mask reads one byte: true keeps.
bool load_mask(uint index) { return ((mask_data[index >> 2] >> ((index & 3u) * 8u)) & 0xffu) != 0u; }

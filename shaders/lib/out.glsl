// Where results are written, in the type TYPE_OUT. Two or four elements share a word unless VECTOR says that rows begin
// and end at whole words (see access.glsl): a single element then leaves the bits of its neighbours alone, which other
// invocations may be writing, or which are not the tensor's.

layout(std430, set = 0, binding = 4) buffer Out { float out_data[]; };
layout(std430, set = 0, binding = 4) buffer Out4 { vec4 out_data4[]; };
layout(std430, set = 0, binding = 4) buffer OutWords { uint out_words[]; };
layout(std430, set = 0, binding = 4) buffer OutWords2 { uvec2 out_words2[]; };

void store_code(uint i, uint code) {
    uint bits = code_bits(TYPE_OUT), in_word = 32u / bits;
    uint at = i / in_word, shift = i % in_word * bits;
    atomicAnd(out_words[at], ~(((1u << bits) - 1u) << shift));
    atomicOr(out_words[at], code << shift);
}

// store_floats writes those of the elements [d, d+4) of the float32 row at base that are less than size.
void store_floats(uint base, uint d, uint size, vec4 x) {
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

// store_out1 writes element i.
void store_out1(uint i, float x) {
    if (TYPE_OUT == TYPE_FLOAT32) {
        out_data[i] = x;
    } else {
        store_code(i, to_codes(TYPE_OUT, vec4(x)).x);
    }
}

// store_out is store_floats of a row of TYPE_OUT.
void store_out(uint base, uint d, uint size, vec4 x) {
    if (TYPE_OUT == TYPE_FLOAT32) {
        store_floats(base, d, size, x);
    } else if (d < size) {
        uvec4 codes = to_codes(TYPE_OUT, x);
        if (!VECTOR) {
            for (uint i = d; i < min(d + 4u, size); i++) {
                store_code(base + i, codes[i - d]);
            }
        } else if (code_bits(TYPE_OUT) == 16u) {
            out_words2[(base + d) >> 2] = codes.xz | codes.yw << 16;
        } else {
            out_words[(base + d) >> 2] = codes.x | codes.y << 8 | codes.z << 16 | codes.w << 24;
        }
    }
}

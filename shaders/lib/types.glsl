// Element types, by the numbers of vkattn.Type: what their codes stand for, and what numbers become. All of it is done
// with the bits of 32-bit words, so that a device needs no 8- and 16-bit storage. A kernel is specialised on its types:
// what is written here for others goes.

const uint TYPE_FLOAT32 = 0u;
const uint TYPE_FLOAT16 = 1u;
const uint TYPE_BFLOAT16 = 2u;
const uint TYPE_E4M3 = 3u;
const uint TYPE_E5M2 = 4u;
const uint TYPE_Q8_0 = 5u;      // from here on types come in blocks of 32 elements
const uint TYPE_Q4_0 = 6u;

// code_bits is the size of an element of the types without blocks.
uint code_bits(uint type) { return type == TYPE_FLOAT32 ? 32u : type <= TYPE_BFLOAT16 ? 16u : 8u; }

// from_halves is the values of four 16-bit codes.
vec4 from_halves(uint type, uvec2 codes) {
    if (type == TYPE_BFLOAT16) {
        return uintBitsToFloat(uvec4(codes.x << 16, codes.x & 0xffff0000u, codes.y << 16, codes.y & 0xffff0000u));
    }
    return vec4(unpackHalf2x16(codes.x), unpackHalf2x16(codes.y));
}

// from_bytes is the values of four 8-bit codes. E5M2 is the upper byte of a float16; the bits of E4M3 fit into one, whose
// bias is 8 more.
vec4 from_bytes(uint type, uint codes) {
    uvec2 pairs = uvec2(codes & 0xffu | (codes & 0xff00u) << 8, codes >> 16 & 0xffu | (codes & 0xff000000u) >> 8);
    if (type == TYPE_E5M2) {
        return vec4(unpackHalf2x16(pairs.x << 8), unpackHalf2x16(pairs.y << 8));
    }
    uvec2 halves = (pairs & 0x800080u) << 8 | (pairs & 0x7f007fu) << 7;
    vec4 x = vec4(unpackHalf2x16(halves.x), unpackHalf2x16(halves.y)) * 256.0;
    uvec4 magnitude = uvec4(codes, codes >> 8, codes >> 16, codes >> 24) & 0x7fu;
    return mix(x, vec4(uintBitsToFloat(0x7fc00000u)), equal(magnitude, uvec4(0x7fu)));
}

// signed_bytes and nibbles are four codes of q8_0, and of q4_0 from an element of a block on.
vec4 signed_bytes(uint codes) { return vec4(ivec4(codes << 24, codes << 16, codes << 8, codes) >> 24); }

vec4 nibbles(uint codes, uint in_block) {
    codes >>= in_block < 16u ? 0u : 4u;
    return vec4(uvec4(codes, codes >> 8, codes >> 16, codes >> 24) & 15u) - 8.0;
}

// nibble_bytes is nibbles in signed bytes: no byte carries into the next.
uint nibble_bytes(uint codes, uint in_block) {
    return (((in_block < 16u ? codes : codes >> 4) & 0x0f0f0f0fu) + 0x78787878u) ^ 0x80808080u;
}

// to_codes rounds to nearest, ties to even. What is finite and too large becomes the largest value, as do infinities of
// 8-bit types. (packHalf2x16 rounds as the driver likes.)
uvec4 to_codes(uint type, vec4 x) {
    uint bias = 15u, mantissa = 10u, largest = 0x7bffu, infinity = 0x7c00u, nan = 0x7e00u;
    if (type == TYPE_BFLOAT16) {
        bias = 127u, mantissa = 7u, largest = 0x7f7fu, infinity = 0x7f80u, nan = 0x7fc0u;
    } else if (type == TYPE_E4M3) {
        bias = 7u, mantissa = 3u, largest = 0x7eu, infinity = 0x7eu, nan = 0x7fu;
    } else if (type == TYPE_E5M2) {
        bias = 15u, mantissa = 2u, largest = 0x7bu, infinity = 0x7bu, nan = 0x7eu;
    }
    uint cut = 23u - mantissa;
    uvec4 bits = floatBitsToUint(x), size = bits & 0x7fffffffu;
    uvec4 code = min((size + ((1u << (cut - 1u)) - 1u) + (size >> cut & 1u) - ((127u - bias) << 23)) >> cut, uvec4(largest));
    if (type != TYPE_BFLOAT16) { // whose numbers below the normal ones are those of float32
        uvec4 shift = min(151u - bias - mantissa - (size >> 23), uvec4(25u)); // to units of the smallest number
        uvec4 digits = size & 0x7fffffu | 0x800000u;
        uvec4 small = (digits + (uvec4(1u) << (shift - 1u)) - 1u + (digits >> shift & 1u)) >> shift;
        code = mix(code, small, lessThan(size, uvec4((128u - bias) << 23)));
    }
    code = mix(code, uvec4(infinity), equal(size, uvec4(0x7f800000u)));
    code = mix(code, uvec4(nan), greaterThan(size, uvec4(0x7f800000u)));
    return code | (bits >> 31) << (code_bits(type) - 1u);
}

// Tiles of keys and values in shared memory, in sixteen bits, rows of them for the operands of products. Needs access.glsl,
// OPERAND (the type that is multiplied), DIM, VALUE_DIM, KEY_TILE, PAD, WIDE, AHEAD and STAGES,
// and where keys and values lie.

#include "matrix_access.glsl"

// In sixteen bytes.
const uint DIM8 = DIM / 8u;
const uint VALUE8 = VALUE_DIM / 8u;
const uint KEY_ROW = DIM8 + PAD;
const uint VALUE_ROW = VALUE8 + PAD;

const uint KEY_ROWS = STAGES * KEY_TILE * KEY_ROW;

shared uvec4 key_tile[KEY_ROWS > PASSING ? KEY_ROWS : PASSING];
shared uvec4 value_tile[STAGES * KEY_TILE * VALUE_ROW];

const uint KEY_LOADS = (KEY_TILE * DIM8 + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
const uint VALUE_LOADS = (KEY_TILE * VALUE8 + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;

// Nothing stands between memory and a tile that all rows see all keys of.
const bool PLAIN = WIDE && TYPE_K == OPERAND && TYPE_V == OPERAND && CLAMP == 0u && KEY_TILE * DIM8 % gl_WorkGroupSize.x == 0u && KEY_TILE * VALUE8 % gl_WorkGroupSize.x == 0u;

uvec4 keys_ahead[AHEAD ? KEY_LOADS : 1u];
uvec4 values_ahead[AHEAD ? VALUE_LOADS : 1u];

uvec4 load_key(int first, uint i) {
    uint at = i * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    return key_operands(k_base + uint(clamp(first + int(at / DIM8), key_first, key_last)) * k_stride, at % DIM8 * 8u, query_dim);
}

uvec4 load_value(int first, uint i) {
    uint at = i * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    return value_operands(v_base + uint(clamp(first + int(at / VALUE8), key_first, key_last)) * v_stride, at % VALUE8 * 8u, out_dim);
}

void put_key(uint stage, uint i, uvec4 x) {
    uint at = i * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
    if (KEY_TILE * DIM8 % gl_WorkGroupSize.x == 0u || at < KEY_TILE * DIM8) {
        key_tile[(stage * KEY_TILE + at / DIM8) * KEY_ROW + at % DIM8] = x;
    }
}

// A key that nobody here sees may hold anything, NaN included.
void put_value(uint stage, uint i, uvec4 x, bool masked) {
    uint at = i * gl_WorkGroupSize.x + gl_LocalInvocationID.x, key = at / VALUE8;
    if (KEY_TILE * VALUE8 % gl_WorkGroupSize.x == 0u || key < KEY_TILE) {
        value_tile[(stage * KEY_TILE + key) * VALUE_ROW + at % VALUE8] = masked && !seen_at_all(key) ? uvec4(0u) : x;
    }
}

// fetch starts to read the tile that was found, if there is one.
void fetch(bool found) {
    if (AHEAD && !CHOICES && found) {
        [[unroll]] for (uint i = 0u; i < KEY_LOADS; i++) {
            keys_ahead[i] = load_key(found_first, i);
        }
        [[unroll]] for (uint i = 0u; i < VALUE_LOADS; i++) {
            values_ahead[i] = load_value(found_first, i);
        }
    }
}

// put brings the tile to shared memory.
void put(uint stage, bool masked, bool any) {
    if (AHEAD && !CHOICES) {
        [[unroll]] for (uint i = 0u; i < KEY_LOADS; i++) {
            put_key(stage, i, keys_ahead[i]);
        }
        [[unroll]] for (uint i = 0u; i < VALUE_LOADS; i++) {
            put_value(stage, i, values_ahead[i], masked);
        }
    } else if (PLAIN && !masked) {
        uint from = (k_base + uint(tile_first) * k_stride) >> 3, step = k_stride >> 3;
        [[unroll]] for (uint i = 0u; i < KEY_LOADS; i++) {
            uint at = i * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
            key_tile[(stage * KEY_TILE + at / DIM8) * KEY_ROW + at % DIM8] = k_words4[from + at / DIM8 * step + at % DIM8];
        }
        from = (v_base + uint(tile_first) * v_stride) >> 3, step = v_stride >> 3;
        [[unroll]] for (uint i = 0u; i < VALUE_LOADS; i++) {
            uint at = i * gl_WorkGroupSize.x + gl_LocalInvocationID.x;
            value_tile[(stage * KEY_TILE + at / VALUE8) * VALUE_ROW + at % VALUE8] = v_words4[from + at / VALUE8 * step + at % VALUE8];
        }
    } else if (any) {
        [[dont_unroll]] for (uint i = 0u; i < KEY_LOADS; i++) {
            put_key(stage, i, load_key(tile_first, i));
        }
        [[dont_unroll]] for (uint i = 0u; i < VALUE_LOADS; i++) {
            put_value(stage, i, load_value(tile_first, i), masked);
        }
    }
}

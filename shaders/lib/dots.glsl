// Queries times keys of q8_0 and q4_0 by integer dot products: codes are multiplied four at a time, as they lie, by queries in
// fixed point. See products.glsl for what the functions are.
//
// The KEYS keys of a step are shared out: KEY_LANES lanes have one of them, each DIM4 runs of 16 elements of it, half a block.
// A run of a query is LIMBS signed bytes an element,
//
//   q[i] = step * (limb[0][i] + 256 limb[1][i] + 65536 limb[2][i]),   step a power of two,
//
// rounded to 2^-14 of its largest element, or finer, with two limbs, and to 2^-22 with three. What a run adds to a score is an
// exact integer, below 2^26 for two limbs, times step and the scale of the block.

layout(constant_id = 14) const uint LIMBS = 3u; // 2 or 3
const uint STEP_BITS = 8u * LIMBS - 3u; // of the largest element, below its first one

int limbs[ROWS * DIM4 * LIMBS * 4u];
float query_step[ROWS * DIM4];

uint run_first(uint x) { return (x * KEY_LANES + group_lane() % KEY_LANES) * 16u; }

int pack_bytes(ivec4 x) {
    x &= 0xff;
    return x.x | x.y << 8 | x.z << 16 | x.w << 24;
}

// quantise makes limbs of a run. One that has an infinity or a NaN becomes NaN.
void quantise(uint run, vec4 x[4]) {
    uint largest = 0u;
    [[unroll]] for (uint w = 0u; w < 4u; w++) {
        uvec4 size = floatBitsToUint(x[w]) & 0x7fffffffu;
        largest = max(largest, max(max(size.x, size.y), max(size.z, size.w)));
    }
    uint exponent = max(largest >> 23, STEP_BITS + 1u);
    bool finite = exponent < 255u;
    query_step[run] = uintBitsToFloat(finite ? (exponent - STEP_BITS) << 23 : 0x7fc00000u);
    float steps = uintBitsToFloat((254u + STEP_BITS - min(exponent, 254u)) << 23);
    [[unroll]] for (uint w = 0u; w < 4u; w++) {
        ivec4 n = finite ? ivec4(roundEven(x[w] * steps)) : ivec4(0);
        [[unroll]] for (uint l = 0u; l < LIMBS; l++) {
            limbs[(run * LIMBS + l) * 4u + w] = pack_bytes(n);
            n = (n + 128) >> 8;
        }
    }
}

void load_query(RowTile tile, int row) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        Row at = find_row(tile, clamp(row + int(r), row_first, row_end - 1));
        uint base = query_at(tile, at);
        [[unroll]] for (uint x = 0u; x < DIM4; x++) {
            vec4 run[4];
            [[unroll]] for (uint w = 0u; w < 4u; w++) {
                uint d = run_first(x) + 4u * w;
                run[w] = inside(load_q(base, d, query_dim), d, query_dim);
                if (DESCALE != 0u) {
                    run[w] *= query_factor(tile, at);
                }
            }
            quantise(r * DIM4 + x, run);
        }
    }
}

void multiply_keys(uint base, int j, int first, int last) {
    uint row = base + one_key_row(group_lane() / KEY_LANES, j, first, last) * k_stride;
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        products[r] = 0.0;
    }
    [[unroll]] for (uint x = 0u; x < DIM4; x++) {
        int codes[4];
        float scale = load_run(row + min(run_first(x), query_dim - 16u), codes);
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            uint run = r * DIM4 + x;
            int dots[LIMBS];
            [[unroll]] for (uint l = 0u; l < LIMBS; l++) {
                dots[l] = 0;
                [[unroll]] for (uint w = 0u; w < 4u; w++) {
                    dots[l] += dotPacked4x8EXT(limbs[(run * LIMBS + l) * 4u + w], codes[w]);
                }
            }
            float sum = float(dots[LIMBS - 2u] + dots[LIMBS - 1u] * 256);
            if (LIMBS == 3u) {
                sum = sum * 256.0 + float(dots[0]);
            }
            products[r] += sum * scale * query_step[run];
        }
    }
}

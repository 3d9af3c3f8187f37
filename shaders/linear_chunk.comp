#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if MATRIX
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#if BFLOAT
#extension GL_EXT_bfloat16 : require
#define ELEMENT bfloat16_t
#else
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define ELEMENT float16_t
#endif
#endif

// Linear attention by chunks of CHUNK tokens, for long prompts. G_a being the sum of the log decays of the chunk's tokens
// up to a, and Gamma_ab = exp(G_a - G_b) for b <= a, of each feature where decays are of features:
//
//   U = V, or for the delta rule the solution of (I + A) U = diag(beta) (V - (K e^G) S), A = tril(diag(beta) (Gamma * K K^T), -1)
//   out = scale ((Q e^G) S + (Q K^T * Gamma) U);   S = e^(G_L) S + (K e^(G_L - G))^T U
//
// q, k, v, out, states and parts of the tokens as in linear_recurrent.comp. One workgroup has SPAN columns of one state, with
// NORM_SUM z as the last of them, for one part of the tokens. Every product is one of tiles of 4 x 4 or 4 x 1 in registers,
// whose factors lie in shared memory as vec4 of 4 tokens; features come SLICE at a time.
//
// Decays are kept as sums inside of blocks of 16 tokens, and products of decays as exponents of sums of these: between a
// token and the end of its block, of whole blocks, and from the start of its block to a later token. All are at most 0, so
// nothing overflows however strong they are, and a product of features decays in factors at most 1. The system of the delta
// rule is solved by forward substitution: first the inverses of its blocks of 16 on the diagonal, row by row, then block by
// block. Products of powers of A lose everything where keys are alike. No subgroup operations.
//
// MATRIX: matrix units multiply, for q, k and v of sixteen bits and decays that all features share. Features are rounded to
// that type. States, weights and updates are two operands, the second being what rounding takes from the first, so that
// they are nearly as good as in float32; powers of two keep states, and weights by row, in the range of float16. The system
// is solved in float32. A value that is not finite may spoil its whole chunk.
//
// Shared memory: (2 or, with decays of features, 5) SLICE CHUNK + CHUNK^2 + 16 CHUNK (delta rule) + SPAN (CHUNK + PADDED)
// floats, and a little more. MATRIX: CHUNK max(CHUNK, PADDED / 2) + 16 CHUNK (delta rule) + SPAN (2 CHUNK + PADDED).
//
// Yang et al., arXiv:2312.06635, section 4, and arXiv:2406.06484, section 3.

layout(local_size_x_id = 0) in;                         // (CHUNK/4)^2: a tile of 4 x 4 scores each
layout(constant_id = 1) const uint CHUNK = 64;          // 16, 32 or 64
layout(constant_id = 2) const uint PADDED = 64;         // at least F, a multiple of SLICE
layout(constant_id = 3) const bool VECTOR = false;      // MATRIX reads four elements at a time
layout(constant_id = 4) const bool DELTA = false;
layout(constant_id = 5) const uint NORM = 0;            // NORM_NONE or NORM_SUM
layout(constant_id = 6) const bool EXPONENTIAL = false; // the feature map needs exp
layout(constant_id = 7) const uint SPAN = 16;           // a multiple of CHUNK/4
#if MATRIX
const bool CHANNEL = false;
#else
layout(constant_id = 8) const bool CHANNEL = false;     // a log decay for each feature
#endif
layout(constant_id = 9) const uint SLICE = 16;
layout(constant_id = 10) const uint TYPE_Q = 0u;        // of what is read and written here: 32 or 16 bits
layout(constant_id = 11) const uint TYPE_K = 0u;
layout(constant_id = 12) const uint TYPE_V = 0u;
layout(constant_id = 13) const uint TYPE_OUT = 0u;
#if MATRIX
layout(constant_id = 14) const uint SUBGROUP = 8;
layout(constant_id = 15) const uint M = 8;
layout(constant_id = 16) const uint N = 8;              // and K
#endif

const uint BLOCK = 16u;
const uint BLOCKS = CHUNK / BLOCK;
const uint QUADS = CHUNK / 4u;      // of tokens
const uint TILES = SPAN / QUADS;    // of 4 tokens and a column that an invocation has
const uint FEATURES = CHANNEL ? SLICE * QUADS : 1u;
const uint UPDATE_ROW = MATRIX == 1 ? QUADS + 1u : 1u;

#include "lib/linear.glsl"
#define TYPES 1
#include "lib/access.glsl"

layout(std430, set = 0, binding = 5) buffer State { float state[]; };
layout(std430, set = 0, binding = 6) readonly buffer Decays { float decay_data[]; };
layout(std430, set = 0, binding = 7) readonly buffer Betas { float beta_data[]; };

#if MATRIX
const uint OPERAND = BFLOAT == 1 ? TYPE_BFLOAT16 : TYPE_FLOAT16;
const bool WIDE = false;
#include "lib/matrix_access.glsl"

// What lies in the area one after the other, in 16 bytes: operands of a slice of features, rows 16 bytes apart; scores, laid
// out as scores4; weights; products of weights, laid out as updates4; all features of the keys.
const uint FEATURE_ROW = SLICE / 8u + 1u, COLUMN_ROW = SPAN / 8u + 1u, WEIGHT_ROW = CHUNK / 8u + 1u, KEY_ROW = PADDED / 8u + 1u;
const uint KEYS_AT = CHUNK * FEATURE_ROW, STATES_AT = 2u * KEYS_AT, STATES_END = STATES_AT + 2u * SLICE * COLUMN_ROW;
const uint WEIGHTS = 2u * CHUNK * WEIGHT_ROW > CHUNK * QUADS ? 2u * CHUNK * WEIGHT_ROW : CHUNK * QUADS;
const uint AREA1 = STATES_END > WEIGHTS ? STATES_END : WEIGHTS;
const uint AREA2 = SPAN * UPDATE_ROW > CHUNK * KEY_ROW ? SPAN * UPDATE_ROW : CHUNK * KEY_ROW;

shared uvec4 area[AREA1 > AREA2 ? AREA1 : AREA2];
shared uvec4 update8[2u * CHUNK * COLUMN_ROW];          // U as operands, and what rounding took from them
shared uint tops[CHUNK];                    // largest weights of rows, as bits
shared uint state_top;                      // largest number of the state
shared vec4 cells4[PADDED * SPAN / 4u];     // S, by rows, in vec4 because matrices have to begin at 16 bytes

float cell(uint at) { return cells4[at / 4u][at % 4u]; }
void put_cell(uint at, float s) { cells4[at / 4u][at % 4u] = s; }
vec4 score4(uint at) { return uintBitsToFloat(area[at]); }
void put_score4(uint at, vec4 x) { area[at] = floatBitsToUint(x); }
uint update_at(uint quad, uint column) { return column * UPDATE_ROW + quad; }
#else
shared vec4 rows4[SLICE * QUADS];           // queries, or the delta rule's keys: of feature i, tokens 4a to 4a+3: [i * QUADS + a]
shared vec4 keys4[SLICE * QUADS];
shared vec4 sums4[FEATURES];                // log decays of features, summed up from the start of the block
shared vec4 since4[FEATURES];               // rows4 decayed from the start of the block on
shared vec4 until4[FEATURES];               // keys4 decayed to the end of the block
shared vec4 scores4[CHUNK * QUADS];         // of tokens 4a to 4a+3 for token b: [b * QUADS + a]
shared float cells[PADDED * SPAN];          // S, by rows

float cell(uint at) { return cells[at]; }
void put_cell(uint at, float s) { cells[at] = s; }
vec4 score4(uint at) { return scores4[at]; }
void put_score4(uint at, vec4 x) { scores4[at] = x; }
uint update_at(uint quad, uint column) { return quad * SPAN + column; }
#endif
shared float jumps[(BLOCKS + 1u) * (BLOCKS + 1u) * (CHANNEL ? SLICE : 1u)];     // decay of blocks [p, q): [(p * (BLOCKS + 1) + q) * SLICE + i]; of all features its logarithm
shared float totals[CHANNEL ? PADDED : 1u]; // log decays of features in all chunks so far
shared vec4 inverses4[DELTA ? CHUNK * 4u : 1u];         // of the blocks on the diagonal of I + A, in the same way: [b * 4 + a % 4]
shared vec4 updates4[MATRIX == 1 ? SPAN * UPDATE_ROW : QUADS * SPAN];   // U, of tokens 4a to 4a+3: [update_at(a, column)]
shared float prefix[CHUNK], suffix[CHUNK];  // sums of log decays: from the start of the block to a token, behind it to the end
shared float logs[CHUNK];                   // log decays; then denominators
shared float betas[CHUNK];

// A factor of exp(-110) is 0, and larger sums would have no room for the decays beside it.
const float FORGET = -110.0;

float forgets(float g) { return is_nan(g) ? g : max(g, FORGET); }

float feature_of(float x) {
    float m = EXPONENTIAL ? map_exp(x, map) : map_plain(x, map);
    return is_nan(x) ? x : m + map_eps;
}

// falls is exp(d), or 1 where it grows: above the diagonal, where it is of no use.
float falls(float d) { return exp_small(is_nan(d) ? d : min(d, 0.0)); }

uint jump(uint p, uint q) { return (p * (BLOCKS + 1u) + q) * (CHANNEL ? SLICE : 1u); }

// decay_between is that from token b to a, not before it.
float decay_between(uint a, uint b) {
    uint i = a / BLOCK, j = b / BLOCK;
    return exp_small(i == j ? prefix[a] - prefix[b] : prefix[a] + jumps[jump(j + 1u, i)] + suffix[b]);
}
float decay_since(uint a) { return exp_small(prefix[a] + jumps[jump(0u, a / BLOCK)]); }
float decay_until(uint a) { return exp_small(suffix[a] + jumps[jump(a / BLOCK + 1u, BLOCKS)]); }
vec4 since_of(uint quad) { return vec4(decay_since(4u * quad), decay_since(4u * quad + 1u), decay_since(4u * quad + 2u), decay_since(4u * quad + 3u)); }
vec4 until_of(uint quad) { return vec4(decay_until(4u * quad), decay_until(4u * quad + 1u), decay_until(4u * quad + 2u), decay_until(4u * quad + 3u)); }

uint me, size, length;
uint k_at, decay_at;        // of the chunk's first token

#if MATRIX
// What the matrix units do. Tiles of a product are shared out over the subgroups.
#define OPERAND_A coopmat<ELEMENT, gl_ScopeSubgroup, M, N, gl_MatrixUseA>
#define OPERAND_B coopmat<ELEMENT, gl_ScopeSubgroup, N, N, gl_MatrixUseB>
#define ACCUMULATOR coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>

const uint SUBGROUPS = gl_WorkGroupSize.x / SUBGROUP;
const uint TOKEN_TILES = CHUNK / N, COLUMN_TILES = SPAN / N;        // of N
const uint SCORE_TILES = CHUNK / M * TOKEN_TILES, FOUND_TILES = CHUNK / M * COLUMN_TILES, STATE_TILES = PADDED / M * COLUMN_TILES;
const uint SCORE_EACH = (SCORE_TILES + SUBGROUPS - 1u) / SUBGROUPS, FOUND_EACH = (FOUND_TILES + SUBGROUPS - 1u) / SUBGROUPS;

// down is the power of two that brings numbers up to top into the range of float16, and 1 where they are in it.
float down(uint top) {
    uint exponent = top >> 23;
    return OPERAND != TYPE_FLOAT16 || exponent <= 140u ? 1.0 : uintBitsToFloat((267u - exponent) << 23);
}

uint top_of(float x) {
    uint bits = floatBitsToUint(x) & 0x7fffffffu;
    return bits < 0x7f800000u ? bits : 0u;
}

// nearest are numbers as operands hold them, in their range. Not by packing and unpacking them: NVIDIA's compiler takes what comes out of that for what went in.
const uint CUT = OPERAND == TYPE_FLOAT16 ? 13u : 16u;   // bits of a float's fraction that an operand has no room for

vec4 nearest(vec4 x) {
    uvec4 bits = floatBitsToUint(x);
    uvec4 rounded = bits + ((1u << CUT - 1u) - 1u) + (bits >> CUT & 1u) & ~((1u << CUT) - 1u);
    return mix(uintBitsToFloat(rounded), x, equal(bits & 0x7f800000u, uvec4(0x7f800000u)));
}

// PUT_OPERANDS writes eight numbers as operands, and what rounding takes from them.
#define PUT_OPERANDS(to, at, beside, a, b)                              \
    {                                                                   \
        vec4 near_a = nearest(a), near_b = nearest(b);                  \
        to[at] = operands(near_a, near_b);                              \
        to[(at) + (beside)] = operands(a - near_a, b - near_b);         \
    }

vec4 features_of(vec4 x, uint f) {
    return vec4(f < size ? feature_of(x.x) : 0.0, f + 1u < size ? feature_of(x.y) : 0.0, f + 2u < size ? feature_of(x.z) : 0.0, f + 3u < size ? feature_of(x.w) : 0.0);
}

// stage brings features [f, f+count) of the chunk's tokens to the area.
void stage(bool queries, uint base, uint f, uint count, uint at, uint row) {
    for (uint x = me; x < CHUNK * count / 8u; x += gl_WorkGroupSize.x) {
        uint a = x / (count / 8u), i = x % (count / 8u), d = f + 8u * i;
        uvec4 y = uvec4(0u);
        if (a < length && d < size) {
            if (queries) {
                y = operands(features_of(load_q(base + a * q_row, d, q_dim), d), features_of(load_q(base + a * q_row, d + 4u, q_dim), d + 4u));
            } else {
                y = operands(features_of(load_k(base + a * k_row, d, k_dim), d), features_of(load_k(base + a * k_row, d + 4u, k_dim), d + 4u));
            }
        }
        area[at + a * row + i] = y;
    }
}

void stage_state(uint f, float by) {
    for (uint x = me; x < SLICE * SPAN / 8u; x += gl_WorkGroupSize.x) {
        uint i = x / (SPAN / 8u), c = x % (SPAN / 8u), from = (f + i) * (SPAN / 4u) + 2u * c;
        vec4 a = cells4[from] * by, b = cells4[from + 1u] * by;
        PUT_OPERANDS(area, STATES_AT + i * COLUMN_ROW + c, SLICE * COLUMN_ROW, a, b)
    }
}

// similarities are the scores of a tile of 4 x 4, without decays, and what rows find in the columns.
void similarities(bool queries, uint row, uint ta, uint tb, out vec4 tile[4], out vec4 found[TILES]) {
    ACCUMULATOR scores[SCORE_EACH], finds[FOUND_EACH];
    [[unroll]] for (uint x = 0u; x < SCORE_EACH; x++) {
        scores[x] = ACCUMULATOR(0.0);
    }
    [[unroll]] for (uint x = 0u; x < FOUND_EACH; x++) {
        finds[x] = ACCUMULATOR(0.0);
    }
    float by = down(state_top);
    uint rows_at = queries ? 0u : KEYS_AT;
    [[dont_unroll]] for (uint f = 0u; f < PADDED; f += SLICE) {
        barrier();
        if (queries) {
            stage(true, row, f, SLICE, 0u, FEATURE_ROW);
        }
        stage(false, k_at, f, SLICE, KEYS_AT, FEATURE_ROW);
        stage_state(f, by);
        barrier();
        [[unroll]] for (uint x = 0u; x < SCORE_EACH; x++) {
            uint i = (gl_SubgroupID + x * SUBGROUPS) / TOKEN_TILES, j = (gl_SubgroupID + x * SUBGROUPS) % TOKEN_TILES;
            if (i < CHUNK / M && j * N < (i + 1u) * M) {
                for (uint k = 0u; k < SLICE / N; k++) {
                    OPERAND_A a;
                    OPERAND_B b;
                    coopMatLoad(a, area, rows_at + i * M * FEATURE_ROW + k * (N / 8u), FEATURE_ROW, gl_CooperativeMatrixLayoutRowMajor);
                    coopMatLoad(b, area, KEYS_AT + j * N * FEATURE_ROW + k * (N / 8u), FEATURE_ROW, gl_CooperativeMatrixLayoutColumnMajor);
                    scores[x] = coopMatMulAdd(a, b, scores[x]);
                }
            }
        }
        [[unroll]] for (uint x = 0u; x < FOUND_EACH; x++) {
            uint i = (gl_SubgroupID + x * SUBGROUPS) / COLUMN_TILES, j = (gl_SubgroupID + x * SUBGROUPS) % COLUMN_TILES;
            if (i < CHUNK / M) {
                for (uint k = 0u; k < SLICE / N; k++) {
                    OPERAND_A a;
                    OPERAND_B b, second;
                    coopMatLoad(a, area, rows_at + i * M * FEATURE_ROW + k * (N / 8u), FEATURE_ROW, gl_CooperativeMatrixLayoutRowMajor);
                    coopMatLoad(b, area, STATES_AT + k * N * COLUMN_ROW + j * (N / 8u), COLUMN_ROW, gl_CooperativeMatrixLayoutRowMajor);
                    coopMatLoad(second, area, STATES_AT + (SLICE + k * N) * COLUMN_ROW + j * (N / 8u), COLUMN_ROW, gl_CooperativeMatrixLayoutRowMajor);
                    finds[x] = coopMatMulAdd(a, b, finds[x]);
                    finds[x] = coopMatMulAdd(a, second, finds[x]);
                }
            }
        }
    }
    barrier();
    [[unroll]] for (uint x = 0u; x < SCORE_EACH; x++) {
        uint i = (gl_SubgroupID + x * SUBGROUPS) / TOKEN_TILES, j = (gl_SubgroupID + x * SUBGROUPS) % TOKEN_TILES;
        if (i < CHUNK / M && j * N < (i + 1u) * M) {
            coopMatStore(scores[x], area, j * N * QUADS + i * (M / 4u), QUADS, gl_CooperativeMatrixLayoutColumnMajor);
        }
    }
    [[unroll]] for (uint x = 0u; x < FOUND_EACH; x++) {
        uint i = (gl_SubgroupID + x * SUBGROUPS) / COLUMN_TILES, j = (gl_SubgroupID + x * SUBGROUPS) % COLUMN_TILES;
        if (i < CHUNK / M) {
            coopMatStore(finds[x], updates4, j * N * UPDATE_ROW + i * (M / 4u), UPDATE_ROW, gl_CooperativeMatrixLayoutColumnMajor);
        }
    }
    for (uint a = me; a < CHUNK; a += gl_WorkGroupSize.x) {
        tops[a] = 0u;
    }
    barrier();
    [[unroll]] for (uint c = 0u; c < 4u; c++) {
        tile[c] = tb <= ta ? score4((4u * tb + c) * QUADS + ta) : vec4(0.0);
    }
    [[unroll]] for (uint t = 0u; t < TILES; t++) {
        uint x = me + t * gl_WorkGroupSize.x;
        found[t] = updates4[update_at(x / SPAN, x % SPAN)] / by;
    }
}

// split_updates makes operands of the updates.
void split_updates() {
    barrier();
    for (uint x = me; x < CHUNK * SPAN / 8u; x += gl_WorkGroupSize.x) {
        uint t = x / (SPAN / 8u), c = x % (SPAN / 8u);
        vec4 a, b;
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
            a[i] = updates4[update_at(t / 4u, 8u * c + i)][t % 4u];
            b[i] = updates4[update_at(t / 4u, 8u * c + i + 4u)][t % 4u];
        }
        PUT_OPERANDS(update8, t * COLUMN_ROW + c, CHUNK * COLUMN_ROW, a, b)
    }
}

// see adds to found what the tokens of the chunk give: weights, of which an invocation has a tile, times updates.
void see(uint ta, uint tb, vec4 tile[4], inout vec4 found[TILES]) {
    if (OPERAND == TYPE_FLOAT16 && tb <= ta) {
        [[unroll]] for (uint r = 0u; r < 4u; r++) {
            atomicMax(tops[4u * ta + r], max(max(top_of(tile[0][r]), top_of(tile[1][r])), max(top_of(tile[2][r]), top_of(tile[3][r]))));
        }
    }
    barrier();
    [[unroll]] for (uint r = 0u; r < 4u; r++) {
        vec4 w = vec4(tile[0][r], tile[1][r], tile[2][r], tile[3][r]) * down(tops[4u * ta + r]);
        vec4 near = nearest(w);
        uvec2 first = operands(near, vec4(0.0)).xy, second = operands(w - near, vec4(0.0)).xy;
        uint at = (4u * ta + r) * WEIGHT_ROW + tb / 2u, component = tb % 2u * 2u;
        area[at][component] = first.x;
        area[at][component + 1u] = first.y;
        area[at + CHUNK * WEIGHT_ROW][component] = second.x;
        area[at + CHUNK * WEIGHT_ROW][component + 1u] = second.y;
    }
    barrier();
    ACCUMULATOR sums[FOUND_EACH];
    [[unroll]] for (uint x = 0u; x < FOUND_EACH; x++) {
        sums[x] = ACCUMULATOR(0.0);
        uint i = (gl_SubgroupID + x * SUBGROUPS) / COLUMN_TILES, j = (gl_SubgroupID + x * SUBGROUPS) % COLUMN_TILES;
        if (i < CHUNK / M) {
            for (uint k = 0u; k * N < (i + 1u) * M; k++) {
                OPERAND_A a, second;
                OPERAND_B b;
                coopMatLoad(a, area, i * M * WEIGHT_ROW + k * (N / 8u), WEIGHT_ROW, gl_CooperativeMatrixLayoutRowMajor);
                coopMatLoad(second, area, (CHUNK + i * M) * WEIGHT_ROW + k * (N / 8u), WEIGHT_ROW, gl_CooperativeMatrixLayoutRowMajor);
                coopMatLoad(b, update8, k * N * COLUMN_ROW + j * (N / 8u), COLUMN_ROW, gl_CooperativeMatrixLayoutRowMajor);
                sums[x] = coopMatMulAdd(a, b, sums[x]);
                sums[x] = coopMatMulAdd(second, b, sums[x]);
                if (DELTA) { // else values are what they are
                    coopMatLoad(b, update8, (CHUNK + k * N) * COLUMN_ROW + j * (N / 8u), COLUMN_ROW, gl_CooperativeMatrixLayoutRowMajor);
                    sums[x] = coopMatMulAdd(a, b, sums[x]);
                }
            }
        }
    }
    barrier();
    [[unroll]] for (uint x = 0u; x < FOUND_EACH; x++) {
        uint i = (gl_SubgroupID + x * SUBGROUPS) / COLUMN_TILES, j = (gl_SubgroupID + x * SUBGROUPS) % COLUMN_TILES;
        if (i < CHUNK / M) {
            coopMatStore(sums[x], area, j * N * UPDATE_ROW + i * (M / 4u), UPDATE_ROW, gl_CooperativeMatrixLayoutColumnMajor);
        }
    }
    barrier();
    [[unroll]] for (uint t = 0u; t < TILES; t++) {
        uint x = me + t * gl_WorkGroupSize.x, quad = x / SPAN;
        vec4 by = vec4(down(tops[4u * quad]), down(tops[4u * quad + 1u]), down(tops[4u * quad + 2u]), down(tops[4u * quad + 3u]));
        found[t] += uintBitsToFloat(area[update_at(quad, x % SPAN)]) / by;
    }
}

// renew brings the state, of which the chunk keeps a part, behind the chunk.
void renew(float kept) {
    for (uint x = me; x < CHUNK * SPAN / 8u; x += gl_WorkGroupSize.x) {
        uint t = x / (SPAN / 8u), at = t * COLUMN_ROW + x % (SPAN / 8u);
        uvec4 first = update8[at], second = update8[at + CHUNK * COLUMN_ROW];
        vec4 a = (from_halves(OPERAND, first.xy) + from_halves(OPERAND, second.xy)) * decay_until(t);
        vec4 b = (from_halves(OPERAND, first.zw) + from_halves(OPERAND, second.zw)) * decay_until(t);
        PUT_OPERANDS(update8, at, CHUNK * COLUMN_ROW, a, b)
    }
    stage(false, k_at, 0u, PADDED, 0u, KEY_ROW);
    if (me == 0u) {
        state_top = 0u;
    }
    barrier();
    uint top = 0u;
    [[dont_unroll]] for (uint tile = gl_SubgroupID; tile < STATE_TILES; tile += SUBGROUPS) {
        uint i = tile / COLUMN_TILES, j = tile % COLUMN_TILES;
        ACCUMULATOR s;
        coopMatLoad(s, cells4, i * M * (SPAN / 4u) + j * (N / 4u), SPAN / 4u, gl_CooperativeMatrixLayoutRowMajor);
        s = s * kept;
        for (uint k = 0u; k < TOKEN_TILES; k++) {
            OPERAND_A a;
            OPERAND_B b, second;
            coopMatLoad(a, area, k * N * KEY_ROW + i * (M / 8u), KEY_ROW, gl_CooperativeMatrixLayoutColumnMajor);
            coopMatLoad(b, update8, k * N * COLUMN_ROW + j * (N / 8u), COLUMN_ROW, gl_CooperativeMatrixLayoutRowMajor);
            coopMatLoad(second, update8, (CHUNK + k * N) * COLUMN_ROW + j * (N / 8u), COLUMN_ROW, gl_CooperativeMatrixLayoutRowMajor);
            s = coopMatMulAdd(a, b, s);
            s = coopMatMulAdd(a, second, s);
        }
        [[unroll]] for (uint e = 0u; OPERAND == TYPE_FLOAT16 && e < uint(s.length()); e++) { // elements by number: an index that varies may be one that a driver gets wrong
            top = max(top, top_of(s[e]));
        }
        coopMatStore(s, cells4, i * M * (SPAN / 4u) + j * (N / 4u), SPAN / 4u, gl_CooperativeMatrixLayoutRowMajor);
    }
    atomicMax(state_top, top);
}
#else
// load_keys fills keys4 with features [f, f+SLICE) of the chunk's keys, and with decays of features all that depends on them but since4.
void load_keys(uint f) {
    for (uint x = me; x < SLICE * CHUNK; x += gl_WorkGroupSize.x) {
        uint a = x / SLICE, i = x % SLICE;
        bool there = a < length && f + i < size;
        keys4[i * QUADS + a / 4u][a % 4u] = there ? feature_of(load_k1(k_at + a * k_row + f + i)) : 0.0;
        if (CHANNEL) {
            sums4[i * QUADS + a / 4u][a % 4u] = there ? forgets(decay_data[decay_at + a * decay_row + f + i]) : 0.0;
        }
    }
    if (!CHANNEL) {
        return;
    }
    barrier();
    for (uint x = me; x < SLICE * BLOCKS; x += gl_WorkGroupSize.x) {
        uint i = x / BLOCKS, at = i * QUADS + x % BLOCKS * 4u;
        float sum = 0.0;
        for (uint quad = at; quad < at + 4u; quad++) {
            vec4 g = sums4[quad];
            g.x += sum;
            g.y += g.x;
            g.z += g.y;
            g.w += g.z;
            sums4[quad] = g;
            sum = g.w;
        }
    }
    barrier();
    for (uint x = me; x < SLICE * QUADS; x += gl_WorkGroupSize.x) {
        vec4 left = vec4(sums4[x | 3u].w) - sums4[x], k = keys4[x];
        until4[x] = k * vec4(exp_small(left.x), exp_small(left.y), exp_small(left.z), exp_small(left.w));
    }
    for (uint x = me; x < (BLOCKS + 1u) * (BLOCKS + 1u) * SLICE; x += gl_WorkGroupSize.x) {
        uint i = x % SLICE, p = x / SLICE / (BLOCKS + 1u), q = x / SLICE % (BLOCKS + 1u);
        float sum = 0.0;
        for (; p < q; p++) {
            sum += sums4[i * QUADS + 4u * p + 3u].w;
        }
        jumps[x] = exp_small(sum);
    }
}

// load_rows fills rows4 from the rows at row, and since4. keys4 is filled.
void load_rows(bool queries, uint row, uint f) {
    for (uint x = me; x < SLICE * CHUNK; x += gl_WorkGroupSize.x) {
        uint a = x / SLICE, i = x % SLICE;
        float r = 0.0;
        if (queries) {
            r = a < length && f + i < size ? feature_of(load_q1(row + a * q_row + f + i)) : 0.0;
        } else {
            r = keys4[i * QUADS + a / 4u][a % 4u];
        }
        rows4[i * QUADS + a / 4u][a % 4u] = r;
        if (CHANNEL) {
            since4[i * QUADS + a / 4u][a % 4u] = r * exp_small(sums4[i * QUADS + a / 4u][a % 4u]);
        }
    }
}

// similarities are the scores of a tile of 4 x 4, without decays that all features share, and what rows find in the columns.
void similarities(bool queries, uint row, uint ta, uint tb, out vec4 tile[4], out vec4 found[TILES]) {
    [[unroll]] for (uint c = 0u; c < 4u; c++) {
        tile[c] = vec4(0.0);
    }
    [[unroll]] for (uint t = 0u; t < TILES; t++) {
        found[t] = vec4(0.0);
    }
    [[dont_unroll]] for (uint f = 0u; f < PADDED; f += SLICE) {
        barrier();
        load_keys(f);
        barrier();
        load_rows(queries, row, f);
        barrier();
        if (tb <= ta) {
            bool near = ta / 4u == tb / 4u;
            for (uint i = 0u; i < SLICE; i++) {
                if (!CHANNEL) {
                    vec4 r = rows4[i * QUADS + ta], k = keys4[i * QUADS + tb];
                    tile[0] += r * k.x;
                    tile[1] += r * k.y;
                    tile[2] += r * k.z;
                    tile[3] += r * k.w;
                } else if (!near) {
                    vec4 r = since4[i * QUADS + ta] * jumps[jump(tb / 4u + 1u, ta / 4u) + i], k = until4[i * QUADS + tb];
                    tile[0] += r * k.x;
                    tile[1] += r * k.y;
                    tile[2] += r * k.z;
                    tile[3] += r * k.w;
                } else {
                    vec4 r = rows4[i * QUADS + ta], k = keys4[i * QUADS + tb], g = sums4[i * QUADS + ta], h = sums4[i * QUADS + tb];
                    [[unroll]] for (uint c = 0u; c < 4u; c++) {
                        vec4 d = g - h[c];
                        tile[c] += r * k[c] * vec4(falls(d.x), falls(d.y), falls(d.z), falls(d.w));
                    }
                }
            }
        }
        [[unroll]] for (uint t = 0u; t < TILES; t++) {
            uint x = me + t * gl_WorkGroupSize.x, column = x % SPAN, quad = x / SPAN;
            for (uint i = 0u; i < SLICE; i++) {
                float s = cells[(f + i) * SPAN + column];
                found[t] += CHANNEL ? since4[i * QUADS + quad] * (jumps[jump(0u, quad / 4u) + i] * s) : rows4[i * QUADS + quad] * s;
            }
        }
    }
}
#endif

// weigh is for a tile of scores, decayed and multiplied by factors of its rows, those up to the diagonal or below it.
void weigh(uint ta, uint tb, inout vec4 tile[4], vec4 factors, bool diagonal) {
    [[unroll]] for (uint c = 0u; c < 4u; c++) {
        vec4 w = vec4(0.0);
        [[unroll]] for (uint r = 0u; r < 4u; r++) {
            uint a = 4u * ta + r, b = 4u * tb + c;
            if (b < a || diagonal && b == a) {
                w[r] = factors[r] * tile[c][r] * (CHANNEL ? 1.0 : decay_between(a, b));
            }
        }
        tile[c] = w;
    }
}

void put_scores(uint ta, uint tb, vec4 tile[4]) {
    [[unroll]] for (uint c = 0u; c < 4u; c++) {
        put_score4((4u * tb + c) * QUADS + ta, tile[c]);
    }
}

// times is w x for token 4 q + c where rows of quad a see it: beyond the diagonal its NaN would come in, though with a weight of 0.
vec4 times(vec4 w, float x, uint q, uint c, uint a) {
    vec4 y = w * x;
    return q < a ? y : vec4(c == 0u ? y.x : 0.0, c <= 1u ? y.y : 0.0, c <= 2u ? y.z : 0.0, y.w);
}

#if !MATRIX
// split_updates is for matrix units.
void split_updates() {}

// see adds to found what the tokens of the chunk give: weights, of which an invocation has a tile, times updates.
void see(uint ta, uint tb, vec4 tile[4], inout vec4 found[TILES]) {
    barrier();
    if (tb <= ta) {
        put_scores(ta, tb, tile);
    }
    barrier();
    [[unroll]] for (uint t = 0u; t < TILES; t++) {
        uint x = me + t * gl_WorkGroupSize.x, c = x % SPAN, quad = x / SPAN;
        for (uint q = 0u; q <= quad; q++) {
            vec4 u = updates4[q * SPAN + c];
            [[unroll]] for (uint b = 0u; b < 4u; b++) {
                found[t] += times(scores4[(4u * q + b) * QUADS + quad], u[b], q, b, quad);
            }
        }
    }
}

// renew brings the state, of which the chunk keeps a part, behind the chunk.
void renew(float kept) {
    if (!CHANNEL) {
        [[unroll]] for (uint t = 0u; t < TILES; t++) {
            uint x = me + t * gl_WorkGroupSize.x;
            updates4[x] *= until_of(x / SPAN);
        }
    }
    [[dont_unroll]] for (uint f = 0u; f < PADDED; f += SLICE) {
        barrier();
        load_keys(f);
        barrier();
        for (uint x = me; x < SLICE * SPAN; x += gl_WorkGroupSize.x) {
            uint i = x / SPAN, c = x % SPAN;
            float s = cells[f * SPAN + x] * (CHANNEL ? jumps[jump(0u, BLOCKS) + i] : kept);
            for (uint block = 0u; block < BLOCKS; block++) {
                float sum = 0.0;
                for (uint q = 4u * block; q < 4u * block + 4u; q++) {
                    sum += dot(CHANNEL ? until4[i * QUADS + q] : keys4[i * QUADS + q], updates4[q * SPAN + c]);
                }
                s += CHANNEL ? sum * jumps[jump(block + 1u, BLOCKS) + i] : sum;
            }
            cells[f * SPAN + x] = s;
        }
        if (CHANNEL) {
            for (uint i = me; i < SLICE; i += gl_WorkGroupSize.x) {
                for (uint block = 0u; block < BLOCKS; block++) {
                    totals[f + i] += sums4[i * QUADS + 4u * block + 3u].w;
                }
            }
        }
    }
}
#endif

// invert sets inverses4 to the inverses of the blocks of I + A on the diagonal: one column for each of CHUNK invocations.
void invert() {
    if (me >= CHUNK) {
        return;
    }
    uint block = me / BLOCK, column = me % BLOCK;
    float x[BLOCK];
    [[unroll]] for (uint r = 0u; r < BLOCK; r++) {
        float sum = r == column ? 1.0 : 0.0;
        [[unroll]] for (uint b = 0u; b < r; b++) {
            if (b >= column) {
                sum -= score4((block * BLOCK + b) * QUADS + block * 4u + r / 4u)[r % 4u] * x[b];
            }
        }
        x[r] = r < column ? 0.0 : sum;
    }
    [[unroll]] for (uint quad = 0u; quad < 4u; quad++) {
        inverses4[me * 4u + quad] = vec4(x[4u * quad], x[4u * quad + 1u], x[4u * quad + 2u], x[4u * quad + 3u]);
    }
}

// solve turns the right sides of a system I + A into its solution, in updates4.
void solve(vec4 right[TILES]) {
    [[dont_unroll]] for (uint block = 0u; block < BLOCKS; block++) {
        [[unroll]] for (uint t = 0u; t < TILES; t++) {
            uint x = me + t * gl_WorkGroupSize.x, column = x % SPAN, quad = x / SPAN;
            if (quad / 4u == block) {
                vec4 rest = right[t];
                for (uint q = 0u; q < 4u * block; q++) {
                    vec4 u = updates4[update_at(q, column)];
                    [[unroll]] for (uint c = 0u; c < 4u; c++) {
                        rest -= score4((4u * q + c) * QUADS + quad) * u[c];
                    }
                }
                updates4[update_at(quad, column)] = rest;
            }
        }
        barrier();
        vec4 solved[TILES];
        [[unroll]] for (uint t = 0u; t < TILES; t++) {
            uint x = me + t * gl_WorkGroupSize.x, column = x % SPAN, quad = x / SPAN;
            solved[t] = vec4(0.0);
            if (quad / 4u == block) {
                for (uint q = 4u * block; q <= quad; q++) {
                    vec4 u = updates4[update_at(q, column)];
                    [[unroll]] for (uint c = 0u; c < 4u; c++) {
                        solved[t] += times(inverses4[(4u * q + c) * 4u + quad % 4u], u[c], q, c, quad);
                    }
                }
            }
        }
        barrier();
        [[unroll]] for (uint t = 0u; t < TILES; t++) {
            uint x = me + t * gl_WorkGroupSize.x, column = x % SPAN, quad = x / SPAN;
            if (quad / 4u == block) {
                updates4[update_at(quad, column)] = solved[t];
            }
        }
        barrier();
    }
}

void main() {
    uint index = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (index >= slice.count) {
        return;
    }
    me = gl_LocalInvocationID.x;
    size = features;
    uint columns = value_dim, span = NORM == NORM_NONE ? SPAN : SPAN - 1u;
    uint blocks = (columns + span - 1u) / span;
    uint unit = slice.unit_first + index / blocks, first_column = (index % blocks) * span;
    uint n = slice.seq_first + unit / slice.head_count, head = slice.head_first + unit % slice.head_count;
    uint part = slice.part_first + gl_WorkGroupID.z;
    LinearSequence seq = load_sequence(n);
    uint base = slice.state_base + seq.index * slice.state_seq + head * slice.state_head + part * slice.state_part;
    uint entry = slice.home_base + ((n * states + head) * slice.home_row + part) * size;
    uint total_column = columns + (NORM == NORM_NONE ? 0u : 1u);
    bool resumes = (slice.phase & PHASE_RESUME) != 0u, counts = (slice.phase & PHASE_TOTAL) != 0u && index % blocks == 0u;
    float total = resumes && counts ? state[base + total_column] : 0.0;
#if MATRIX
    uint top = 0u;
    if (me == 0u) {
        state_top = 0u;
    }
    barrier();
#endif
    for (uint x = me; x < PADDED * SPAN; x += gl_WorkGroupSize.x) {
        uint i = x / SPAN, c = x % SPAN;
        bool is_z = NORM != NORM_NONE && c == SPAN - 1u;
        float s = 0.0;
        if (resumes && i < size) {
            if (is_z && (slice.phase & PHASE_ENTRY) != 0u) {
                s = uintBitsToFloat(lists[entry + i]);
            } else if (is_z || first_column + c < columns) {
                s = state[base + i * slice.state_row + (is_z ? columns : first_column + c)];
            }
        }
        put_cell(x, s);
#if MATRIX
        top = max(top, top_of(s));
#endif
        if (CHANNEL && c == 0u) {
            totals[i] = resumes && counts && i < size ? state[base + i * slice.state_row + total_column] : 0.0;
        }
    }
#if MATRIX
    atomicMax(state_top, top);
#endif
    int first = int(part * slice.part_tokens) + slice.token_first;
    int end = min(int(part * slice.part_tokens) + slice.token_end, seq.sk);
    uint k_first = slice.k_base, q_at = slice.q_base, q_heads = q_head;
    if ((flags & LINEAR_FEATURED) != 0u) {
        k_first += (scratch_row(n, heads_k, part) + shared_head(head, heads_k) * scratch_tokens()) * k_row;
        q_at += scratch_row(n, heads_q, part) * q_row;
        q_heads = scratch_tokens() * q_row;
    } else {
        k_first += seq.batch * k_batch + shared_head(head, heads_k) * k_head + seq.k0 * k_row;
        q_at += seq.batch * q_batch + seq.q0 * q_row;
    }
    uint v_at = slice.v_base + seq.batch * v_batch + shared_head(head, heads_v) * v_head + seq.k0 * v_row;
    uint out_at = slice.out_base + seq.batch * out_batch + seq.q0 * out_row;
    uint decay_first = slice.decay_base + seq.batch * decay_batch + head * decay_head + seq.k0 * decay_row;
    if ((flags & LINEAR_RESCALED) != 0u) {
        decay_first = slice.decay_base + scratch_row(n, states, part) + head * scratch_tokens();
    }
    uint beta_at = slice.beta_base + seq.batch * beta_batch + head * beta_head + seq.k0 * beta_row;
    uint read_first = slice.read_first, read_end = (slice.phase & PHASE_READ) != 0u ? slice.read_end : 0u;
    uint ta = me % QUADS, tb = me / QUADS;
    vec4 tile[4], found[TILES];

    [[dont_unroll]] for (int t0 = first; t0 < end; t0 += int(CHUNK)) {
        length = min(CHUNK, uint(end - t0));
        k_at = k_first + uint(t0) * k_row;
        decay_at = decay_first + uint(t0) * decay_row;
        barrier();
        for (uint a = me; a < CHUNK; a += gl_WorkGroupSize.x) {
            logs[a] = !CHANNEL && (flags & LINEAR_DECAY) != 0u && a < length ? forgets(decay_data[decay_at + a * decay_row]) : 0.0;
            betas[a] = DELTA && a < length ? beta_data[beta_at + (uint(t0) + a) * beta_row] : 0.0;
        }
        barrier();
        for (uint a = me; a < CHUNK; a += gl_WorkGroupSize.x) {
            float before = 0.0, behind = 0.0;
            for (uint b = a / BLOCK * BLOCK; b < (a / BLOCK + 1u) * BLOCK; b++) {
                before += b <= a ? logs[b] : 0.0;
                behind += b > a ? logs[b] : 0.0;
            }
            prefix[a] = before;
            suffix[a] = behind;
        }
        barrier();
        for (uint x = me; !CHANNEL && x < (BLOCKS + 1u) * (BLOCKS + 1u); x += gl_WorkGroupSize.x) {
            float sum = 0.0;
            for (uint p = x / (BLOCKS + 1u); p < x % (BLOCKS + 1u); p++) {
                sum += prefix[p * BLOCK + BLOCK - 1u];
            }
            jumps[x] = sum;
        }
        vec4 update[TILES];
        [[unroll]] for (uint t = 0u; t < TILES; t++) {
            uint x = me + t * gl_WorkGroupSize.x, c = x % SPAN, quad = x / SPAN, column = first_column + c;
            bool is_z = NORM != NORM_NONE && c == SPAN - 1u;
            [[unroll]] for (uint r = 0u; r < 4u; r++) {
                uint a = 4u * quad + r;
                update[t][r] = a < length && is_z ? 1.0 : 0.0;
                if (a < length && !is_z && column < columns) {
                    update[t][r] = load_v1(v_at + (uint(t0) + a) * v_row + column);
                }
            }
        }
        if (DELTA) {
            similarities(false, 0u, ta, tb, tile, found);
            if (tb <= ta) {
                weigh(ta, tb, tile, vec4(betas[4u * ta], betas[4u * ta + 1u], betas[4u * ta + 2u], betas[4u * ta + 3u]), false);
                put_scores(ta, tb, tile);
            }
            barrier();
            invert();
            [[unroll]] for (uint t = 0u; t < TILES; t++) {
                uint quad = (me + t * gl_WorkGroupSize.x) / SPAN;
                vec4 kept = CHANNEL ? found[t] : since_of(quad) * found[t];
                update[t] = vec4(betas[4u * quad], betas[4u * quad + 1u], betas[4u * quad + 2u], betas[4u * quad + 3u]) * (update[t] - kept);
            }
            barrier();
            solve(update);
        } else {
            [[unroll]] for (uint t = 0u; t < TILES; t++) {
                uint x = me + t * gl_WorkGroupSize.x;
                updates4[update_at(x / SPAN, x % SPAN)] = update[t];
            }
        }
        split_updates();
        [[dont_unroll]] for (uint r = read_first; r < read_end; r++) {
            uint h = output_head(head, r);
            similarities(true, q_at + query_head(h) * q_heads + uint(t0) * q_row, ta, tb, tile, found);
            [[unroll]] for (uint t = 0u; t < TILES; t++) {
                found[t] *= CHANNEL ? vec4(1.0) : since_of((me + t * gl_WorkGroupSize.x) / SPAN);
            }
            if (tb <= ta) {
                weigh(ta, tb, tile, vec4(1.0), true);
            }
            see(ta, tb, tile, found);
            [[unroll]] for (uint t = 0u; t < TILES; t++) {
                uint x = me + t * gl_WorkGroupSize.x, c = x % SPAN, quad = x / SPAN;
                found[t] *= scale;
                if (NORM != NORM_NONE && c == SPAN - 1u) {
                    [[unroll]] for (uint a = 0u; a < 4u; a++) {
                        logs[4u * quad + a] = found[t][a] + eps;
                    }
                }
            }
            if (NORM != NORM_NONE) {
                barrier();
            }
            [[unroll]] for (uint t = 0u; t < TILES; t++) {
                uint x = me + t * gl_WorkGroupSize.x, c = x % SPAN, quad = x / SPAN;
                if (c < span && first_column + c < columns) {
                    [[unroll]] for (uint a = 0u; a < 4u; a++) {
                        if (4u * quad + a < length) {
                            float y = found[t][a];
                            if (NORM != NORM_NONE) {
                                float sum = logs[4u * quad + a];
                                y = sum == 0.0 ? 0.0 : y / sum;
                            }
                            store_out1(out_at + h * out_head + (uint(t0) + 4u * quad + a) * out_row + first_column + c, y);
                        }
                    }
                }
            }
        }
        barrier();
        if (!CHANNEL) {
            total += jumps[jump(0u, BLOCKS)];
        }
        renew(CHANNEL ? 0.0 : exp_small(jumps[jump(0u, BLOCKS)]));
    }
    barrier();

    if ((slice.phase & PHASE_SUSPEND) != 0u) {
        for (uint x = me; x < size * SPAN; x += gl_WorkGroupSize.x) {
            uint i = x / SPAN, c = x % SPAN;
            bool is_z = NORM != NORM_NONE && c == SPAN - 1u;
            if (is_z ? index % blocks == 0u : first_column + c < columns) {
                state[base + i * slice.state_row + (is_z ? columns : first_column + c)] = cell(x);
            }
            if (c == 0u && counts) {
                state[base + i * slice.state_row + total_column] = CHANNEL ? totals[i] : total;
            }
        }
    }
}

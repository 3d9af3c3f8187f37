#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_KHR_shader_subgroup_shuffle : require
#if BFLOAT
#extension GL_EXT_bfloat16 : require
#define ELEMENT bfloat16_t
#else
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define ELEMENT float16_t
#include "lib/nearest16.glsl"
#endif

// Exact attention, forward, on matrix units (VK_KHR_cooperative_matrix): what flash_matrix.comp computes, where each row sees one
// range of keys (causal, chunks or windows), and all tensors are of the type that is multiplied, with rows of whole eights.
//
// That is most calls of a model, and what the general kernel has for all others costs them: several times as many instructions, and registers, which
// NVIDIA's driver then puts into memory. So nothing is here that is not needed.
//
// One workgroup computes one row tile over the keys of its part. Each of its subgroups has ROWS rows of it, whose queries, scores and outputs are
// matrices in its registers; all subgroups share tiles of KEY_TILE keys and values in shared memory. Before, they are read into
// registers: values while the keys are multiplied, the next keys while the values are, so that never both take registers. With two buffers,
// the values are the next tile's, too. Which invocation holds which element of a matrix has been found out (lib/matrix_layout.glsl).
//
// Shared memory: for each buffer, KEY_TILE rows of keys and of values in sixteen bits; and two words of each row.
//
// Dao, FlashAttention-2, algorithm 1, arXiv:2307.08691. That outputs are scaled only where the maximum has grown by much is of
// FlashAttention-4.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SUBGROUP = 8;
layout(constant_id = 2) const uint M = 8;
layout(constant_id = 3) const uint N = 8;               // and K
layout(constant_id = 4) const uint ROW_MATS = 1;        // matrices that a subgroup's rows take
layout(constant_id = 5) const uint KEY_TILE = 32;       // keys of one tile
layout(constant_id = 6) const uint DIM_MATS = 8;        // of a query or key row: D <= N * DIM_MATS
layout(constant_id = 7) const uint VALUE_MATS = 8;      // of a value row
layout(constant_id = 10) const bool PREFETCH = false;   // tiles are read ahead, into registers
layout(constant_id = 12) const uint PAD = 1;            // what rows in shared memory are longer, in 16 bytes, against bank conflicts
layout(constant_id = 13) const uint LANES = 0x8888210u; // the layout of an accumulator, and of weights
layout(constant_id = 14) const uint PLACES = 0x8888a98u;
layout(constant_id = 17) const bool KEEPS_NAN = false;  // exp2 of a NaN is a NaN, and that of -inf is zero
layout(constant_id = 28) const uint ROUNDING = 0u;      // how a number becomes an operand: 1 nearest, 2 cut off, 0 not known
layout(constant_id = 23) const bool PARTIAL = false;    // results of a part are written, for merge
layout(constant_id = 24) const bool WHOLE = false;      // D and Dv are those that the matrices hold
layout(constant_id = 25) const bool SLICED = false;     // keys may be sliced: a running state is taken up or left
layout(constant_id = 26) const uint CHUNK_MATS = 4;     // matrices of keys whose scores are held at a time, a divisor of those of a tile
layout(constant_id = 27) const uint BUFFERS = 1;        // tiles that shared memory holds: 1, or 2, and no one waits for the others within a tile

const uint SUBGROUPS = gl_WorkGroupSize.x / SUBGROUP;
const uint ROWS = M * ROW_MATS;                         // of a subgroup
const uint CHUNKS = KEY_TILE / (N * CHUNK_MATS);
const uint OPERAND_TYPE = BFLOAT == 1 ? 2u : 1u;        // TYPE_BFLOAT16, TYPE_FLOAT16
const uint TYPE_Q = OPERAND_TYPE, TYPE_K = OPERAND_TYPE, TYPE_V = OPERAND_TYPE, TYPE_OUT = OPERAND_TYPE;
const bool VECTOR = true;
const bool WIDE = true;
const bool SCORES = false;

#include "lib/params.glsl"
#include "lib/slice.glsl"
#define TYPES 1
#include "lib/access.glsl"
const uint OPERAND = OPERAND_TYPE;
#include "lib/matrix_access.glsl"
#include "lib/bfloat.glsl"
#include "lib/matrix_layout.glsl"
#include "lib/matrix_weights.glsl"
#include "lib/sequence.glsl"
#include "lib/settle.glsl"
#include "lib/mask.glsl"

layout(std430, set = 0, binding = 4) buffer OutWords4 { uvec4 out_words4[]; };

// The shared memory of a tile, in sixteen bytes. Queries and results pass through it, too.
const uint DIM8 = DIM_MATS * N / 8u;
const uint VALUE8 = VALUE_MATS * N / 8u;
const uint KEY_ROW = DIM8 + PAD;
const uint VALUE_ROW = VALUE8 + PAD;
const uint VALUES_AT = KEY_TILE * KEY_ROW;
const uint TILES_END = VALUES_AT + KEY_TILE * VALUE_ROW;
const uint PASSING = ROWS * (KEY_ROW > VALUE_ROW ? KEY_ROW : VALUE_ROW);    // of a subgroup
const uint AREA = BUFFERS * TILES_END > PASSING ? BUFFERS * TILES_END : PASSING;
const uint FITTING = AREA / PASSING < SUBGROUPS ? AREA / PASSING : SUBGROUPS;   // subgroups that fit at a time

// FUSED: an exponent is one multiply-add, of a score, the factor and the product of the maximum and the factor. That this is rounded moves all exponents of a row
// alike, by at most 2^-15 up to FUSED_MOST. Where it is more, the row tile is computed again, exactly. With two buffers that takes registers that are
// missing then.
const bool FUSED = BUFFERS == 1u;
const float FUSED_MOST = 1024.0;

shared uvec4 area[AREA];

// The keys that a row sees; at the end its maximum and sum of weights, then what conclude finds. Behind, for each subgroup, whether one of its rows wants
// to be computed again.
shared uvec2 row_words[SUBGROUPS * ROWS + SUBGROUPS];
const uint AGAIN = SUBGROUPS * ROWS;
const uint NOWHERE = 0xffffffffu;

const uint QUERY_CHUNKS = (ROWS * DIM8 + SUBGROUP - 1u) / SUBGROUP;
const uint KEY_CHUNKS = (KEY_TILE * DIM8 + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
const uint RESULT_CHUNKS = (ROWS * VALUE8 + SUBGROUP - 1u) / SUBGROUP;
const uint VALUE_CHUNKS = (KEY_TILE * VALUE8 + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
const uint OWN = ROW_MATS * SLOTS;                      // rows that an invocation holds elements of

OPERAND_A query[ROW_MATS * DIM_MATS];
ACCUMULATOR scores[ROW_MATS * CHUNK_MATS];
ACCUMULATOR outputs[ROW_MATS * VALUE_MATS];
float running_max[OWN];
float raised[OWN];              // what running_max takes from exponents
float running_sum[OWN];         // of the invocation's own elements
uvec4 keys_ahead[PREFETCH ? KEY_CHUNKS : 1u];       // of the next tile
uvec4 values_ahead[PREFETCH ? VALUE_CHUNKS : 1u];

uint query_dim, out_dim, k_stride, v_stride;
uint k_base, v_base;
uint own_key, own_value;        // where the first eight elements lie that an invocation reads of tile 0
uint tile_at = 0u;              // where the tile lies in shared memory that is multiplied
int key_first, key_end;
int seen_first, seen_end;       // the keys that any row sees
int row_first, row_end;         // the rows of the tile that this dispatch computes

// own_index is the number of the row tile, the last first: under a causal mask those take longest. Workgroups beyond the tiles get a larger one.
uint own_index() { return slice.tile_count - 1u - (gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x); }

// own_tile is looked up again where it is needed: across the loop it would take registers.
RowTile own_tile() { return find_row_tile(slice.tile_first + own_index()); }

bool computes(int row) { return row >= row_first && row < row_end; }

// own_row is the row of the o-th row of the invocation, in its subgroup.
uint own_row(uint o) { return o / SLOTS * M + (row_in(PLACES, place_of(o % SLOTS)) | lane_row()); }

// near_row is a row, or where it is not computed a near one that is: it then does the same, and is not written.
Row near_row(RowTile tile, int row) { return find_row(tile, clamp(row, row_first, row_end - 1)); }

uint subgroup_row() { return gl_SubgroupID * ROWS; }

uint own_slot() { return ((slice.part_first + gl_WorkGroupID.z) * slice.tile_count + own_index()) * tile_rows + subgroup_row(); }

// What no row sees may hold anything, NaN included: keys and values of the nearest that is seen are read instead. inner: there are none of
// them in the tile, and addresses only step.
uvec4 key_chunk(int first, uint i, bool inner) {
    if (inner && WHOLE && gl_WorkGroupSize.x % DIM8 == 0u) {
        return k_words4[(own_key + (uint(first) + i * (gl_WorkGroupSize.x / DIM8)) * k_stride) >> 3];
    }
    uint c = gl_LocalInvocationID.x + i * gl_WorkGroupSize.x;
    int key = first + int(c / DIM8);
    uint row = k_base + uint(inner ? key : clamp(key, seen_first, seen_end - 1)) * k_stride, d = c % DIM8 * 8u;
    return WHOLE ? k_words4[(row + d) >> 3] : key_operands(row, d, query_dim);
}

uvec4 value_chunk(int first, uint i, bool inner) {
    if (inner && WHOLE && gl_WorkGroupSize.x % VALUE8 == 0u) {
        return v_words4[(own_value + (uint(first) + i * (gl_WorkGroupSize.x / VALUE8)) * v_stride) >> 3];
    }
    uint c = gl_LocalInvocationID.x + i * gl_WorkGroupSize.x;
    int key = first + int(c / VALUE8);
    uint row = v_base + uint(inner ? key : clamp(key, seen_first, seen_end - 1)) * v_stride, d = c % VALUE8 * 8u;
    return WHOLE ? v_words4[(row + d) >> 3] : value_operands(row, d, out_dim);
}

// put_at is where the next tile goes.
uint put_at() { return BUFFERS == 2u ? TILES_END - tile_at : 0u; }

void put_key_chunk(uint i, uvec4 x) {
    uint c = gl_LocalInvocationID.x + i * gl_WorkGroupSize.x;
    if (KEY_TILE * DIM8 % gl_WorkGroupSize.x == 0u || c < KEY_TILE * DIM8) {
        area[put_at() + c / DIM8 * KEY_ROW + c % DIM8] = x;
    }
}

void put_value_chunk(uint i, uvec4 x) {
    uint c = gl_LocalInvocationID.x + i * gl_WorkGroupSize.x;
    if (KEY_TILE * VALUE8 % gl_WorkGroupSize.x == 0u || c < KEY_TILE * VALUE8) {
        area[put_at() + VALUES_AT + c / VALUE8 * VALUE_ROW + c % VALUE8] = x;
    }
}

// fetch_keys and fetch_values begin to read a tile's, from key first on; put_keys and put_values bring to shared memory what was read.
void fetch_keys(int first, bool inner) {
    if (PREFETCH) {
        [[unroll]] for (uint i = 0u; i < KEY_CHUNKS; i++) {
            keys_ahead[i] = key_chunk(first, i, inner);
        }
    }
}

void fetch_values(int first, bool inner) {
    if (PREFETCH) {
        [[unroll]] for (uint i = 0u; i < VALUE_CHUNKS; i++) {
            values_ahead[i] = value_chunk(first, i, inner);
        }
    }
}

void put_keys(int first, bool inner) {
    if (PREFETCH) {
        [[unroll]] for (uint i = 0u; i < KEY_CHUNKS; i++) {
            put_key_chunk(i, keys_ahead[i]);
        }
    } else {
        [[dont_unroll]] for (uint i = 0u; i < KEY_CHUNKS; i++) {
            put_key_chunk(i, key_chunk(first, i, inner));
        }
    }
}

void put_values(int first, bool inner) {
    if (PREFETCH) {
        [[unroll]] for (uint i = 0u; i < VALUE_CHUNKS; i++) {
            put_value_chunk(i, values_ahead[i]);
        }
    } else {
        [[dont_unroll]] for (uint i = 0u; i < VALUE_CHUNKS; i++) {
            put_value_chunk(i, value_chunk(first, i, inner));
        }
    }
}

// find_ranges brings the keys that each row sees to shared memory.
void find_ranges(RowTile tile) {
    [[dont_unroll]] for (uint r = lane(); r < ROWS; r += SUBGROUP) {
        int position = int(near_row(tile, tile.row + int(subgroup_row() + r)).i) + tile.seq.rel;
        row_words[subgroup_row() + r] = uvec2(seen_range(tile.seq, position, key_first, key_end));
    }
}

// query_base is where a row of the subgroup begins.
uint query_base(RowTile tile, uint r) {
    Row row = near_row(tile, tile.row + int(subgroup_row() + r));
    return slice.q_base + tile.seq.batch * q_batch + row.head * q_head + (tile.seq.q0 + row.i) * q_row;
}

// The queries, with the sign of the scale, pass through shared memory, of as many subgroups at a time as fit. All are asked for before.
void load_queries(RowTile tile) {
    uint sign = scale < 0.0 ? 0x80008000u : 0u;
    uint lane_base = query_base(tile, lane());
    uvec4 own[QUERY_CHUNKS];
    [[unroll]] for (uint i = 0u; i < QUERY_CHUNKS; i++) {
        uint c = lane() + i * SUBGROUP, d = c % DIM8 * 8u;
        uint base = ROWS <= SUBGROUP ? subgroupShuffle(lane_base, c / DIM8) : query_base(tile, c / DIM8);
        own[i] = WHOLE ? q_words4[(base + d) >> 3] : query_operands(base, d, query_dim);
    }
    [[dont_unroll]] for (uint turn = 0u; turn < SUBGROUPS; turn += FITTING) {
        bool now = gl_SubgroupID >= turn && gl_SubgroupID < turn + FITTING;
        uint at = (gl_SubgroupID - turn) * PASSING;
        if (now) {
            [[unroll]] for (uint i = 0u; i < QUERY_CHUNKS; i++) {
                uint c = lane() + i * SUBGROUP;
                if (ROWS * DIM8 % SUBGROUP == 0u || c < ROWS * DIM8) {
                    area[at + c / DIM8 * KEY_ROW + c % DIM8] = own[i] ^ sign;
                }
            }
        }
        barrier();
        if (now) {
            [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
                [[unroll]] for (uint x = 0u; x < DIM_MATS; x++) {
                    coopMatLoad(query[r * DIM_MATS + x], area, at + r * M * KEY_ROW + x * (N / 8u), KEY_ROW, gl_CooperativeMatrixLayoutRowMajor);
                }
            }
        }
        barrier();
    }
}

// multiply_keys makes the scores of a chunk of the tile's keys.
void multiply_keys(uint chunk) {
    [[unroll]] for (uint i = 0u; i < ROW_MATS * CHUNK_MATS; i++) {
        scores[i] = ACCUMULATOR(0.0);
    }
    [[unroll]] for (uint x = 0u; x < DIM_MATS; x++) {
        [[unroll]] for (uint n = 0u; n < CHUNK_MATS; n++) {
            OPERAND_B keys;
            coopMatLoad(keys, area, tile_at + (chunk * CHUNK_MATS + n) * N * KEY_ROW + x * (N / 8u), KEY_ROW, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
                scores[r * CHUNK_MATS + n] = coopMatMulAdd(query[r * DIM_MATS + x], keys, scores[r * CHUNK_MATS + n]);
            }
        }
    }
}

// hide puts -inf in place of the scores of keys that rows do not see, exact: and of no others, which products of large numbers may be. In float16 always:
// NVIDIA's compiler makes a faster loop of that.
void hide(int first, bool exact) {
    [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
        ivec2 seen[SLOTS];
        [[unroll]] for (uint o = 0u; o < SLOTS; o++) {
            seen[o] = ivec2(row_words[subgroup_row() + own_row(r * SLOTS + o)]) - first - int(lane_column());
        }
        [[unroll]] for (uint n = 0u; n < CHUNK_MATS; n++) {
            ACCUMULATOR rows = scores[r * CHUNK_MATS + n];
            EACH_PLACE(
                int key = int(n * N + place_column(e));
                rows[e] = key >= seen[slot_of(e)].x && key < seen[slot_of(e)].y ? (exact || BFLOAT == 0 ? finite_floor(rows[e]) : rows[e]) : minus_infinity();
            )
            scores[r * CHUNK_MATS + n] = rows;
        }
    }
}

// raised_by is raised of a maximum. Where there is none, all weights are zero; of what numbers do that, NVIDIA's compiler makes its faster loops of these.
float raised_by(float top) { return top != LOWEST ? top * factor : BFLOAT == 1 ? 0.0 : -LOWEST; }

// too_large reports whether the o-th row has a maximum that is not to be fused.
bool too_large(uint o) { return running_max[o] != LOWEST && !(abs(raised[o]) <= FUSED_MOST); }

// weight_of is the weight of a score; exact: by a difference in rows that are not to be fused, and in those without a maximum, whose scores weigh nothing else.
float weight_of(uint o, float score, bool exact) {
    if (!FUSED || exact && (too_large(o) || running_max[o] == LOWEST)) {
        return weight(score, running_max[o]);
    }
    precise float x = fma(score, factor, -raised[o]);
    return !KEEPS_NAN && is_nan(x) ? x : exp2(x);
}

// ask_again is called by all of a subgroup, one of whose rows may want it.
void ask_again(bool wanted) {
    if (subgroupAny(wanted) && lane() == 0u) {
        row_words[AGAIN + gl_SubgroupID].x = 1u;
    }
}

// raise brings the running maxima of rows up to those of the chunk, where these are larger by much.
void raise(bool exact) {
    float top[OWN];
    bool grown = false;
    [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
        [[unroll]] for (uint o = 0u; o < SLOTS; o++) {
            top[r * SLOTS + o] = LOWEST;
        }
        [[unroll]] for (uint n = 0u; n < CHUNK_MATS; n++) {
            ACCUMULATOR rows = scores[r * CHUNK_MATS + n];
            EACH_PLACE(top[r * SLOTS + slot_of(e)] = max(top[r * SLOTS + slot_of(e)], rows[e]);)
        }
    }
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        grown = grown || (top[o] - running_max[o]) * factor > SLACK;
    }
    if (subgroupAny(grown)) {
        float decay[OWN];
        bool large = false;
        [[unroll]] for (uint o = 0u; o < OWN; o++) {
            top[o] = row_max(top[o]);
            top[o] = (top[o] - running_max[o]) * factor > SLACK ? top[o] : running_max[o];
            decay[o] = weight(running_max[o], top[o]);
            running_max[o] = top[o];
            if (FUSED) {
                raised[o] = raised_by(top[o]);
                large = large || too_large(o);
            }
            running_sum[o] *= decay[o];
        }
        if (FUSED && !exact) {
            ask_again(large);
        }
        [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
            ACCUMULATOR rows;
            EACH_PLACE(rows[e] = decay[r * SLOTS + slot_of(e)];)
            [[unroll]] for (uint n = 0u; n < VALUE_MATS; n++) {
                outputs[r * VALUE_MATS + n] = outputs[r * VALUE_MATS + n] * rows;
            }
        }
    }
}

void add_values(uint chunk, bool exact) {
    [[unroll]] for (uint x = 0u; x < CHUNK_MATS; x++) {
        OPERAND_A weights[ROW_MATS];
        [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
            ACCUMULATOR rows = scores[r * CHUNK_MATS + x];
            OPERAND_A own;
            EACH_PLACE(
                uint o = r * SLOTS + slot_of(e);
                float w = weight_of(o, rows[e], exact);
                if (!KEEPS_NAN && floatBitsToUint(rows[e]) == 0xff800000u) {
                    w = 0.0;
                }
                running_sum[o] += w;
                own[e] = element(w);
            )
            weights[r] = own;
        }
        [[unroll]] for (uint n = 0u; n < VALUE_MATS; n++) {
            OPERAND_B values;
            coopMatLoad(values, area, tile_at + VALUES_AT + (chunk * CHUNK_MATS + x) * N * VALUE_ROW + n * (N / 8u), VALUE_ROW, gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
                outputs[r * VALUE_MATS + n] = coopMatMulAdd(weights[r], values, outputs[r * VALUE_MATS + n]);
            }
        }
    }
}

// One row's place in the running state, in floats: the maximum, the sums of those who hold its elements, by column,
// then its unnormalised output.
const uint STATE_HEAD = 4u + N;
layout(std430, set = 0, binding = 0) buffer StateFloats { float state_floats[]; };

uint state_row(uint row) { return 4u * slice.state_base + (own_slot() + row) * (STATE_HEAD + VALUE_MATS * N); }

void resume() {
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        uint at = state_row(own_row(o));
        running_max[o] = state_floats[at];
        raised[o] = raised_by(running_max[o]);
        running_sum[o] = state_floats[at + 4u + lane_column()];
    }
    [[unroll]] for (uint i = 0u; i < ROW_MATS * VALUE_MATS; i++) {
        ACCUMULATOR rows;
        EACH_PLACE(rows[e] = state_floats[state_row(i / VALUE_MATS * M + row_at(e)) + STATE_HEAD + i % VALUE_MATS * N + column_at(e)];)
        outputs[i] = rows;
    }
}

void suspend() {
    int row = own_tile().row + int(subgroup_row());
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        if (computes(row + int(own_row(o)))) {
            uint at = state_row(own_row(o));
            state_floats[at + 4u + lane_column()] = running_sum[o];
            if (lane_column() == 0u) {
                state_floats[at] = running_max[o];
            }
        }
    }
    [[unroll]] for (uint i = 0u; i < ROW_MATS * VALUE_MATS; i++) {
        ACCUMULATOR rows = outputs[i];
        EACH_PLACE(
            uint r = i / VALUE_MATS * M + row_at(e);
            if (computes(row + int(r))) {
                state_floats[state_row(r) + STATE_HEAD + i % VALUE_MATS * N + column_at(e)] = rows[e];
            }
        )
    }
}

// conclude writes the lse of a row of the tile, or its maximum and sum in a part. It returns where the row's outputs go, or NOWHERE, and what they are to be
// multiplied by.
uvec2 conclude(RowTile tile, int row, uint slot, float top, float sum) {
    top = top == LOWEST ? top : top * abs(scale);
    Row own = near_row(tile, row);
    float lse;
    float by = settle(tile.seq.index, own.head, PARTIAL, top, sum, lse);
    if (computes(row)) {
        if (PARTIAL) {
            lse_data[slice.lse_base + 2u * slot] = top;
            lse_data[slice.lse_base + 2u * slot + 1u] = sum;
        } else if ((flags & FLAG_LSE) != 0u) {
            lse_data[slice.lse_base + tile.seq.batch * lse_batch + own.head * lse_head + (tile.seq.q0 + own.i) * lse_row] = lse;
        }
    }
    uint base = slice.out_base + tile.seq.batch * out_batch + own.head * out_head + (tile.seq.q0 + own.i) * out_row;
    return uvec2(computes(row) ? base >> 3 : NOWHERE, floatBitsToUint(by));
}

// finish normalises, adds the sink, and writes out and lse, or one part's result, as in flash.comp.
void finish() {
    RowTile tile = own_tile();
    int row = tile.row + int(subgroup_row());
    uint slot = own_slot();
    barrier();
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        float sum = row_sum(running_sum[o]);
        if (lane_column() == 0u) {
            row_words[subgroup_row() + own_row(o)] = floatBitsToUint(vec2(running_max[o], sum));
        }
    }
    barrier();
    [[dont_unroll]] for (uint r = lane(); r < ROWS; r += SUBGROUP) {
        uint at = subgroup_row() + r;
        vec2 x = uintBitsToFloat(row_words[at]);
        row_words[at] = conclude(tile, row + int(r), slot + r, x.x, x.y);
    }
    barrier();
    float by[OWN];
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        by[o] = uintBitsToFloat(row_words[subgroup_row() + own_row(o)].y);
    }
    if (PARTIAL) {
        [[unroll]] for (uint i = 0u; i < ROW_MATS * VALUE_MATS; i++) {
            ACCUMULATOR rows = outputs[i];
            EACH_PLACE(
                uint r = i / VALUE_MATS * M + row_at(e);
                uint d = i % VALUE_MATS * N + column_at(e);
                if (computes(row + int(r)) && d < out_dim) {
                    out_data[slice.out_base + (slot + r) * out_dim + d] = rows[e] * by[i / VALUE_MATS * SLOTS + slot_of(e)];
                }
            )
        }
        return;
    }
    [[dont_unroll]] for (uint turn = 0u; turn < SUBGROUPS; turn += FITTING) {
        bool now = gl_SubgroupID >= turn && gl_SubgroupID < turn + FITTING;
        uint at = (gl_SubgroupID - turn) * PASSING;
        barrier();
        if (now) {
            [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
                [[unroll]] for (uint n = 0u; n < VALUE_MATS; n++) {
                    ACCUMULATOR rows = outputs[r * VALUE_MATS + n];
                    OPERAND_A results;
                    EACH_PLACE(
                        float x = rows[e] * by[r * SLOTS + slot_of(e)];
                        results[e] = ELEMENT(BFLOAT == 1 ? nearest_bfloat(x) : x);
                    )
                    coopMatStore(results, area, at + r * M * VALUE_ROW + n * (N / 8u), VALUE_ROW, gl_CooperativeMatrixLayoutRowMajor);
                }
            }
        }
        barrier();
        if (now) {
            [[unroll]] for (uint i = 0u; i < RESULT_CHUNKS; i++) {
                uint c = lane() + i * SUBGROUP, r = c / VALUE8;
                if (ROWS * VALUE8 % SUBGROUP == 0u || c < ROWS * VALUE8) {
                    uint to = row_words[subgroup_row() + r].x;
                    if (to != NOWHERE && (WHOLE || c % VALUE8 * 8u < out_dim)) {
                        out_words4[to + c % VALUE8] = area[at + r * VALUE_ROW + c % VALUE8];
                    }
                }
            }
        }
    }
}

// ENDS: the last tile, too, may be an inner one. Where there are two matrices of rows and one buffer that takes registers which are missing then.
const bool ENDS = ROW_MATS == 1u || BUFFERS == 2u;

// start sets the running state up, before what step does.
void start(bool exact) {
    [[unroll]] for (uint i = 0u; i < ROW_MATS * VALUE_MATS; i++) {
        outputs[i] = ACCUMULATOR(0.0);
    }
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        running_max[o] = LOWEST;
        raised[o] = raised_by(LOWEST);
        running_sum[o] = 0.0;
    }
    if (SLICED && (slice.phase & PHASE_RESUME) != 0u) {
        resume();
        if (FUSED && !exact) {
            bool large = false;
            [[unroll]] for (uint o = 0u; o < OWN; o++) {
                large = large || too_large(o);
            }
            ask_again(large);
        }
    }
}

// again reports whether the row tile is to be computed again: fused exponents would be wrong, or a row sees keys and all their scores are -inf, the lowest
// there are.
bool again() {
    bool lowest = false;
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        ivec2 seen = ivec2(row_words[subgroup_row() + own_row(o)]);
        lowest = lowest || running_max[o] == LOWEST && seen.x < seen.y;
    }
    ask_again(lowest);
    barrier();
    uint asked = 0u;
    [[unroll]] for (uint i = 0u; i < SUBGROUPS; i++) {
        asked |= row_words[AGAIN + i].x;
    }
    return asked != 0u;
}

// step takes in the tile of keys from first on, which are in shared memory once all invocations are here, with two buffers its values,
// too. inner: nothing is hidden in it, and all keys of the next one are seen, or with ENDS there is none, and the tile is read again for nothing.
void step(int first, bool inner, bool exact) {
    int next = first + int(KEY_TILE);
    if (inner && ENDS) {
        next = min(next, seen_end - int(KEY_TILE));
    }
    bool more = inner || next < seen_end;
    int values_first = BUFFERS == 2u ? next : first;
    barrier();
    if (BUFFERS == 2u) {
        tile_at = TILES_END - tile_at;
    }
    if (BUFFERS == 1u || more) {
        fetch_values(values_first, inner);
    }
    [[unroll]] for (uint c = 0u; c < CHUNKS; c++) {
        multiply_keys(c);
        if (c == (BUFFERS == 2u ? CHUNKS / 2u : 0u)) {
            if (BUFFERS == 1u || more) {
                put_values(values_first, inner);
            }
            if (BUFFERS == 1u) {
                barrier();
            }
            if (more) {
                fetch_keys(next, inner);
            }
        }
        if (!inner) {
            hide(first + int(c * CHUNK_MATS * N), exact);
        }
        raise(exact);
        add_values(c, exact);
    }
    if (BUFFERS == 1u && CHUNKS > 1u) {
        barrier();
    }
    if (more) {
        put_keys(next, inner);
    }
}

void main() {
    if (own_index() >= slice.tile_count) {
        return;
    }
    uint part = slice.part_first + gl_WorkGroupID.z;
    RowTile tile = own_tile();
    row_first = max(tile.row, slice.row_first);
    row_end = min(min(tile.row + int(tile_rows), tile.rows), slice.row_end);
    query_dim = dim;
    out_dim = value_dim;
    k_stride = k_row;
    v_stride = v_row;
    factor = abs(scale) * LOG2E;

    int part_key = int(part) * slice.part_keys;
    key_first = part_key + slice.key_first;
    key_end = min(part_key + slice.key_end, tile.seq.sk);
    k_base = slice.k_base + tile.seq.batch * k_batch + kv_head(tile.head, heads_k) * k_head + tile.seq.k0 * k_row;
    v_base = slice.v_base + tile.seq.batch * v_batch + kv_head(tile.head, heads_v) * v_head + tile.seq.k0 * v_row;
    own_key = k_base + gl_LocalInvocationID.x / DIM8 * k_stride + gl_LocalInvocationID.x % DIM8 * 8u;
    own_value = v_base + gl_LocalInvocationID.x / VALUE8 * v_stride + gl_LocalInvocationID.x % VALUE8 * 8u;
    // Ranges go up with the rows: these are the keys that any row sees, and those that all do.
    ivec2 first_row = seen_range(tile.seq, row_first / int(pack) + tile.seq.rel, key_first, key_end);
    ivec2 last_row = seen_range(tile.seq, (row_end - 1) / int(pack) + tile.seq.rel, key_first, key_end);
    seen_first = first_row.x;
    seen_end = last_row.y;

    int first_tile = seen_first / int(KEY_TILE) * int(KEY_TILE);
    bool any = seen_first < seen_end;
    if (any) {
        fetch_keys(first_tile, false);
        if (BUFFERS == 2u) {
            fetch_values(first_tile, false);
        }
    }
    load_queries(tile);
    find_ranges(tile);
    if (lane() == 0u) {
        row_words[AGAIN + gl_SubgroupID].x = 0u;
    }
    start(false);
    if (any) {
        put_keys(first_tile, false);
        if (BUFFERS == 2u) {
            put_values(first_tile, false);
        }
    }
    // Inner tiles have a loop of their own: what hides would take registers of it. So has the second turn, for what is rarely there.
    int inner_end = min(first_row.y, ENDS && seen_end % int(KEY_TILE) == 0 ? seen_end : seen_end - int(KEY_TILE));
    int tile_first = first_tile;
    [[dont_unroll]] while (any && tile_first < seen_end) {
        [[dont_unroll]] for (; tile_first >= last_row.x && tile_first + int(KEY_TILE) <= inner_end; tile_first += int(KEY_TILE)) {
            step(tile_first, true, false);
        }
        [[dont_unroll]] for (; tile_first < seen_end && (tile_first < last_row.x || tile_first + int(KEY_TILE) > inner_end); tile_first += int(KEY_TILE)) {
            step(tile_first, false, false);
        }
    }
    if (any && again()) {
        fetch_keys(first_tile, false);
        if (BUFFERS == 2u) {
            fetch_values(first_tile, false);
        }
        start(true);
        put_keys(first_tile, false);
        if (BUFFERS == 2u) {
            put_values(first_tile, false);
        }
        [[dont_unroll]] for (tile_first = first_tile; tile_first < seen_end; tile_first += int(KEY_TILE)) {
            step(tile_first, false, true);
        }
    }
    if (SLICED && (slice.phase & PHASE_SUSPEND) != 0u) {
        suspend();
    } else {
        finish();
    }
}

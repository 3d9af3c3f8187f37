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

// Exact attention, forward, on matrix units (VK_KHR_cooperative_matrix): what flash.comp computes, for q, k and v of
// sixteen bits.
//
// One workgroup computes one row tile over the keys of its slice and part. Each of its subgroups has ROWS rows of it, whose
// queries, scores and outputs are matrices in its registers; all subgroups share tiles of KEY_TILE keys and values in
// shared memory, which are read into registers while the tile before is multiplied. What only tiles need that hide something is
// found out there: the loop over all others must be short, for what it keeps in registers and for the cache of instructions.
//
// Vulkan does not say which invocation holds which element of a matrix. REGISTERS: it has been found out
// (lib/matrix_layout.glsl), and the softmax works on the elements where they lie; otherwise scores go through shared
// memory, to a layout of our own. DIRECT: weights become an operand the same way, place by place. Where subgroups go
// through shared memory, all of them take the same way: llvmpipe waits for the whole workgroup at a subgroup's barrier.
//
// Shared memory: KEY_TILE rows of keys and of values, or the queries, in sixteen bits, and some.
//
// Dao, FlashAttention-2, algorithm 1, arXiv:2307.08691. That outputs are scaled only where the maximum has grown by much is of
// FlashAttention-4.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SUBGROUP = 8;
layout(constant_id = 2) const uint M = 8;
layout(constant_id = 3) const uint N = 8;               // and K
layout(constant_id = 4) const uint ROW_MATS = 1;        // matrices that a subgroup's rows take
layout(constant_id = 5) const uint KEY_TILE = 32;       // keys of one tile: 32 or 64
layout(constant_id = 6) const uint DIM_MATS = 8;        // of a query or key row: D <= N * DIM_MATS
layout(constant_id = 7) const uint VALUE_MATS = 8;      // of a value row
layout(constant_id = 8) const bool VECTOR = true;       // D, Dv, strides, bases and offsets are multiples of 4
layout(constant_id = 9) const uint EXTRAS = 0u;         // as in flash.comp; lists of blocks want a KEY_TILE of 32
layout(constant_id = 10) const bool PREFETCH = false;   // tiles are read ahead, into registers
layout(constant_id = 11) const bool KEEP_QUERY = true;  // queries are kept in registers, not in shared memory
layout(constant_id = 12) const uint PAD = 1;            // what rows in shared memory are longer, in 16 bytes, against bank conflicts
layout(constant_id = 13) const uint LANES = 0x8888210u;     // the layout of an accumulator
layout(constant_id = 14) const uint PLACES = 0x8888a98u;
layout(constant_id = 15) const bool REGISTERS = false;
layout(constant_id = 16) const bool DIRECT = false;
layout(constant_id = 17) const bool KEEPS_NAN = false;  // exp2 of a NaN is a NaN, and that of -inf is zero
layout(constant_id = 28) const uint ROUNDING = 0u;      // how a number becomes an operand: 1 nearest, 2 cut off, 0 not known
layout(constant_id = 18) const bool WIDE = true;        // and of 8
layout(constant_id = 19) const uint TYPE_Q = 1u;
layout(constant_id = 20) const uint TYPE_K = 1u;
layout(constant_id = 21) const uint TYPE_V = 1u;
layout(constant_id = 22) const uint TYPE_OUT = 1u;

const uint SUBGROUPS = gl_WorkGroupSize.x / SUBGROUP;
const uint ROWS = M * ROW_MATS;                         // of a subgroup
const uint KEY_MATS = KEY_TILE / N;
const uint KEY_WORDS = (KEY_TILE + 31u) / 32u;          // of the bits of a row
const bool BLOCKS = EXTRAS >= 1u;
const bool SCORES = EXTRAS >= 2u;
const bool CHOICES = EXTRAS >= 3u;

#include "lib/params.glsl"
#include "lib/slice.glsl"
#include "lib/items.glsl"
#define TYPES 1
#include "lib/access.glsl"
const uint OPERAND = BFLOAT == 1 ? TYPE_BFLOAT16 : TYPE_FLOAT16;
#include "lib/matrix_access.glsl"
#include "lib/matrix_layout.glsl"
#include "lib/matrix_weights.glsl"
#include "lib/sequence.glsl"
#include "lib/settle.glsl"
#include "lib/mask.glsl"
#include "lib/blocks.glsl"
#include "lib/walk.glsl"

// The shared memory of a tile, in sixteen bytes.
const uint DIM8 = DIM_MATS * N / 8u;
const uint VALUE8 = VALUE_MATS * N / 8u;
const uint KEY_ROW = DIM8 + PAD;
const uint VALUE_ROW = VALUE8 + PAD;
const uint VALUES_AT = KEY_TILE * KEY_ROW;
const uint TILES_END = VALUES_AT + KEY_TILE * VALUE_ROW;
const uint QUERIES_AT = KEEP_QUERY ? 0u : TILES_END;
const uint AREA = KEEP_QUERY ? (TILES_END > ROWS * KEY_ROW ? TILES_END : ROWS * KEY_ROW) : TILES_END + SUBGROUPS * ROWS * KEY_ROW;
const uint FITTING = KEEP_QUERY ? (AREA / (ROWS * KEY_ROW) < SUBGROUPS ? AREA / (ROWS * KEY_ROW) : SUBGROUPS) : SUBGROUPS;   // subgroups whose queries do

shared uvec4 area[AREA];
shared vec4 scratch4[SUBGROUPS * M * N / 4u];           // an accumulator of each subgroup; in vec4 because matrices have to begin at 16 bytes
#define SCRATCH(i) scratch4[(i) / 4u][(i) % 4u]
shared uvec4 operand[DIRECT ? 1u : SUBGROUPS * M * N / 8u];
shared float factors[SUBGROUPS * ROWS];
shared uint seen_by_all[KEY_WORDS];                    // keys that a row of the tile sees
shared uint any_chosen[3];

const uint KEY_CHUNKS = (KEY_TILE * DIM8 + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
const uint VALUE_CHUNKS = (KEY_TILE * VALUE8 + gl_WorkGroupSize.x - 1u) / gl_WorkGroupSize.x;
const uint OWN = ROW_MATS * SLOTS;                      // rows that an invocation holds elements of

OPERAND_A query[KEEP_QUERY ? ROW_MATS * DIM_MATS : 1u];
ACCUMULATOR scores[ROW_MATS * KEY_MATS];
ACCUMULATOR outputs[ROW_MATS * VALUE_MATS];
float running_max[OWN];
float running_sum[OWN];         // of the invocation's own elements
uint bits[OWN * KEY_WORDS];     // keys that a row sees
uvec4 keys_ahead[PREFETCH ? KEY_CHUNKS : 1u]; // of the next tile
uvec4 values_ahead[PREFETCH ? VALUE_CHUNKS : 1u];

// Of the rows of an invocation, with SCORES.
int position[OWN];
float slope[OWN];
uint bias_at[OWN], mask_at[OWN], relative_at[OWN];

uint query_dim, out_dim, k_stride, v_stride;
uint k_base, v_base;
int key_first, key_end;
int row_first, row_end;         // the rows of the tile that this dispatch computes

bool computes(int row) { return row >= row_first && row < row_end; }

// own_row is the row of the o-th row of the invocation, in its subgroup.
uint own_row(uint o) { return o / SLOTS * M + (row_in(PLACES, place_of(o % SLOTS)) | lane_row()); }

Row near_row(RowTile tile, int row) { return find_row(tile, clamp(row, row_first, row_end - 1)); }

uint subgroup_row() { return gl_SubgroupID * ROWS; }

uvec4 key_chunk(int first, uint i) {
    uint c = gl_LocalInvocationID.x + i * gl_WorkGroupSize.x;
    return key_operands(k_base + uint(clamp(first + int(c / DIM8), key_first, key_end - 1)) * k_stride, c % DIM8 * 8u, query_dim);
}

void put_key_chunk(uint i, uvec4 x) {
    uint c = gl_LocalInvocationID.x + i * gl_WorkGroupSize.x;
    if (c < KEY_TILE * DIM8) {
        area[c / DIM8 * KEY_ROW + c % DIM8] = x;
    }
}

uvec4 value_chunk(int first, uint i) {
    uint c = gl_LocalInvocationID.x + i * gl_WorkGroupSize.x;
    return value_operands(v_base + uint(clamp(first + int(c / VALUE8), key_first, key_end - 1)) * v_stride, c % VALUE8 * 8u, out_dim);
}

void put_value_chunk(uint i, uvec4 x) {
    uint c = gl_LocalInvocationID.x + i * gl_WorkGroupSize.x;
    if (c < KEY_TILE * VALUE8) {
        area[VALUES_AT + c / VALUE8 * VALUE_ROW + c % VALUE8] = x;
    }
}

// fetch begins to read the tile whose first key is first.
void fetch(int first) {
    if (PREFETCH) {
        [[unroll]] for (uint i = 0u; i < KEY_CHUNKS; i++) {
            keys_ahead[i] = key_chunk(first, i);
        }
        [[unroll]] for (uint i = 0u; i < VALUE_CHUNKS; i++) {
            values_ahead[i] = value_chunk(first, i);
        }
    }
}

// put brings to shared memory the tile that was fetched.
void put(int first) {
    if (PREFETCH) {
        [[unroll]] for (uint i = 0u; i < KEY_CHUNKS; i++) {
            put_key_chunk(i, keys_ahead[i]);
        }
        [[unroll]] for (uint i = 0u; i < VALUE_CHUNKS; i++) {
            put_value_chunk(i, values_ahead[i]);
        }
    } else {
        [[dont_unroll]] for (uint i = 0u; i < KEY_CHUNKS; i++) {
            put_key_chunk(i, key_chunk(first, i));
        }
        [[dont_unroll]] for (uint i = 0u; i < VALUE_CHUNKS; i++) {
            put_value_chunk(i, value_chunk(first, i));
        }
    }
}

// clear makes zero of the values of keys that no row sees: they may hold anything, NaN included.
void clear() {
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        [[unroll]] for (uint w = 0u; w < KEY_WORDS; w++) {
            if (bits[o * KEY_WORDS + w] != 0u) {
                atomicOr(seen_by_all[w], bits[o * KEY_WORDS + w]);
            }
        }
    }
    barrier();
    [[dont_unroll]] for (uint c = gl_LocalInvocationID.x; c < KEY_TILE * VALUE8; c += gl_WorkGroupSize.x) {
        uint key = c / VALUE8;
        if ((seen_by_all[key / 32u] >> (key & 31u) & 1u) == 0u) {
            area[VALUES_AT + key * VALUE_ROW + c % VALUE8] = uvec4(0u);
        }
    }
    barrier();
    if (gl_LocalInvocationID.x < KEY_WORDS) {
        seen_by_all[gl_LocalInvocationID.x] = 0u;
    }
}

// The queries, with the sign of the scale, pass through shared memory, of as many subgroups at a time as fit.
void load_queries(RowTile tile) {
    uint sign = scale < 0.0 ? 0x80008000u : 0u;
    [[dont_unroll]] for (uint turn = 0u; turn < SUBGROUPS; turn += FITTING) {
        bool now = gl_SubgroupID >= turn && gl_SubgroupID < turn + FITTING;
        uint at = QUERIES_AT + (gl_SubgroupID - turn) * ROWS * KEY_ROW;
        if (now) {
            [[dont_unroll]] for (uint c = lane(); c < ROWS * DIM8; c += SUBGROUP) {
                Row row = near_row(tile, tile.row + int(subgroup_row() + c / DIM8));
                uint base = slice.q_base + tile.seq.batch * q_batch + row.head * q_head + (tile.seq.q0 + row.i) * q_row;
                area[at + c / DIM8 * KEY_ROW + c % DIM8] = query_operands(base, c % DIM8 * 8u, query_dim) ^ sign;
            }
        }
        barrier();
        if (KEEP_QUERY) {
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
}

// scatter takes a matrix of scores from where the driver has it to the layout that the softmax works in.
void scatter(uint i) {
    uint at = gl_SubgroupID * M * N;
    coopMatStore(scores[i], scratch4, at / 4u, N / 4u, gl_CooperativeMatrixLayoutRowMajor);
    subgroupBarrier();
    ACCUMULATOR own;
    EACH_PLACE(own[e] = SCRATCH(at + row_at(e) * N + column_at(e));)
    scores[i] = own;
    subgroupBarrier();
}

void multiply_keys() {
    [[unroll]] for (uint i = 0u; i < ROW_MATS * KEY_MATS; i++) {
        scores[i] = ACCUMULATOR(0.0);
    }
    [[unroll]] for (uint x = 0u; x < DIM_MATS; x++) {
        OPERAND_A rows[ROW_MATS];
        [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
            if (KEEP_QUERY) {
                rows[r] = query[r * DIM_MATS + x];
            } else {
                coopMatLoad(rows[r], area, QUERIES_AT + (subgroup_row() + r * M) * KEY_ROW + x * (N / 8u), KEY_ROW, gl_CooperativeMatrixLayoutRowMajor);
            }
        }
        [[unroll]] for (uint n = 0u; n < KEY_MATS; n++) {
            OPERAND_B keys;
            coopMatLoad(keys, area, n * N * KEY_ROW + x * (N / 8u), KEY_ROW, gl_CooperativeMatrixLayoutColumnMajor);
            [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
                scores[r * KEY_MATS + n] = coopMatMulAdd(rows[r], keys, scores[r * KEY_MATS + n]);
            }
        }
    }
    if (!REGISTERS) {
        [[unroll]] for (uint i = 0u; i < ROW_MATS * KEY_MATS; i++) {
            scatter(i);
        }
    }
}

void scale_outputs(float by[OWN]) {
    [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
        ACCUMULATOR rows;
        if (REGISTERS) {
            EACH_PLACE(rows[e] = by[r * SLOTS + slot_of(e)];)
        } else {
            uint at = gl_SubgroupID * M * N;
            EACH_PLACE(SCRATCH(at + row_at(e) * N + column_at(e)) = by[r * SLOTS + slot_of(e)];)
            subgroupBarrier();
            coopMatLoad(rows, scratch4, at / 4u, N / 4u, gl_CooperativeMatrixLayoutRowMajor);
            subgroupBarrier();
        }
        [[unroll]] for (uint n = 0u; n < VALUE_MATS; n++) {
            outputs[r * VALUE_MATS + n] = outputs[r * VALUE_MATS + n] * rows;
        }
    }
}

// raise brings the running maxima of rows up to those of the tile, where these are larger by much. masked: what is hidden is -inf, and
// nothing else is.
void raise(bool masked) {
    float top[OWN];
    bool grown = false;
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        top[o] = LOWEST;
    }
    [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
        [[unroll]] for (uint n = 0u; n < KEY_MATS; n++) {
            ACCUMULATOR tile = scores[r * KEY_MATS + n];
            EACH_PLACE(top[r * SLOTS + slot_of(e)] = max(top[r * SLOTS + slot_of(e)], tile[e]);)
        }
    }
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        grown = grown || (top[o] - running_max[o]) * factor > SLACK || running_max[o] == LOWEST;
    }
    if (REGISTERS && !subgroupAny(grown)) {
        return;
    }
    float decay[OWN];
    bool lowest = false;
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        top[o] = row_max(top[o]);
        top[o] = (top[o] - running_max[o]) * factor > SLACK ? top[o] : running_max[o];
        decay[o] = weight(running_max[o], top[o]);
        running_max[o] = top[o];
        running_sum[o] *= decay[o];
        lowest = lowest || top[o] == LOWEST;
    }
    // Scores that are -inf of themselves are the lowest there are, where nothing else is.
    if (!masked && subgroupAny(lowest)) {
        [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
            [[unroll]] for (uint n = 0u; n < KEY_MATS; n++) {
                ACCUMULATOR tile = scores[r * KEY_MATS + n];
                EACH_PLACE(tile[e] = finite_floor(tile[e]);)
                scores[r * KEY_MATS + n] = tile;
            }
        }
    }
    scale_outputs(decay);
}

// to_operand makes an operand of a matrix of weights, through shared memory.
OPERAND_A to_operand(ACCUMULATOR weights) {
    uint at = gl_SubgroupID * M * N;
    EACH_PLACE(SCRATCH(at + row_at(e) * N + column_at(e)) = weights[e];)
    subgroupBarrier();
    [[dont_unroll]] for (uint c = lane(); c < M * N / 8u; c += SUBGROUP) {
        uint from = at + c * 8u;
        operand[at / 8u + c] = operands(scratch4[from / 4u], scratch4[from / 4u + 1u]);
    }
    subgroupBarrier();
    OPERAND_A rows;
    coopMatLoad(rows, operand, at / 8u, N / 8u, gl_CooperativeMatrixLayoutRowMajor);
    return rows;
}

void add_values(bool masked) {
    [[unroll]] for (uint x = 0u; x < KEY_MATS; x++) {
        OPERAND_A rows[ROW_MATS];
        [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
            ACCUMULATOR tile = scores[r * KEY_MATS + x];
            OPERAND_A weights;
            EACH_PLACE(
                uint o = r * SLOTS + slot_of(e);
                float w = weight(tile[e], running_max[o]);
                if (!KEEPS_NAN && masked) {
                    w = floatBitsToUint(tile[e]) == 0xff800000u ? 0.0 : w;
                }
                running_sum[o] += w;
                if (DIRECT) {
                    weights[e] = element(w);
                } else {
                    tile[e] = w;
                }
            )
            if (DIRECT) {
                rows[r] = weights;
            } else {
                rows[r] = to_operand(tile);
            }
        }
        [[unroll]] for (uint n = 0u; n < VALUE_MATS; n++) {
            OPERAND_B values;
            coopMatLoad(values, area, VALUES_AT + x * N * VALUE_ROW + n * (N / 8u), VALUE_ROW, gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
                outputs[r * VALUE_MATS + n] = coopMatMulAdd(rows[r], values, outputs[r * VALUE_MATS + n]);
            }
        }
    }
}

// One row's place in the running state, in floats: the maximum, the sums of those who hold its elements, by column,
// then its unnormalised output.
const uint STATE_HEAD = 4u + N;
layout(std430, set = 0, binding = 0) buffer StateFloats { float state_floats[]; };

uint state_row(uint slot) { return 4u * slice.state_base + slot * (STATE_HEAD + VALUE_MATS * N); }

void resume(int row, uint slot) {
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        uint at = state_row(slot + own_row(o));
        running_max[o] = state_floats[at];
        running_sum[o] = state_floats[at + 4u + lane_column()];
    }
    uint at = gl_SubgroupID * M * N;
    [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
        [[unroll]] for (uint n = 0u; n < VALUE_MATS; n++) {
            [[dont_unroll]] for (uint c = lane(); c < M * N; c += SUBGROUP) {
                SCRATCH(at + c) = state_floats[state_row(slot + r * M + c / N) + STATE_HEAD + n * N + c % N];
            }
            barrier();
            coopMatLoad(outputs[r * VALUE_MATS + n], scratch4, at / 4u, N / 4u, gl_CooperativeMatrixLayoutRowMajor);
            barrier();
        }
    }
}

void suspend(int row, uint slot) {
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        if (computes(row + int(own_row(o)))) {
            uint at = state_row(slot + own_row(o));
            state_floats[at + 4u + lane_column()] = running_sum[o];
            if (lane_column() == 0u) {
                state_floats[at] = running_max[o];
            }
        }
    }
    uint at = gl_SubgroupID * M * N;
    [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
        [[unroll]] for (uint n = 0u; n < VALUE_MATS; n++) {
            coopMatStore(outputs[r * VALUE_MATS + n], scratch4, at / 4u, N / 4u, gl_CooperativeMatrixLayoutRowMajor);
            barrier();
            [[dont_unroll]] for (uint c = lane(); c < M * N; c += SUBGROUP) {
                if (computes(row + int(r * M + c / N))) {
                    state_floats[state_row(slot + r * M + c / N) + STATE_HEAD + n * N + c % N] = SCRATCH(at + c);
                }
            }
            barrier();
        }
    }
}

// finish normalises, adds the sink, and writes out and lse, or one part's result, as in flash.comp.
void finish(RowTile tile, int row, uint slot, bool partial) {
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        float sum = row_sum(running_sum[o]), lse;
        float top = SCORES || running_max[o] == LOWEST ? running_max[o] : running_max[o] * abs(scale);
        Row own = near_row(tile, row + int(own_row(o)));
        float by = settle(tile.seq.index, own.head, partial, top, sum, lse);
        if (lane_column() == 0u) {
            factors[subgroup_row() + own_row(o)] = by;
            if (computes(row + int(own_row(o)))) {
                if (partial) {
                    lse_data[slice.lse_base + 2u * (slot + own_row(o))] = top;
                    lse_data[slice.lse_base + 2u * (slot + own_row(o)) + 1u] = sum;
                } else if ((flags & FLAG_LSE) != 0u) {
                    lse_data[slice.lse_base + tile.seq.batch * lse_batch + own.head * lse_head + (tile.seq.q0 + own.i) * lse_row] = lse;
                }
            }
        }
    }
    barrier();
    uint at = gl_SubgroupID * M * N;
    [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
        [[unroll]] for (uint n = 0u; n < VALUE_MATS; n++) {
            coopMatStore(outputs[r * VALUE_MATS + n], scratch4, at / 4u, N / 4u, gl_CooperativeMatrixLayoutRowMajor);
            barrier();
            [[dont_unroll]] for (uint c = lane(); c < M * N / 8u; c += SUBGROUP) {
                uint i = r * M + c / (N / 8u);
                if (computes(row + int(i))) {
                    Row own = find_row(tile, row + int(i));
                    uint base = partial ? slice.out_base + (slot + i) * value_dim
                                        : slice.out_base + tile.seq.batch * out_batch + own.head * out_head + (tile.seq.q0 + own.i) * out_row;
                    float by = factors[subgroup_row() + i];
                    uint from = at + c * 8u;
                    vec4 a = scratch4[from / 4u] * by, b = scratch4[from / 4u + 1u] * by;
                    uint d = n * N + c % (N / 8u) * 8u;
                    if (partial) {
                        store_floats(base, d, value_dim, a);
                        store_floats(base, d + 4u, value_dim, b);
                    } else {
                        store_out(base, d, value_dim, a);
                        store_out(base, d + 4u, value_dim, b);
                    }
                }
            }
            barrier();
        }
    }
}

void find_rows(RowTile tile, int row) {
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        Row own = near_row(tile, row + int(own_row(o)));
        uint s = tile.seq.index;
        position[o] = int(own.i) + tile.seq.rel;
        slope[o] = (flags & FLAG_ALIBI) != 0u ? uintBitsToFloat(lists[slope_list + s * slope_batch + own.head]) : 0.0;
        bias_at[o] = slice.bias_base + s * bias_batch + own.head * bias_head + own.i * bias_row;
        relative_at[o] = relative_list + s * relative_batch + own.head * (2u * uint(relative_reach) + 1u);
        mask_at[o] = slice.mask_base + s * mask_batch + kv_head(own.head, mask_heads) * mask_head + own.i * mask_row;
    }
}

// find_bits are the keys of a tile that the rows see. It returns whether any of them sees one.
bool find_bits(RowTile tile, int row, int tile_first, uint kind, uint block_bits) {
    uint any = 0u;
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        int at = SCORES ? position[o] : int(near_row(tile, row + int(own_row(o))).i) + tile.seq.rel;
        bool row_global = is_global(at);
        // Rows that are not computed see nothing: they may not bring in what no other row sees.
        bool computed = computes(row + int(own_row(o)));
        [[unroll]] for (uint w = 0u; w < KEY_WORDS; w++) {
            int first = tile_first + int(32u * w);
            uint seen = computed ? seen_keys(tile.seq, at, row_global, first, key_first, key_end) : 0u;
            if (BLOCKS && (kind & BLOCK_BITS) != 0u) {
                seen &= lists[block_bits + subgroup_row() + own_row(o)];
            }
            if (CHOICES && (flags & FLAG_MASK) != 0u && mask_block > 1u && (kind & BLOCK_FULL) == 0u) {
                seen = chosen_keys(seen, mask_at[o], mask_key, first);
            }
            bits[o * KEY_WORDS + w] = seen;
            any |= seen;
        }
    }
    return any != 0u;
}

// hide puts -inf in place of scores that the masks hide, and lifts those that are -inf of themselves.
void hide() {
    [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
        [[unroll]] for (uint n = 0u; n < KEY_MATS; n++) {
            ACCUMULATOR tile = scores[r * KEY_MATS + n];
            EACH_PLACE(
                uint seen = bits[(r * SLOTS + slot_of(e)) * KEY_WORDS + n * N / 32u] >> lane_column();
                tile[e] = (seen >> (n * N % 32u + place_column(e)) & 1u) != 0u ? finite_floor(tile[e]) : minus_infinity();
            )
            scores[r * KEY_MATS + n] = tile;
        }
    }
}

// change makes logits of products: softcap, ALiBi, biases, and boolean masks. What they hide of a masked tile becomes -inf, and
// of bits only the invocation's own elements are left, those that are seen.
void change(int tile_first, uint kind, bool masked) {
    bool boolean = (flags & FLAG_MASK) != 0u && (kind & BLOCK_FULL) == 0u && !(CHOICES && mask_block > 1u);
    uint left[OWN * KEY_WORDS];
    [[unroll]] for (uint i = 0u; i < OWN * KEY_WORDS; i++) {
        left[i] = 0u;
    }
    [[unroll]] for (uint r = 0u; r < ROW_MATS; r++) {
        [[unroll]] for (uint n = 0u; n < KEY_MATS; n++) {
            ACCUMULATOR tile = scores[r * KEY_MATS + n];
            EACH_PLACE(
                uint o = r * SLOTS + slot_of(e);
                int j = tile_first + int(n * N + column_at(e));
                uint key = uint(clamp(j, key_first, key_end - 1));
                uint bit = 1u << (n * N % 32u + column_at(e));
                bool seen = (bits[o * KEY_WORDS + n * N / 32u] & bit) != 0u;
                float s = score(tile[e] * abs(scale), slope[o], position[o], j);
                if ((flags & FLAG_RELATIVE) != 0u) {
                    float bias = bias_by_distance(relative_at[o], position[o], j);
                    s += bias;
                    seen = seen && bias != minus_infinity();
                }
                if ((flags & FLAG_BIAS) != 0u) {
                    float bias = bias_data[bias_at[o] + key * bias_key];
                    s += bias;
                    seen = seen && bias != minus_infinity();
                }
                if (boolean) {
                    seen = seen && load_mask(mask_at[o] + key * mask_key);
                }
                left[o * KEY_WORDS + n * N / 32u] |= seen ? bit : 0u;
                tile[e] = !masked || seen ? finite_floor(s) : minus_infinity();
            )
            scores[r * KEY_MATS + n] = tile;
        }
    }
    [[unroll]] for (uint i = 0u; i < OWN * KEY_WORDS; i++) {
        bits[i] = left[i];
    }
}

// any_of_all is whether x is true for any invocation of the workgroup. Three flags in turn: one is set, the next is cleared, and the
// last may still be read.
bool any_of_all(bool x, inout uint turn) {
    uint now = turn % 3u;
    turn++;
    if (gl_LocalInvocationID.x == 0u) {
        any_chosen[turn % 3u] = 0u;
    }
    if (x) {
        atomicOr(any_chosen[now], 1u);
    }
    barrier();
    return any_chosen[now] != 0u;
}

// seek is the next tile to visit: what no row has chosen is skipped.
int seek(RowTile tile, int row, inout Walk walk, inout uint turn) {
    int next = advance(walk);
    if (CHOICES && (flags & FLAG_MASK) != 0u && mask_block > 1u) {
        while (next != FAR && (walk.kind & BLOCK_FULL) == 0u && !any_of_all(find_bits(tile, row, next * int(KEY_TILE), walk.kind, walk.block_bits), turn)) {
            next = advance(walk);
        }
    }
    return next;
}

void main() {
    uint index = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (index >= slice.tile_count) {
        return;
    }
    uint part = slice.part_first + gl_WorkGroupID.z;
    uvec4 item = uvec4(slice.tile_first + index, 0u, uint(FAR) / LIST_TILE, part * slice.tile_count + index);
    if ((slice.phase & PHASE_ITEMS) != 0u) {
        item = item_at(item.x);
    }
    RowTile tile = find_row_tile(item.x);
    Sequence seq = tile.seq;
    int row = tile.row + int(subgroup_row());
    uint slot = item.w * tile_rows + subgroup_row();
    row_first = max(tile.row, slice.row_first);
    row_end = min(min(tile.row + int(tile_rows), tile.rows), slice.row_end);
    query_dim = dim;
    out_dim = value_dim;
    k_stride = k_row;
    v_stride = v_row;
    factor = (SCORES ? 1.0 : abs(scale)) * LOG2E;

    int part_key = int(part) * slice.part_keys;
    key_first = max(part_key + slice.key_first, int(item.y * LIST_TILE));
    key_end = min(min(part_key + slice.key_end, seq.sk), int(item.z * LIST_TILE));
    int p0 = row_first / int(pack) + seq.rel;
    int p1 = (row_end - 1) / int(pack) + seq.rel;
    Walk walk;
    walk.range = key_range(seq, p0, p1);
    walk.range.lo = max(walk.range.lo, key_first);
    walk.range.hi = min(walk.range.hi, key_end);
    walk.next = walk.range.lo / int(KEY_TILE);
    walk.entries = BLOCKS && (flags & FLAG_BLOCKS) != 0u ? block_entries(item.x) : uvec2(0u);
    k_base = slice.k_base + seq.batch * k_batch + kv_head(tile.head, heads_k) * k_head + seq.k0 * k_row;
    v_base = slice.v_base + seq.batch * v_batch + kv_head(tile.head, heads_v) * v_head + seq.k0 * v_row;

    if (gl_LocalInvocationID.x < KEY_WORDS) {
        seen_by_all[gl_LocalInvocationID.x] = 0u;
    }
    if (gl_LocalInvocationID.x == 0u) {
        any_chosen[0] = 0u;
    }
    load_queries(tile);
    if (SCORES) {
        find_rows(tile, row);
    }
    [[unroll]] for (uint i = 0u; i < ROW_MATS * VALUE_MATS; i++) {
        outputs[i] = ACCUMULATOR(0.0);
    }
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        running_max[o] = LOWEST;
        running_sum[o] = 0.0;
    }
    if ((slice.phase & PHASE_RESUME) != 0u) {
        resume(row, slot);
    }
    // Biases and boolean masks as data may hide anything.
    bool hidden = SCORES && (flags & (FLAG_BIAS | FLAG_RELATIVE)) != 0u;
    uint turn = 0u;
    int current = seek(tile, row, walk, turn);
    if (current != FAR) {
        fetch(current * int(KEY_TILE));
    }
    while (current != FAR) {
        int tile_first = current * int(KEY_TILE);
        uint kind = walk.kind, block_bits = walk.block_bits;
        int next = seek(tile, row, walk, turn);
        barrier();
        put(tile_first);
        barrier();
        if (next != FAR) {
            fetch(next * int(KEY_TILE));
        }
        bool masked = hidden || !all_visible(seq, p0, p1, tile_first, tile_first + int(KEY_TILE), key_first, key_end)
                   || BLOCKS && (kind & BLOCK_BITS) != 0u || SCORES && (flags & FLAG_MASK) != 0u && (kind & BLOCK_FULL) == 0u;
        bool busy = true;
        if (masked) {
            bool any = find_bits(tile, row, tile_first, kind, block_bits);
            busy = !DIRECT || subgroupAny(any);
        }
        if (busy) {
            multiply_keys();
        }
        if (SCORES) {
            change(tile_first, kind, masked);
        } else if (masked) {
            hide();
        }
        if (masked) {
            clear();
        }
        if (busy) {
            raise(masked);
            add_values(masked);
        }
        current = next;
    }
    barrier();
    if ((slice.phase & PHASE_SUSPEND) != 0u) {
        suspend(row, slot);
    } else {
        finish(tile, row, slot, (slice.phase & PHASE_PARTIAL) != 0u);
    }
}

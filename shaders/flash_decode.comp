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

// Exact attention, forward, of few rows, on matrix units (VK_KHR_cooperative_matrix): a step of decoding, where reading keys and values is all
// there is to do. It takes what flash_range.comp takes, with as many rows as a matrix has or fewer (heads that share their keys are rows).
//
// One workgroup computes one row tile, of ROWS rows, over a part of the keys. All of its subgroups have the same rows, whose queries
// and outputs are matrices in its registers, and take N keys at a time in turn: those of all parts of the dispatch, so that what is read at
// a time lies together. Keys and values come from memory into the registers where matrices have them (lib/matrix_right.glsl), a step
// ahead if there is room; there is no shared memory in between, and nobody waits for others. In the end the subgroups of a workgroup add up.
//
// Shared memory: the outputs of ROWS rows for each subgroup, and a little more.
//
// Dao et al., FlashDecoding; the loop is that of flash_range.comp.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SUBGROUP = 8;
layout(constant_id = 2) const uint M = 8;
layout(constant_id = 3) const uint N = 8;               // and K
layout(constant_id = 4) const uint ROWS = 4;            // of a tile, at most M
layout(constant_id = 6) const uint DIM_MATS = 8;        // of a query or key row: D <= N * DIM_MATS
layout(constant_id = 7) const uint VALUE_MATS = 8;      // of a value row
layout(constant_id = 10) const bool AHEAD = true;       // keys and values are read a step ahead, which takes more registers
layout(constant_id = 13) const uint LANES = 0x8888ba9u; // the layout of an accumulator, and of a left operand
layout(constant_id = 14) const uint PLACES = 0x8888210u;
layout(constant_id = 15) const uint RIGHT_LANES = 0x8888210u;   // and of a right one
layout(constant_id = 16) const uint RIGHT_PLACES = 0x8888ba9u;
layout(constant_id = 17) const bool KEEPS_NAN = false;  // exp2 of a NaN is a NaN, and that of -inf is zero
layout(constant_id = 28) const uint ROUNDING = 0u;      // how a number becomes an operand: 1 nearest, 2 cut off, 0 not known
layout(constant_id = 23) const bool PARTIAL = false;    // results of a part are written, for merge
layout(constant_id = 24) const bool WHOLE = false;      // D and Dv are those that the matrices hold

const uint SUBGROUPS = gl_WorkGroupSize.x / SUBGROUP;
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
#include "lib/matrix_layout.glsl"
#include "lib/matrix_weights.glsl"
#include "lib/matrix_right.glsl"
#include "lib/sequence.glsl"
#include "lib/settle.glsl"
#include "lib/mask.glsl"

const uint DIM_EIGHTS = DIM_MATS / KEYS_SERVED;         // of a key row, that an invocation has
const uint VALUE_EIGHTS = VALUE_MATS / VALUES_SERVED;
const uint VALUE_SIZE = VALUE_MATS * N;

shared float area[SUBGROUPS * ROWS * VALUE_SIZE];       // outputs
shared vec2 states[SUBGROUPS * ROWS];                   // running maximum, and sum of weights; then what outputs are to be multiplied by

// Loops over the elements of a matrix that an invocation holds, and over those in rows that a tile may have.
#define EACH_USED(work) EACH_PLACE(if (row_in(PLACES, e) < ROWS) { work })
#define EACH_RIGHT(work) [[unroll]] for (uint e = 0u; e < RIGHT_COUNT; e++) { work }
#define EACH_SLOT(work) [[unroll]] for (uint o = 0u; o < SLOTS; o++) { if (row_in(PLACES, place_of(o)) < ROWS) { work } }

OPERAND_A query[DIM_MATS];
ACCUMULATOR scores;
ACCUMULATOR outputs[VALUE_MATS];
float running_max[SLOTS];
float running_sum[SLOTS];       // of the invocation's own elements
uvec4 keys_ahead[OWN_COLUMNS * DIM_EIGHTS];
uvec4 values_ahead[OWN_ROWS * VALUE_EIGHTS];

uint k_base, v_base;
int lo, hi;                     // keys that any row sees
ivec2 seen;                     // those that the row sees whose number the invocation has

uint slot_row(uint o) { return row_in(PLACES, place_of(o)) | lane_row(); }

// near_key is key j, or the nearest that is seen: what no row sees may hold anything, NaN included.
uint near_key(int j) { return uint(clamp(j, lo, hi - 1)); }

void load_keys(int first) {
    [[unroll]] for (uint i = 0u; i < OWN_COLUMNS; i++) {
        uint row = k_base + near_key(first + int(right_column(i))) * k_row;
        [[unroll]] for (uint g = 0u; g < DIM_EIGHTS; g++) {
            uint d = key_eight(g, row_line(row_in(RIGHT_LANES, lane())));
            keys_ahead[i * DIM_EIGHTS + g] = WHOLE ? k_words4[(row + d) >> 3] : key_operands(row, d, dim);
        }
    }
}

void load_values(int first) {
    [[unroll]] for (uint i = 0u; i < OWN_ROWS; i++) {
        uint row = v_base + near_key(first + int(right_row(i))) * v_row;
        [[unroll]] for (uint g = 0u; g < VALUE_EIGHTS; g++) {
            uint d = value_eight(g, column_line(right_column(0u)));
            values_ahead[i * VALUE_EIGHTS + g] = WHOLE ? v_words4[(row + d) >> 3] : value_operands(row, d, value_dim);
        }
    }
}

// load_queries: invocations hold the same elements of a row of a left operand as of a column of a right one. Rows that are not there are zero.
void load_queries(RowTile tile, int rows) {
    uint sign = scale < 0.0 ? 0x80008000u : 0u;
    uint line = row_line(row_in(RIGHT_LANES, lane()));
    [[unroll]] for (uint x = 0u; x < DIM_MATS; x++) {
        query[x] = OPERAND_A(0.0);
    }
    EACH_SLOT(
        Row own = find_row(tile, tile.row + min(int(slot_row(o)), rows - 1));
        uint base = slice.q_base + tile.seq.batch * q_batch + own.head * q_head + (tile.seq.q0 + own.i) * q_row;
        [[unroll]] for (uint g = 0u; g < DIM_EIGHTS; g++) {
            uvec4 eight = query_operands(base, key_eight(g, line), dim) ^ sign;
            eight = int(slot_row(o)) < rows ? eight : uvec4(0u);
            [[unroll]] for (uint n = 0u; n < KEYS_SERVED; n++) {
                OPERAND_A own_query = query[g * KEYS_SERVED + n];
                EACH_PLACE(
                    if (slot_of(e) == o) {
                        own_query[e] = part_of(eight, n * OWN_ROWS + gathered(place_column(e), PLACE_ROWS));
                    }
                )
                query[g * KEYS_SERVED + n] = own_query;
            }
        }
    )
}

void multiply_keys() {
    scores = ACCUMULATOR(0.0);
    [[unroll]] for (uint x = 0u; x < DIM_MATS; x++) {
        OPERAND_B keys;
        EACH_RIGHT(
            uvec4 eight = keys_ahead[own_column_of(e) * DIM_EIGHTS + x / KEYS_SERVED];
            keys[e] = part_of(eight, x % KEYS_SERVED * OWN_ROWS + own_row_of(e));
        )
        scores = coopMatMulAdd(query[x], keys, scores);
    }
}

// hide puts -inf in place of the scores of keys that rows do not see, and of no others.
void hide(int first) {
    ivec2 range[SLOTS];
    EACH_SLOT(range[o] = subgroupShuffle(seen, slot_row(o)) - first - int(lane_column());)
    EACH_USED(
        int key = int(place_column(e));
        scores[e] = key >= range[slot_of(e)].x && key < range[slot_of(e)].y ? finite_floor(scores[e]) : minus_infinity();
    )
}

// raise brings the running maxima of rows up to those of the step, where these are larger by much. masked: what is hidden is -inf, and
// nothing else is.
void raise(bool masked) {
    float top[SLOTS];
    bool grown = false;
    EACH_SLOT(top[o] = LOWEST;)
    EACH_USED(top[slot_of(e)] = max(top[slot_of(e)], scores[e]);)
    EACH_SLOT(grown = grown || (top[o] - running_max[o]) * factor > SLACK || BFLOAT == 1 && running_max[o] == LOWEST;)
    if (subgroupAny(grown)) {
        float decay[SLOTS];
        bool lowest = false;
        EACH_SLOT(
            top[o] = row_max(top[o]);
            top[o] = (top[o] - running_max[o]) * factor > SLACK ? top[o] : running_max[o];
            decay[o] = weight(running_max[o], top[o]);
            running_max[o] = top[o];
            running_sum[o] *= decay[o];
            lowest = lowest || top[o] == LOWEST;
        )
#if BFLOAT
        // Scores that overflowed to -inf are the lowest there are, where nothing else is. Numbers in float16 have no such products.
        if (!masked && subgroupAny(lowest)) {
            EACH_USED(scores[e] = finite_floor(scores[e]);)
        }
#endif
        [[unroll]] for (uint n = 0u; n < VALUE_MATS; n++) {
            ACCUMULATOR rows = outputs[n];
            EACH_USED(rows[e] *= decay[slot_of(e)];)
            outputs[n] = rows;
        }
    }
}

void add_values() {
    OPERAND_A weights = OPERAND_A(0.0);
    EACH_USED(
        uint o = slot_of(e);
        float w = weight(scores[e], running_max[o]);
        if (!KEEPS_NAN && floatBitsToUint(scores[e]) == 0xff800000u) {
            w = 0.0;
        }
        running_sum[o] += w;
        weights[e] = element(w);
    )
    [[unroll]] for (uint x = 0u; x < VALUE_MATS; x++) {
        OPERAND_B values;
        EACH_RIGHT(
            uvec4 eight = values_ahead[own_row_of(e) * VALUE_EIGHTS + x / VALUES_SERVED];
            values[e] = part_of(eight, x % VALUES_SERVED * OWN_COLUMNS + own_column_of(e));
        )
        outputs[x] = coopMatMulAdd(weights, values, outputs[x]);
    }
}

// conclude adds up the maxima and sums of a row, writes its lse, or its maximum and sum in a part, and leaves what the outputs of
// each subgroup are to be multiplied by.
void conclude(RowTile tile, uint r, uint slot) {
    float top = LOWEST, sum = 0.0;
    [[dont_unroll]] for (uint s = 0u; s < SUBGROUPS; s++) {
        top = max(top, states[s * ROWS + r].x);
    }
    [[dont_unroll]] for (uint s = 0u; s < SUBGROUPS; s++) {
        vec2 state = states[s * ROWS + r];
        float share = state.y == 0.0 ? 0.0 : weight(state.x, top);
        sum += state.y * share;
        states[s * ROWS + r].x = share;
    }
    top = top == LOWEST ? top : top * abs(scale);
    Row own = find_row(tile, tile.row + int(r));
    float lse;
    float by = settle(tile.seq.index, own.head, PARTIAL, top, sum, lse);
    [[dont_unroll]] for (uint s = 0u; s < SUBGROUPS; s++) {
        states[s * ROWS + r].x *= by;
    }
    if (PARTIAL) {
        lse_data[slice.lse_base + 2u * (slot + r)] = top;
        lse_data[slice.lse_base + 2u * (slot + r) + 1u] = sum;
    } else if ((flags & FLAG_LSE) != 0u) {
        lse_data[slice.lse_base + tile.seq.batch * lse_batch + own.head * lse_head + (tile.seq.q0 + own.i) * lse_row] = lse;
    }
}

// finish adds up what the subgroups found, normalises, adds the sink, and writes out and lse, or one part's result, as in flash.comp.
void finish(RowTile tile, int rows, uint slot) {
    EACH_SLOT(
        float sum = row_sum(running_sum[o]);
        if (lane_column() == 0u && slot_row(o) < ROWS) {
            states[gl_SubgroupID * ROWS + slot_row(o)] = vec2(running_max[o], sum);
        }
    )
    [[unroll]] for (uint x = 0u; x < VALUE_MATS; x++) {
        ACCUMULATOR own = outputs[x];
        EACH_USED(
            if (row_at(e) < ROWS) {
                area[(gl_SubgroupID * ROWS + row_at(e)) * VALUE_SIZE + value_element(x, column_at(e))] = own[e];
            }
        )
    }
    barrier();
    if (gl_LocalInvocationID.x < uint(rows)) {
        conclude(tile, gl_LocalInvocationID.x, slot);
    }
    barrier();
    [[dont_unroll]] for (uint c = gl_LocalInvocationID.x; c < uint(rows) * VALUE_SIZE / 4u; c += gl_WorkGroupSize.x) {
        uint r = c * 4u / VALUE_SIZE, d = c * 4u % VALUE_SIZE;
        vec4 result = vec4(0.0);
        [[dont_unroll]] for (uint s = 0u; s < SUBGROUPS; s++) {
            uint at = (s * ROWS + r) * VALUE_SIZE + d;
            result += vec4(area[at], area[at + 1u], area[at + 2u], area[at + 3u]) * states[s * ROWS + r].x;
        }
        if (PARTIAL) {
            store_floats(slice.out_base + (slot + r) * value_dim, d, value_dim, result);
        } else {
            Row own = find_row(tile, tile.row + int(r));
            store_out(slice.out_base + tile.seq.batch * out_batch + own.head * out_head + (tile.seq.q0 + own.i) * out_row, d, value_dim, result);
        }
    }
}

void main() {
    uint index = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (index >= slice.tile_count) {
        return;
    }
    uint part = slice.part_first + gl_WorkGroupID.z;
    RowTile tile = find_row_tile(slice.tile_first + index);
    int rows = min(int(tile_rows), tile.rows - tile.row);
    factor = abs(scale) * LOG2E;

    int key_first = int(slice.part_first) * slice.part_keys + slice.key_first;
    int key_end = min(int(slice.part_first + gl_NumWorkGroups.z - 1u) * slice.part_keys + slice.key_end, tile.seq.sk);
    uint head_k = kv_head(tile.head, heads_k), head_v = heads_v == heads_k ? head_k : kv_head(tile.head, heads_v);
    k_base = slice.k_base + tile.seq.batch * k_batch + head_k * k_head + tile.seq.k0 * k_row;
    v_base = slice.v_base + tile.seq.batch * v_batch + head_v * v_head + tile.seq.k0 * v_row;
    // Ranges go up with the rows.
    seen = seen_range(tile.seq, (tile.row + min(int(lane()), rows - 1)) / int(pack) + tile.seq.rel, key_first, key_end);
    ivec2 first_row = subgroupShuffle(seen, 0u), last_row = subgroupShuffle(seen, SUBGROUP - 1u);
    lo = first_row.x;
    hi = last_row.y;

    int steps = int(gl_NumWorkGroups.z * SUBGROUPS * N);
    int first = lo / int(N) * int(N) + int((gl_WorkGroupID.z * SUBGROUPS + gl_SubgroupID) * N);
    if (AHEAD && first < hi) {
        load_keys(first);
        load_values(first);
    }
    load_queries(tile, rows);
    [[unroll]] for (uint x = 0u; x < VALUE_MATS; x++) {
        outputs[x] = ACCUMULATOR(0.0);
    }
    EACH_SLOT(
        running_max[o] = LOWEST;
        running_sum[o] = 0.0;
    )
    [[dont_unroll]] for (; lo < hi && first < hi; first += steps) {
        int next = first + steps;
        if (!AHEAD) {
            load_keys(first);
            load_values(first);
        }
        multiply_keys();
        if (AHEAD && next < hi) {
            load_keys(next);
        }
        bool masked = first < last_row.x || first + int(N) > first_row.y;
        if (masked) {
            hide(first);
        }
        raise(masked);
        add_values();
        if (AHEAD && next < hi) {
            load_values(next);
        }
    }
    finish(tile, rows, (part * slice.tile_count + index) * tile_rows);
}

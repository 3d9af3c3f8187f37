#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_vote : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#extension GL_EXT_shader_16bit_storage : require
#if BFLOAT
#extension GL_EXT_bfloat16 : require
#define ELEMENT bfloat16_t
#else
#define ELEMENT float16_t
#endif
#if TENSOR
#extension GL_EXT_buffer_reference : require
#endif

// Exact attention, forward, on matrix units by VK_NV_cooperative_matrix2: what flash.comp computes, for queries of sixteen
// bits. Where flash_matrix.comp must know which invocation holds which element, the driver does it all: reductions over
// rows, functions of single elements, weights that become an operand.
//
// One workgroup computes one row tile over the keys of its slice and part. SCOPE says whose the matrices are: a subgroup's, each of
// which then has ROWS rows of the tile, or the whole workgroup's. BFLOAT 1 multiplies bfloat16 instead of float16.
//
// TENSOR 0: tiles of KEY_TILE keys and values pass through shared memory. TENSOR 1: the driver loads them by tensor
// layouts, and stages them as it likes; what is quantised or partly hidden is decoded element by element.
//
// Shared memory: two words per row, and without TENSOR KEY_TILE rows of keys and of values in sixteen bits. The driver takes
// some for matrices of a workgroup.
//
// Dao, FlashAttention-2, algorithm 1, arXiv:2307.08691. That outputs are scaled only where the maximum has grown by much is of
// FlashAttention-4.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint SCOPE = gl_ScopeSubgroup;    // or gl_ScopeWorkgroup
layout(constant_id = 2) const uint SCOPES = 1u;         // in a workgroup
layout(constant_id = 3) const uint ROWS = 8u;           // of a scope
layout(constant_id = 4) const uint KEY_TILE = 32u;      // keys of one tile: 32, 64 or 128
layout(constant_id = 5) const bool VECTOR = true;
layout(constant_id = 6) const uint EXTRAS = 0u;         // as in flash.comp
layout(constant_id = 7) const uint COLUMNS = 8u;        // of a matrix of scores or of outputs
layout(constant_id = 9) const uint TYPE_Q = 1u;
layout(constant_id = 10) const uint TYPE_K = 1u;
layout(constant_id = 11) const uint TYPE_V = 1u;
layout(constant_id = 12) const uint TYPE_OUT = 1u;
layout(constant_id = 13) const uint DIM = 64u;          // padded, multiples of DEPTH and of 8
layout(constant_id = 14) const uint VALUE_DIM = 64u;    // of COLUMNS and of 8
layout(constant_id = 15) const uint DEPTH = 8u;         // of one product of queries and keys
layout(constant_id = 16) const bool WIDE = true;        // D, Dv, strides, bases and offsets are multiples of 8
layout(constant_id = 17) const uint PAD = 1u;           // what rows in shared memory are longer, in 16 bytes, against bank conflicts
layout(constant_id = 18) const uint CLAMP = gl_CooperativeMatrixClampModeUndefinedNV; // TENSOR: constant where D or Dv is less than DIM or VALUE_DIM
layout(constant_id = 8) const uint STEP = 32u;          // keys of one step of the softmax
layout(constant_id = 22) const bool SUM_UP = false;     // sums are kept by row in shared memory, not by element in registers
layout(constant_id = 20) const bool AHEAD = false;      // tiles are read ahead, into registers
layout(constant_id = 21) const uint STAGES = 1u;        // tiles in shared memory: 1 or 2
layout(constant_id = 19) const bool RELOAD = false;     // TENSOR: queries are loaded for each tile, registers do not hold them

const uint TILE_ROWS = SCOPES * ROWS;
const uint KEY_WORDS = KEY_TILE / 32u;  // of the bits of a row
const uint CHUNKS = STEP / COLUMNS;
const uint DEPTHS = DIM / DEPTH;
const uint PARTS = VALUE_DIM / COLUMNS;
const bool BLOCKS = EXTRAS >= 1u;
const bool SCORES = EXTRAS >= 2u;
const bool CHOICES = EXTRAS >= 3u;

#include "lib/params.glsl"
#include "lib/slice.glsl"
#include "lib/items.glsl"
#define TYPES 1
#include "lib/access.glsl"
#include "lib/sequence.glsl"
#include "lib/settle.glsl"
#include "lib/mask.glsl"
#include "lib/bfloat.glsl"
#include "lib/blocks.glsl"
#include "lib/walk.glsl"

const uint OPERAND = BFLOAT == 1 ? TYPE_BFLOAT16 : TYPE_FLOAT16;

#define MATRIX coopmat<float, SCOPE, ROWS, COLUMNS, gl_MatrixUseAccumulator>
#define WEIGHTS coopmat<ELEMENT, SCOPE, ROWS, COLUMNS, gl_MatrixUseA>
#define QUERY coopmat<ELEMENT, SCOPE, ROWS, DEPTH, gl_MatrixUseA>
#define QUERY_NUMBERS coopmat<float, SCOPE, ROWS, DEPTH, gl_MatrixUseAccumulator>
#define KEYS coopmat<ELEMENT, SCOPE, DEPTH, COLUMNS, gl_MatrixUseB>
#define VALUES coopmat<ELEMENT, SCOPE, COLUMNS, COLUMNS, gl_MatrixUseB>

QUERY queries[RELOAD ? 1u : DEPTHS];
MATRIX scores[CHUNKS];
MATRIX outputs[PARTS];
MATRIX sums;                // of weights, for each row by columns

uint query_dim, out_dim, k_stride, v_stride;
uint k_base, v_base;
int key_first, key_last;
int tile_first;             // first key of the tile
int row_first, row_end;     // the rows that this dispatch computes
RowTile tile;
uint scope_row;             // first row of the scope in the tile
uint slot;                  // of that row among partial results and states
float factor;               // of scores, to base 2
bool partial;

#if TENSOR
layout(std430, set = 0, binding = 1) readonly buffer QElements { ELEMENT q_elements[]; };
layout(std430, set = 0, binding = 2) readonly buffer KElements { ELEMENT k_elements[]; };
layout(std430, set = 0, binding = 3) readonly buffer VElements { ELEMENT v_elements[]; };
#endif
layout(std430, set = 0, binding = 4) buffer OutElements { ELEMENT out_elements[]; };

// The tile to compute next: its first key, and whether it has scores to change or to hide.
int found_first;
bool found_masked;

shared uint seen[TILE_ROWS * KEY_WORDS];    // keys that a row sees
shared uint seen_by_all[KEY_WORDS];

// By row. In registers they would take as many as a matrix: a compiler does not see that all of a row is the same.
shared float row_tops[TILE_ROWS];   // running maxima, to base 2 without SCORES
shared float row_sums[TILE_ROWS];   // of weights; at the end what outputs are to be multiplied by

// A matrix of each scope on its way between registers and memory, where rows and elements go their own ways: loops over it
// are shorter code than functions of elements, which are compiled for each. It lies where tiles do.
const uint WIDTH4 = (COLUMNS > DEPTH ? COLUMNS : DEPTH) / 4u;
const uint PASSING = TILE_ROWS * WIDTH4;
#if TENSOR
shared vec4 passing[PASSING];
#endif

uint lane() { return SCOPE == gl_ScopeSubgroup ? gl_SubgroupInvocationID : gl_LocalInvocationID.x; }
uint lanes() { return SCOPE == gl_ScopeSubgroup ? gl_SubgroupSize : gl_WorkGroupSize.x; }

// pass makes what the invocations of a scope have written to shared memory known to all of them.
void pass() {
    if (SCOPE == gl_ScopeSubgroup) {
        subgroupBarrier();
    } else {
        barrier();
    }
}

// first_passing is where the matrix of the scope begins.
uint first_passing() { return scope_row * WIDTH4; }

bool computes(int row) { return row >= row_first && row < row_end; }

Row near_row(uint r) { return find_row(tile, clamp(tile.row + int(r), row_first, row_end - 1)); }

bool sees(uint r, uint key) { return (seen[r * KEY_WORDS + key / 32u] >> (key & 31u) & 1u) != 0u; }

bool seen_at_all(uint key) { return (seen_by_all[key / 32u] >> (key & 31u) & 1u) != 0u; }

uint mask_at(Row own) {
    return slice.mask_base + tile.seq.index * mask_batch + kv_head(own.head, mask_heads) * mask_head + own.i * mask_row;
}
uint bias_at(Row own) { return slice.bias_base + tile.seq.index * bias_batch + own.head * bias_head + own.i * bias_row; }
uint relative_at(Row own) { return relative_list + tile.seq.index * relative_batch + own.head * (2u * uint(relative_reach) + 1u); }

// kept_keys are those of bits, of the 32 keys from first on, that the masks and biases in memory leave to a row.
uint kept_keys(uint bits, Row own, int position, int first, bool full) {
    bool masks = (flags & FLAG_MASK) != 0u && !full;
    if (CHOICES && masks && mask_block > 1u) {
        bits = chosen_keys(bits, mask_at(own), mask_key, first);
        masks = false;
    }
    if (masks || (flags & (FLAG_BIAS | FLAG_RELATIVE)) != 0u) {
        [[dont_unroll]] for (uint c = 0u; c < 32u; c++) {
            if ((bits >> c & 1u) != 0u) {
                uint key = uint(first) + c;
                if (masks && !load_mask(mask_at(own) + key * mask_key)
                    || (flags & FLAG_BIAS) != 0u && bias_data[bias_at(own) + key * bias_key] == minus_infinity()
                    || (flags & FLAG_RELATIVE) != 0u && bias_by_distance(relative_at(own), position, int(key)) == minus_infinity()) {
                    bits &= ~(1u << c);
                }
            }
        }
    }
    return bits;
}

// look finds the keys of the tile that each row sees.
void look(uint kind, uint block_bits) {
    [[dont_unroll]] for (uint r = gl_LocalInvocationID.x; r < TILE_ROWS; r += gl_WorkGroupSize.x) {
        Row own = near_row(r);
        int position = int(own.i) + tile.seq.rel;
        bool row_global = is_global(position);
        [[unroll]] for (uint w = 0u; w < KEY_WORDS; w++) {
            int first = tile_first + int(32u * w);
            uint bits = computes(tile.row + int(r)) ? seen_keys(tile.seq, position, row_global, first, key_first, key_last + 1) : 0u;
            if (BLOCKS && (kind & BLOCK_BITS) != 0u) {
                bits &= lists[block_bits + r];
            }
            if (BLOCKS && (flags & FLAG_TREE) != 0u) {
                bits &= tree_keys(tile.seq, tree_row(tile.seq, own.i), first);
            }
            if (SCORES && bits != 0u) {
                bits = kept_keys(bits, own, position, first, (kind & BLOCK_FULL) != 0u);
            }
            seen[r * KEY_WORDS + w] = bits;
            if (bits != 0u) {
                atomicOr(seen_by_all[w], bits);
            }
        }
    }
}

// nearest rounds to what an operand holds: drivers may cut bfloat16 off.
float nearest(float x) { return BFLOAT == 1 ? nearest_bfloat(x) : x; }

float nearest_each(const in uint r, const in uint c, const in float x) { return nearest(x); }

float larger(const in float a, const in float b) { return max(a, b); }
float total(const in float a, const in float b) { return a + b; }
float larger_each(const in uint r, const in uint c, const in float a, const in float b) { return max(a, b); }

// hide makes the scores of hidden keys -inf, and no others. With SCORES it also adds to those of the others what is to be added.
float hide(const in uint r, const in uint c, const in float score_in, const in uint first) {
    uint row = scope_row + r, key = first + c;
    if (!sees(row, key)) {
        return minus_infinity();
    }
    float s = score_in;
    if (SCORES) {
        Row own = near_row(row);
        int position = int(own.i) + tile.seq.rel, j = tile_first + int(key);
        float slope = (flags & FLAG_ALIBI) != 0u ? uintBitsToFloat(lists[slope_list + tile.seq.index * slope_batch + own.head]) : 0.0;
        s = score(s * abs(scale), slope, position, j);
        if ((flags & FLAG_RELATIVE) != 0u) {
            s += bias_by_distance(relative_at(own), position, j);
        }
        if ((flags & FLAG_BIAS) != 0u) {
            s += bias_data[bias_at(own) + uint(j) * bias_key];
        }
    }
    return finite_floor(s);
}

// exponent is that of a score's weight to base 2.
float exponent(float s, float top) {
    if (SCORES) {
        precise float d = s - top;
        precise float x = d * LOG2E;
        return x;
    }
    return s * factor - top;
}

float weigh(const in uint r, const in uint c, const in float s) { return exp2(exponent(s, row_tops[scope_row + r])); }

float weigh_seen(const in uint r, const in uint c, const in float s) {
    return floatBitsToUint(s) == 0xff800000u ? 0.0 : exp2(exponent(s, row_tops[scope_row + r]));
}

// Scores of 2^SLACK times the weight of the maximum are summed up as well as smaller ones: a row's outputs are scaled
// only when its maximum has grown by more.
const float SLACK = 8.0;

float growth(const in uint r, const in uint c, const in float s) { return exponent(s, row_tops[scope_row + r]); }

float larger_growth(const in uint r, const in uint c, const in float s, const in float most) {
    return max(most, exponent(s, row_tops[scope_row + r]));
}

float top_of(const in uint r, const in uint c, const in float s) { return row_tops[scope_row + r]; }

float grown(const in uint r, const in uint c, const in float s, const in float top) {
    return exponent(s, top) > SLACK ? (SCORES ? s : s * factor) : top;
}

float decay_of(const in uint r, const in uint c, const in float before, const in float after) {
    return exp2(SCORES ? (before - after) * LOG2E : before - after);
}

float put_top(const in uint r, const in uint c, const in float x) {
    if (c == 0u) {
        row_tops[scope_row + r] = x;
    }
    return x;
}

float put_sum(const in uint r, const in uint c, const in float x) {
    if (c == 0u) {
        row_sums[scope_row + r] = x;
    }
    return x;
}

// An element's function may be called more than once: what changes memory and what depends on it are functions of their own.
float plus_sum(const in uint r, const in uint c, const in float x) { return row_sums[scope_row + r] + x; }
float times_sum(const in uint r, const in uint c, const in float x) { return row_sums[scope_row + r] * x; }
float sum_of(const in uint r, const in uint c, const in float x) { return row_sums[scope_row + r]; }

// raise brings the running maxima up to those of the step.
void raise() {
    MATRIX most;
    coopMatPerElementNV(most, scores[0], growth);
    [[unroll]] for (uint c = 1u; c < CHUNKS; c++) {
        coopMatPerElementNV(most, scores[c], larger_growth, most);
    }
    bool raises = false;
    if (SCOPE == gl_ScopeSubgroup) {
        float growing = most[0];
        [[unroll]] for (int i = 1; i < most.length(); i++) {
            growing = max(growing, most[i]);
        }
        raises = subgroupAny(growing > SLACK);
    } else {
        coopMatReduceNV(most, most, gl_CooperativeMatrixReduceRowAndColumnNV, larger);
        raises = most[0] > SLACK;
    }
    if (raises) {
        MATRIX peak = scores[0], before, decay;
        [[unroll]] for (uint c = 1u; c < CHUNKS; c++) {
            coopMatPerElementNV(peak, peak, larger_each, scores[c]);
        }
        coopMatReduceNV(peak, peak, gl_CooperativeMatrixReduceRowNV, larger);
        coopMatPerElementNV(before, peak, top_of);
        coopMatPerElementNV(peak, peak, grown, before);
        coopMatPerElementNV(decay, before, decay_of, peak);
        pass();
        coopMatPerElementNV(peak, peak, put_top);
        if (SUM_UP) {
            MATRIX kept;
            coopMatPerElementNV(kept, decay, times_sum);
            coopMatPerElementNV(kept, kept, put_sum);
        } else {
            sums *= decay;
        }
        pass();
        [[unroll]] for (uint n = 0u; n < PARTS; n++) {
            outputs[n] *= decay;
        }
    }
}

#if TENSOR
// Decoding reads one element itself: it needs neither the alignment nor the pointer that a load is given.
layout(buffer_reference, std430, buffer_reference_align = 4) buffer Unread { uint word; };

uint key_at(uint base, uint stride, uint key) { return base + uint(clamp(tile_first + int(key), key_first, key_last)) * stride; }

ELEMENT decode_key(const in Unread unread, const in uint block[2], const in uint inside_block[2]) {
    uint d = block[1];
    return ELEMENT(nearest(d < query_dim ? load_k(key_at(k_base, k_stride, block[0]), d & ~3u, query_dim)[d & 3u] : 0.0));
}

ELEMENT decode_value(const in Unread unread, const in uint block[2], const in uint inside_block[2]) {
    uint d = block[1];
    return ELEMENT(nearest(d < out_dim ? load_v(key_at(v_base, v_stride, block[0]), d & ~3u, out_dim)[d & 3u] : 0.0));
}

// A key that nobody here sees may hold anything, NaN included.
ELEMENT decode_seen_value(const in Unread unread, const in uint block[2], const in uint inside_block[2]) {
    uint d = block[1];
    return ELEMENT(nearest(d < out_dim && seen_at_all(block[0]) ? load_v(key_at(v_base, v_stride, block[0]), d & ~3u, out_dim)[d & 3u] : 0.0));
}

void fetch(bool found) {}
void put(uint stage, bool masked, bool any) {}
#define PASSED(x) (x)
#define ARRIVED(x) (x)
#else
#include "lib/matrix_stage.glsl"
#define passing key_tile
#define PASSED(x) floatBitsToUint(x)
#define ARRIVED(x) uintBitsToFloat(x)
#endif

// load_query gives columns [first, first + DEPTH) of the queries.
void load_query(out QUERY query, uint first) {
#if TENSOR
    // Rows that follow each other in memory, be it those of a sequence or those of heads that are packed.
    uint stride = pack == 1u ? q_row : q_head;
    if (WIDE && TYPE_Q == OPERAND && (pack == 1u || q_row == pack * q_head && cyclic == 0u) && row_first == tile.row) {
        uint base = slice.q_base + tile.seq.batch * q_batch + tile.head * q_head + tile.seq.q0 * q_row + uint(tile.row) * stride;
        tensorLayoutNV<2, gl_CooperativeMatrixClampModeConstantNV> layout_q = createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);
        layout_q = setTensorLayoutDimensionNV(layout_q, uint(row_end - tile.row), query_dim);
        layout_q = setTensorLayoutStrideNV(layout_q, stride & ~7u, 1u);
        coopMatLoadTensorNV(query, q_elements, base & ~7u, sliceTensorLayoutNV(layout_q, int(scope_row), ROWS, int(first), DEPTH));
        return;
    }
#endif
    pass();
    [[dont_unroll]] for (uint at = lane(); at < ROWS * DEPTH / 4u; at += lanes()) {
        Row own = near_row(scope_row + at / (DEPTH / 4u));
        uint d = first + at % (DEPTH / 4u) * 4u;
        uint base = slice.q_base + tile.seq.batch * q_batch + own.head * q_head + (tile.seq.q0 + own.i) * q_row;
        vec4 x = inside(load_q(base, d, query_dim), d, query_dim);
        passing[first_passing() + at] = PASSED(x);
    }
    pass();
    QUERY_NUMBERS numbers;
    coopMatLoad(numbers, passing, first_passing(), DEPTH / 4u, gl_CooperativeMatrixLayoutRowMajor);
    query = QUERY(numbers);
}

void multiply_keys(uint stage, uint step, bool masked) {
    [[unroll]] for (uint c = 0u; c < CHUNKS; c++) {
        scores[c] = MATRIX(0.0);
    }
#if TENSOR
    tensorLayoutNV<2, CLAMP> layout_k = createTensorLayoutNV(2, CLAMP);
    layout_k = setTensorLayoutDimensionNV(layout_k, uint(FAR), query_dim);
    layout_k = setTensorLayoutStrideNV(layout_k, k_stride & ~7u, 1u);
    tensorViewNV<2, false, 1, 0> turned = createTensorViewNV(2, false, 1, 0);
    uint base = (k_base + uint(tile_first) * k_stride) & ~7u;
#endif
    [[unroll]] for (uint d = 0u; d < DEPTHS; d++) {
        QUERY query;
        if (RELOAD) {
            load_query(query, d * DEPTH);
        } else {
            query = queries[d];
        }
        [[unroll]] for (uint c = 0u; c < CHUNKS; c++) {
            KEYS keys;
#if TENSOR
            if (masked || TYPE_K != OPERAND || !WIDE) {
                coopMatLoadTensorNV(keys, k_elements, 0u, sliceTensorLayoutNV(layout_k, int(step + c * COLUMNS), COLUMNS, int(d * DEPTH), DEPTH), turned, decode_key);
            } else {
                coopMatLoadTensorNV(keys, k_elements, base, sliceTensorLayoutNV(layout_k, int(step + c * COLUMNS), COLUMNS, int(d * DEPTH), DEPTH), turned);
            }
#else
            coopMatLoad(keys, key_tile, (stage * KEY_TILE + step + c * COLUMNS) * KEY_ROW + d * (DEPTH / 8u), KEY_ROW, gl_CooperativeMatrixLayoutColumnMajor);
#endif
            scores[c] = coopMatMulAdd(query, keys, scores[c]);
        }
    }
    if (scale < 0.0) {
        [[unroll]] for (uint c = 0u; c < CHUNKS; c++) {
            scores[c] = -scores[c];
        }
    }
    if (masked) {
        [[unroll]] for (uint c = 0u; c < CHUNKS; c++) {
            coopMatPerElementNV(scores[c], scores[c], hide, step + c * COLUMNS);
        }
    }
}

// to_operand makes an operand of a matrix of weights or of outputs.
WEIGHTS to_operand(MATRIX x) {
#if BFLOAT
    coopMatPerElementNV(x, x, nearest_each);
#endif
    return WEIGHTS(x);
}

void add_values(uint stage, uint step, bool masked) {
#if TENSOR
    tensorLayoutNV<2, CLAMP> layout_v = createTensorLayoutNV(2, CLAMP);
    layout_v = setTensorLayoutDimensionNV(layout_v, uint(FAR), out_dim);
    layout_v = setTensorLayoutStrideNV(layout_v, v_stride & ~7u, 1u);
    uint base = (v_base + uint(tile_first) * v_stride) & ~7u;
#endif
    WEIGHTS weights[CHUNKS];
    MATRIX added;
    [[unroll]] for (uint c = 0u; c < CHUNKS; c++) {
        if (masked) {
            coopMatPerElementNV(scores[c], scores[c], weigh_seen);
        } else {
            coopMatPerElementNV(scores[c], scores[c], weigh);
        }
        if (!SUM_UP) {
            sums += scores[c];
        } else if (c == 0u) {
            added = scores[c];
        } else {
            added += scores[c];
        }
        weights[c] = to_operand(scores[c]);
    }
    if (SUM_UP) {
        coopMatReduceNV(added, added, gl_CooperativeMatrixReduceRowNV, total);
        coopMatPerElementNV(added, added, plus_sum);
        coopMatPerElementNV(added, added, put_sum);
    }
    [[unroll]] for (uint c = 0u; c < CHUNKS; c++) {
        [[unroll]] for (uint n = 0u; n < PARTS; n++) {
            VALUES values;
#if TENSOR
            if (masked) {
                coopMatLoadTensorNV(values, v_elements, 0u, sliceTensorLayoutNV(layout_v, int(step + c * COLUMNS), COLUMNS, int(n * COLUMNS), COLUMNS), decode_seen_value);
            } else if (TYPE_V != OPERAND || !WIDE) {
                coopMatLoadTensorNV(values, v_elements, 0u, sliceTensorLayoutNV(layout_v, int(step + c * COLUMNS), COLUMNS, int(n * COLUMNS), COLUMNS), decode_value);
            } else {
                coopMatLoadTensorNV(values, v_elements, base, sliceTensorLayoutNV(layout_v, int(step + c * COLUMNS), COLUMNS, int(n * COLUMNS), COLUMNS));
            }
#else
            coopMatLoad(values, value_tile, (stage * KEY_TILE + step + c * COLUMNS) * VALUE_ROW + n * (COLUMNS / 8u), VALUE_ROW, gl_CooperativeMatrixLayoutRowMajor);
#endif
            outputs[n] = coopMatMulAdd(weights[c], values, outputs[n]);
        }
    }
}

// One row's place in the running state, in fours: maximum and sum, sums by column, then its unnormalised output.
const uint STATE_ROW = 1u + (COLUMNS + VALUE_DIM) / 4u;

uint state_at(uint r, uint column) { return slice.state_base + (slot + r) * STATE_ROW + column; }

void resume_columns(out MATRIX x, uint column) {
    pass();
    [[dont_unroll]] for (uint at = lane(); at < ROWS * COLUMNS / 4u; at += lanes()) {
        passing[first_passing() + at] = PASSED(state[state_at(at / (COLUMNS / 4u), column + at % (COLUMNS / 4u))]);
    }
    pass();
    coopMatLoad(x, passing, first_passing(), COLUMNS / 4u, gl_CooperativeMatrixLayoutRowMajor);
}

void suspend_columns(MATRIX x, uint column) {
    pass();
    coopMatStore(x, passing, first_passing(), COLUMNS / 4u, gl_CooperativeMatrixLayoutRowMajor);
    pass();
    [[dont_unroll]] for (uint at = lane(); at < ROWS * COLUMNS / 4u; at += lanes()) {
        if (computes(tile.row + int(scope_row + at / (COLUMNS / 4u)))) {
            state[state_at(at / (COLUMNS / 4u), column + at % (COLUMNS / 4u))] = ARRIVED(passing[first_passing() + at]);
        }
    }
}

void resume() {
    [[dont_unroll]] for (uint r = lane(); r < ROWS; r += lanes()) {
        vec4 own = state[state_at(r, 0u)];
        row_tops[scope_row + r] = own.x;
        row_sums[scope_row + r] = own.y;
    }
    resume_columns(sums, 1u);
    [[unroll]] for (uint n = 0u; n < PARTS; n++) {
        resume_columns(outputs[n], 1u + (1u + n) * (COLUMNS / 4u));
    }
}

void suspend() {
    [[dont_unroll]] for (uint r = lane(); r < ROWS; r += lanes()) {
        if (computes(tile.row + int(scope_row + r))) {
            state[state_at(r, 0u)] = vec4(row_tops[scope_row + r], row_sums[scope_row + r], 0.0, 0.0);
        }
    }
    suspend_columns(sums, 1u);
    [[unroll]] for (uint n = 0u; n < PARTS; n++) {
        suspend_columns(outputs[n], 1u + (1u + n) * (COLUMNS / 4u));
    }
}

// conclude gives what a row's outputs are to be multiplied by, its sum and maximum known, and writes its lse.
float conclude(uint r, float sum, float top2) {
    int row = tile.row + int(scope_row + r);
    Row own = near_row(scope_row + r);
    float top = SCORES || top2 == LOWEST ? top2 : top2 * LN2;
    float lse;
    float by = settle(tile.seq.index, own.head, partial, top, sum, lse);
    if (computes(row)) {
        if (partial) {
            lse_data[slice.lse_base + 2u * (slot + r)] = top;
            lse_data[slice.lse_base + 2u * (slot + r) + 1u] = sum;
        } else if ((flags & FLAG_LSE) != 0u) {
            lse_data[slice.lse_base + tile.seq.batch * lse_batch + own.head * lse_head + (tile.seq.q0 + own.i) * lse_row] = lse;
        }
    }
    return by;
}

// scatter writes columns [first, first + COLUMNS) of the outputs where they belong.
void scatter(MATRIX x, uint first) {
    pass();
    coopMatStore(x, passing, first_passing(), COLUMNS / 4u, gl_CooperativeMatrixLayoutRowMajor);
    pass();
    [[dont_unroll]] for (uint at = lane(); at < ROWS * COLUMNS / 4u; at += lanes()) {
        uint r = at / (COLUMNS / 4u), d = first + at % (COLUMNS / 4u) * 4u;
        int row = tile.row + int(scope_row + r);
        if (computes(row)) {
            vec4 four = ARRIVED(passing[first_passing() + at]);
            if (partial) {
                store_floats(slice.out_base + (slot + r) * value_dim, d, out_dim, four);
            } else {
                Row own = find_row(tile, row);
                store_out(slice.out_base + tile.seq.batch * out_batch + own.head * out_head + (tile.seq.q0 + own.i) * out_row, d, out_dim, four);
            }
        }
    }
}

// finish normalises, adds the sink, and writes out and lse, or one part's result, as in flash.comp.
void finish() {
    MATRIX by = sums;
    if (!SUM_UP) {
        coopMatReduceNV(by, sums, gl_CooperativeMatrixReduceRowNV, total);
        coopMatPerElementNV(by, by, put_sum);
    }
    pass();
    [[dont_unroll]] for (uint r = lane(); r < ROWS; r += lanes()) {
        row_sums[scope_row + r] = conclude(r, row_sums[scope_row + r], row_tops[scope_row + r]);
    }
    pass();
    coopMatPerElementNV(by, by, sum_of);
    // Rows that follow each other in memory, be it those of a sequence or those of heads that are packed.
    bool even = partial || pack == 1u || out_row == pack * out_head && cyclic == 0u;
    uint stride = partial ? value_dim : (pack == 1u ? out_row : out_head) & ~7u;
    uint base = partial ? slice.out_base + slot * value_dim
                        : (slice.out_base + tile.seq.batch * out_batch + tile.head * out_head + tile.seq.q0 * out_row & ~7u) + (uint(tile.row) + scope_row) * stride;
    bool whole = WIDE && even && out_dim == VALUE_DIM && computes(tile.row + int(scope_row)) && computes(tile.row + int(scope_row + ROWS - 1u));
    [[unroll]] for (uint n = 0u; n < PARTS; n++) {
        outputs[n] *= by;
        if (whole && (partial || TYPE_OUT == TYPE_FLOAT32)) {
            coopMatStore(outputs[n], out_data, base + n * COLUMNS, stride, gl_CooperativeMatrixLayoutRowMajor);
        } else if (whole && TYPE_OUT == OPERAND) {
            coopMatStore(to_operand(outputs[n]), out_elements, base + n * COLUMNS, stride, gl_CooperativeMatrixLayoutRowMajor);
        } else {
            scatter(outputs[n], n * COLUMNS);
        }
    }
}

Walk walk;
int p0, p1;                 // first and last position of the rows

// find looks for the next tile to compute, if there is one.
bool find() {
    int next = advance(walk);
    found_first = next == FAR ? FAR : next * int(KEY_TILE);
    found_masked = SCORES || (flags & FLAG_TREE) != 0u || (walk.kind & BLOCK_BITS) != 0u
                || !all_visible(tile.seq, p0, p1, found_first, min(found_first, FAR - int(KEY_TILE)) + int(KEY_TILE), key_first, key_last + 1);
    return next != FAR;
}

// take makes the tile that was found the one to compute: all invocations are done with the one before. Reports whether a
// row sees a key of it.
bool take() {
    tile_first = found_first;
    bool any = true;
    if (found_masked) {
        if (gl_LocalInvocationID.x < KEY_WORDS) {
            seen_by_all[gl_LocalInvocationID.x] = 0u;
        }
        barrier();
        look(walk.kind, walk.block_bits);
        barrier();
        any = false;
        [[unroll]] for (uint w = 0u; w < KEY_WORDS; w++) {
            any = any || seen_by_all[w] != 0u;
        }
    }
    return any;
}

// busy reports whether a row of the subgroup sees a key of a step.
bool busy(uint step) {
    bool sees_any = false;
    [[dont_unroll]] for (uint r = lane(); r < ROWS; r += lanes()) {
        [[unroll]] for (uint w = 0u; w < (STEP + 31u) / 32u; w++) {
            sees_any = sees_any || seen[(scope_row + r) * KEY_WORDS + step / 32u + w] != 0u;
        }
    }
    return subgroupAny(sees_any);
}

void main() {
    uint index = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (index >= slice.tile_count) {
        return;
    }
    uint part = slice.part_first + gl_WorkGroupID.z;
    uvec4 item = uvec4(slice.tile_first + index, 0u, uint(FAR) / 32u, part * slice.tile_count + index);
    if ((slice.phase & PHASE_ITEMS) != 0u) {
        item = item_at(item.x);
    }
    tile = find_row_tile(item.x);
    partial = (slice.phase & PHASE_PARTIAL) != 0u;
    scope_row = SCOPE == gl_ScopeSubgroup ? gl_SubgroupID * ROWS : 0u;
    slot = item.w * tile_rows + scope_row;
    row_first = max(tile.row, slice.row_first);
    row_end = min(min(tile.row + int(tile_rows), tile.rows), slice.row_end);
    query_dim = dim;
    out_dim = value_dim;
    k_stride = k_row;
    v_stride = v_row;
    factor = abs(scale) * LOG2E;

    int part_key = int(part) * slice.part_keys;
    key_first = max(part_key + slice.key_first, int(item.y * 32u));
    int key_end = min(min(part_key + slice.key_end, tile.seq.sk), int(item.z * 32u));
    key_last = key_end - 1;
    p0 = row_first / int(pack) + tile.seq.rel;
    p1 = (row_end - 1) / int(pack) + tile.seq.rel;
    walk.range = key_range(tile.seq, p0, p1);
    walk.range.lo = max(walk.range.lo, key_first);
    walk.range.hi = min(walk.range.hi, key_end);
    walk.next = walk.range.lo / int(KEY_TILE);
    k_base = slice.k_base + tile.seq.batch * k_batch + kv_head(tile.head, heads_k) * k_head + tile.seq.k0 * k_row;
    v_base = slice.v_base + tile.seq.batch * v_batch + kv_head(tile.head, heads_v) * v_head + tile.seq.k0 * v_row;

    if (!RELOAD) {
        [[unroll]] for (uint d = 0u; d < DEPTHS; d++) {
            load_query(queries[d], d * DEPTH);
        }
    }
    [[dont_unroll]] for (uint r = lane(); r < ROWS; r += lanes()) {
        row_tops[scope_row + r] = LOWEST;
        row_sums[scope_row + r] = 0.0;
    }
    sums = MATRIX(0.0);
    [[unroll]] for (uint n = 0u; n < PARTS; n++) {
        outputs[n] = MATRIX(0.0);
    }
    if ((slice.phase & PHASE_RESUME) != 0u) {
        resume();
    }
    walk.entries = uvec2(0u);
    if (BLOCKS && (flags & FLAG_BLOCKS) != 0u) {
        walk.entries = block_entries(item.x);
    }
    barrier();
    bool any = false, masked = false;   // of the tile in shared memory: rows see keys of it, not all see all
    uint stage = 0u;
    for (;;) {
        bool found = find();
        fetch(found);
        if (any) {
            [[unroll]] for (uint step = 0u; step < KEY_TILE; step += STEP) {
                if (!masked || SCOPE != gl_ScopeSubgroup || busy(step)) {
                    multiply_keys(stage, step, masked);
                    raise();
                    add_values(stage, step, masked);
                }
            }
        }
        if (!found) {
            break;
        }
        if (STAGES == 1u || found_masked) {
            barrier();
        }
        any = take();
        masked = found_masked;
        stage = STAGES - 1u - stage;
        put(stage, masked, any);
        barrier();
    }
    barrier();
    if ((slice.phase & PHASE_SUSPEND) != 0u) {
        suspend();
    } else {
        finish();
    }
}

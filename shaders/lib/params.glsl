// Everything that a call's kernels share and that does not change from slice to slice: sizes, strides,
// masks, then the lists. Filled by dispatch/params.go; a test compares the two through reflection.
//
// All element offsets are computed modulo 2^32. The host subtracts the start of the bound window from
// each base, so the sum is right although a tensor may be larger than 2^32 elements.

#include "numbers.glsl"

layout(std140, set = 0, binding = 8) uniform Params {
    uint heads_q, heads_k, heads_v;
    uint cyclic;            // head map: 0 block, 1 cyclic
    uint pack;              // query heads whose rows a tile takes together, for they share their keys and values
    uint dim, value_dim;    // D, Dv
    float scale, softcap;   // softcap 0: none
    uint flags;             // FLAG_*
    uint sequences;         // entries of the sequence table
    uint row_tiles;         // row tiles of all sequences, for one head (pack heads)
    uint tile_rows;         // rows of a row tile
    int window_left, window_right;
    int sink_tokens;        // local key position: the window keeps keys before it
    int chunk;
    uint splits;            // parts that the keys are split into
    uint q_batch, q_head, q_row;        // strides, in elements
    uint k_batch, k_head, k_row;
    uint v_batch, v_head, v_row;
    uint out_batch, out_head, out_row;
    uint lse_batch, lse_head, lse_row;
    uint bias_batch, bias_head, bias_row, bias_key;
    uint mask_batch, mask_head, mask_row, mask_key;   // in bytes
    uint mask_heads;        // heads that the mask has: query heads are mapped to them as to key heads
    uint mask_block;        // keys that a byte of the mask is for
    uint global_count;
    uint sequence_list;     // where each list starts in lists[]
    uint slope_list, slope_batch;       // slope_batch 0: shared by the batch
    uint sink_list, sink_batch;
    uint relative_list, relative_batch; // 2 * relative_reach + 1 numbers a head
    int relative_reach;
    uint global_list;       // ascending local key positions
    uint block_list;        // first and end entry of each flat row tile, as if those of tile 0 were here
    uint item_list, joined_list;        // of PHASE_ITEMS
    uint page_list, page_stride;        // the page tables, and words from that of a sequence to the next
    uint page_tokens, page_count;       // tokens of a page, and pages there are
    uint descale_block;                 // tokens that a factor of q, k and v is for
    uint descale_q_list, descale_q_batch, descale_q_blocks;     // words of a sequence (0: shared by the batch), and of a head
    uint descale_k_list, descale_k_batch, descale_k_blocks;
    uint descale_v_list, descale_v_batch, descale_v_blocks;
    uint tree_list;                     // for each sequence where its tree lies in lists[], 0: it has none
};

// What varies in number: the sequence table, per-head vectors, block lists. Offsets count from the start.
layout(std430, set = 0, binding = 0) readonly buffer Lists { uint lists[]; };

// The running state lies behind them.
layout(std430, set = 0, binding = 0) buffer State { vec4 state[]; };

const uint FLAG_CAUSAL = 1u;
const uint FLAG_LEFT = 2u;          // the window is bounded on the left
const uint FLAG_RIGHT = 4u;
const uint FLAG_BIAS = 8u;
const uint FLAG_MASK = 16u;
const uint FLAG_ALIBI = 32u;
const uint FLAG_SINK = 64u;
const uint FLAG_LSE = 128u;
const uint FLAG_BLOCKS = 256u;
const uint FLAG_RELATIVE = 512u;
const uint FLAG_TREE = 1024u;

const float LN2 = 0.69314718055994530942;
const float LOWEST = -3.4028234663852886e38;
const int FAR = 0x7fffffff;

float minus_infinity() { return uintBitsToFloat(0xff800000u); }

// finite_floor lifts -inf (a score that overflowed) to the lowest number and keeps NaN: a comparison
// would be compiled to a maximum, which drops NaN.
float finite_floor(float s) { return floatBitsToUint(s) == 0xff800000u ? LOWEST : s; }

// exp_difference is exp(a - b). The difference comes first and exactly: a compiler that distributes the
// factor loses it all for large scores of the same size.
float exp_difference(float a, float b) {
    precise float d = a - b;
    precise float x = d * LOG2E;
    return is_nan(d) ? d : exp2(x);
}

// join takes the maximum and sum of a row over other keys, if it saw any, into top and sum. The results of either, the first
// one not yet divided by its sum, then weigh own and share of the new sum.
void join(vec2 other, inout float top, inout float sum, inout float own, inout float share) {
    if (other.y == 0.0) {
        return;
    }
    if (sum == 0.0) {
        top = other.x;
        own = 0.0;
    }
    float both = max(top, other.x);
    own *= exp_difference(top, both);
    share = other.y * exp_difference(other.x, both);
    sum = sum * own + share;
    top = both;
}

// log_sum is top + log(sum).
float log_sum(float top, float sum) { return is_nan(sum) ? sum : top + log2(sum) * LN2; }

// What the kernels of the linear family share: sizes, strides, the push constants, and the feature maps. Filled by
// dispatch/linear_params.go; a test compares the two through reflection.
//
// A unit is a state: one head (of states) of one sequence. Offsets are computed modulo 2^32, as in params.glsl.

#include "numbers.glsl"

layout(std140, set = 0, binding = 8) uniform Params {
    uint heads, heads_q, heads_k, heads_v, states;      // heads of the output, of queries, keys, values and states
    uint reads;             // heads of the output that read one state
    uint cyclic;            // head map: 0 block, 1 cyclic
    uint q_dim, k_dim, v_dim;           // elements of a row that may be read, F (D before the features kernel) or more
    uint features, value_dim;           // F, Dv
    uint raw_dim;           // D, of what the features kernel maps
    uint map;               // MAP_*
    uint flags;             // LINEAR_*
    float scale, eps, map_eps;
    uint q_batch, q_head, q_row;        // strides, in elements
    uint k_batch, k_head, k_row;
    uint v_batch, v_head, v_row;
    uint out_batch, out_head, out_row;
    uint decay_batch, decay_head, decay_row;
    uint beta_batch, beta_head, beta_row;
};

layout(push_constant) uniform Slice {
    uint count;             // workgroups, over units and blocks of columns; 0: none
    uint unit_first;        // sequence and state of the first unit
    uint seq_first, head_first, head_count;
    uint part_first;        // part of the first workgroup in z
    uint part_tokens;       // tokens of a part
    uint read_first, read_end;          // of the heads of the output that read a state
    int token_first;        // tokens [token_first, token_end) of each part
    int token_end;
    uint phase;             // PHASE_*
    uint state_seq, state_head, state_part, state_row;  // strides of what binding 5 shows
    uint home_seq, home_head, home_row;                 // of the states that partial ones are joined to
    uint state_base, home_base;
    uint q_base, k_base, v_base, out_base, decay_base, beta_base, list_base;
} slice;

const uint MAP_IDENTITY = 0u;
const uint MAP_ELU = 1u;
const uint MAP_RELU = 2u;
const uint MAP_SILU = 3u;
const uint MAP_EXP = 4u;
const uint MAP_RELU2 = 5u;
const uint MAP_SOFTMAX = 6u;
const uint MAP_FAVOR = 7u;

const uint LINEAR_DECAY = 1u;       // one log decay a token, or a head if decay_row is 0
const uint LINEAR_FEATURED = 2u;    // q and k are scratch of the features kernel
const uint LINEAR_RESCALED = 4u;    // so are the decays
const uint LINEAR_PROJECT = 8u;     // the features kernel multiplies by the projection
const uint LINEAR_KEYS = 16u;       // it has keys before it, not queries
const uint LINEAR_STANDARD = 32u;   // it normalises a token's features to mean 0 and variance 1

const uint PHASE_RESUME = 1u;       // start from the state in memory, else from zeros
const uint PHASE_SUSPEND = 2u;      // leave the state there
const uint PHASE_ADVANCE = 4u;      // keys enter the state
const uint PHASE_READ = 8u;         // queries read it
const uint PHASE_TOTAL = 16u;       // the state in memory has one more column: the sum of the log decays so far
const uint PHASE_EXCLUSIVE = 32u;   // parts become the state before them
const uint PHASE_FIRST = 64u;       // the first slice of a call
const uint PHASE_FINAL = 128u;      // favor: the maximum of all keys is known
const uint PHASE_APPLY = 256u;      // favor: keys are scaled by the maximum
const uint PHASE_ENTRY = 512u;      // z before the dispatch lies in lists[] at home_base: all workgroups of a unit read it, one writes it

const uint NORM_NONE = 0u;
const uint NORM_SUM = 1u;
const uint NORM_LITERAL = 3u;       // the values of vkattn.Norm

// One sequence of a call: 8 words in lists[] at list_base.
layout(std430, set = 0, binding = 0) readonly buffer Lists { uint lists[]; };

struct LinearSequence {
    uint index;         // in the batch: of states
    uint batch;         // index into q, k, v, out
    uint q0, k0;        // first token
    int sq, sk;         // lengths
};

LinearSequence load_sequence(uint n) {
    uint at = slice.list_base + 8u * n;
    return LinearSequence(lists[at], lists[at + 1u], lists[at + 2u], lists[at + 3u], int(lists[at + 4u]), int(lists[at + 5u]));
}

// Scratch of a dispatch is [its sequences, heads, tokens of its parts, elements]: scratch_tokens is the number of those
// tokens, and scratch_row what to add to a token to find its row, of the first of so many heads.
uint scratch_tokens() { return gl_NumWorkGroups.z * uint(slice.token_end - slice.token_first); }

uint scratch_row(uint n, uint count, uint part) {
    return (n - slice.seq_first) * count * scratch_tokens() + (part - slice.part_first) * uint(slice.token_end - slice.token_first)
        - part * slice.part_tokens - uint(slice.token_first);
}

// shared_head is which of count heads the state head n reads, where count divides states.
uint shared_head(uint n, uint count) { return cyclic != 0u ? n % count : n / (states / count); }

// output_head is the r-th head of the output that reads state head n, query_head the query head of a head of the output.
uint output_head(uint n, uint r) { return cyclic != 0u ? n + r * states : n * reads + r; }
uint query_head(uint h) { return cyclic != 0u ? h % heads_q : h / (heads / heads_q); }

// exp_small is exp(x), to the last bit or two near 0: errors of decays multiply over all tokens.
float exp_small(float x) {
    float series = 1.0 + x * (1.0 + x * (0.5 + x * (1.0 / 6.0 + x * (1.0 / 24.0 + x * (1.0 / 120.0 + x * (1.0 / 720.0))))));
    float y = abs(x) < 0.25 ? series : exp2(x * LOG2E);
    return is_nan(x) ? x : y;
}

float map_exp(float x, uint kind) {
    float e = exp2((kind == MAP_SILU ? -x : x) * LOG2E);
    return kind == MAP_SILU ? x / (1.0 + e) : (kind == MAP_ELU && x > 0.0 ? x + 1.0 : e);
}

float map_plain(float x, uint kind) {
    float r = max(x, 0.0);
    return kind == MAP_IDENTITY ? x : (kind == MAP_RELU ? r : r * r);
}

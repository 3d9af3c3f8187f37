#version 450

// New tokens enter a key-value cache: keys are rotated by their positions and written, with the values, to the rows of the pool that
// the host has found for them; queries are rotated on the way.
//
// q [Hq,T,D], k [Hk,T,D], v [Hv,T,Dv], any strides, T tokens of all sequences; pools [Hk,rows,D] and [Hv,rows,Dv]; turned queries
// [Hq,T,D]; angles [positions,R/2] cosines, and behind them as many sines; entries a position and a row for each token.
// One invocation has one column of one token; workgroups in y are heads: first those of q, then of k, then of v. Products are rounded
// one by one, as in rope.comp, so that a token has the same bits however it came in. No shared memory.
//
// Su et al., arXiv:2104.09864, section 3.4.2.

layout(local_size_x_id = 0) in;

layout(push_constant) uniform Slice {
    uint tokens;            // 0: nothing to do
    uint columns;           // invocations of a token: at least dim and value_dim
    uint heads_q, heads_k, heads_v;     // of this dispatch
    uint dim, value_dim;
    uint pairs, pair_step, pair_beside; // as in rope.comp; no pairs: nothing is rotated
    uint positions;         // of the tables
    uint rows;              // of the pool
    uint q_head, q_row, k_head, k_row, v_head, v_row;   // strides, in elements
    uint key_head, value_head, turned_head;
    uint q_base, k_base, v_base, key_base, value_base;
    uint entries;           // where they start
} slice;

layout(std430, set = 0, binding = 0) readonly buffer Entries { uvec2 entries[]; };
layout(std430, set = 0, binding = 1) readonly buffer Q { uint q_data[]; };
layout(std430, set = 0, binding = 2) readonly buffer K { uint k_data[]; };
layout(std430, set = 0, binding = 3) readonly buffer V { uint v_data[]; };
layout(std430, set = 0, binding = 4) buffer Keys { uint key_data[]; };
layout(std430, set = 0, binding = 5) buffer Values { uint value_data[]; };
layout(std430, set = 0, binding = 6) buffer Turned { uint turned_data[]; };
layout(std430, set = 0, binding = 7) readonly buffer Angles { float angles[]; };

// turn is column x of a pair, whose other column is y, at a position: first says which of the two x is.
uint turn(float x, float y, bool first, uint pair, uint position) {
    uint at = position * slice.pairs + pair;
    float c = angles[at], s = angles[at + slice.positions * slice.pairs];
    precise float a = x * c, b = y * s;
    precise float turned = first ? a - b : a + b;
    return floatBitsToUint(turned);
}

// pair_of is the pair that a column belongs to, and the column beside it. Needs a column before 2 * pairs.
uint pair_of(uint column, out uint beside, out bool first) {
    if (slice.pair_step == 2u) {
        first = (column & 1u) == 0u;
        beside = column ^ 1u;
        return column >> 1u;
    }
    first = column < slice.pairs;
    beside = first ? column + slice.pairs : column - slice.pairs;
    return first ? column : beside;
}

void main() {
    uint index = gl_GlobalInvocationID.x;
    if (index >= slice.tokens * slice.columns) {
        return;
    }
    uint token = index / slice.columns, column = index - token * slice.columns, head = gl_WorkGroupID.y;
    uvec2 entry = entries[slice.entries + token];
    uint position = min(entry.x, max(slice.positions, 1u) - 1u), row = min(entry.y, slice.rows - 1u);
    uint beside = 0u, pair = 0u;
    bool first = true, turns = column < 2u * slice.pairs;
    if (turns) {
        pair = pair_of(column, beside, first);
    }
    if (head < slice.heads_q) {
        if (column < slice.dim) {
            uint at = slice.q_base + head * slice.q_head + token * slice.q_row;
            uint x = q_data[at + column];
            turned_data[head * slice.turned_head + token * slice.dim + column] =
                turns ? turn(uintBitsToFloat(x), uintBitsToFloat(q_data[at + beside]), first, pair, position) : x;
        }
        return;
    }
    head -= slice.heads_q;
    if (head < slice.heads_k) {
        if (column < slice.dim) {
            uint at = slice.k_base + head * slice.k_head + token * slice.k_row;
            uint x = k_data[at + column];
            key_data[slice.key_base + head * slice.key_head + row * slice.dim + column] =
                turns ? turn(uintBitsToFloat(x), uintBitsToFloat(k_data[at + beside]), first, pair, position) : x;
        }
        return;
    }
    head -= slice.heads_k;
    if (column < slice.value_dim) {
        value_data[slice.value_base + head * slice.value_head + row * slice.value_dim + column] =
            v_data[slice.v_base + head * slice.v_head + token * slice.v_row + column];
    }
}

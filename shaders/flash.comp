#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if TEXELS
#extension GL_EXT_samplerless_texture_functions : require
#endif
#if SUBGROUP
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif
#if INTEGER_DOT
#extension GL_EXT_integer_dot_product : require
#endif

// Exact attention, forward: tiled online softmax that visits only the key tiles which the masks leave.
//
//   out[b,h,i] = sum_j softmax_j(score(q[b,h,i] . k[b,hk,j])) v[b,hv,j],   lse = log of the denominator
//
// q [B,Hq,Sq,D], k [B,Hk,Sk,D], v [B,Hv,Sk,Dv], out [B,Hq,Sq,Dv], lse [B,Hq,Sq], any strides; sequences
// may be packed. One workgroup computes one row tile (tile_rows consecutive rows of one query head) over
// the keys of its slice and part. Inside it, each group of LANES invocations has ROWS rows: a lane
// holds D/LANES elements of their queries and Dv/LANES of their outputs, keys and values stream through
// registers KEYS at a time. TEAM groups may share their rows: each of them takes every TEAM-th step of a tile and has a running
// state of its own, and at the end they add up. A slice that is not the last leaves the running state (m, l, unnormalised
// out) in state[], so the result does not depend on how the keys are cut into slices.
//
// Shared memory: none with subgroups; without, invocations * ROWS * KEYS floats and a little more.
//
// Dao, FlashAttention-2, algorithm 1, arXiv:2307.08691; the online softmax is Milakov and Gimelshein,
// arXiv:1805.02867.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint LANES = 8;    // power of two, at most the subgroup size
layout(constant_id = 2) const uint ROWS = 8;     // 1, 2, 4, 8 or 16, at most twice LANES
layout(constant_id = 3) const uint DIM4 = 2;     // vec4 per lane of a query or key row: D <= 4*LANES*DIM4
layout(constant_id = 4) const uint VALUE4 = 2;   // the same of a value row
layout(constant_id = 5) const bool VECTOR = true;
layout(constant_id = 6) const uint EXTRAS = 0u;          // what is compiled in: 1 block masks and trees; 2 softcap, ALiBi, biases and boolean masks, too; 3 those by blocks of keys
layout(constant_id = 7) const bool WHOLE = false;       // a row group is a whole subgroup
layout(constant_id = 9) const uint TYPE_Q = 0u;         // of elements, TYPE_* of lib/types.glsl
layout(constant_id = 10) const uint TYPE_K = 0u;         // with TEXELS: of the format's numbers
layout(constant_id = 11) const uint TYPE_V = 0u;
layout(constant_id = 12) const uint TYPE_OUT = 0u;

const uint KEY_TILE = 32u;      // keys of one tile of the schedule
#if TEAMS
layout(constant_id = 15) const uint KEYS = 4u;          // keys of one step
layout(constant_id = 16) const uint TEAM = 1u;          // row groups of a subgroup that share their rows: KEYS * TEAM <= KEY_TILE
#else
const uint KEYS = 4u;
#endif
const uint ALL_KEYS = (1u << KEYS) - 1u;
const bool BLOCKS = EXTRAS >= 1u;
const bool SCORES = EXTRAS >= 2u;
const bool CHOICES = EXTRAS >= 3u;

#include "lib/params.glsl"
#include "lib/slice.glsl"
#include "lib/items.glsl"
#define TYPES 1
#include "lib/access.glsl"
#include "lib/sequence.glsl"
#include "lib/keys.glsl"
#include "lib/descale.glsl"
#include "lib/mask.glsl"
#include "lib/blocks.glsl"
#include "lib/exchange.glsl"

vec4 accumulator[ROWS * VALUE4];
float running_max[OWN];         // of the owned rows
float running_sum[OWN];

// Reading a parameter in the inner loop is dear on drivers that cannot tell that it never changes.
uint query_dim, out_dim, k_stride, v_stride;

uint slice_dim(uint x) { return (x * LANES + group_lane()) * 4u; }

// The rows of the tile that this dispatch computes: what is bound may show no others.
int row_first, row_end;

bool computes(int row) { return row >= row_first && row < row_end; }

// owned is the o-th row that the lane owns, of the group whose first row is row, or a near one that is computed.
Row owned(RowTile tile, int row, uint o) {
    return find_row(tile, clamp(row + int(owned_row(o)), row_first, row_end - 1));
}

// query_at is where the queries of a row begin, query_factor what they are multiplied by.
uint query_at(RowTile tile, Row at) { return slice.q_base + tile.seq.batch * q_batch + at.head * q_head + (tile.seq.q0 + at.i) * q_row; }

float query_factor(RowTile tile, Row at) {
    return descale(query_factors(tile.seq, at.head), descale_q_blocks, at.i) * (DESCALE == 1u ? key_factor(0u) : 1.0);
}

#if INTEGER_DOT
#include "lib/dots.glsl"
#else
#include "lib/products.glsl"
#endif

void add_values(uint base, int j, int first, int last) {
    uint seen = seen_by_group();
    vec4 values[KEYS * VALUE4];
    [[unroll]] for (uint c = 0u; c < KEYS; c++) {
        uint row = base + key_row(c, j, first, last) * v_stride;
        float factor = DESCALE == 2u ? value_factor(uint(clamp(j + int(c), first, last))) : 1.0;
        [[unroll]] for (uint x = 0u; x < VALUE4; x++) {
            vec4 value = load_v(row, slice_dim(x), out_dim);
            if (DESCALE == 2u) {
                value *= factor;
            }
            // A key that nobody here sees may hold anything, NaN included.
            values[c * VALUE4 + x] = (seen >> c & 1u) != 0u ? value : vec4(0.0);
        }
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        float decay = decay_of(r);
        float w[KEYS];
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
            w[c] = weight(c, r);
        }
        [[unroll]] for (uint x = 0u; x < VALUE4; x++) {
            vec4 sum = accumulator[r * VALUE4 + x] * decay;
            [[unroll]] for (uint c = 0u; c < KEYS; c++) {
                sum += w[c] * values[c * VALUE4 + x];
            }
            accumulator[r * VALUE4 + x] = sum;
        }
    }
}

// One row's place in the running state of one group of a team: maximum and sum, then its unnormalised output.
uint state_row(uint slot) { return slice.state_base + (slot * TEAM + member()) * (1u + LANES * VALUE4); }
uint state_value(uint slot, uint x) { return state_row(slot) + 1u + slice_dim(x) / 4u; }

void resume(uint slot) {
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        vec4 own = state[state_row(slot + owned_row(o))];
        running_max[o] = own.x;
        running_sum[o] = own.y;
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        [[unroll]] for (uint x = 0u; x < VALUE4; x++) {
            accumulator[r * VALUE4 + x] = state[state_value(slot + r, x)];
        }
    }
}

void suspend(int row, uint slot) {
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        if (group_lane() < ROWS && computes(row + int(owned_row(o)))) {
            state[state_row(slot + owned_row(o))] = vec4(running_max[o], running_sum[o], 0.0, 0.0);
        }
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        if (computes(row + int(r))) {
            [[unroll]] for (uint x = 0u; x < VALUE4; x++) {
                state[state_value(slot + r, x)] = accumulator[r * VALUE4 + x];
            }
        }
    }
}

// add_joined adds shares of the results that the rows join.
void add_joined(RowTile tile, int row, float shares[OWN]) {
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        decays[o] = shares[o];
    }
    settle();
    publish(0u);
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        float share = decay_of(r);
        if (computes(row + int(r)) && share != 0.0) {
            Row at = find_row(tile, row + int(r));
            uint base = slice.mask_base + tile.seq.batch * mask_batch + at.head * mask_head + (tile.seq.q0 + at.i) * mask_row;
            [[unroll]] for (uint x = 0u; x < VALUE4; x++) {
                uint last = value_dim - 1u, d = min(slice_dim(x), last);
                uvec4 words = uvec4(mask_data[base + d], mask_data[base + min(d + 1u, last)], mask_data[base + min(d + 2u, last)], mask_data[base + min(d + 3u, last)]);
                accumulator[r * VALUE4 + x] += share * uintBitsToFloat(words);
            }
        }
    }
}

#if TEAMS
// add_team adds up what the groups of a team have found, and leaves all of it to each.
void add_team() {
    [[unroll]] for (uint n = LANES; n < LANES * TEAM; n *= 2u) {
        [[unroll]] for (uint o = 0u; o < OWN; o++) {
            float top = max(running_max[o], subgroupShuffleXor(running_max[o], n));
            decays[o] = exp_difference(running_max[o], top);
            running_max[o] = top;
            running_sum[o] *= decays[o];
            running_sum[o] += subgroupShuffleXor(running_sum[o], n);
        }
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            float decay = decay_of(r);
            [[unroll]] for (uint x = 0u; x < VALUE4; x++) {
                vec4 own = accumulator[r * VALUE4 + x] * decay;
                accumulator[r * VALUE4 + x] = own + subgroupShuffleXor(own, n);
            }
        }
    }
}
#endif

// finish normalises, joins what an earlier call left of the same rows, adds the sink, and writes out and lse to the
// caller's tensors; or, for one part of a split, out with its maximum and sum to that part's rows, and leaves the rest to
// merge. (Their lse would not do: next to scores of 1e9, float32 has no room for the logarithm of a sum.)
void finish(RowTile tile, int row, uint slot, bool partial) {
#if TEAMS
    add_team();
#endif
    bool leaves = !partial && (slice.phase & PHASE_LEAVE) != 0u, joins = !partial && (slice.phase & PHASE_JOIN) != 0u;
    float shares[OWN];              // of what the rows join
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        float top = running_max[o], sum = running_sum[o], own_share = 1.0, factor = 0.0, lse = minus_infinity();
        Row own = owned(tile, row, o);
        shares[o] = 0.0;
        if (joins) {
            uint at = slice.bias_base + tile.seq.batch * bias_batch + own.head * bias_head + (tile.seq.q0 + own.i) * bias_row;
            join(vec2(bias_data[at], bias_data[at + 1u]), top, sum, own_share, shares[o]);
        }
        if (sum != 0.0) {
            factor = own_share / sum;
            shares[o] /= sum;
            lse = log_sum(top, sum);
        }
        if (!partial && (flags & FLAG_SINK) != 0u) {
            float sink = uintBitsToFloat(lists[sink_list + tile.seq.index * sink_batch + own.head]);
            if (sum == 0.0) {
                lse = sink;
            } else {
                float both = max(top, sink);
                float kept = exp_difference(top, both);
                float total = sum * kept + exp_difference(sink, both);
                factor = own_share * kept / total;
                shares[o] *= sum * kept / total;
                lse = log_sum(both, total);
            }
        }
        if (member() == 0u && group_lane() < ROWS && computes(row + int(owned_row(o)))) {
            if (partial) {
                lse_data[slice.lse_base + 2u * (slot + owned_row(o))] = top;
                lse_data[slice.lse_base + 2u * (slot + owned_row(o)) + 1u] = sum;
            } else if (leaves) {
                uint at = slice.lse_base + tile.seq.batch * lse_batch + own.head * lse_head + (tile.seq.q0 + own.i) * lse_row;
                lse_data[at] = top;
                lse_data[at + 1u] = sum;
            } else if ((flags & FLAG_LSE) != 0u) {
                lse_data[slice.lse_base + tile.seq.batch * lse_batch + own.head * lse_head + (tile.seq.q0 + own.i) * lse_row] = lse;
            }
        }
        decays[o] = factor;
    }
    settle();
    publish(0u);
    float factor_of_values = DESCALE == 1u ? value_factor(0u) : 1.0;
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        float f = decay_of(r);
        [[unroll]] for (uint x = 0u; x < VALUE4; x++) {
            accumulator[r * VALUE4 + x] *= f;
            if (DESCALE == 1u) {
                accumulator[r * VALUE4 + x] *= factor_of_values;
            }
        }
    }
    if (joins) {
        add_joined(tile, row, shares);
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        if (member() == 0u && computes(row + int(r))) {
            Row at = find_row(tile, row + int(r));
            uint base = partial ? slice.out_base + (slot + r) * value_dim
                                : slice.out_base + tile.seq.batch * out_batch + at.head * out_head + (tile.seq.q0 + at.i) * out_row;
            [[unroll]] for (uint x = 0u; x < VALUE4; x++) {
                vec4 result = accumulator[r * VALUE4 + x];
                if (partial || TYPE_OUT == TYPE_FLOAT32) {
                    store_floats(base, slice_dim(x), value_dim, result);
                } else {
                    store_out(base, slice_dim(x), value_dim, result);
                }
            }
        }
    }
}

void main() {
    uint index = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (index >= slice.tile_count) {
        return;
    }
    uint part = slice.part_first + gl_WorkGroupID.z;
    uvec4 item = uvec4(slice.tile_first + index, 0u, uint(FAR) / KEY_TILE, part * slice.tile_count + index);
    if ((slice.phase & PHASE_ITEMS) != 0u) {
        item = item_at(item.x);
    }
    RowTile tile = find_row_tile(item.x);
    Sequence seq = tile.seq;
    int row = tile.row + int(row_group() * ROWS);                   // first row of the group
    uint slot = item.w * tile_rows + row_group() * ROWS;

    [[unroll]] for (uint i = 0u; i < ROWS * VALUE4; i++) {
        accumulator[i] = vec4(0.0);
    }
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        running_max[o] = LOWEST;
        running_sum[o] = 0.0;
    }
    if ((slice.phase & PHASE_RESUME) != 0u) {
        resume(slot);
    }
    query_dim = dim;
    out_dim = value_dim;
    k_stride = k_row;
    v_stride = v_row;
    float factor = scale;
    uint masks = flags, mask_stride = mask_key, bias_stride = bias_key;
    row_first = max(tile.row, slice.row_first);
    row_end = min(min(tile.row + int(tile_rows), tile.rows), slice.row_end);
    find_factors(seq, tile.head);
    load_query(tile, row);

    int part_key = int(part) * slice.part_keys;
    int key_first = part_key + slice.key_first;
    int key_end = min(part_key + slice.key_end, seq.sk);
    int p0 = row_first / int(pack) + seq.rel;
    int p1 = (row_end - 1) / int(pack) + seq.rel;
    KeyRange range = key_range(seq, p0, p1);
    range.lo = max(range.lo, key_first);
    range.hi = min(min(range.hi, key_end), int(item.z * KEY_TILE));

    uint k_base = slice.k_base + seq.batch * k_batch + kv_head(tile.head, heads_k) * k_head + seq.k0 * k_row;
    uint v_base = slice.v_base + seq.batch * v_batch + kv_head(tile.head, heads_v) * v_head + seq.k0 * v_row;
    find_index(seq, key_end - 1);
    bool row_global[OWN];
    int position[OWN];
    float slope[OWN];
    uint bias_at[OWN], mask_at[OWN], relative_at[OWN], bits[OWN];
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        Row own = owned(tile, row, o);
        position[o] = int(own.i) + seq.rel;
        row_global[o] = is_global(position[o]);
        if (SCORES) {
            slope[o] = (flags & FLAG_ALIBI) != 0u ? uintBitsToFloat(lists[slope_list + seq.index * slope_batch + own.head]) : 0.0;
            bias_at[o] = slice.bias_base + seq.index * bias_batch + own.head * bias_head + own.i * bias_row;
            relative_at[o] = relative_list + seq.index * relative_batch + own.head * (2u * uint(relative_reach) + 1u);
            mask_at[o] = slice.mask_base + seq.index * mask_batch + kv_head(own.head, mask_heads) * mask_head + own.i * mask_row;
        }
    }
    // A mask by blocks of keys is looked at once a tile, and what no row has chosen is skipped.
    bool choosing = CHOICES && (flags & FLAG_MASK) != 0u && mask_block > 1u;
    if (choosing) {
        masks &= ~FLAG_MASK;
    }
    uint turn = 0u;
    uvec2 entries = uvec2(0u);
    if (BLOCKS && (flags & FLAG_BLOCKS) != 0u) {
        entries = block_entries(item.x);
    }

    int next = max(range.lo / int(KEY_TILE), int(item.y));
    for (;;) {
        uint kind = 0u, block_bits = 0u;
        next = next_tile(range, next, int(KEY_TILE));
        if (next == FAR) {
            break;
        }
        if (BLOCKS && (flags & FLAG_BLOCKS) != 0u) {
            if (entries.x < entries.y && int(lists[entries.x] >> 2u) < next) {
                entries.x = seek_block(entries, next);
            }
            if (entries.x >= entries.y) {
                break;
            }
            if (int(lists[entries.x] >> 2u) > next) {
                next = int(lists[entries.x] >> 2u);
                continue;
            }
            kind = lists[entries.x] & 3u;
            if ((kind & BLOCK_BITS) != 0u) {
                block_bits = lists[entries.x + 1u];
            }
            entries.x += 2u;
        }
        int tile_first = next * int(KEY_TILE);
        next++;
        [[unroll]] for (uint o = 0u; o < OWN; o++) {
            // Rows that are not computed see nothing: they may not bring in what no other row sees.
            bits[o] = computes(row + int(owned_row(o))) ? seen_keys(seq, position[o], row_global[o], tile_first, key_first, key_end) : 0u;
            if (BLOCKS && (kind & BLOCK_BITS) != 0u) {
                bits[o] &= lists[block_bits + row_group() * ROWS + owned_row(o)];
            }
            if (BLOCKS && (flags & FLAG_TREE) != 0u) {
                bits[o] &= tree_keys(seq, tree_row(seq, owned(tile, row, o).i), tile_first);
            }
        }
        if (choosing && (kind & BLOCK_FULL) == 0u) {
            uint chosen = 0u;
            [[unroll]] for (uint o = 0u; o < OWN; o++) {
                bits[o] = chosen_keys(bits[o], mask_at[o], mask_stride, tile_first);
                chosen |= bits[o];
            }
            if (!any_of_all(chosen != 0u, turn)) {
                continue;
            }
        }
        uvec2 steps = steps_of_all(bits, KEY_TILE);
        if (TEAM == 1u) {
            find_tile(tile_first + int(steps.x));
        }
        [[dont_unroll]] for (uint c = steps.x; c < steps.y; c += KEYS * TEAM) {
            uint c0 = c + member() * KEYS;
            int j = tile_first + int(c0);
            if (TEAM > 1u) {
                find_tile(j);
            }
            find_keys();
            multiply_keys(k_base, j, key_first, key_end - 1);
            gather();
            uint seen_by_owned = 0u;
            [[unroll]] for (uint o = 0u; o < OWN; o++) {
                uint seen = bits[o] >> c0 & ALL_KEYS;
                float score_of[KEYS];
                [[unroll]] for (uint c = 0u; c < KEYS; c++) {
                    score_of[c] = scores[o * KEYS + c] * factor;
                    if (DESCALE == 2u) {
                        score_of[c] *= key_factor(uint(clamp(j + int(c), key_first, key_end - 1)));
                    }
                    if (SCORES) {
                        score_of[c] = score(score_of[c], slope[o], position[o], j + int(c));
                        uint key = uint(clamp(j + int(c), key_first, key_end - 1));
                        if ((masks & FLAG_MASK) != 0u && (kind & BLOCK_FULL) == 0u && !load_mask(mask_at[o] + key * mask_stride)) {
                            seen &= ~(1u << c);
                        }
                        if ((masks & FLAG_RELATIVE) != 0u) {
                            float bias = bias_by_distance(relative_at[o], position[o], j + int(c));
                            score_of[c] += bias;
                            if (bias == minus_infinity()) {
                                seen &= ~(1u << c);
                            }
                        }
                        if ((masks & FLAG_BIAS) != 0u) {
                            float bias = bias_data[bias_at[o] + key * bias_stride];
                            score_of[c] += bias;
                            if (bias == minus_infinity()) {
                                seen &= ~(1u << c);
                            }
                        }
                    }
                }
                float top = running_max[o];
                [[unroll]] for (uint c = 0u; c < KEYS; c++) {
                    score_of[c] = finite_floor(score_of[c]);
                    top = (seen >> c & 1u) != 0u ? max(top, score_of[c]) : top;
                }
                decays[o] = exp_difference(running_max[o], top);
                running_max[o] = top;
                float sum = running_sum[o] * decays[o];
                [[unroll]] for (uint c = 0u; c < KEYS; c++) {
                    weights[o * KEYS + c] = (seen >> c & 1u) != 0u ? exp_difference(score_of[c], top) : 0.0;
                    sum += weights[o * KEYS + c];
                }
                running_sum[o] = sum;
                seen_by_owned |= seen;
            }
            publish(seen_by_owned);
            add_values(v_base, j, key_first, key_end - 1);
        }
    }

    if ((slice.phase & PHASE_SUSPEND) != 0u) {
        suspend(row, slot);
    } else {
        finish(tile, row, slot, (slice.phase & PHASE_PARTIAL) != 0u);
    }
}

#version 450
#extension GL_GOOGLE_include_directive : require

// The unfused baseline, kernel 1 of 3: the whole score matrix of a window of rows,
//
//   S[r, j] = score(q_r . k_j) + bias, or -inf where the masks hide key j
//
// for keys [key_first, key_end) of rows tile_first + [0, tile_count), part_keys floats apart. A row tile is
// one row. One workgroup computes consecutive keys of one row. No shared memory.

layout(local_size_x_id = 0) in;
layout(constant_id = 5) const bool VECTOR = true;

#include "lib/params.glsl"
#include "lib/slice.glsl"
#include "lib/access.glsl"
#include "lib/sequence.glsl"
#include "lib/mask.glsl"
#include "lib/blocks.glsl"

// block_keeps: the block list of the row lists key j; mask says whether boolean masks still apply there.
bool block_keeps(uint flat_tile, int j, out bool mask) {
    uvec2 entries = block_entries(flat_tile);
    uint entry = seek_block(entries, j / 32);
    mask = true;
    if (entry >= entries.y || int(lists[entry] >> 2u) != j / 32) {
        return false;
    }
    uint kind = lists[entry] & 3u;
    mask = (kind & BLOCK_FULL) == 0u;
    return (kind & BLOCK_BITS) == 0u || (lists[lists[entry + 1u]] >> uint(j % 32) & 1u) != 0u;
}

void main() {
    int j = slice.key_first + int(gl_GlobalInvocationID.x);
    uint index = gl_WorkGroupID.y;
    if (index >= slice.tile_count) {
        return;
    }
    RowTile tile = find_row_tile(slice.tile_first + index);
    Sequence seq = tile.seq;
    if (j >= min(slice.key_end, seq.sk)) {
        return;
    }
    uint i = uint(tile.row), key = uint(j);
    uint q = slice.q_base + seq.batch * q_batch + tile.head * q_head + (seq.q0 + i) * q_row;
    uint k = slice.k_base + seq.batch * k_batch + kv_head(tile.head, heads_k) * k_head + (seq.k0 + key) * k_row;
    float product = 0.0;
    uint size = dim;
    for (uint d = 0u; d < size; d += 4u) {
        product += dot(inside(load_q(q, d, size), d, size), inside(load_k(k, d, size), d, size));
    }
    int p = tile.row + seq.rel;
    float slope = (flags & FLAG_ALIBI) != 0u ? uintBitsToFloat(lists[slope_list + seq.index * slope_batch + tile.head]) : 0.0;
    float s = score(product * scale, slope, p, j);
    bool keep = visible(seq, p, is_global(p), j);
    bool mask = true;
    if ((flags & FLAG_BLOCKS) != 0u) {
        keep = block_keeps(slice.tile_first + index, j, mask) && keep;
    }
    if ((flags & FLAG_MASK) != 0u && mask) {
        keep = load_mask(slice.mask_base + seq.index * mask_batch + kv_head(tile.head, mask_heads) * mask_head + i * mask_row + key / mask_block * mask_key) && keep;
    }
    if ((flags & FLAG_RELATIVE) != 0u) {
        float bias = bias_by_distance(relative_list + seq.index * relative_batch + tile.head * (2u * uint(relative_reach) + 1u), p, j);
        keep = keep && bias != minus_infinity();
        s += bias;
    }
    if ((flags & FLAG_BIAS) != 0u) {
        float bias = bias_data[slice.bias_base + seq.index * bias_batch + tile.head * bias_head + i * bias_row + key * bias_key];
        keep = keep && bias != minus_infinity();
        s += bias;
    }
    s = finite_floor(s);
    out_data[slice.out_base + index * uint(slice.part_keys) + key] = keep ? s : minus_infinity();
}

// The block lists: for each row tile of each query head, in ascending order, the key tiles to visit. An
// entry is two words, key tile << 2 | kind and where the row bits lie. Needs params.glsl.

const uint BLOCK_FULL = 1u;     // kind: the boolean masks hide nothing there
const uint BLOCK_BITS = 2u;     // kind: one word per row says which keys of the tile are listed

// The entries [x, y) of a flat row tile.
uvec2 block_entries(uint flat_tile) {
    uint at = block_list + 2u * flat_tile;
    return uvec2(lists[at], lists[at + 1u]);
}

// seek_block is the first of the entries whose key tile is tile or a later one, or their end.
uint seek_block(uvec2 entries, int tile) {
    uint lo = 0u, hi = (entries.y - entries.x) / 2u;
    while (lo < hi) {
        uint mid = (lo + hi) / 2u;
        if (int(lists[entries.x + 2u * mid] >> 2u) < tile) {
            lo = mid + 1u;
        } else {
            hi = mid;
        }
    }
    return entries.x + 2u * lo;
}

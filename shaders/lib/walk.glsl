// The walk of a row tile over its key tiles. Needs mask.glsl, blocks.glsl, KEY_TILE and BLOCKS.

const uint LIST_TILE = 32u;     // keys of a key tile of items and of block lists

struct Walk {
    KeyRange range;
    int next;           // key tile
    uvec2 entries;      // what is left of the row tile's block list
    uint kind;          // of the tile last found, and where its row bits lie
    uint block_bits;
};

// advance is the next key tile that the masks and the block list leave, or FAR.
int advance(inout Walk walk) {
    walk.kind = 0u;
    walk.block_bits = 0u;
    for (;;) {
        int tile = next_tile(walk.range, walk.next, int(KEY_TILE));
        if (tile == FAR) {
            walk.next = FAR / int(KEY_TILE);
            return FAR;
        }
        walk.next = tile + 1;
        if (!BLOCKS || (flags & FLAG_BLOCKS) == 0u) {
            return tile;
        }
        if (walk.entries.x < walk.entries.y && int(lists[walk.entries.x] >> 2u) < tile) {
            walk.entries.x = seek_block(walk.entries, tile);
        }
        if (walk.entries.x >= walk.entries.y) {
            walk.next = FAR / int(KEY_TILE);
            return FAR;
        }
        uint entry = lists[walk.entries.x];
        if (int(entry >> 2u) > tile) {
            walk.next = int(entry >> 2u);
            continue;
        }
        walk.kind = entry & 3u;
        walk.block_bits = (entry & BLOCK_BITS) != 0u ? lists[walk.entries.x + 1u] : 0u;
        walk.entries.x += 2u;
        return tile;
    }
}

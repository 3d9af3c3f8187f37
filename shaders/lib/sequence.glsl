// The sequence table: one entry of 10 words per sequence, in lists[] at sequence_list.

struct Sequence {
    uint index;         // in the batch
    uint batch;         // index into q, k, v, out, lse
    uint q0, k0;        // first token
    int sq, sk;         // lengths
    int rel;            // row i stands at key position i + rel
    int prefix;         // local: causal keeps keys before it
    int key_phase;      // position of key 0 modulo the chunk
    uint first_tile;    // row tiles of the sequences before this one
};

const uint SEQUENCE_WORDS = 10u;

uint sequence_tile(uint s) { return lists[sequence_list + s * SEQUENCE_WORDS + 9u]; }

Sequence load_sequence(uint s) {
    uint at = sequence_list + s * SEQUENCE_WORDS;
    return Sequence(lists[at], lists[at + 1u], lists[at + 2u], lists[at + 3u], int(lists[at + 4u]), int(lists[at + 5u]),
                    int(lists[at + 6u]), int(lists[at + 7u]), int(lists[at + 8u]), lists[at + 9u]);
}

// One row tile of one query head.
struct RowTile {
    Sequence seq;
    uint head;
    int row;            // first row
};

// Order of index: all tiles of a sequence's head, then its next head, then the next sequence.
RowTile find_row_tile(uint index) {
    uint lo = 0u, hi = sequences;
    while (lo + 1u < hi) {
        uint mid = (lo + hi) / 2u;
        if (sequence_tile(mid) * heads_q <= index) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    RowTile t;
    t.seq = load_sequence(lo);
    uint tiles = (lo + 1u < sequences ? sequence_tile(lo + 1u) : row_tiles) - t.seq.first_tile;
    uint rest = index - t.seq.first_tile * heads_q;
    t.head = rest / tiles;
    t.row = int((rest - t.head * tiles) * tile_rows);
    return t;
}

uint kv_head(uint head, uint count) { return cyclic != 0u ? head % count : head / (heads_q / count); }

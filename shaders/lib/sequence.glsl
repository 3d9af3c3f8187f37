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

// One row tile of one query head, or of pack heads: row r of the tile is row r / pack of head r % pack of them.
struct RowTile {
    Sequence seq;
    uint head;          // of the first row
    int row;            // first row
    int rows;           // rows there are, pack for each row of the sequence
};

// Order of index: all tiles of a sequence's head (or pack of heads), then its next, then the next sequence.
RowTile find_row_tile(uint index) {
    uint heads = heads_q / pack;
    uint lo = 0u, hi = sequences;
    if (hi > 1u) { // the loads of a search wait for each other: first comes the sequence that it is if all have as many row tiles
        uint guess = min(index / max(row_tiles * heads / hi, 1u), hi - 1u), next = min(guess + 1u, hi - 1u);
        uint from = sequence_tile(guess) * heads, to = sequence_tile(next) * heads;
        if (from <= index && (next == guess || index < to)) {
            lo = guess;
            hi = guess + 1u;
        }
    }
    while (lo + 1u < hi) {
        uint mid = (lo + hi) / 2u;
        if (sequence_tile(mid) * heads <= index) {
            lo = mid;
        } else {
            hi = mid;
        }
    }
    RowTile t;
    t.seq = load_sequence(lo);
    uint tiles = (lo + 1u < sequences ? sequence_tile(lo + 1u) : row_tiles) - t.seq.first_tile;
    uint rest = index - t.seq.first_tile * heads;
    t.head = rest / tiles;
    t.row = int((rest - t.head * tiles) * tile_rows);
    t.head *= cyclic != 0u ? 1u : pack;
    t.rows = t.seq.sq * int(pack);
    return t;
}

// A row of a tile: its query head, and its row in the sequence.
struct Row {
    uint head, i;
};

Row find_row(RowTile tile, int row) {
    uint i = uint(row) / pack;
    return Row(tile.head + (uint(row) - i * pack) * (cyclic != 0u ? heads_q / pack : 1u), i);
}

uint kv_head(uint head, uint count) { return cyclic != 0u ? head % count : head / (heads_q / count); }

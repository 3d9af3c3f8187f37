// Where the rows of keys and values lie: the one place that knows. Without an index, key j of a sequence is row k0 + j; with one,
// lists[] from key_index on say in which page it is, and a page is page_tokens rows that follow each other. Pages of one
// token are an index of rows. Needs params.glsl and sequence.glsl.

// Keys, from a multiple of so many on, that are sure to lie in one page: 1, 4 or 32. 0: there is no index.
layout(constant_id = 8) const uint PAGED = 0u;

uint key_index;         // of the sequence, in lists[]
uint key_rows[KEYS];    // of the KEYS keys of a step

void find_index(Sequence seq) {
    if (PAGED != 0u) {
        key_index = page_list + seq.index * page_stride;
    }
}

// page_row is the first row of a page. What the table says past its end or of a page that is gone may be anything.
uint page_row(uint page) { return min(lists[key_index + page], page_count - 1u) * page_tokens; }

// find_keys looks up KEYS keys from j on, which is a multiple of KEYS; keys before first or behind last stand for any row.
void find_keys(int j, int first, int last) {
    if (PAGED >= KEYS) {
        uint page = uint(clamp(j, first, last)) / page_tokens;
        uint row = page_row(page) + uint(j) % page_tokens;
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
            key_rows[c] = row + c;
        }
    } else if (PAGED != 0u) {
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
            uint key = uint(clamp(j + int(c), first, last)), page = key / page_tokens;
            key_rows[c] = page_row(page) + key - page * page_tokens;
        }
    }
}

// key_row is the row of key j + c of the step that was looked up.
uint key_row(uint c, int j, int first, int last) {
    return PAGED != 0u ? key_rows[c] : uint(clamp(j + int(c), first, last));
}

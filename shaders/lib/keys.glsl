// Where the rows of keys and values lie: the one place that knows. Without an index, key j of a sequence is row k0 + j; with one,
// lists[] from key_index on say in which page it is, and a page is page_tokens rows that follow each other. Pages of one
// token are an index of rows. Needs params.glsl and sequence.glsl.

// Keys, from a multiple of so many on, that are sure to lie in one page: 1, 4, 8, 16 or KEY_TILE. 0: there is no index.
layout(constant_id = 8) const uint PAGED = 0u;
const uint PAGE_KEYS = PAGED == 0u ? 1u : PAGED < KEYS ? PAGED : KEYS; // of a step, that are

uint key_index;         // of the sequence, in lists[]
uint last_page;         // that has a key
uint page_first;        // row of the page that has the next key
uint key_page, key_at;  // that page, and the place of the key in it
uint key_rows[KEYS];    // of the KEYS keys of a step

void find_index(Sequence seq, int last) {
    if (PAGED != 0u) {
        key_index = page_list + seq.index * page_stride;
        last_page = uint(max(last, 0)) / page_tokens;
    }
}

// page_row is the first row of a page. What the table says of a page that is gone may be anything.
uint page_row(uint page) { return min(lists[key_index + min(page, last_page)], page_count - 1u) * page_tokens; }

// find_tile goes to a tile of keys. Division is dear on software drivers, and so is a look at the table.
void find_tile(int first) {
    if (PAGED != 0u) {
        key_page = uint(first) / page_tokens;
        key_at = uint(first) - key_page * page_tokens;
        page_first = page_row(key_page);
    }
}

// step_keys goes so many keys on in the page.
void step_keys(uint keys) {
    key_at += keys;
    if (PAGED < KEY_TILE && key_at == page_tokens) {
        key_page++;
        key_at = 0u;
        page_first = page_row(key_page);
    }
}

// find_keys looks up the next KEYS keys; those behind the last one stand for any row.
void find_keys() {
    [[unroll]] for (uint c = 0u; c < KEYS; c++) {
        if (PAGED == 0u) {
            continue;
        }
        key_rows[c] = page_first + key_at + c % PAGE_KEYS;
        if ((c + 1u) % PAGE_KEYS == 0u) {
            step_keys(PAGE_KEYS);
        }
    }
}

// key_row is the row of key j + c, of the step that was looked up.
uint key_row(uint c, int j, int first, int last) {
    return PAGED != 0u ? key_rows[c] : uint(clamp(j + int(c), first, last));
}

// one_key_row is key_row where c differs from lane to lane.
uint one_key_row(uint c, int j, int first, int last) {
    if (PAGED == 0u) {
        return key_row(c, j, first, last);
    }
    uint row = key_rows[0];
    [[unroll]] for (uint i = 1u; i < KEYS; i++) {
        row = c == i ? key_rows[i] : row;
    }
    return row;
}

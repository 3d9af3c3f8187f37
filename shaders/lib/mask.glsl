// Which keys a row sees: the closed-form masks, as one predicate for a pair and as ranges for a tile,
// and the two hooks that change or hide a score. Meanings are those of docs/semantics.md.
// Needs params.glsl and sequence.glsl.

int floor_div(int a, int b) {
    int q = a / b;
    return (a - q * b) < 0 ? q - 1 : q;
}

// chunk_of is the chunk of a position, which may lie far before or behind the keys.
int chunk_of(Sequence seq, int p) { return floor_div(min(p, FAR - seq.key_phase) + seq.key_phase, chunk); }

bool windowed() { return (flags & (FLAG_LEFT | FLAG_RIGHT)) != 0u; }

// first_global is the index of the first global token at local position p or later.
uint first_global(int p) {
    uint lo = 0u, hi = global_count;
    while (lo < hi) {
        uint mid = (lo + hi) / 2u;
        if (int(lists[global_list + mid]) < p) {
            lo = mid + 1u;
        } else {
            hi = mid;
        }
    }
    return lo;
}

int global_at(uint n) { return n < global_count ? int(lists[global_list + n]) : FAR; }

bool is_global(int p) { return global_count != 0u && global_at(first_global(p)) == p; }

// in_window: position p keeps key j.
bool in_window(int p, int j) {
    return ((flags & FLAG_LEFT) == 0u || p - j <= window_left) && ((flags & FLAG_RIGHT) == 0u || j - p <= window_right);
}

// visible: the closed-form masks, for a row of the sequence at position p and a key inside it.
bool visible(Sequence seq, int p, bool row_global, int j) {
    if ((flags & FLAG_CAUSAL) != 0u && j > p && j >= seq.prefix) {
        return false;
    }
    if (chunk > 0 && chunk_of(seq, p) != chunk_of(seq, j)) {
        return false;
    }
    return !windowed() || in_window(p, j) || j < sink_tokens || row_global || is_global(j);
}

const int REACH = 0x3fffffff;   // keys lie before it, window bounds are within +-REACH

// The keys that the rows at positions [p0, p1] may see.
struct KeyRange {
    int lo, hi;             // length, causal and chunk
    int window_lo, window_hi;
    bool windowed;          // false if a row is a global token
    uint global;            // next global token
};

KeyRange key_range(Sequence seq, int p0, int p1) {
    KeyRange r;
    r.lo = 0;
    r.hi = seq.sk;
    if ((flags & FLAG_CAUSAL) != 0u) {
        r.hi = min(r.hi, max(p1 + 1, seq.prefix));
    }
    if (chunk > 0) {
        r.lo = max(r.lo, chunk_of(seq, p0) * chunk - seq.key_phase);
        int last = chunk_of(seq, p1);
        if (last <= chunk_of(seq, r.hi)) {  // else the end of the chunk lies beyond the keys
            r.hi = min(r.hi, (last + 1) * chunk - seq.key_phase);
        }
    }
    r.windowed = windowed();
    r.global = 0u;
    r.window_lo = r.lo;
    r.window_hi = r.hi;
    if (r.windowed) {
        if (global_count != 0u) {
            r.global = first_global(r.lo);
            if (global_at(first_global(p0)) <= p1) {
                r.windowed = false;
            }
        }
        if ((flags & FLAG_LEFT) != 0u) {
            r.window_lo = max(r.lo, min(p0, REACH) - window_left);
        }
        if ((flags & FLAG_RIGHT) != 0u) {
            r.window_hi = min(r.hi, min(p1, REACH) + 1 + window_right);
        }
    }
    return r;
}

// next_tile is the first key tile at or after tile that may hold a visible key, or FAR.
int next_tile(inout KeyRange r, int tile, int tile_keys) {
    int j = tile * tile_keys;
    if (j >= r.hi || r.lo >= r.hi) {
        return FAR;
    }
    // A tile that no row sees a key of may lie outside of what is bound.
    bool window = r.window_lo < r.window_hi;
    if (!r.windowed || max(j, r.lo) < sink_tokens || (window && j + tile_keys > r.window_lo && j < r.window_hi)) {
        return tile;
    }
    int next = FAR;
    if (window && j < r.window_lo) {
        next = r.window_lo;
    }
    while (global_at(r.global) < j) {
        r.global++;
    }
    next = min(next, global_at(r.global));
    return next >= r.hi ? FAR : next / tile_keys;
}

// bits_of are the keys of [lo, hi) among the 32 from first on.
uint bits_of(int lo, int hi, int first) {
    lo = clamp(lo, first, first + 32) - first;
    hi = clamp(hi, first, first + 32) - first;
    return lo < hi ? (0xffffffffu >> uint(32 - (hi - lo))) << uint(lo) : 0u;
}

// seen_keys are those of the 32 keys from first on that lie in [lo, hi) and that visible() lets the row at
// position p see.
uint seen_keys(Sequence seq, int p, bool row_global, int first, int lo, int hi) {
    if ((flags & FLAG_CAUSAL) != 0u) {
        hi = min(hi, max(p + 1, seq.prefix));
    }
    if (chunk > 0) {
        int start = chunk_of(seq, p) * chunk - seq.key_phase;
        lo = max(lo, start);
        hi = min(hi, start > FAR - chunk ? FAR : start + chunk);
    }
    uint bits = bits_of(lo, hi, first);
    if (windowed()) {
        int left = p - window_left, right = p + window_right + 1;
        left = (flags & FLAG_LEFT) == 0u ? first : (window_left < 0 && left < p ? FAR : left);
        right = (flags & FLAG_RIGHT) == 0u || (window_right >= 0 && right < p) ? FAR : right;
        uint kept = row_global ? 0xffffffffu : bits_of(left, right, first) | bits_of(first, sink_tokens, first);
        if (global_count != 0u) {
            uint n = first_global(first);
            for (int g = global_at(n); g < first + 32; g = global_at(n)) {
                kept |= 1u << uint(g - first);
                n++;
            }
        }
        bits &= kept;
    }
    return bits;
}

// seen_range are the keys of [lo, hi) that visible() lets the row at position p see, where those are one range: there are neither sinks nor
// global tokens, and windows reach back and ahead of the row. Both ends go up with p.
ivec2 seen_range(Sequence seq, int p, int lo, int hi) {
    if ((flags & FLAG_CAUSAL) != 0u) {
        hi = min(hi, max(p + 1, seq.prefix));
    }
    if (chunk > 0) {
        int start = chunk_of(seq, p) * chunk - seq.key_phase;
        lo = max(lo, start);
        hi = min(hi, start > FAR - chunk ? FAR : start + chunk);
    }
    if ((flags & FLAG_LEFT) != 0u) {
        lo = max(lo, p - window_left);
    }
    if ((flags & FLAG_RIGHT) != 0u) {
        int right = p + window_right + 1;
        hi = right < p ? hi : min(hi, right);
    }
    return ivec2(lo, hi);
}

// all_visible: every row at a position in [p0, p1] sees all keys of [j0, j1), which is never said wrongly; [lo, hi) are the keys there are.
bool all_visible(Sequence seq, int p0, int p1, int j0, int j1, int lo, int hi) {
    if (j0 < lo || j1 > hi || (flags & FLAG_CAUSAL) != 0u && j1 > p0 + 1 && j1 > seq.prefix) {
        return false;
    }
    if (chunk > 0 && (chunk_of(seq, p0) != chunk_of(seq, j0) || chunk_of(seq, p1) != chunk_of(seq, j1 - 1) || chunk_of(seq, p0) != chunk_of(seq, p1))) {
        return false;
    }
    return ((flags & FLAG_LEFT) == 0u || p1 - j0 <= window_left) && ((flags & FLAG_RIGHT) == 0u || j1 - 1 - p0 <= window_right);
}

// chosen_keys are those of bits, of the 32 keys from first on, whose block the row chose that has its mask at row. A
// block without any of them is not looked at: what is bound may not show it.
uint chosen_keys(uint bits, uint row, uint stride, int first) {
    int block = int(mask_block);
    for (int b = first / block; b * block < first + 32; b++) {
        uint keys = bits_of(b * block, (b + 1) * block, first);
        if ((bits & keys) != 0u && !load_mask(row + uint(b) * stride)) {
            bits &= ~keys;
        }
    }
    return bits;
}

// tree_row is where the bits of row i lie in lists[], or 0 if the sequence has no tree: one for each of its last sq keys.
uint tree_row(Sequence seq, uint i) {
    uint tree = lists[tree_list + seq.index];
    return tree == 0u ? 0u : tree + i * ((uint(seq.sq) + 31u) / 32u);
}

// tree_keys are those of the 32 keys from first on that the row sees whose bits lie at row: all that come before the tree.
uint tree_keys(Sequence seq, uint row, int first) {
    int words = (seq.sq + 31) / 32, beyond = first - (seq.sk - seq.sq);
    if (row == 0u || beyond <= -32) {
        return 0xffffffffu;
    }
    if (beyond < 0) {
        return bits_of(0, -beyond, 0) | lists[row] << uint(-beyond);
    }
    int word = min(beyond / 32, words - 1);
    uint shift = uint(beyond % 32), bits = lists[row + uint(word)] >> shift;
    return shift != 0u && word + 1 < words ? bits | lists[row + uint(word + 1)] << (32u - shift) : bits;
}

// tanh that keeps tiny arguments and never overflows.
float soft_tanh(float x) {
    float a = abs(x);
    float x2 = x * x;
    float series = x * (1.0 + x2 * (-1.0 / 3.0 + x2 * (2.0 / 15.0 + x2 * (-17.0 / 315.0 + x2 * (62.0 / 2835.0)))));
    float e = exp2(-2.0 * LOG2E * a);
    float big = (1.0 - e) / (1.0 + e);
    return a < 0.25 ? series : (x < 0.0 ? -big : big);
}

// bias_by_distance is that of the row at position p and key j, whose head has its numbers in lists[] from table on.
float bias_by_distance(uint table, int p, int j) {
    int distance = j - clamp(p, j - relative_reach, j + relative_reach);
    return uintBitsToFloat(lists[table + uint(distance + relative_reach)]);
}

// score: the logit of a pair from its scaled dot product: softcap, ALiBi. Biases come after.
float score(float s, float slope, int p, int j) {
    if (softcap > 0.0) {
        s = softcap * soft_tanh(s / softcap);
    }
    if ((flags & FLAG_ALIBI) != 0u) {
        s -= slope * float(abs(p - j));
    }
    return s;
}

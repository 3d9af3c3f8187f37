// Which element of an M x N accumulator an invocation holds at which place, where that is known: every bit of the
// invocation and of the place adds one power of two to the row or to the column. LANES and PLACES say so, four bits for each bit:
// the exponent, plus 8 where it is the column's, and 8 for bits that there are not. Needs them, M, N and SUBGROUP.
//
// An invocation holds elements of SLOTS rows; slot_of is which of them a place belongs to.

const uint PLACE_COUNT = M * N / SUBGROUP;  // elements that an invocation holds

uint to_row(uint code, uint x, uint b) { return (code >> 4u * b & 8u) == 0u ? (x >> b & 1u) << (code >> 4u * b & 7u) : 0u; }
uint to_column(uint code, uint x, uint b) { return (code >> 4u * b & 8u) != 0u ? (x >> b & 1u) << (code >> 4u * b & 7u) : 0u; }

uint row_in(uint code, uint x) {
    return to_row(code, x, 0u) | to_row(code, x, 1u) | to_row(code, x, 2u) | to_row(code, x, 3u) | to_row(code, x, 4u) | to_row(code, x, 5u) | to_row(code, x, 6u);
}

uint column_in(uint code, uint x) {
    return to_column(code, x, 0u) | to_column(code, x, 1u) | to_column(code, x, 2u) | to_column(code, x, 3u) | to_column(code, x, 4u) | to_column(code, x, 5u) | to_column(code, x, 6u);
}

// How many of the first n bits of a place choose the row.
#define ROW_BIT(b) (PLACES >> 4u * (b) + 3u & 1u ^ 1u)
const uint ROW_BITS1 = ROW_BIT(0u);
const uint ROW_BITS2 = ROW_BITS1 + ROW_BIT(1u);
const uint ROW_BITS3 = ROW_BITS2 + ROW_BIT(2u);
const uint ROW_BITS4 = ROW_BITS3 + ROW_BIT(3u);
const uint ROW_BITS5 = ROW_BITS4 + ROW_BIT(4u);
const uint ROW_BITS6 = ROW_BITS5 + ROW_BIT(5u);
const uint SLOTS = 1u << ROW_BITS6;

uint slot_of(uint place) {
    return (place & 1u & ROW_BIT(0u)) | (place >> 1u & ROW_BIT(1u)) << ROW_BITS1 | (place >> 2u & ROW_BIT(2u)) << ROW_BITS2
         | (place >> 3u & ROW_BIT(3u)) << ROW_BITS3 | (place >> 4u & ROW_BIT(4u)) << ROW_BITS4 | (place >> 5u & ROW_BIT(5u)) << ROW_BITS5;
}

// The first place of a slot.
uint place_of(uint slot) {
    return (slot & ROW_BIT(0u)) | (slot >> ROW_BITS1 & ROW_BIT(1u)) << 1u | (slot >> ROW_BITS2 & ROW_BIT(2u)) << 2u
         | (slot >> ROW_BITS3 & ROW_BIT(3u)) << 3u | (slot >> ROW_BITS4 & ROW_BIT(4u)) << 4u | (slot >> ROW_BITS5 & ROW_BIT(5u)) << 5u;
}

uint lane() { return gl_SubgroupInvocationID; }
uint lane_row() { return row_in(LANES, lane()); }
uint lane_column() { return column_in(LANES, lane()); }
uint place_column(uint place) { return column_in(PLACES, place); }
uint row_at(uint place) { return row_in(PLACES, place) | lane_row(); }
uint column_at(uint place) { return place_column(place) | lane_column(); }

// Of all invocations that hold elements of the same row.
#define OVER_ROW(name, op)                                                                  \
    float name(float x) {                                                                   \
        if (SUBGROUP > 1u && (LANES & 8u) != 0u) { x = op(x, subgroupShuffleXor(x, 1u)); }   \
        if (SUBGROUP > 2u && (LANES & 8u << 4u) != 0u) { x = op(x, subgroupShuffleXor(x, 2u)); } \
        if (SUBGROUP > 4u && (LANES & 8u << 8u) != 0u) { x = op(x, subgroupShuffleXor(x, 4u)); } \
        if (SUBGROUP > 8u && (LANES & 8u << 12u) != 0u) { x = op(x, subgroupShuffleXor(x, 8u)); } \
        if (SUBGROUP > 16u && (LANES & 8u << 16u) != 0u) { x = op(x, subgroupShuffleXor(x, 16u)); } \
        if (SUBGROUP > 32u && (LANES & 8u << 20u) != 0u) { x = op(x, subgroupShuffleXor(x, 32u)); } \
        return x;                                                                           \
    }

float add(float a, float b) { return a + b; }
OVER_ROW(row_max, max)
OVER_ROW(row_sum, add)

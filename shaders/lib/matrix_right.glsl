// Right operands (N x N, rows along the sum) made in registers, from sixteen bytes at a time as they lie in memory: eight neighbours of a
// row of keys, or of values. Needs ELEMENT, matrix_layout.glsl, and RIGHT_LANES and RIGHT_PLACES, which say of right operands what LANES and
// PLACES say there.
//
// A product may go through the elements of a head in any order that queries and keys share, and give outputs in any order that is known.
// So the eight neighbours serve the same places of several matrices, and nothing moves from invocation to invocation.

#define IS_ROW(code, b) ((code) >> 4u * (b) + 3u & 1u ^ 1u)
#define ROW_BIT_OF(code, b) (IS_ROW(code, b) << ((code) >> 4u * (b) & 7u))
#define COLUMN_BIT_OF(code, b, count) (((code) >> 4u * (b) + 3u & 1u & uint(1u << (b) < (count))) << ((code) >> 4u * (b) & 7u))

const uint RIGHT_COUNT = N * N / SUBGROUP;  // elements that an invocation holds
// Bits of an element's row that its place says, and bits of its column; the invocation says the others.
const uint PLACE_ROWS = ROW_BIT_OF(RIGHT_PLACES, 0u) | ROW_BIT_OF(RIGHT_PLACES, 1u) | ROW_BIT_OF(RIGHT_PLACES, 2u) | ROW_BIT_OF(RIGHT_PLACES, 3u) | ROW_BIT_OF(RIGHT_PLACES, 4u);
const uint PLACE_COLUMNS = COLUMN_BIT_OF(RIGHT_PLACES, 0u, RIGHT_COUNT) | COLUMN_BIT_OF(RIGHT_PLACES, 1u, RIGHT_COUNT) | COLUMN_BIT_OF(RIGHT_PLACES, 2u, RIGHT_COUNT) |
    COLUMN_BIT_OF(RIGHT_PLACES, 3u, RIGHT_COUNT) | COLUMN_BIT_OF(RIGHT_PLACES, 4u, RIGHT_COUNT);
const uint OWN_ROWS = 1u << IS_ROW(RIGHT_PLACES, 0u) + IS_ROW(RIGHT_PLACES, 1u) + IS_ROW(RIGHT_PLACES, 2u) + IS_ROW(RIGHT_PLACES, 3u) + IS_ROW(RIGHT_PLACES, 4u);
const uint OWN_COLUMNS = RIGHT_COUNT / OWN_ROWS;            // that an invocation holds elements of
const uint ROW_LINES = N / OWN_ROWS;                        // invocations that differ in their rows
const uint COLUMN_LINES = N / OWN_COLUMNS;

// gathered are the bits of x that mask has, side by side; scattered is the inverse.
uint gathered(uint x, uint mask) {
    uint y = 0u, n = 0u;
    [[unroll]] for (uint b = 0u; b < 5u; b++) {
        y |= (x & mask & 1u << b) >> b << n;
        n += mask >> b & 1u;
    }
    return y;
}

uint scattered(uint x, uint mask) {
    uint y = 0u, n = 0u;
    [[unroll]] for (uint b = 0u; b < 5u; b++) {
        y |= (x >> n & mask >> b & 1u) << b;
        n += mask >> b & 1u;
    }
    return y;
}

// The n-th of an invocation's own rows or columns, and which of them an element lies in.
uint right_row(uint n) { return row_in(RIGHT_LANES, lane()) | scattered(n, PLACE_ROWS); }
uint right_column(uint n) { return column_in(RIGHT_LANES, lane()) & N - 1u & ~PLACE_COLUMNS | scattered(n, PLACE_COLUMNS); }
uint own_row_of(uint place) { return gathered(row_in(RIGHT_PLACES, place), PLACE_ROWS); }
uint own_column_of(uint place) { return gathered(column_in(RIGHT_PLACES, place), PLACE_COLUMNS); }

// The line of an invocation, or of a row or column.
uint row_line(uint row) { return gathered(row, N - 1u & ~PLACE_ROWS); }
uint column_line(uint column) { return gathered(column, N - 1u & ~PLACE_COLUMNS); }

// Eight neighbours of a row serve so many matrices along it: of keys by their rows, of values by their columns.
const uint KEYS_SERVED = 8u / OWN_ROWS;
const uint VALUES_SERVED = 8u / OWN_COLUMNS;

// key_eight is where the g-th eight neighbours of a line lie in a row of keys, value_eight the same of values.
uint key_eight(uint g, uint line) { return (g * ROW_LINES + line) * 8u; }
uint value_eight(uint g, uint line) { return (g * COLUMN_LINES + line) * 8u; }

// value_element is which element of a row of values comes out in this column of matrix x.
uint value_element(uint x, uint column) {
    return value_eight(x / VALUES_SERVED, column_line(column)) + x % VALUES_SERVED * OWN_COLUMNS + gathered(column, PLACE_COLUMNS);
}

// part_of is one of eight numbers.
ELEMENT part_of(uvec4 eight, uint n) {
    uint word = eight[n >> 1u];
#if BFLOAT
    return ELEMENT(uintBitsToFloat((n & 1u) == 0u ? word << 16 : word & 0xffff0000u));
#else
    return unpackFloat2x16(word)[n & 1u];
#endif
}

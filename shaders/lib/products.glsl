// Queries times keys, in float32: each lane has DIM4 times four elements of every row and of all KEYS keys of a step.
//
//   load_query(tile, row)     the queries of the ROWS rows from row on
//   multiply_keys(base, ...)  products[r][c] of the lane's elements with those of the keys that find_keys looked up

vec4 query[ROWS * DIM4];

void load_query(RowTile tile, int row) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        Row at = find_row(tile, clamp(row + int(r), row_first, row_end - 1));
        uint base = query_at(tile, at);
        [[unroll]] for (uint x = 0u; x < DIM4; x++) {
            query[r * DIM4 + x] = inside(load_q(base, slice_dim(x), query_dim), slice_dim(x), query_dim);
            if (DESCALE != 0u) {
                query[r * DIM4 + x] *= query_factor(tile, at);
            }
        }
    }
}

void multiply_keys(uint base, int j, int first, int last) {
    vec4 keys[KEYS * DIM4];
    [[unroll]] for (uint c = 0u; c < KEYS; c++) {
        uint row = base + key_row(c, j, first, last) * k_stride;
        [[unroll]] for (uint x = 0u; x < DIM4; x++) {
            keys[c * DIM4 + x] = inside(load_k(row, slice_dim(x), query_dim), slice_dim(x), query_dim);
        }
    }
    [[unroll]] for (uint c = 0u; c < KEYS; c++) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            products[r * KEYS + c] = 0.0;
        }
        [[unroll]] for (uint x = 0u; x < DIM4; x++) {
            vec4 key = keys[c * DIM4 + x];
            [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                vec4 a = query[r * DIM4 + x];
                float sum = products[r * KEYS + c];
                sum = a.x * key.x + sum;
                sum = a.y * key.y + sum;
                sum = a.z * key.z + sum;
                products[r * KEYS + c] = a.w * key.w + sum;
            }
        }
    }
}

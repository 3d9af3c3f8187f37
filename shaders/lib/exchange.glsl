// A row group is LANES invocations that share ROWS rows. Each lane holds a slice of the head dimension
// of every row. Row r also has an owner, lane r (lanes ROWS apart own the same row and hold the same
// values), that keeps the row's running maximum and sum.
//
//   gather()          products[c][r] of all lanes, added up -> scores[c] of the owners
//   publish(decay, seen), then for any row r:
//   weight(c, r)      weights[c] of the owner of r
//   decay_of(r)       its decay
//   seen_by_group()   keys (bits) that at least one row of the group sees
//   settle()          before a publish that no gather precedes
//
// Needs LANES, ROWS, KEYS, MAX_ROWS, WHOLE. SUBGROUP 1 uses shuffles and no memory. SUBGROUP 0 uses shared
// memory and barriers: gather and publish must be called in workgroup-uniform control flow.

float products[KEYS * MAX_ROWS];
float scores[KEYS];
float weights[KEYS];

#if SUBGROUP

float published_decay;
uint published_seen;

uint group_lane() { return gl_SubgroupInvocationID % LANES; }
uint row_group() { return (gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID) / LANES; }

// One step of a transposed butterfly: each lane gives half of its rows to its partner.
#define HALVE(n)                                                                    \
    if (ROWS >= 2u * n) {                                                           \
        bool upper = (gl_SubgroupInvocationID & n) != 0u;                           \
        [[unroll]] for (uint r = 0u; r < n; r++) {                                  \
            float low = products[c * MAX_ROWS + r];                                 \
            float high = products[c * MAX_ROWS + r + n];                            \
            products[c * MAX_ROWS + r] = (upper ? high : low) + subgroupShuffleXor(upper ? low : high, n); \
        }                                                                           \
    }
#define FOLD(n)                                                                     \
    if (LANES >= 2u * n && ROWS <= n) {                                             \
        scores[c] += subgroupShuffleXor(scores[c], n);                              \
    }

void gather() {
    [[unroll]] for (uint c = 0u; c < KEYS; c++) {
        HALVE(4u)
        HALVE(2u)
        HALVE(1u)
        scores[c] = products[c * MAX_ROWS];
        FOLD(1u)
        FOLD(2u)
        FOLD(4u)
        FOLD(8u)
        FOLD(16u)
    }
}

void publish(float decay, uint seen) {
    published_decay = decay;
    if (ROWS >= 2u) { seen |= subgroupShuffleXor(seen, 1u); }
    if (ROWS >= 4u) { seen |= subgroupShuffleXor(seen, 2u); }
    if (ROWS >= 8u) { seen |= subgroupShuffleXor(seen, 4u); }
    published_seen = seen;
}

uint owner_lane(uint r) { return WHOLE ? r : (gl_SubgroupInvocationID & ~(LANES - 1u)) + r; }
float weight(uint c, uint r) { return subgroupShuffle(weights[c], owner_lane(r)); }
float decay_of(uint r) { return subgroupShuffle(published_decay, owner_lane(r)); }
uint seen_by_group() { return published_seen; }
void settle() {}

#else

const uint OWNED = KEYS + 2u;   // what an owner publishes: weights, decay, seen

shared float shared_products[gl_WorkGroupSize.x * ROWS * KEYS];
shared float shared_owners[gl_WorkGroupSize.x / LANES * ROWS * OWNED];

uint group_lane() { return gl_LocalInvocationID.x % LANES; }
uint row_group() { return gl_LocalInvocationID.x / LANES; }

void gather() {
    uint at = row_group() * ROWS * KEYS * LANES;
    [[unroll]] for (uint c = 0u; c < KEYS; c++) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            shared_products[at + (r * KEYS + c) * LANES + group_lane()] = products[c * MAX_ROWS + r];
        }
    }
    barrier();
    uint row = group_lane() % ROWS;
    [[unroll]] for (uint c = 0u; c < KEYS; c++) {
        float sum = 0.0;
        for (uint i = 0u; i < LANES; i++) {
            sum += shared_products[at + (row * KEYS + c) * LANES + i];
        }
        scores[c] = sum;
    }
}

void publish(float decay, uint seen) {
    uint at = (row_group() * ROWS + group_lane()) * OWNED;
    if (group_lane() < ROWS) {
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
            shared_owners[at + c] = weights[c];
        }
        shared_owners[at + KEYS] = decay;
        shared_owners[at + KEYS + 1u] = float(seen);
    }
    barrier();
}

void settle() { barrier(); }
float weight(uint c, uint r) { return shared_owners[(row_group() * ROWS + r) * OWNED + c]; }
float decay_of(uint r) { return shared_owners[(row_group() * ROWS + r) * OWNED + KEYS]; }
uint seen_by_group() {
    uint seen = 0u;
    for (uint r = 0u; r < ROWS; r++) {
        seen |= uint(shared_owners[(row_group() * ROWS + r) * OWNED + KEYS + 1u]);
    }
    return seen;
}

#endif

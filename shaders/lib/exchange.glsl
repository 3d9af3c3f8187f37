// A row group is LANES invocations that share ROWS rows. Each lane holds a slice of the head dimension
// of every row. Row r also has an owner, lane r % LANES (lanes ROWS apart own the same row and hold the
// same values), that keeps the row's running maximum and sum. A lane owns OWN rows, LANES apart.
//
//   gather()          products[r][c] of all lanes, added up -> scores[o][c] of the owners
//   publish(seen)     decays[o] and weights[o][c] of the owners, then for any row r:
//   weight(c, r)      weights[..][c] of the owner of r
//   decay_of(r)       its decay
//   seen_by_group()   keys (bits) that at least one row of the group sees
//   settle()          before a publish that no gather precedes
//   steps_of_all(b, n) of the n keys of a tile, the range of whole steps of a team outside of which no owner has a bit set; SUBGROUP 0: all of them
//   any_of_all(x, t)  whether x is true for any invocation of the subgroup (SUBGROUP 0: of the workgroup), in control flow
//                     that is uniform there; t counts the calls
//
//   member()          which of the TEAM row groups it is that share their rows (SUBGROUP 1 only; a subgroup has all of them)
//
// Needs LANES, ROWS, KEYS, TEAM, WHOLE. SUBGROUP 1 uses shuffles and no memory. SUBGROUP 0 uses shared
// memory and barriers: gather and publish must be called in workgroup-uniform control flow.
// INTEGER_DOT 1 (SUBGROUP only): a lane has products of one key of the step, products[r], and shares its head dimension with
// KEY_LANES lanes.

#if !TEAMS
const uint TEAM = 1u;
#endif
const uint OWN = ROWS > LANES ? ROWS / LANES : 1u;
const uint SHARED_ROWS = ROWS / OWN;    // of each of which a lane owns one

#if INTEGER_DOT
const uint KEY_LANES = LANES / KEYS;
const uint LANE_KEYS = 1u;
const uint LANE_ROWS = ROWS > KEY_LANES ? ROWS / KEY_LANES : 1u; // KEY_LANES apart, of which a lane has the sums over these lanes
const uint SUM_ROWS = ROWS / LANE_ROWS;
float sums[LANE_ROWS];
#else
#define KEY_LANES LANES
#define LANE_KEYS KEYS
#define LANE_ROWS OWN
#define SUM_ROWS SHARED_ROWS
#define sums scores
#endif

float products[ROWS * LANE_KEYS];
float scores[OWN * KEYS];
float weights[OWN * KEYS];
float decays[OWN];

// owned_row is the o-th row that the lane owns.
uint group_lane();
uint owned_row(uint o) { return o * LANES + group_lane() % SHARED_ROWS; }

#if SUBGROUP

uint published_seen;

uint group_lane() { return gl_SubgroupInvocationID % LANES; }
uint row_group() { return (gl_SubgroupID * gl_SubgroupSize + gl_SubgroupInvocationID) / (LANES * TEAM); }
uint member() { return TEAM == 1u ? 0u : gl_SubgroupInvocationID / LANES % TEAM; }

// One step of a transposed butterfly: each lane gives half of its rows to its partner.
#define HALVE(n)                                                                    \
    if (SUM_ROWS >= 2u * n) {                                                       \
        bool upper = (gl_SubgroupInvocationID & n) != 0u;                           \
        [[unroll]] for (uint r = 0u; r < n; r++) {                                  \
            float low = products[(first + r) * LANE_KEYS + c];                      \
            float high = products[(first + r + n) * LANE_KEYS + c];                 \
            products[(first + r) * LANE_KEYS + c] = (upper ? high : low) + subgroupShuffleXor(upper ? low : high, n); \
        }                                                                           \
    }
#define FOLD(n)                                                                     \
    if (KEY_LANES >= 2u * n && SUM_ROWS <= n) {                                     \
        sums[o * LANE_KEYS + c] += subgroupShuffleXor(sums[o * LANE_KEYS + c], n);  \
    }

#if INTEGER_DOT
// of_all_keys is a number of this lane's key, and those of the lanes that have the same part of the other keys, in the keys' order. A
// lane's own rows are among those whose sums it has.
vec4 of_all_keys(float own) {
    uint key = group_lane() / KEY_LANES;
    float next = subgroupShuffleXor(own, KEY_LANES);
    vec2 pair = (key & 1u) != 0u ? vec2(next, own) : vec2(own, next);
    vec2 others = subgroupShuffleXor(pair, 2u * KEY_LANES);
    return (key & 2u) != 0u ? vec4(others, pair) : vec4(pair, others);
}
#endif

void gather() {
    [[unroll]] for (uint o = 0u; o < LANE_ROWS; o++) {
        uint first = o * KEY_LANES;
        [[unroll]] for (uint c = 0u; c < LANE_KEYS; c++) {
            HALVE(8u)
            HALVE(4u)
            HALVE(2u)
            HALVE(1u)
            sums[o * LANE_KEYS + c] = products[first * LANE_KEYS + c];
            FOLD(1u)
            FOLD(2u)
            FOLD(4u)
            FOLD(8u)
            FOLD(16u)
        }
    }
#if INTEGER_DOT
    [[unroll]] for (uint s = 0u; s < LANE_ROWS; s++) {
        vec4 all = of_all_keys(sums[s]);
        [[unroll]] for (uint o = 0u; o < OWN; o++) {
            if (LANE_ROWS == 1u || owned_row(o) / KEY_LANES == s) {
                [[unroll]] for (uint c = 0u; c < KEYS; c++) {
                    scores[o * KEYS + c] = all[c];
                }
            }
        }
    }
#endif
}

void publish(uint seen) {
    if (SHARED_ROWS >= 2u) { seen |= subgroupShuffleXor(seen, 1u); }
    if (SHARED_ROWS >= 4u) { seen |= subgroupShuffleXor(seen, 2u); }
    if (SHARED_ROWS >= 8u) { seen |= subgroupShuffleXor(seen, 4u); }
    if (SHARED_ROWS >= 16u) { seen |= subgroupShuffleXor(seen, 8u); }
    published_seen = seen;
}

uint owner_lane(uint r) { return WHOLE ? r % LANES : (gl_SubgroupInvocationID & ~(LANES - 1u)) + r % LANES; }
float weight(uint c, uint r) { return subgroupShuffle(weights[r / LANES * KEYS + c], owner_lane(r)); }
float decay_of(uint r) { return subgroupShuffle(decays[r / LANES], owner_lane(r)); }
uint seen_by_group() { return published_seen; }
void settle() {}

uint of_all(uint any) {
    for (uint n = 1u; n < gl_SubgroupSize; n *= 2u) {
        any |= subgroupShuffleXor(any, n);
    }
    return any;
}

uvec2 steps_of_all(uint bits[OWN], uint keys) {
    uint any = 0u;
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        any |= bits[o];
    }
    any = of_all(any);
    const uint all = KEYS * TEAM;
    return any == 0u ? uvec2(0u) : uvec2(uint(findLSB(any)) / all, uint(findMSB(any)) / all + 1u) * all;
}

bool any_of_all(bool x, inout uint turn) {
    return of_all(x ? 1u : 0u) != 0u;
}

#else

const uint OWNED = KEYS + 2u;   // what an owner publishes: weights, decay, seen

shared float shared_products[gl_WorkGroupSize.x * ROWS * KEYS];
shared float shared_owners[gl_WorkGroupSize.x / LANES * ROWS * OWNED];
shared uint shared_any[3];

uint group_lane() { return gl_LocalInvocationID.x % LANES; }
uint row_group() { return gl_LocalInvocationID.x / LANES; }
uint member() { return 0u; }

void gather() {
    uint at = row_group() * ROWS * KEYS * LANES;
    [[unroll]] for (uint c = 0u; c < KEYS; c++) {
        [[unroll]] for (uint r = 0u; r < ROWS; r++) {
            shared_products[at + (r * KEYS + c) * LANES + group_lane()] = products[r * KEYS + c];
        }
    }
    barrier();
    [[unroll]] for (uint o = 0u; o < OWN; o++) {
        uint row = owned_row(o);
        [[unroll]] for (uint c = 0u; c < KEYS; c++) {
            float sum = 0.0;
            for (uint i = 0u; i < LANES; i++) {
                sum += shared_products[at + (row * KEYS + c) * LANES + i];
            }
            scores[o * KEYS + c] = sum;
        }
    }
}

void publish(uint seen) {
    if (group_lane() < ROWS) {
        [[unroll]] for (uint o = 0u; o < OWN; o++) {
            uint at = (row_group() * ROWS + owned_row(o)) * OWNED;
            [[unroll]] for (uint c = 0u; c < KEYS; c++) {
                shared_owners[at + c] = weights[o * KEYS + c];
            }
            shared_owners[at + KEYS] = decays[o];
            shared_owners[at + KEYS + 1u] = float(seen);
        }
    }
    barrier();
}

void settle() { barrier(); }

uvec2 steps_of_all(uint bits[OWN], uint keys) { return uvec2(0u, keys); }

// Three flags in turn: one is set, the next is cleared, and the last may still be read. One barrier is then enough.
bool any_of_all(bool x, inout uint turn) {
    if (turn == 0u) {
        if (gl_LocalInvocationID.x == 0u) {
            shared_any[0] = 0u;
        }
        barrier();
    }
    uint now = turn % 3u;
    turn++;
    if (gl_LocalInvocationID.x == 0u) {
        shared_any[turn % 3u] = 0u;
    }
    if (x) {
        atomicOr(shared_any[now], 1u);
    }
    barrier();
    return shared_any[now] != 0u;
}
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

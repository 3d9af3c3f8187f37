#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#if TEXELS
#extension GL_EXT_samplerless_texture_functions : require
#endif
#if SUBGROUP
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#endif

// Linear attention by its recurrence, the state in registers. For each token t, q and k being features:
//
//   S = diag(exp(g_t)) S;   u_t = v_t, or beta_t (v_t - S^T k_t);   S = S + k_t u_t^T;   out_t = scale S^T q_t
//
// q [B,Hq,Sq,F], k [B,Hk,Sk,F], v [B,Hv,Sk,Dv], out [B,H,Sq,Dv], state [sequences,Hs,F,columns], any strides. A row
// group of LANES invocations has ROWS columns of one state: a lane holds F/LANES features of each, and z, which the
// groups of a state all compute, where there is a norm. Tokens stream by; a state advances once for all heads that
// read it. One workgroup computes neighbouring columns of one state, for one part of the tokens. PHASE_ADVANCE alone
// adds up a part of the keys, PHASE_READ alone multiplies by a state that is complete: calls that are not causal do one
// after the other. A slice that is not the last leaves the state in memory, so the bits do not depend on the slices.
//
// Shared memory: none with subgroups; without, invocations * ROWS * KEYS floats and a little more.
//
// Katharopoulos et al., arXiv:2006.16236, section 3.3; the delta rule is Yang et al., arXiv:2406.06484.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint LANES = 8;    // power of two, at most the subgroup size
layout(constant_id = 2) const uint ROWS = 8;     // columns of a group: 4 or 8, at most LANES
layout(constant_id = 3) const uint DIM4 = 2;     // vec4 per lane of the features: F <= 4*LANES*DIM4
layout(constant_id = 4) const uint READS = 1;    // heads of the output that are computed together: 1, 2 or 4
layout(constant_id = 5) const bool VECTOR = true;
layout(constant_id = 6) const bool DELTA = false;
layout(constant_id = 7) const bool CHANNEL = false;     // a log decay for each feature
layout(constant_id = 8) const uint NORM = 0;            // NORM_*
layout(constant_id = 9) const uint MAPPING = 0;         // 0: features are what they are, 1: a map without exp, 2: one with exp
layout(constant_id = 10) const bool WHOLE = false;      // a row group is a whole subgroup
layout(constant_id = 11) const uint TYPE_Q = 0u;        // of what is read and written here: 32 or 16 bits
layout(constant_id = 12) const uint TYPE_K = 0u;
layout(constant_id = 13) const uint TYPE_V = 0u;
layout(constant_id = 14) const uint TYPE_OUT = 0u;

const uint KEYS = NORM == 0u ? READS : 2u * READS;      // sums that are gathered together: numerators, denominators
const uint SUMS = NORM == 0u ? 0u : READS;              // the first denominator
const uint FOUND_Z = NORM == 0u ? 0u : 1u;              // what a key finds in z

#include "lib/linear.glsl"
#define QUERY_TEXELS TEXELS
#define TYPES 1
#include "lib/access.glsl"
#include "lib/exchange.glsl"

layout(std430, set = 0, binding = 5) buffer State { float state[]; };
layout(std430, set = 0, binding = 6) readonly buffer Decays { float decay_data[]; };
layout(std430, set = 0, binding = 7) readonly buffer Betas { float beta_data[]; };

vec4 cells[ROWS * DIM4];    // of column r: cells[r * DIM4 + x]
vec4 z[DIM4];
vec4 total[DIM4];           // log decays so far, of each feature; of all of them in total[0].x
uint kind, size, limit_q, limit_k;

uint feature(uint x) { return (x * LANES + group_lane()) * 4u; }

// features_of maps four elements; those beyond F are 0, whatever lies there.
vec4 features_of(vec4 x, uint f) {
    vec4 y;
    [[unroll]] for (uint i = 0u; i < 4u; i++) {
        float m = x[i];
        if (MAPPING != 0u) {
            m = MAPPING == 2u ? map_exp(m, kind) : map_plain(m, kind);
            m = is_nan(x[i]) ? x[i] : m + map_eps;
        }
        y[i] = f + i < size ? m : 0.0;
    }
    return y;
}

uint state_at(uint base, uint row, uint column) { return base + row * slice.state_row + column; }

void resume(uint base, uint entry, uint column, uint columns) {
    [[unroll]] for (uint x = 0u; x < DIM4; x++) {
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
            uint f = feature(x) + i, row = min(f, size - 1u);
            [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                float s = state[state_at(base, row, min(column + r, columns - 1u))];
                cells[r * DIM4 + x][i] = f < size ? s : 0.0;
            }
            if (NORM != NORM_NONE) {
                float s = 0.0;
                if ((slice.phase & PHASE_ENTRY) != 0u) {
                    s = uintBitsToFloat(lists[entry + row]);
                } else {
                    s = state[state_at(base, row, columns)];
                }
                z[x][i] = f < size ? s : 0.0;
            }
            if (column == 0u && (slice.phase & PHASE_TOTAL) != 0u) {
                total[x][i] = state[state_at(base, row, columns + (NORM != NORM_NONE ? 1u : 0u))];
            }
        }
    }
}

void suspend(uint base, uint column, uint columns) {
    [[unroll]] for (uint x = 0u; x < DIM4; x++) {
        [[unroll]] for (uint i = 0u; i < 4u; i++) {
            uint row = feature(x) + i;
            if (row < size) {
                [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                    if (column + r < columns) {
                        state[state_at(base, row, column + r)] = cells[r * DIM4 + x][i];
                    }
                }
                if (column == 0u) {
                    if (NORM != NORM_NONE) {
                        state[state_at(base, row, columns)] = z[x][i];
                    }
                    if ((slice.phase & PHASE_TOTAL) != 0u) {
                        state[state_at(base, row, columns + (NORM != NORM_NONE ? 1u : 0u))] = CHANNEL ? total[x][i] : total[0].x;
                    }
                }
            }
        }
    }
}

// multiply sets the products of slot c: a with each column.
void multiply(uint c, vec4 a[DIM4]) {
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        float sum = 0.0;
        [[unroll]] for (uint x = 0u; x < DIM4; x++) {
            vec4 s = cells[r * DIM4 + x];
            sum = a[x].x * s.x + sum;
            sum = a[x].y * s.y + sum;
            sum = a[x].z * s.z + sum;
            sum = a[x].w * s.w + sum;
        }
        products[r * KEYS + c] = sum;
    }
}

// multiply_z sets all products of slot c: a with z.
void multiply_z(uint c, vec4 a[DIM4]) {
    float sum = 0.0;
    [[unroll]] for (uint x = 0u; x < DIM4; x++) {
        sum += dot(a[x], z[x]);
    }
    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
        products[r * KEYS + c] = sum;
    }
}

// store writes element i of out, one of the columns of a lane; of all lanes of a group at once. Two columns that share a
// word have neighbouring lanes.
void store(uint i, float x, bool own) {
#if SUBGROUP
    if (VECTOR && TYPE_OUT != TYPE_FLOAT32) {
        uvec4 codes = to_codes(TYPE_OUT, vec4(x, subgroupShuffleXor(x, 1u), 0.0, 0.0));
        if (own && (i & 1u) == 0u) {
            out_words[i >> 1] = codes.x | codes.y << 16;
        }
        return;
    }
#endif
    if (own) {
        store_out1(i, x);
    }
}

void blank_products() {
    [[unroll]] for (uint i = 0u; i < KEYS * ROWS; i++) {
        products[i] = 0.0;
    }
}

void main() {
    uint index = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (index >= slice.count) {
        return;
    }
    kind = map;
    size = features;
    limit_q = q_dim;
    limit_k = k_dim;
    uint columns = value_dim, v_limit = v_dim;
    uint span = gl_WorkGroupSize.x / LANES * ROWS;
    uint blocks = (columns + span - 1u) / span;
    uint unit = slice.unit_first + index / blocks;
    uint column = (index % blocks) * span + row_group() * ROWS;
    uint n = slice.seq_first + unit / slice.head_count, head = slice.head_first + unit % slice.head_count;
    LinearSequence seq = load_sequence(n);
    uint part = slice.part_first + gl_WorkGroupID.z;
    uint state_base = slice.state_base + seq.index * slice.state_seq + head * slice.state_head + part * slice.state_part;

    [[unroll]] for (uint i = 0u; i < ROWS * DIM4; i++) {
        cells[i] = vec4(0.0);
    }
    [[unroll]] for (uint x = 0u; x < DIM4; x++) {
        z[x] = vec4(0.0);
        total[x] = vec4(0.0);
    }
    if ((slice.phase & PHASE_RESUME) != 0u) {
        resume(state_base, slice.home_base + ((n * states + head) * slice.home_row + part) * size, column, columns);
    }
    bool advance = (slice.phase & PHASE_ADVANCE) != 0u;
    int first = int(part * slice.part_tokens) + slice.token_first;
    int end = min(int(part * slice.part_tokens) + slice.token_end, advance ? seq.sk : seq.sq);
    uint k_at = slice.k_base, q_at = slice.q_base, q_heads = q_head, decay_at = slice.decay_base;
    uint v_at = slice.v_base + seq.batch * v_batch + shared_head(head, heads_v) * v_head + seq.k0 * v_row;
    uint out_at = slice.out_base + seq.batch * out_batch + seq.q0 * out_row;
    uint beta_at = slice.beta_base + seq.batch * beta_batch + head * beta_head + seq.k0 * beta_row;
    if ((flags & LINEAR_FEATURED) != 0u) {
        k_at += (scratch_row(n, heads_k, part) + shared_head(head, heads_k) * scratch_tokens()) * k_row;
        q_at += scratch_row(n, heads_q, part) * q_row;
        q_heads = scratch_tokens() * q_row;
    } else {
        k_at += seq.batch * k_batch + shared_head(head, heads_k) * k_head + seq.k0 * k_row;
        q_at += seq.batch * q_batch + seq.q0 * q_row;
    }
    if ((flags & LINEAR_RESCALED) != 0u) {
        decay_at += scratch_row(n, states, part) + head * scratch_tokens();
    } else {
        decay_at += seq.batch * decay_batch + head * decay_head + seq.k0 * decay_row;
    }
    uint k_step = k_row, v_step = v_row, q_step = q_row, out_step = out_row, decay_step = decay_row, beta_step = beta_row;
    bool decays = (flags & LINEAR_DECAY) != 0u;
    uint first_read = slice.read_first, last_read = (slice.phase & PHASE_READ) != 0u ? slice.read_end : 0u;
    float factor = scale, small = eps;
    uint own = column + group_lane() % ROWS;

    [[dont_unroll]] for (int t = first; t < end; t++) {
        if (advance) {
            vec4 key[DIM4];
            uint row = k_at + uint(t) * k_step;
            [[unroll]] for (uint x = 0u; x < DIM4; x++) {
                key[x] = features_of(load_k(row, feature(x), limit_k), feature(x));
            }
            vec4 decay[DIM4];
            if (CHANNEL) {
                [[unroll]] for (uint x = 0u; x < DIM4; x++) {
                    [[unroll]] for (uint i = 0u; i < 4u; i++) {
                        float g = decay_data[decay_at + uint(t) * decay_step + min(feature(x) + i, size - 1u)];
                        total[x][i] += g;
                        decay[x][i] = exp_small(g);
                    }
                }
            } else {
                float g = 0.0;
                if (decays) {
                    g = decay_data[decay_at + uint(t) * decay_step];
                }
                total[0].x += g;
                float e = exp_small(g);
                [[unroll]] for (uint x = 0u; x < DIM4; x++) {
                    decay[x] = vec4(e);
                }
            }
            vec4 value[(ROWS + 3u) / 4u];
            row = v_at + uint(t) * v_step;
            [[unroll]] for (uint y = 0u; y < (ROWS + 3u) / 4u; y++) {
                value[y] = load_v(row, min(column + 4u * y, (columns - 1u) & ~3u), v_limit);
            }
            if (DELTA) {
                // Decays first, then what the key finds there is taken from its value.
                [[unroll]] for (uint i = 0u; i < ROWS * DIM4; i++) {
                    cells[i] *= decay[i % DIM4];
                }
                blank_products();
                multiply(0u, key);
                if (NORM != NORM_NONE) {
                    [[unroll]] for (uint x = 0u; x < DIM4; x++) {
                        z[x] *= decay[x];
                    }
                    multiply_z(FOUND_Z, key);
                }
                settle();
                gather();
                float beta = beta_data[beta_at + uint(t) * beta_step];
                weights[0] = scores[0];
                float found_z = scores[FOUND_Z];
                publish(0u);
                [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                    float u = beta * (value[r / 4u][r % 4u] - weight(0u, r));
                    [[unroll]] for (uint x = 0u; x < DIM4; x++) {
                        cells[r * DIM4 + x] += key[x] * u;
                    }
                }
                if (NORM != NORM_NONE) {
                    [[unroll]] for (uint x = 0u; x < DIM4; x++) {
                        z[x] += key[x] * (beta * (1.0 - found_z));
                    }
                }
            } else {
                [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                    float u = value[r / 4u][r % 4u];
                    [[unroll]] for (uint x = 0u; x < DIM4; x++) {
                        cells[r * DIM4 + x] = cells[r * DIM4 + x] * decay[x] + key[x] * u;
                    }
                }
                if (NORM != NORM_NONE) {
                    [[unroll]] for (uint x = 0u; x < DIM4; x++) {
                        z[x] = z[x] * decay[x] + key[x];
                    }
                }
            }
        }
        [[dont_unroll]] for (uint r0 = first_read; r0 < last_read; r0 += READS) {
            [[unroll]] for (uint c = 0u; c < READS; c++) {
                uint out_head_index = output_head(head, min(r0 + c, last_read - 1u));
                uint row = q_at + query_head(out_head_index) * q_heads + uint(t) * q_step;
                vec4 query[DIM4];
                [[unroll]] for (uint x = 0u; x < DIM4; x++) {
                    query[x] = features_of(load_q(row, feature(x), limit_q), feature(x));
                    if (NORM == NORM_LITERAL) {
                        [[unroll]] for (uint i = 0u; i < 4u; i++) {
                            query[x][i] = z[x][i] == 0.0 ? 0.0 : query[x][i] / z[x][i];
                        }
                    }
                }
                multiply(c, query);
                if (NORM == NORM_SUM) {
                    multiply_z(SUMS + c, query);
                } else if (NORM == NORM_LITERAL) {
                    [[unroll]] for (uint r = 0u; r < ROWS; r++) {
                        products[r * KEYS + SUMS + c] = 0.0;
                    }
                }
            }
            settle();
            gather();
            [[unroll]] for (uint c = 0u; c < READS; c++) {
                float x = scores[c] * factor;
                if (NORM == NORM_SUM) {
                    float sum = scores[SUMS + c] * factor + small;
                    x = sum == 0.0 ? 0.0 : x / sum;
                }
                store(out_at + output_head(head, r0 + c) * out_head + uint(t) * out_step + own, x, group_lane() < ROWS && own < columns && r0 + c < last_read);
            }
        }
    }

    if ((slice.phase & PHASE_SUSPEND) != 0u) {
        suspend(state_base, column, columns);
    }
}

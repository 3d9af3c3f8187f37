#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require

// Linear attention by chunks of CHUNK tokens, for long prompts. G_a being the sum of the log decays of the chunk's tokens
// up to a, Gamma_ab = exp(G_a - G_b) for b <= a:
//
//   U = V, or for the delta rule the solution of (I + tril(diag(beta) (Gamma * K K^T), -1)) U = diag(beta) (V - (K e^G) S)
//   out = scale ((Q e^G) S + (Q K^T * Gamma) U);   S = e^(G_L) S + (K e^(G_L - G))^T U
//
// q, k, v, out and states as in linear_recurrent.comp; one decay a token or head, none, but not one a feature. One workgroup
// has a column of one state for each invocation, and with NORM_SUM z for the last one. All exponents are differences of
// decays inside a chunk, so nothing overflows; the system is solved row by row, for products of powers of its matrix
// lose everything where keys are alike. No subgroup operations.
//
// Shared memory: (2 CHUNK + invocations) * PADDED + 2 CHUNK^2 + 3 CHUNK floats.
//
// Yang et al., arXiv:2312.06635, section 4, and arXiv:2406.06484, section 3.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint CHUNK = 16;
layout(constant_id = 2) const uint PADDED = 64;         // at least F
layout(constant_id = 3) const bool VECTOR = false;
layout(constant_id = 4) const bool DELTA = false;
layout(constant_id = 5) const uint NORM = 0;            // NORM_NONE or NORM_SUM
layout(constant_id = 6) const bool EXPONENTIAL = false; // the feature map needs exp

#include "lib/linear.glsl"
#include "lib/access.glsl"

layout(std430, set = 0, binding = 5) buffer State { float state[]; };
layout(std430, set = 0, binding = 6) readonly buffer Decays { float decay_data[]; };
layout(std430, set = 0, binding = 7) readonly buffer Betas { float beta_data[]; };

shared float queries[PADDED * CHUNK];       // of feature i and token a: [i * CHUNK + a]
shared float keys[PADDED * CHUNK];
shared float cells[PADDED * gl_WorkGroupSize.x];
shared float weights[CHUNK * CHUNK];        // of token a for token b: [a * CHUNK + b]
shared float erased[CHUNK * CHUNK];
shared float decays[CHUNK];                 // G
shared float betas[CHUNK];
shared float sums[CHUNK];

// A factor of exp(-110) is 0, and larger sums would have no room for the decays beside it.
const float FORGET = -110.0;

float feature_of(float x) {
    float m = EXPONENTIAL ? map_exp(x, map) : map_plain(x, map);
    return is_nan(x) ? x : m + map_eps;
}

float decay_between(uint a, uint b) { return exp_small(decays[a] - decays[b]); }

// similar is the product of token a of queries, or of keys, and key b.
float similar(bool query, uint a, uint b) {
    float sum = 0.0;
    for (uint i = 0u; i < PADDED; i++) {
        sum += (query ? queries[i * CHUNK + a] : keys[i * CHUNK + a]) * keys[i * CHUNK + b];
    }
    return sum;
}

void main() {
    uint index = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (index >= slice.count) {
        return;
    }
    uint me = gl_LocalInvocationID.x, step = gl_WorkGroupSize.x, columns = value_dim, size = features;
    uint span = NORM == NORM_NONE ? step : step - 1u;
    uint blocks = (columns + span - 1u) / span;
    uint unit = slice.unit_first + index / blocks, column = (index % blocks) * span + me;
    bool is_z = NORM != NORM_NONE && me == step - 1u, inside_v = !is_z && column < columns;
    uint n = slice.seq_first + unit / slice.head_count, head = slice.head_first + unit % slice.head_count;
    LinearSequence seq = load_sequence(n);
    uint base = slice.state_base + seq.index * slice.state_seq + head * slice.state_head;
    uint entry = slice.home_base + (n * states + head) * slice.home_row * size;
    for (uint i = 0u; i < PADDED; i++) {
        float s = 0.0;
        if ((slice.phase & PHASE_RESUME) != 0u && i < size) {
            if (is_z && (slice.phase & PHASE_ENTRY) != 0u) {
                s = uintBitsToFloat(lists[entry + i]);
            } else if (is_z || inside_v) {
                s = state[base + i * slice.state_row + (is_z ? columns : column)];
            }
        }
        cells[i * step + me] = s;
    }
    int first = slice.token_first, end = min(slice.token_end, seq.sk);
    uint k_at = slice.k_base, q_at = slice.q_base, q_heads = q_head;
    if ((flags & LINEAR_FEATURED) != 0u) {
        k_at += (scratch_row(n, heads_k, 0u) + shared_head(head, heads_k) * scratch_tokens()) * k_row;
        q_at += scratch_row(n, heads_q, 0u) * q_row;
        q_heads = scratch_tokens() * q_row;
    } else {
        k_at += seq.batch * k_batch + shared_head(head, heads_k) * k_head + seq.k0 * k_row;
        q_at += seq.batch * q_batch + seq.q0 * q_row;
    }
    uint v_at = slice.v_base + seq.batch * v_batch + shared_head(head, heads_v) * v_head + seq.k0 * v_row + min(column, columns - 1u);
    uint out_at = slice.out_base + seq.batch * out_batch + seq.q0 * out_row;
    uint decay_at = slice.decay_base + seq.batch * decay_batch + head * decay_head + seq.k0 * decay_row;
    if ((flags & LINEAR_RESCALED) != 0u) {
        decay_at = slice.decay_base + scratch_row(n, states, 0u) + head * scratch_tokens();
    }
    uint beta_at = slice.beta_base + seq.batch * beta_batch + head * beta_head + seq.k0 * beta_row;
    uint read_first = slice.read_first, read_end = slice.read_end;
    float u[CHUNK], sum[CHUNK];

    [[dont_unroll]] for (int t0 = first; t0 < end; t0 += int(CHUNK)) {
        uint length = min(CHUNK, uint(end - t0));
        barrier();
        for (uint x = me; x < PADDED * CHUNK; x += step) {
            uint a = x / PADDED, i = x % PADDED;
            float k = 0.0;
            if (a < length && i < size) {
                k = feature_of(k_data[k_at + (uint(t0) + a) * k_row + i]);
            }
            keys[i * CHUNK + a] = k;
        }
        for (uint a = me; a < CHUNK; a += step) {
            float g = 0.0;
            if ((flags & LINEAR_DECAY) != 0u) {
                for (uint b = 0u; b <= a && b < length; b++) {
                    float x = decay_data[decay_at + (uint(t0) + b) * decay_row];
                    g += is_nan(x) ? x : max(x, FORGET);
                }
            }
            decays[a] = g;
            betas[a] = DELTA && a < length ? beta_data[beta_at + (uint(t0) + min(a, length - 1u)) * beta_row] : 0.0;
        }
        barrier();
        [[unroll]] for (uint a = 0u; a < CHUNK; a++) {
            float v = is_z ? 1.0 : v_data[v_at + (uint(t0) + min(a, length - 1u)) * v_row];
            u[a] = a < length ? v : 0.0;
        }
        if (DELTA) {
            for (uint x = me; x < CHUNK * CHUNK; x += step) {
                uint a = x / CHUNK, b = x % CHUNK;
                erased[x] = b < a ? betas[a] * decay_between(a, b) * similar(false, a, b) : 0.0;
            }
            [[unroll]] for (uint a = 0u; a < CHUNK; a++) {
                sum[a] = 0.0;
            }
            for (uint i = 0u; i < PADDED; i++) {
                float s = cells[i * step + me];
                [[unroll]] for (uint a = 0u; a < CHUNK; a++) {
                    sum[a] += keys[i * CHUNK + a] * s;
                }
            }
            barrier();
            [[unroll]] for (uint a = 0u; a < CHUNK; a++) {
                float x = betas[a] * (u[a] - exp_small(decays[a]) * sum[a]);
                [[unroll]] for (uint b = 0u; b < CHUNK; b++) {
                    if (b < a) {
                        x -= erased[a * CHUNK + b] * u[b];
                    }
                }
                u[a] = x;
            }
        }
        [[dont_unroll]] for (uint r = read_first; r < read_end; r++) {
            uint h = output_head(head, r);
            barrier();
            for (uint x = me; x < PADDED * CHUNK; x += step) {
                uint a = x / PADDED, i = x % PADDED;
                float q = 0.0;
                if (a < length && i < size) {
                    q = feature_of(q_data[q_at + query_head(h) * q_heads + (uint(t0) + a) * q_row + i]);
                }
                queries[i * CHUNK + a] = q;
            }
            barrier();
            for (uint x = me; x < CHUNK * CHUNK; x += step) {
                uint a = x / CHUNK, b = x % CHUNK;
                weights[x] = b <= a ? decay_between(a, b) * similar(true, a, b) : 0.0;
            }
            barrier();
            [[unroll]] for (uint a = 0u; a < CHUNK; a++) {
                sum[a] = 0.0;
            }
            for (uint i = 0u; i < PADDED; i++) {
                float s = cells[i * step + me];
                [[unroll]] for (uint a = 0u; a < CHUNK; a++) {
                    sum[a] += queries[i * CHUNK + a] * s;
                }
            }
            [[unroll]] for (uint a = 0u; a < CHUNK; a++) {
                float x = exp_small(decays[a]) * sum[a];
                // Tokens behind would bring in their NaN, though with a weight of 0.
                [[unroll]] for (uint b = 0u; b < CHUNK; b++) {
                    if (b <= a) {
                        x += weights[a * CHUNK + b] * u[b];
                    }
                }
                sum[a] = x * scale;
            }
            if (NORM != NORM_NONE) {
                if (is_z) {
                    [[unroll]] for (uint a = 0u; a < CHUNK; a++) {
                        sums[a] = sum[a] + eps;
                    }
                }
                barrier();
            }
            if (inside_v) {
                [[unroll]] for (uint a = 0u; a < CHUNK; a++) {
                    if (a < length) {
                        float x = sum[a];
                        if (NORM != NORM_NONE) {
                            x = sums[a] == 0.0 ? 0.0 : x / sums[a];
                        }
                        out_data[out_at + h * out_head + (uint(t0) + a) * out_row + column] = x;
                    }
                }
            }
        }
        float last = decays[CHUNK - 1u], e = exp_small(last);
        [[unroll]] for (uint a = 0u; a < CHUNK; a++) {
            u[a] *= exp_small(last - decays[a]);
        }
        for (uint i = 0u; i < PADDED; i++) {
            float s = cells[i * step + me] * e;
            [[unroll]] for (uint a = 0u; a < CHUNK; a++) {
                s += keys[i * CHUNK + a] * u[a];
            }
            cells[i * step + me] = s;
        }
    }

    if ((slice.phase & PHASE_SUSPEND) != 0u && (inside_v || is_z && index % blocks == 0u)) {
        for (uint i = 0u; i < size; i++) {
            state[base + i * slice.state_row + (is_z ? columns : column)] = cells[i * step + me];
        }
    }
}

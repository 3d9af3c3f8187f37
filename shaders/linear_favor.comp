#version 450
#extension GL_GOOGLE_include_directive : require

// The running maximum c of FAVOR+'s keys. For the tokens of a slice, in order: c_t = max(c_(t-1), peak_t), and the log
// decay that scales what was summed up under c_(t-1) to c_t, beside the caller's own:
//
//   g_t = c_(t-1) - c_t + g'_t;   the peak of a token becomes c_t
//
// Calls that are not causal take two turns: one that only finds c, and with PHASE_FINAL one that has c for all tokens
// and scales what was there before the call at its first token. maxima [units,2] keeps c before the call and so far; at
// row F of the state begins c, too. One workgroup has one unit. Shared memory: one float per invocation.

layout(local_size_x_id = 0) in;     // a power of two

#include "lib/linear.glsl"

layout(std430, set = 0, binding = 1) buffer Maxima { float maxima[]; };
layout(std430, set = 0, binding = 4) buffer Rescale { float rescale[]; };   // [sequences,states,tokens]
layout(std430, set = 0, binding = 5) buffer State { float state[]; };
layout(std430, set = 0, binding = 6) readonly buffer Decays { float decay_data[]; };
layout(std430, set = 0, binding = 7) buffer Peaks { float peak_data[]; };   // [sequences,states,tokens]

const float LOWEST = -3.4028234663852886e38;

shared float exchanged[gl_WorkGroupSize.x];

void main() {
    uint index = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (index >= slice.count) {
        return;
    }
    uint unit = slice.unit_first + index, me = gl_LocalInvocationID.x, step = gl_WorkGroupSize.x;
    uint n = slice.seq_first + unit / slice.head_count, head = slice.head_first + unit % slice.head_count;
    LinearSequence seq = load_sequence(n);
    uint home = slice.state_base + seq.index * slice.state_seq + head * slice.state_head + features * slice.state_row;
    uint own = slice.home_base + 2u * (seq.index * states + head);
    float c = LOWEST;
    if ((slice.phase & PHASE_FIRST) == 0u) {
        c = maxima[own + 1u];
    } else if ((slice.phase & PHASE_RESUME) != 0u) {
        c = max(state[home], LOWEST);   // -infinity where no key has entered the state
    }
    float before = maxima[own];
    barrier();
    if (me == 0u && (slice.phase & PHASE_FIRST) != 0u) {
        maxima[own] = c;
    }
    uint at = scratch_row(n, states, 0u) + head * scratch_tokens();
    uint decay_at = slice.decay_base + seq.batch * decay_batch + head * decay_head + seq.k0 * decay_row;
    bool decays = (flags & LINEAR_DECAY) != 0u, final = (slice.phase & PHASE_FINAL) != 0u;
    int first = slice.token_first, end = min(slice.token_end, seq.sk);
    for (int t0 = first; t0 < end; t0 += int(step)) {
        int t = t0 + int(me);
        uint row = at + uint(t);
        float peak = t < end ? peak_data[slice.k_base + row] : LOWEST;
        float last = c;
        if (!final) {
            // An inclusive maximum over the invocations, by doubling steps.
            barrier();
            exchanged[me] = peak;
            for (uint d = 1u; d < step; d *= 2u) {
                barrier();
                float other = me >= d ? exchanged[me - d] : LOWEST;
                barrier();
                peak = max(peak, other);
                exchanged[me] = peak;
            }
            barrier();
            peak = max(peak, c);
            last = me > 0u ? max(exchanged[me - 1u], c) : c;
            c = max(exchanged[step - 1u], c);
        } else {
            peak = c;
            last = t == 0 ? before : c;
        }
        if (t < end) {
            float g = last == peak ? 0.0 : last - peak;
            if (decays) {
                g += decay_data[decay_at + uint(t) * decay_row];
            }
            peak_data[slice.k_base + row] = peak;
            rescale[slice.out_base + row] = g;
        }
    }
    if (me == 0u) {
        maxima[own + 1u] = c;
    }
    if ((slice.phase & PHASE_SUSPEND) != 0u) {
        uint columns = slice.home_row;
        for (uint i = me; i < columns; i += step) {
            state[home + i] = i > 0u ? 0.0 : (c > LOWEST ? c : uintBitsToFloat(0xff800000u));
        }
    }
}

#version 450
#extension GL_GOOGLE_include_directive : require

// Feature maps that need a whole head of a token: projections, softmax, FAVOR+, and the layer norm of NormLiteral.
//
//   y = x, or W x (favor: W x D^(-1/4));   out = map(y) + map_eps
//
// x [B,heads_k,S,D] of 32 or 16 bits, any strides, W [F,D], out in scratch: [sequences,states,tokens,F]. Keys of favor take two turns:
// y - |x D^(-1/4)|^2/2 and its maximum for each token; then, with PHASE_APPLY, exp(out - c) where the maximum stands c.
// One workgroup has one token of one head. Shared memory: two floats per invocation.
//
// Choromanski et al., arXiv:2009.14794, section 2.3; softmax: Shen et al., arXiv:1812.01243.

layout(local_size_x_id = 0) in;     // a power of two
layout(constant_id = 1) const uint TYPE_Q = 0u;     // of x

#include "lib/linear.glsl"
#define TYPES 1
const bool VECTOR = false;
const uint TYPE_K = 0u, TYPE_V = 0u, TYPE_OUT = 0u;
#include "lib/access.glsl"

layout(std430, set = 0, binding = 7) buffer Peaks { float peak_data[]; };    // of each token, like out with F = 1

shared vec2 exchanged[gl_WorkGroupSize.x];

// over_workgroup adds both, or takes the maximum of the first and adds the second.
vec2 over_workgroup(vec2 x, bool maximum) {
    uint me = gl_LocalInvocationID.x;
    barrier();
    exchanged[me] = x;
    barrier();
    vec2 y = exchanged[0];
    for (uint i = 1u; i < gl_WorkGroupSize.x; i++) {
        y = vec2(maximum ? max(y.x, exchanged[i].x) : y.x + exchanged[i].x, y.y + exchanged[i].y);
    }
    return y;
}

float exp_of(float x) { return is_nan(x) ? x : exp2(x * LOG2E); }

float mapped(float x) {
    float y = x;
    switch (map) {
    case MAP_ELU:
        y = x > 0.0 ? x + 1.0 : exp2(x * LOG2E);
        break;
    case MAP_RELU:
        y = max(x, 0.0);
        break;
    case MAP_SILU:
        y = x / (1.0 + exp2(-x * LOG2E));
        break;
    case MAP_EXP:
        y = exp2(x * LOG2E);
        break;
    case MAP_RELU2:
        y = max(x, 0.0) * max(x, 0.0);
        break;
    }
    return is_nan(x) ? x : y;
}

void main() {
    uint index = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
    if (index >= slice.count) {
        return;
    }
    uint tokens = uint(slice.token_end - slice.token_first);
    uint unit = index / tokens, part = slice.part_first + gl_WorkGroupID.z;
    uint n = slice.seq_first + unit / slice.head_count, head = slice.head_first + unit % slice.head_count;
    LinearSequence seq = load_sequence(n);
    uint t = part * slice.part_tokens + uint(slice.token_first) + index % tokens;
    bool keys = (flags & LINEAR_KEYS) != 0u;
    if (int(t) >= (keys ? seq.sk : seq.sq)) {
        return;
    }
    uint row = scratch_row(n, states, part) + head * scratch_tokens() + t;
    uint at = slice.out_base + row * out_row, peak_at = slice.state_base + row;
    uint me = gl_LocalInvocationID.x, step = gl_WorkGroupSize.x, size = features, dim = raw_dim;
    float shrink = inversesqrt(float(size));
    if ((slice.phase & PHASE_APPLY) != 0u) {
        float c = peak_data[peak_at];
        for (uint f = me; f < size; f += step) {
            out_data[at + f] = (exp_of(out_data[at + f] - c) + map_eps) * shrink;
        }
        return;
    }
    uint x_at = slice.q_base + seq.batch * q_batch + shared_head(head, heads_k) * q_head + ((keys ? seq.k0 : seq.q0) + t) * q_row;
    bool favor = map == MAP_FAVOR, project = (flags & LINEAR_PROJECT) != 0u;
    float root = favor ? inversesqrt(sqrt(float(dim))) : 1.0;
    float top = -3.4028234663852886e38, square = 0.0;
    if (favor) {
        for (uint d = me; d < dim; d += step) {
            float x = load_q1(x_at + d) * root;
            square += x * x;
        }
    }
    for (uint f = me; f < size; f += step) {
        float y = 0.0;
        if (project) {
            for (uint d = 0u; d < dim; d++) {
                y += k_data[slice.k_base + f * k_row + d] * (load_q1(x_at + d) * root);
            }
        } else {
            y = load_q1(x_at + f);
        }
        if (!favor && map != MAP_SOFTMAX) {
            y = mapped(y) + map_eps;
        }
        out_data[at + f] = y;
        top = max(top, y);
    }
    if (favor) {
        vec2 both = over_workgroup(vec2(top, square), true);
        float half_square = 0.5 * both.y;
        for (uint f = me; f < size; f += step) {
            float y = out_data[at + f];
            out_data[at + f] = keys ? y - half_square : (exp_of(y - both.x - half_square) + map_eps) * shrink;
        }
        if (keys && me == 0u) {
            peak_data[peak_at] = both.x - half_square;
        }
    } else if (map == MAP_SOFTMAX) {
        top = over_workgroup(vec2(top, 0.0), true).x;
        float sum = 0.0;
        for (uint f = me; f < size; f += step) {
            sum += exp_of(out_data[at + f] - top);
        }
        sum = over_workgroup(vec2(sum, 0.0), false).x;
        for (uint f = me; f < size; f += step) {
            out_data[at + f] = exp_of(out_data[at + f] - top) / sum + map_eps;
        }
    }
    if ((flags & LINEAR_STANDARD) != 0u) {
        float sum = 0.0;
        for (uint f = me; f < size; f += step) {
            sum += out_data[at + f];
        }
        float mean = over_workgroup(vec2(sum, 0.0), false).x / float(size);
        sum = 0.0;
        for (uint f = me; f < size; f += step) {
            float x = out_data[at + f] - mean;
            sum += x * x;
        }
        float deviation = sqrt(over_workgroup(vec2(sum, 0.0), false).x / float(size) + eps);
        for (uint f = me; f < size; f += step) {
            float x = out_data[at + f] - mean;
            out_data[at + f] = deviation == 0.0 ? 0.0 : x / deviation;
        }
    }
}

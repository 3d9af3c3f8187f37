#version 450
#extension GL_GOOGLE_include_directive : require

// Joins the states that parts of the keys have left, in their order: S = exp(total_p) S + S_p for p = 0, 1, ..., where
// total_p is the sum of the part's log decays. With PHASE_EXCLUSIVE each part's state becomes the one before it.
//
// state [sequences,Hs,parts,F,columns + 1], the totals in the last column; home [sequences,Hs,F(+1),columns], where S
// starts from (PHASE_RESUME) and is left (PHASE_SUSPEND). One invocation has one cell of one unit. No shared memory.

layout(local_size_x_id = 0) in;

#include "lib/linear.glsl"

layout(std430, set = 0, binding = 5) buffer State { float state[]; };
layout(std430, set = 0, binding = 6) buffer Home { float home[]; };

void main() {
    uint unit = gl_WorkGroupID.y, cell = gl_GlobalInvocationID.x;
    uint columns = slice.state_row - 1u, parts = slice.part_tokens;
    if (unit >= slice.count || cell >= features * columns) {
        return;
    }
    unit += slice.unit_first;
    LinearSequence seq = load_sequence(slice.seq_first + unit / slice.head_count);
    uint head = slice.head_first + unit % slice.head_count, row = cell / columns, column = cell % columns;
    uint at = slice.state_base + seq.index * slice.state_seq + head * slice.state_head + row * slice.state_row;
    uint home_at = slice.home_base + seq.index * slice.home_seq + head * slice.home_head + row * slice.home_row + column;
    float s = (slice.phase & PHASE_RESUME) != 0u ? home[home_at] : 0.0;
    uint step = slice.state_part;
    bool exclusive = (slice.phase & PHASE_EXCLUSIVE) != 0u;
    for (uint p = 0u; p < parts; p++) {
        float x = state[at + column], g = state[at + columns];
        if (exclusive) {
            state[at + column] = s;
        }
        s = s * exp_small(g) + x;
        at += step;
    }
    if ((slice.phase & PHASE_SUSPEND) != 0u) {
        home[home_at] = s;
    }
}

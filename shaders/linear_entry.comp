#version 450
#extension GL_GOOGLE_include_directive : require

// Copies z, the column of the states that all workgroups of a unit need and one of them writes, to where the next
// dispatch of the recurrence reads it.
//
// state [sequences,Hs,parts,F,columns] -> entry [sequences,Hs,parts,F]. One invocation has one feature of one unit.

layout(local_size_x_id = 0) in;

#include "lib/linear.glsl"

layout(std430, set = 0, binding = 5) readonly buffer State { float state[]; };
layout(std430, set = 0, binding = 6) writeonly buffer Entry { float entry[]; };

void main() {
    uint unit = gl_WorkGroupID.y + slice.unit_first, part = slice.part_first + gl_WorkGroupID.z, row = gl_GlobalInvocationID.x;
    if (unit >= slice.count || row >= features) {
        return;
    }
    uint n = slice.seq_first + unit / slice.head_count, head = slice.head_first + unit % slice.head_count;
    LinearSequence seq = load_sequence(n);
    uint at = slice.state_base + seq.index * slice.state_seq + head * slice.state_head + part * slice.state_part + row * slice.state_row;
    entry[slice.home_base + ((n * states + head) * slice.home_row + part) * features + row] = state[at + value_dim];
}

#version 450
// A shader for the tests of package spirv: it has one of everything that is reflected.
#extension GL_KHR_shader_subgroup_arithmetic : require
#extension GL_EXT_shader_explicit_arithmetic_types_int64 : require

layout(local_size_x_id = 0, local_size_y = 2, local_size_z_id = 7) in;

layout(constant_id = 0) const uint ROWS = 32;
layout(constant_id = 1) const int D = 61;
layout(constant_id = 2) const bool PAD = true;
layout(constant_id = 3) const float SCALE = 0.5;
layout(constant_id = 4) const uint SHIFT = 1;
layout(constant_id = 5) const uint UNUSED = 5;

// 61 -> 64 -> 16 vectors; ROWS << SHIFT rows when PAD is set, else 3.
const uint VECTORS = (uint(D) + 3u) / 4u;
const uint TILE = PAD ? (ROWS << SHIFT) * VECTORS : 3u;
const uint ODD = uint(D - 63 < 0 ? 7 : 9) % 4u;

struct Piece { vec3 a; float b; vec2 c; };
struct Strides { uint batch; uint head; uint row; };

layout(set = 0, binding = 0, std430) readonly buffer Query { vec4 data[]; } query;
layout(set = 0, binding = 1, std430) buffer Out { float data[]; } result[2];
layout(set = 0, binding = 2) uniform samplerBuffer keys;
layout(set = 0, binding = 3, r32f) uniform imageBuffer scratch;
layout(set = 0, binding = 4, std140) uniform Table { vec4 table[4]; };
layout(set = 0, binding = 9, std430) buffer Unused { uint unused_data[]; };

layout(push_constant, std430) uniform Params {
    uint rows;
    uint unused_word;
    uint64_t address;
    Strides q_stride;
    float scale;
    uvec2 pair;
    uint lengths[3];
} params;

shared vec4 tile[TILE];
shared vec3 odd[VECTORS + ODD];
shared float sums[gl_WorkGroupSize.x];
shared Piece pieces[2];
shared bool flags[3];

void main() {
    uint i = gl_GlobalInvocationID.x, l = gl_LocalInvocationID.x;
    if (i >= params.rows * params.q_stride.row + params.lengths[2]) return;
    tile[l % TILE] = query.data[i] * texelFetch(keys, int(i)) + table[i % 4];
    odd[l % VECTORS] = vec3(params.scale) + imageLoad(scratch, int(l)).x;
    pieces[l % 2].b = float(params.pair.y);
    flags[l % 3] = params.address != 0;
    sums[l] = subgroupAdd(tile[0].x) * SCALE;
    barrier();
    result[1].data[i] = tile[(l + 1) % TILE].x + odd[0].x + sums[0] + pieces[1].b + (flags[1] ? 1 : float(ODD));
}

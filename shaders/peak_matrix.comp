#version 450
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_control_flow_attributes : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_shader_subgroup_basic : require
#if BFLOAT
#extension GL_EXT_bfloat16 : require
#define ELEMENT bfloat16_t
#else
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define ELEMENT float16_t
#endif

// What the device's matrix units compute at best: key_end * 8 products of M x N by N x N, summed in float32, for each
// subgroup, in 8 chains that nothing else holds up. Nothing is loaded. Every out[i] is 30 * key_end * N * factor^2.
// No shared memory. A workgroup is one subgroup.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint M = 8;
layout(constant_id = 2) const uint N = 8;

#include "lib/slice.glsl"

layout(std430, set = 0, binding = 4) buffer Out { float out_data[]; };

#define SUM coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>

void main() {
    if (slice.tile_count == 0u) {
        return;
    }
    float factor = uintBitsToFloat(slice.state_base);   // which no compiler can know
    coopmat<ELEMENT, gl_ScopeSubgroup, M, N, gl_MatrixUseA> a[2];
    coopmat<ELEMENT, gl_ScopeSubgroup, N, N, gl_MatrixUseB> b[4];
    SUM c[8];
    [[unroll]] for (int i = 0; i < 2; i++) {
        a[i] = coopmat<ELEMENT, gl_ScopeSubgroup, M, N, gl_MatrixUseA>(ELEMENT(factor * float(i + 1)));
    }
    [[unroll]] for (int i = 0; i < 4; i++) {
        b[i] = coopmat<ELEMENT, gl_ScopeSubgroup, N, N, gl_MatrixUseB>(ELEMENT(factor * float(i + 1)));
    }
    [[unroll]] for (int i = 0; i < 8; i++) {
        c[i] = SUM(0.0);
    }
    for (int n = 0; n < slice.key_end; n++) {
        [[unroll]] for (int i = 0; i < 8; i++) {
            c[i] = coopMatMulAdd(a[i / 4], b[i % 4], c[i]);
        }
        // A driver that multiplies one by one could otherwise do that once, before the loop.
        coopmat<ELEMENT, gl_ScopeSubgroup, M, N, gl_MatrixUseA> first = a[0];
        a[0] = a[1];
        a[1] = first;
    }
    SUM sum = c[0];
    [[unroll]] for (int i = 1; i < 8; i++) {
        sum = sum + c[i];
    }
    coopMatStore(sum, out_data, gl_WorkGroupID.x * M * N, N, gl_CooperativeMatrixLayoutRowMajor);
}

#version 450
#extension GL_GOOGLE_include_directive : require
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

// Where the elements of cooperative matrices lie: Vulkan leaves it to the driver, and it is the same for all
// matrices of a type. One subgroup loads matrices whose elements are their own numbers, row * columns + column, and
// writes what each invocation holds: probed[0] elements of an accumulator (M x N), probed[1] of an operand A (M x K) and probed[2]
// of an operand B (K x N) per invocation; probed[3] is exp2 of a NaN (of slice.phase),
// and the next four are the bits of operands, of numbers that lie just above or below the middle between two; from 8 on a table of invocations x 64, accumulator, A, B.
//
// Shared memory: the matrices, both operands in one place.

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint M = 8;
layout(constant_id = 2) const uint N = 8;   // and K: only such shapes are taken

#include "lib/slice.glsl"

layout(std430, set = 0, binding = 4) buffer Probed { uint probed[]; };

const uint MOST = 64u;  // elements that are written

// Of vectors, because matrices have to begin at 16 bytes.
shared vec4 numbers4[M * N / 4u];
shared uvec4 elements8[(M > N ? M : N) * N / 8u];

// code_of is a whole number as an element. Those above 256 are rounded in bfloat16: a layout of such matrices is not found out.
uint code_of(uint n) { return BFLOAT == 1 ? floatBitsToUint(float(n)) >> 16 : packHalf2x16(vec2(float(n), 0.0)); }

void main() {
    if (slice.tile_count == 0u) {
        return;
    }
    for (uint i = gl_LocalInvocationID.x; i < M * N / 4u; i += gl_WorkGroupSize.x) {
        numbers4[i] = vec4(float(4u * i)) + vec4(0.0, 1.0, 2.0, 3.0);
    }
    for (uint i = gl_LocalInvocationID.x; i < (M > N ? M : N) * N / 2u; i += gl_WorkGroupSize.x) {
        elements8[i / 4u][i % 4u] = code_of(2u * i) | code_of(2u * i + 1u) << 16;
    }
    barrier();
    coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator> c;
    coopmat<ELEMENT, gl_ScopeSubgroup, M, N, gl_MatrixUseA> a;
    coopmat<ELEMENT, gl_ScopeSubgroup, N, N, gl_MatrixUseB> b;
    coopMatLoad(c, numbers4, 0u, N / 4u, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(a, elements8, 0u, N / 8u, gl_CooperativeMatrixLayoutRowMajor);
    coopMatLoad(b, elements8, 0u, N / 8u, gl_CooperativeMatrixLayoutRowMajor);
    uint at = 8u + gl_LocalInvocationID.x * MOST;
    for (uint i = 0u; i < min(uint(c.length()), MOST); i++) {
        probed[at + i] = uint(c[i]);
    }
    at += gl_WorkGroupSize.x * MOST;
    for (uint i = 0u; i < min(uint(a.length()), MOST); i++) {
        probed[at + i] = uint(float(a[i]));
    }
    at += gl_WorkGroupSize.x * MOST;
    for (uint i = 0u; i < min(uint(b.length()), MOST); i++) {
        probed[at + i] = uint(float(b[i]));
    }
    if (gl_LocalInvocationID.x == 0u) {
        probed[0] = uint(c.length());
        probed[1] = uint(a.length());
        probed[2] = uint(b.length());
        probed[3] = floatBitsToUint(exp2(uintBitsToFloat(slice.phase)));
    }
    // One (of slice.state_base) and a bit less or more than half of the last digit, then the next number. They go through memory: compilers take what
    // a conversion back gives for what went in.
    const uint digit = BFLOAT == 1 ? 0x10000u : 0x2000u;
    for (uint i = 0u; i < 4u; i++) {
        a[0] = ELEMENT(uintBitsToFloat(slice.state_base + i / 2u * digit + digit / 2u - 1u + i % 2u * 2u));
        barrier();
        coopMatStore(a, elements8, 0u, N / 8u, gl_CooperativeMatrixLayoutRowMajor);
        barrier();
        if (gl_LocalInvocationID.x == 0u) {
            probed[4u + i] = elements8[0].x & 0xffffu;
        }
    }
}

// Weights of keys by matrix units, in the registers where their scores are. Needs matrix_layout.glsl, ELEMENT, KEEPS_NAN and ROUNDING.

#define OPERAND_A coopmat<ELEMENT, gl_ScopeSubgroup, M, N, gl_MatrixUseA>
#define OPERAND_B coopmat<ELEMENT, gl_ScopeSubgroup, N, N, gl_MatrixUseB>
#define ACCUMULATOR coopmat<float, gl_ScopeSubgroup, M, N, gl_MatrixUseAccumulator>

// EACH_PLACE is a loop over the elements of a matrix that an invocation holds. The matrix must not be one of an array: NVIDIA's driver
// then puts the array into memory, and the kernel is a third as fast.
#define EACH_PLACE(work) [[unroll]] for (uint e = 0u; e < PLACE_COUNT; e++) { work }

// Scores of 2^SLACK times the weight of the maximum are summed up as well as smaller ones: the outputs are scaled
// only when the maximum has grown by more.
const float SLACK = 8.0;

float factor;   // of differences of scores, to base 2

float weight(float score, float top) {
    precise float d = score - top;
    precise float x = d * factor;
    return !KEEPS_NAN && is_nan(d) ? d : exp2(x);
}

// element is a weight as an operand, rounded to nearest. Of a NaN it may be anything, since the sum is one, too.
ELEMENT element(float w) {
#if BFLOAT
    uint rounded = floatBitsToUint(w) + 0x8000u;
    w = ROUNDING == 1u ? w : uintBitsToFloat(ROUNDING == 2u ? rounded : rounded & 0xffff0000u);
#endif
    return ELEMENT(w);
}

// What all kernels that compute with exponents share.

const float LOG2E = 1.44269504088896340736;

// Comparisons, minimum, maximum, exp2 and log2 may all lose a NaN: tests look at bits, and results that must be NaN are put there.
bool is_nan(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }

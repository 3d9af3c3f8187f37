// nearest_bfloat is x rounded to bfloat16, whatever a driver's conversion does then: it may cut off. A NaN stays one.
float nearest_bfloat(float x) { return is_nan(x) ? x : uintBitsToFloat((floatBitsToUint(x) + 0x8000u) & 0xffff0000u); }

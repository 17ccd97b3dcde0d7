// Sixteen finite halves (IEEE half precision) as floats.

#if defined(HALF_AVX512)
INLINE lanes widened(const uint16_t *x) { return (lanes)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)x)); }
#elif defined(HALF_F16C)
INLINE lanes widened(const uint16_t *x) {
    typedef float half_of_lanes __attribute__((vector_size(2 * LANES)));
    half_of_lanes low = (half_of_lanes)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)x));
    half_of_lanes high = (half_of_lanes)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + LANES / 2)));
    return __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}
#else
// The exponent's bias differs by 112. As a factor it is right for subnormal halves, too.
INLINE lanes widened(const uint16_t *x) {
    half_shorts half;
    memcpy(&half, x, sizeof half);
    words bits = (words)__builtin_convertvector(half, ints);
    lanes size = (lanes)((bits & 0x7fffu) << 13) * all(0x1p112f);
    return (lanes)((words)size | (bits & 0x80000000u));
}
#endif

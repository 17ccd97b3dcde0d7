// Sixteen float values at once, the unit that every kernel is written in.
//
// The headers of f32, bf16, f16 and int8 are a template: each class_*.c includes them under its own target attribute, so one source
// becomes AVX-512, AVX2 and portable code. Sixteen lanes everywhere, whatever the registers hold, because the
// order of a sum is part of the result: a vector sum has 16 partial sums in all classes. Everything is exact IEEE arithmetic
// with explicit fused multiply-add; contraction is off, or the compiler would fuse differently for each target.

#pragma STDC FP_CONTRACT OFF
// All functions here are inlined; no vector crosses a call.
#pragma clang diagnostic ignored "-Wpsabi"

#define LANES 16
#define INLINE static inline __attribute__((always_inline, unused))

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef float unaligned_lanes __attribute__((vector_size(4 * LANES), aligned(4)));
typedef float half_lanes __attribute__((vector_size(2 * LANES), aligned(4)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));
typedef uint32_t unaligned_words __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef int8_t pair_bytes __attribute__((vector_size(2 * LANES)));
typedef int16_t half_shorts __attribute__((vector_size(2 * LANES)));
typedef int16_t shorts __attribute__((vector_size(4 * LANES)));
typedef double wide_lanes __attribute__((vector_size(8 * LANES)));

INLINE lanes all(float x) { return (lanes){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }

INLINE lanes load(const float *p) { return *(const unaligned_lanes *)p; }

INLINE words load_words(const uint32_t *p) { return *(const unaligned_words *)p; }

INLINE void store(float *p, lanes x) { *(unaligned_lanes *)p = x; }

// The first `count` values, zero in the other lanes.
INLINE lanes load_part(const float *p, long count) {
    float buffer[LANES] = {0};
    memcpy(buffer, p, (size_t)count * sizeof(float));
    return load(buffer);
}

INLINE void store_part(float *p, lanes x, long count) {
    float buffer[LANES];
    store(buffer, x);
    memcpy(p, buffer, (size_t)count * sizeof(float));
}

// a * b + c, rounded once.
INLINE lanes fma_lanes(lanes a, lanes b, lanes c) { return __builtin_elementwise_fma(a, b, c); }

// condition ? a : b; the condition is all ones or all zeros in each lane.
INLINE lanes pick(words condition, lanes a, lanes b) {
    return (lanes)((condition & (words)a) | (~condition & (words)b));
}

INLINE lanes larger(lanes a, lanes b) { return pick((words)(a > b), a, b); }

// The upper half of each run of 16, 8, 4 or 2 lanes, brought down; what the other lanes then hold is of no use.
#define LANES_DOWN(X, N)                                                                                        \
    __builtin_shufflevector(                                                                                    \
        X, X, N, N + 1, N + 2, N + 3, N + 4, N + 5, N + 6, N + 7, 8, 9, 10, 11, 12, 13, 14, 15)

// All lanes in one: halves are added to each other, 8 + 8, 4 + 4, 2 + 2, 1 + 1.
INLINE float sum_of(lanes x) {
    x += LANES_DOWN(x, 8);
    x += LANES_DOWN(x, 4);
    x += LANES_DOWN(x, 2);
    x += LANES_DOWN(x, 1);
    return x[0];
}

INLINE double wide_sum_of(wide_lanes x) {
    double v[LANES];
    memcpy(v, &x, sizeof v);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) v[i] += v[i + half];
    return v[0];
}

INLINE float largest_of(lanes x) {
    x = larger(x, LANES_DOWN(x, 8));
    x = larger(x, LANES_DOWN(x, 4));
    x = larger(x, LANES_DOWN(x, 2));
    x = larger(x, LANES_DOWN(x, 1));
    return x[0];
}

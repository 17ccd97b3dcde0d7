// Element-wise functions of one tensor.
//
//     gelu_tanh   x / 2 (1 + tanh(u)) = x / (1 + exp(-2 u)),  u = sqrt(2 / pi) (x + 0.044715 x^3)
//     quick_gelu  x / (1 + exp(-1.702 x))
//     gelu_erf    x / 2 (1 + erf(x / sqrt 2))
//     silu        x / (1 + exp(-x))
//
// The sigmoid form of the tanh has no cancellation where x is far below 0.

INLINE lanes gelu_tanh_lanes(lanes x) {
    lanes u = x * fma_lanes(x * x, all(0.044715f), all(1));
    return x / (1.0f + exp_lanes(u * -1.5957691216f));
}

INLINE lanes quick_gelu_lanes(lanes x) { return x / (1.0f + exp_lanes(x * -1.702f)); }

INLINE lanes gelu_erf_lanes(lanes x) { return 0.5f * x * (1.0f + erf_lanes(x * 0.70710678f)); }

INLINE lanes silu_lanes(lanes x) { return x / (1.0f + exp_lanes(-x)); }

#define ACTIVATION(NAME)                                                                                        \
    static void NAME(const float *x, float *y, long count) {                                                    \
        long i = 0;                                                                                             \
        for (; i + LANES <= count; i += LANES) store(y + i, NAME##_lanes(load(x + i)));                         \
        if (i < count) store_part(y + i, NAME##_lanes(load_part(x + i, count - i)), count - i);                 \
    }

ACTIVATION(gelu_tanh)
ACTIVATION(quick_gelu)
ACTIVATION(gelu_erf)
ACTIVATION(silu)

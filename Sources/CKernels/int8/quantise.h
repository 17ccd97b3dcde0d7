// A row of floats as integers, with a scale and a zero for each stretch of ABZ_INT8_STRETCH: x[i] ~ v[i] * scale.
//
//     low = min(0, x[i]), high = max(0, x[i]); scale = (high - low) / LEVELS
//     v[i] = round(x[i] * (LEVELS / (high - low))), zero = round(-low * (LEVELS / (high - low))), ties to even
// The range is the stretch's own, with 0 at an integer: what GELU leaves is hardly below 0, and a channel that is much larger
// than all others costs its neighbours in the stretch precision, not the whole row.
//
// With VPDPBUSD rows are bytes: u[i] = v[i] + zero, LEVELS being 254, since two roundings of a sum of 254 make at most 255.
// Without it the product reads pairs of 16-bit numbers, so v has 16 bits, zero is not needed, and LEVELS is 32766.
//
// Stretches that are all but zero (high - low < 2^-100) give zeros; one with a NaN or infinity gives zeros and a NaN scale, so
// that it stays visible. Exact arithmetic throughout: all classes of as many levels agree.

#if INT8_GROUP == 4
typedef uint8_t int8_row;
#define INT8_LEVELS 254
#else
typedef int16_t int8_row;
#define INT8_LEVELS 32766
#endif
typedef int8_row row_lanes __attribute__((vector_size(LANES * sizeof(int8_row))));

// The smallest, the largest and the farthest of the values before and of sixteen more. Without the sign, floats order as
// integers do, NaN above infinity.
typedef struct value_range {
    lanes low, high;
    words most;
} value_range;

INLINE value_range with_values(value_range r, lanes x) {
    r.most = __builtin_elementwise_max((words)x & 0x7fffffffu, r.most);
    r.low = pick((words)(x < r.low), x, r.low);
    r.high = larger(x, r.high);
    return r;
}

// x times the factor, rounded: adding 1.5 * 2^23 leaves the integer in the low bits of the mantissa.
INLINE words nearest_integers(lanes x, lanes factor) {
    const lanes magic = all(12582912.0f);
    return (words)fma_lanes(x, factor, magic) - (words)magic;
}

INLINE row_lanes narrowed(lanes x, lanes factor, words zeros) {
    words integers = nearest_integers(x, factor);
    if (INT8_GROUP == 4) integers += zeros;
    return __builtin_convertvector((ints)integers, row_lanes);
}

// One stretch, or the last and shorter one.
INLINE void quantise_stretch(const float *x, long count, int8_row *q, float *scale, float *zero) {
    long whole = count / LANES * LANES, rest = count - whole;
    value_range range = {all(0), all(0), (words){0}};
    for (long i = 0; i < whole; i += LANES) range = with_values(range, load(x + i));
    if (rest) range = with_values(range, load_part(x + whole, rest));
    words most = range.most;
    most = __builtin_elementwise_max(most, LANES_DOWN(most, 8));
    most = __builtin_elementwise_max(most, LANES_DOWN(most, 4));
    most = __builtin_elementwise_max(most, LANES_DOWN(most, 2));
    most = __builtin_elementwise_max(most, LANES_DOWN(most, 1));
    float bottom = -largest_of(-range.low), span = largest_of(range.high) - bottom;
    int is_finite = most[0] < 0x7f800000u;
    *zero = 0;
    if (!is_finite || span < 0x1p-100f) {
        memset(q, 0, (size_t)count * sizeof(int8_row));
        *scale = is_finite ? 0 : __builtin_nanf("");
        return;
    }
    lanes factor = all(INT8_LEVELS / span);
    words zeros = nearest_integers(all(-bottom), factor);
    for (long i = 0; i < whole; i += LANES) {
        row_lanes narrow = narrowed(load(x + i), factor, zeros);
        memcpy(q + i, &narrow, sizeof narrow);
    }
    if (rest) {
        row_lanes narrow = narrowed(load_part(x + whole, rest), factor, zeros);
        memcpy(q + whole, &narrow, (size_t)rest * sizeof(int8_row));
    }
    *zero = (float)zeros[0];
    *scale = span / INT8_LEVELS;
}

// Integers up to a whole group are 0: the weights there are 0, too.
static void quantise(const float *x, long count, void *q, float *scales, float *zeros) {
    for (long k = count; k % INT8_GROUP; k++) ((int8_row *)q)[k] = 0;
    for (long k = 0; k < count; k += ABZ_INT8_STRETCH, scales++, zeros++) {
        long stretch = count - k < ABZ_INT8_STRETCH ? count - k : ABZ_INT8_STRETCH;
        quantise_stretch(x + k, stretch, (int8_row *)q + k, scales, zeros);
    }
}

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

// One stretch, or the last and shorter one.
INLINE void quantise_stretch(const float *x, long count, int8_row *q, float *scale, float *zero) {
    // Without the sign, floats order as integers do, NaN above infinity.
    words most = {0};
    lanes low = {0}, high = {0};
    for (long i = 0; i < count; i += LANES) {
        lanes value = count - i >= LANES ? load(x + i) : load_part(x + i, count - i);
        most = __builtin_elementwise_max((words)value & 0x7fffffffu, most);
        low = pick((words)(value < low), value, low);
        high = larger(value, high);
    }
    uint32_t sizes[LANES];
    memcpy(sizes, &most, sizeof sizes);
    for (int l = 1; l < LANES; l++) sizes[0] = sizes[0] > sizes[l] ? sizes[0] : sizes[l];
    float bottom = -largest_of(-low), span = largest_of(high) - bottom;
    int is_finite = sizes[0] < 0x7f800000u;
    *zero = 0;
    if (!is_finite || span < 0x1p-100f) {
        memset(q, 0, (size_t)count * sizeof(int8_row));
        *scale = is_finite ? 0 : __builtin_nanf("");
        return;
    }
    // Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits of the mantissa.
    lanes factor = all(INT8_LEVELS / span), magic = all(12582912.0f);
    words zeros = (words)fma_lanes(all(-bottom), factor, magic) - (words)magic;
    for (long i = 0; i < count; i += LANES) {
        long rest = count - i;
        lanes value = rest >= LANES ? load(x + i) : load_part(x + i, rest);
        words integers = (words)fma_lanes(value, factor, magic) - (words)magic;
        if (INT8_GROUP == 4) integers += zeros;
        row_lanes narrow = __builtin_convertvector((ints)integers, row_lanes);
        memcpy(q + i, &narrow, (size_t)(rest < LANES ? rest : LANES) * sizeof(int8_row));
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

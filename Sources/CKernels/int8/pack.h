// Panels of 8-bit weights, and of the keys of attention: [k / 4][w][4], so that the four k of a column lie side by side.
//
// Slow form, for each stretch of a row:
//     top = max |x[k]|; scale = top / 127; b[k] = round(x[k] * (127 / top)), rounded once, ties to even; sum = sum of b[k]
// A stretch that is all but zero (top < 2^-100) gives zeros and the scale 0, one with a NaN or infinity zeros and a NaN scale, so
// that it stays visible.

typedef int8_t byte_lanes __attribute__((vector_size(LANES)));

// The most that one of `count` values is, without its sign; infinity for NaN.
INLINE float top_of(const float *x, long count) {
    words most = {0};
    long i = 0;
    for (; i + LANES <= count; i += LANES) most = __builtin_elementwise_max((words)load(x + i) & 0x7fffffffu, most);
    if (i < count) most = __builtin_elementwise_max((words)load_part(x + i, count - i) & 0x7fffffffu, most);
    most = __builtin_elementwise_max(most, LANES_DOWN(most, 8));
    most = __builtin_elementwise_max(most, LANES_DOWN(most, 4));
    most = __builtin_elementwise_max(most, LANES_DOWN(most, 2));
    most = __builtin_elementwise_max(most, LANES_DOWN(most, 1));
    uint32_t bits = most[0] < 0x7f800000u ? most[0] : 0x7f800000u;
    float top;
    memcpy(&top, &bits, sizeof top);
    return top;
}

// What values up to `top` are multiplied by to be integers up to 127; 0 where they become zeros.
INLINE float byte_factor(float top) { return top < 0x1p-100f || top > 3.402823466e38f ? 0 : 127 / top; }

INLINE float byte_scale(float top) { return top < 0x1p-100f ? 0 : top > 3.402823466e38f ? __builtin_nanf("") : top / 127; }

// Up to 64 values as integers, and zeros behind them.
INLINE words bytes_of(const float *x, long count, float factor) {
    int8_t bytes[4 * LANES] = {0};
    for (long i = 0; i < count && i < 4 * LANES; i += LANES) {
        lanes v = count - i >= LANES ? load(x + i) : load_part(x + i, count - i);
        byte_lanes narrow = __builtin_convertvector((ints)nearest_integers(v, all(factor)), byte_lanes);
        memcpy(bytes + i, &narrow, sizeof narrow);
    }
    words four;
    memcpy(&four, bytes, sizeof four);
    return four;
}

static void pack_int8(
    const float *rows, long stride, long count, long depth, long width, void *panel, float *scales, int32_t *sums)
{
    for (long first = 0; first < depth; first += ABZ_INT8_STRETCH, scales += width, sums += width) {
        long size = depth - first < ABZ_INT8_STRETCH ? depth - first : ABZ_INT8_STRETCH;
        for (long j = 0; j < width; j += LANES) {
            float factors[LANES];
            for (long i = 0; i < LANES; i++) {
                float top = j + i < count ? top_of(rows + (j + i) * stride + first, size) : 0;
                factors[i] = byte_factor(top);
                scales[j + i] = byte_scale(top);
            }
            int8_t *out = (int8_t *)panel + first * width + 4 * j;
            ints total = {0};
            for (long k = 0; k < size; k += 4 * LANES) {
                words v[LANES];
                for (long i = 0; i < LANES; i++)
                    v[i] = factors[i] == 0 ? (words){0}
                                           : bytes_of(rows + (j + i) * stride + first + k, size - k, factors[i]);
                transpose(v);
                for (long i = 0; i < LANES && k + 4 * i < size; i++, out += 4 * width) {
                    memcpy(out, &v[i], sizeof v[i]);
                    total = dot_int8(total, 0x01010101, out);
                }
            }
            memcpy(sums + j, &total, sizeof total);
        }
    }
}

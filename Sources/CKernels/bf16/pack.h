// Panels of bf16 numbers: [k / 2][w][2], so that the two k of a column lie side by side in 32 bits.

// x[0], x[1] of each pair of 32 values, rounded to bf16. Not by VCVTNE2PS2BF16, which takes subnormal numbers as 0: a weight
// that bf16 holds exactly has to give the bits of the f32 product in every class.
INLINE words pairs_of(const float *x) {
    words a = (words)rounded_to_bf16(load(x)), b = (words)rounded_to_bf16(load(x + LANES));
    words even = __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    words odd = __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return even >> 16 | odd;
}

// The pairs (a[i], b[i]).
INLINE words pairs_of_two(lanes a, lanes b) {
    return (words)rounded_to_bf16(a) >> 16 | (words)rounded_to_bf16(b);
}

#define EVENS_OF_TWO 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define ODDS_OF_TWO 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31

// Sixteen vectors of sixteen as their transposed matrix: a perfect shuffle of the 256 values, four times.
INLINE void transpose(words v[LANES]) {
    for (int step = 0; step < 4; step++) {
        words w[LANES];
        UNROLLED for (int i = 0; i < LANES / 2; i++) {
            w[2 * i] = __builtin_shufflevector(v[i], v[i + LANES / 2], EVENS_OF_TWO);
            w[2 * i + 1] = __builtin_shufflevector(v[i], v[i + LANES / 2], ODDS_OF_TWO);
        }
        UNROLLED for (int i = 0; i < LANES; i++) v[i] = w[i];
    }
}

static void pack_bf16(
    const float *rows, long stride, long count, long depth, long width, void *panel, float *scales, int32_t *sums)
{
    (void)scales, (void)sums;
    for (long j = 0; j < width; j += LANES) {
        for (long k = 0; k < depth; k += 2 * LANES) {
            long rest = depth - k < 2 * LANES ? depth - k : 2 * LANES;
            words v[LANES];
            for (long i = 0; i < LANES; i++) {
                float buffer[2 * LANES] = {0};
                const float *row = rows + (j + i) * stride + k;
                if (j + i >= count) {
                    v[i] = (words){0};
                } else if (rest < 2 * LANES) {
                    memcpy(buffer, row, (size_t)rest * sizeof(float));
                    v[i] = pairs_of(buffer);
                } else {
                    v[i] = pairs_of(row);
                }
            }
            transpose(v);
            uint32_t *out = (uint32_t *)panel + k / 2 * width + j;
            for (long i = 0; 2 * i < rest; i++, out += width) *(unaligned_words *)out = v[i];
        }
    }
}

static void pack_transposed_bf16(
    const float *rows, long stride, long depth, long padded_depth, long columns, long panel_columns, void *panels)
{
    uint32_t *out = panels;
    long padded = (columns + LANES - 1) / LANES * LANES;
    for (long c = 0; c < padded; c += panel_columns) {
        long wide = padded - c < panel_columns ? padded - c : panel_columns;
        for (long k = 0; k < padded_depth; k += 2) {
            for (long j = 0; j < wide; j += LANES, out += LANES) {
                const float *even = rows + k * stride + c + j, *odd = even + stride;
                long rest = columns - c - j;
                lanes a = all(0), b = all(0);
                if (k < depth) a = rest >= LANES ? load(even) : load_part(even, rest);
                if (k + 1 < depth) b = rest >= LANES ? load(odd) : load_part(odd, rest);
                *(unaligned_words *)out = pairs_of_two(a, b);
            }
        }
    }
}

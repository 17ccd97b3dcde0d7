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

// Element-wise functions of two tensors.

// y[i] = a[i] + b[i]
static void sum(const float *a, const float *b, float *y, long count) {
    long i = 0;
    for (; i + LANES <= count; i += LANES) store(y + i, load(a + i) + load(b + i));
    for (; i < count; i++) y[i] = a[i] + b[i];
}

// y[i] = a[i] * b[i]
static void pairwise_product(const float *a, const float *b, float *y, long count) {
    long i = 0;
    for (; i + LANES <= count; i += LANES) store(y + i, load(a + i) * load(b + i));
    for (; i < count; i++) y[i] = a[i] * b[i];
}

// y[row][i] = fma(gate[i], branch[row][i], x[row][i])
static void gated_sum(const float *x, const float *branch, const float *gate, float *y, long rows, long width) {
    for (long row = 0; row < rows; row++, x += width, branch += width, y += width) {
        long i = 0;
        for (; i + LANES <= width; i += LANES)
            store(y + i, fma_lanes(load(gate + i), load(branch + i), load(x + i)));
        if (i < width) {
            long rest = width - i;
            store_part(
                y + i, fma_lanes(load_part(gate + i, rest), load_part(branch + i, rest), load_part(x + i, rest)), rest);
        }
    }
}

// Pairs (a, b) of channels become (a c - b s, a s + b c), the product with the sine rounded first:
//     y[2p] = fma(a, c, b * -s); y[2p + 1] = fma(b, c, a * s)
// x and y are (tokens, heads, width), c and s (tokens, width / 2).
static void rotate(
    const float *x, const float *cosines, const float *sines, float *y, long tokens, long heads, long width)
{
    long half = width / 2;
    for (long token = 0; token < tokens; token++, cosines += half, sines += half) {
        for (long head = 0; head < heads; head++, x += width, y += width) {
            long p = 0;
            for (; p + LANES / 2 <= half; p += LANES / 2) {
                lanes v = load(x + 2 * p);
                lanes swapped = __builtin_shufflevector(v, v, 1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14);
                half_lanes c = *(const half_lanes *)(cosines + p), s = *(const half_lanes *)(sines + p);
                lanes cc = __builtin_shufflevector(c, c, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
                lanes ss = __builtin_shufflevector(s, s, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
                const lanes signs = {-1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1};
                store(y + 2 * p, fma_lanes(v, cc, swapped * (ss * signs)));
            }
            for (; p < half; p++) {
                float a = x[2 * p], b = x[2 * p + 1], c = cosines[p], s = sines[p];
                y[2 * p] = fmaf(a, c, b * -s);
                y[2 * p + 1] = fmaf(b, c, a * s);
            }
        }
    }
}

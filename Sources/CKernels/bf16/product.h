// Matrix product with a bf16 weight, for processors without a bf16 product: widen, then multiply in f32.
//
// bf16 is the upper half of a float, so widening is a shift and loses nothing, and the product of two bf16 numbers is exact
// in f32. Slow form, b being (k, columns) of bf16 numbers and a of floats (rounded to bf16 by `prepare_bf16`, or not):
//     for i, j: s = onto ? c[i][j] : 0; for k ascending: s = fma(a[i][k], b[k][j], s); c[i][j] = s + bias
// This is the chain of f32/product.h: a weight that bf16 holds exactly gives the bits of the f32 product at half the memory.
//
// Panels hold two k side by side, [k / 2][w][2]: one load gives sixteen columns of both.

// Rounds to the nearest bf16, ties to even; NaN stays NaN.
INLINE lanes rounded_to_bf16(lanes x) {
    words u = (words)x;
    words nearest = (u + 0x7fffu + ((u >> 16) & 1u)) & 0xffff0000u;
    return pick((words)(x != x), all(__builtin_nanf("")), (lanes)nearest);
}

INLINE void tile_bf16(int rows, int vectors, const tile_task *t) {
    lanes sum[TILE_ROWS][TILE_VECTORS];
    const float *row[TILE_ROWS];
    const uint32_t *b = t->b;
    EACH_ROW(i) {
        row[i] = (const float *)t->a + i * t->a_stride;
        EACH_VECTOR(j) sum[i][j] = t->onto ? load(t->c + i * t->c_stride + j * LANES) : all(0);
    }
    for (long k = 0; k < t->depth; k += 2, b += vectors * LANES) {
        lanes column[TILE_VECTORS];
        EACH_VECTOR(j) {
            column[j] = (lanes)(load_words(b + j * LANES) << 16);
            __builtin_prefetch(b + (j + PREFETCH_DEPTH * vectors) * LANES);
        }
        EACH_ROW(i) {
            lanes factor = all(row[i][k]);
            EACH_VECTOR(j) sum[i][j] = fma_lanes(factor, column[j], sum[i][j]);
        }
        EACH_VECTOR(j) column[j] = (lanes)(load_words(b + j * LANES) & 0xffff0000u);
        EACH_ROW(i) {
            lanes factor = all(row[i][k + 1]);
            EACH_VECTOR(j) sum[i][j] = fma_lanes(factor, column[j], sum[i][j]);
        }
    }
    store_tile(rows, vectors, t, sum);
}

ANY_TILE(tile_bf16)

static void product_bf16(const abz_product *p) { each_tile(p, sizeof(uint16_t), sizeof(float), any_tile_bf16); }

INLINE void prepare_bf16(const void *rows, long stride, long count, long depth, void *prepared, long prepared_stride) {
    const float *from = rows;
    float *to = prepared;
    for (long i = 0; i < count; i++, from += stride, to += prepared_stride) {
        long k = 0;
        for (; k + LANES <= depth; k += LANES) store(to + k, rounded_to_bf16(load(from + k)));
        if (k < depth) {
            long rest = depth - k;
            store_part(to + k, rounded_to_bf16(load_part(from + k, rest)), rest);
        }
        if (depth % 2) to[depth] = 0;
    }
}

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

INLINE void sum_bf16(int rows, int vectors, const tile_task *t, long stride, long step) {
    lanes sum[TILE_ROWS][TILE_VECTORS];
    const float *row[TILE_ROWS];
    const uint32_t *b = t->b;
    EACH_ROW(i) {
        row[i] = (const float *)t->a + i * stride;
        EACH_VECTOR(j) sum[i][j] = t->onto ? load(t->c + i * t->c_stride + j * LANES) : all(0);
    }
    for (long k = 0; k < t->depth; k += 2, b += vectors * LANES) {
        lanes column[TILE_VECTORS];
        EACH_VECTOR(j) {
            column[j] = (lanes)(load_words(b + j * LANES) << 16);
            __builtin_prefetch(b + (j + PREFETCH_DEPTH * vectors) * LANES);
        }
        EACH_ROW(i) {
            lanes factor = all(row[i][k * step]);
            EACH_VECTOR(j) sum[i][j] = fma_lanes(factor, column[j], sum[i][j]);
        }
        // Read again: a register kept for it would spill one of the sums (measured on Zen 3: 9 to 14 % of the time).
        const uint32_t *again = b;
        __asm__("" : "+r"(again));
        EACH_VECTOR(j) column[j] = (lanes)(load_words(again + j * LANES) & 0xffff0000u);
        EACH_ROW(i) {
            lanes factor = all(row[i][(k + 1) * step]);
            EACH_VECTOR(j) sum[i][j] = fma_lanes(factor, column[j], sum[i][j]);
        }
    }
    store_tile(rows, vectors, t, sum);
}

INLINE void tile_bf16(int rows, int vectors, const tile_task *t) { sum_bf16(rows, vectors, t, t->a_stride, 1); }

ANY_TILE(tile_bf16)

#ifdef ROWS_IN_TILES
INLINE void tiles_bf16(int rows, int vectors, const tile_task *t) { sum_bf16(rows, vectors, t, 1, TILE_ROWS); }

ANY_TILE(tiles_bf16)
#else
#define any_tiles_bf16 any_tile_bf16
#endif

#ifdef WIDENED_DEPTH
_Static_assert(TILE_VECTORS == 1, "a panel's rows of one vector");
INLINE void widen_pairs(const void *panel, long count, float *to) {
    const uint32_t *b = panel;
    for (long n = 0; n < count; n += 2 * LANES, b += LANES, to += 2 * LANES) {
        store(to, (lanes)(load_words(b) << 16));
        store(to + LANES, (lanes)(load_words(b) & 0xffff0000u));
    }
}
#endif

static void product_bf16(const abz_product *p) {
#ifdef WIDENED_DEPTH
    if (product_widened(p, sizeof(uint16_t), widen_pairs)) return;
#endif
    each_tile(p, sizeof(uint16_t), sizeof(float), p->rows_in_tiles ? any_tiles_bf16 : any_tile_bf16);
}

INLINE void prepare_bf16(
    const float *from, long stride, long count, long depth, long padded, void *prepared, long prepared_stride)
{
    float *to = prepared;
    for (long i = 0; i < count; i++, from += stride, to += prepared_stride) {
        long k = 0;
        for (; k + LANES <= depth; k += LANES) store(to + k, rounded_to_bf16(load(from + k)));
        if (k < depth) {
            long rest = depth - k;
            store_part(to + k, rounded_to_bf16(load_part(from + k, rest)), rest);
        }
        memset(to + depth, 0, (size_t)(padded - depth) * sizeof(float));
    }
}

#ifdef ROWS_IN_TILES
static void prepare_tiles_bf16(
    const float *rows, long stride, long count, long depth, long padded, void *prepared, long prepared_stride)
{
    prepare_tiles_f32(rows, stride, count, depth, padded, prepared, prepared_stride);
    for (long i = 0; i < count; i += TILE_ROWS) {
        float *tile = (float *)prepared + i * prepared_stride;
        for (long k = 0; k < TILE_ROWS * padded; k += LANES) {
            long rest = TILE_ROWS * padded - k;
            if (rest >= LANES) store(tile + k, rounded_to_bf16(load(tile + k)));
            else store_part(tile + k, rounded_to_bf16(load_part(tile + k, rest)), rest);
        }
    }
}
#endif

#ifndef BF16_DOT
// Number j of a row, j being a multiple of LANES.
INLINE void store_share(float *row, long j, lanes p) { store(row + j, rounded_to_bf16(p)); }
#endif

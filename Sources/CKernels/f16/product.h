// Matrix product with a weight of 16-bit floats (IEEE half precision), finite ones: widened as they are read, or before
// (f32/widened.h), then f32.
//
// Slow form: that of f32/product.h, b being (k, columns) of halves. A half is a float without the last 13 bits, so widening
// loses nothing: a weight that halves hold exactly gives the bits of the f32 product at half the memory.
//
// Panels are [k][w], as in f32.

INLINE void tile_f16(int rows, int vectors, const tile_task *t) { sum_chain(rows, vectors, t, t->a_stride, 1, 1); }

ANY_TILE(tile_f16)

#ifdef ROWS_IN_TILES
INLINE void tiles_f16(int rows, int vectors, const tile_task *t) { sum_chain(rows, vectors, t, 1, TILE_ROWS, 1); }

ANY_TILE(tiles_f16)
#else
#define any_tiles_f16 any_tile_f16
#endif

#ifdef WIDENED_DEPTH
INLINE void widen_halves(const void *panel, long count, float *to) {
    for (long n = 0; n < count; n += LANES) store(to + n, widened((const uint16_t *)panel + n));
}
#endif

static void product_f16(const abz_product *p) {
#ifdef WIDENED_DEPTH
    if (product_widened(p, sizeof(uint16_t), widen_halves)) return;
#endif
    each_tile(p, sizeof(uint16_t), sizeof(float), p->rows_in_tiles ? any_tiles_f16 : any_tile_f16);
}

// Floats that halves hold exactly, as halves. Below 2^-14 they are multiples of 2^-24, and that multiple is the half.
INLINE half_shorts narrowed_halves(lanes x) {
    words bits = (words)x, size = bits & 0x7fffffffu, is_small = (words)(size < 0x38800000u);
    // What is not small is left out before it is multiplied: it would be too large for an integer.
    words small = (words)__builtin_convertvector((lanes)(size & is_small) * all(0x1p24f), ints);
    words half = (small & is_small) | (((size - 0x38000000u) >> 13) & ~is_small);
    return __builtin_convertvector((ints)(half | bits >> 31 << 15), half_shorts);
}

static void pack_f16(
    const float *rows, long stride, long count, long depth, long width, void *panel, float *scales, int32_t *sums)
{
    (void)scales, (void)sums;
    for (long j = 0; j < width; j += LANES) {
        long valid = count - j < LANES ? count - j : LANES;
        for (long k = 0; k < depth; k++) {
            float values[LANES] = {0};
            for (long i = 0; i < valid; i++) values[i] = rows[(j + i) * stride + k];
            half_shorts half = narrowed_halves(load(values));
            memcpy((uint16_t *)panel + k * width + j, &half, sizeof half);
        }
    }
}

// Matrix product on packed panels: c[i][j] = sum over k of a[i][k] * b[k][j].
//
// Slow form:
//     for i, j: s = onto ? c[i][j] : 0; for k ascending: s = fma(a[i][k], b[k][j], s); c[i][j] = s + bias
//
// Each element is one chain of fused multiply-adds in ascending k. Blocks over k store a partial sum and load it
// again, which is exact; so an element's bits depend on its row of a and its column of b alone, not on the block
// sizes, the tile it falls in or the number of rows.

// `step` values lie between neighbours of a row, `stride` between rows. b holds floats, or halves (f16/product.h).
INLINE void sum_chain(int rows, int vectors, const tile_task *t, long stride, long step, int has_halves) {
    lanes sum[TILE_ROWS][TILE_VECTORS];
    const float *row[TILE_ROWS];
    const char *b = t->b;
    const long bytes = LANES * (has_halves ? sizeof(uint16_t) : sizeof(float));
    EACH_ROW(i) {
        row[i] = (const float *)t->a + i * stride;
        EACH_VECTOR(j) sum[i][j] = t->onto ? load(t->c + i * t->c_stride + j * LANES) : all(0);
    }
    for (long k = 0; k < t->depth; k++, b += vectors * bytes) {
        lanes column[TILE_VECTORS];
        EACH_VECTOR(j) {
            const char *values = b + j * bytes;
            column[j] = has_halves ? widened((const uint16_t *)values) : load((const float *)values);
            __builtin_prefetch(values + PREFETCH_DEPTH * vectors * bytes);
        }
        EACH_ROW(i) {
            lanes factor = all(row[i][k * step]);
            EACH_VECTOR(j) sum[i][j] = fma_lanes(factor, column[j], sum[i][j]);
        }
    }
    store_tile(rows, vectors, t, sum);
}

INLINE void tile_f32(int rows, int vectors, const tile_task *t) { sum_chain(rows, vectors, t, t->a_stride, 1, 0); }

ANY_TILE(tile_f32)

#ifdef ROWS_IN_TILES
INLINE void tiles_f32(int rows, int vectors, const tile_task *t) { sum_chain(rows, vectors, t, 1, TILE_ROWS, 0); }

ANY_TILE(tiles_f32)
#else
#define any_tiles_f32 any_tile_f32
#endif

static void product_f32(const abz_product *p) {
    each_tile(p, sizeof(float), sizeof(float), p->rows_in_tiles ? any_tiles_f32 : any_tile_f32);
}

#ifdef ROWS_IN_TILES
typedef float four_lanes __attribute__((vector_size(16)));
typedef float unaligned_four __attribute__((vector_size(16), aligned(4)));

// Four k of six rows, turned.
INLINE void turn_six(const float *x, long stride, float *to) {
    four_lanes r[6], pairs[6];
    for (int i = 0; i < 6; i++) r[i] = *(const unaligned_four *)(x + i * stride);
    for (int i = 0; i < 3; i++) {
        pairs[i] = __builtin_shufflevector(r[2 * i], r[2 * i + 1], 0, 4, 1, 5);
        pairs[3 + i] = __builtin_shufflevector(r[2 * i], r[2 * i + 1], 2, 6, 3, 7);
    }
    for (int half = 0; half < 2; half++, to += 12) {
        const four_lanes *p = pairs + 3 * half;
        *(unaligned_four *)to = __builtin_shufflevector(p[0], p[1], 0, 1, 4, 5);
        *(unaligned_four *)(to + 4) = __builtin_shufflevector(p[2], p[0], 0, 1, 6, 7);
        *(unaligned_four *)(to + 8) = __builtin_shufflevector(p[1], p[2], 2, 3, 6, 7);
    }
}

static void prepare_tiles_f32(
    const float *from, long stride, long count, long depth, long padded, void *prepared, long prepared_stride)
{
    _Static_assert(TILE_ROWS == 6, "tiles of six rows");
    float *to = prepared;
    for (long i = 0; i < count; i += 6, from += 6 * stride, to += 6 * prepared_stride) {
        long k = 0;
        for (; count - i >= 6 && k + 4 <= depth; k += 4) turn_six(from + k, stride, to + 6 * k);
        for (; k < padded; k++)
            for (long r = 0; r < 6; r++) to[6 * k + r] = i + r < count && k < depth ? from[r * stride + k] : 0;
    }
}
#endif

static void prepare_f32(
    const float *from, long stride, long count, long depth, long padded, void *prepared, long prepared_stride)
{
    float *to = prepared;
    for (long i = 0; i < count; i++, from += stride, to += prepared_stride) {
        memcpy(to, from, (size_t)depth * sizeof(float));
        memset(to + depth, 0, (size_t)(padded - depth) * sizeof(float));
    }
}

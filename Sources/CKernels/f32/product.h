// Matrix product on packed panels: c[i][j] = sum over k of a[i][k] * b[k][j].
//
// Slow form:
//     for i, j: s = onto ? c[i][j] : 0; for k ascending: s = fma(a[i][k], b[k][j], s); c[i][j] = s + bias
//
// Each element is one chain of fused multiply-adds in ascending k. Blocks over k store a partial sum and load it
// again, which is exact; so an element's bits depend on its row of a and its column of b alone, not on the block
// sizes, the tile it falls in or the number of rows.

INLINE void tile_f32(int rows, int vectors, const tile_task *t) {
    lanes sum[TILE_ROWS][TILE_VECTORS];
    const float *row[TILE_ROWS], *b = t->b;
    EACH_ROW(i) {
        row[i] = (const float *)t->a + i * t->a_stride;
        EACH_VECTOR(j) sum[i][j] = t->onto ? load(t->c + i * t->c_stride + j * LANES) : all(0);
    }
    for (long k = 0; k < t->depth; k++, b += vectors * LANES) {
        lanes column[TILE_VECTORS];
        EACH_VECTOR(j) {
            column[j] = load(b + j * LANES);
            __builtin_prefetch(b + (j + PREFETCH_DEPTH * vectors) * LANES);
        }
        EACH_ROW(i) {
            lanes factor = all(row[i][k]);
            EACH_VECTOR(j) sum[i][j] = fma_lanes(factor, column[j], sum[i][j]);
        }
    }
    store_tile(rows, vectors, t, sum);
}

ANY_TILE(tile_f32)

static void product_f32(const abz_product *p) { each_tile(p, sizeof(float), sizeof(float), any_tile_f32); }

// Rows far apart would compete for a few cache sets: they are brought together. The depth is padded to even with zeros for
// the products whose panels hold pairs.
static void prepare_f32(const void *rows, long stride, long count, long depth, void *prepared, long prepared_stride) {
    const float *from = rows;
    float *to = prepared;
    for (long i = 0; i < count; i++, from += stride, to += prepared_stride) {
        memcpy(to, from, (size_t)depth * sizeof(float));
        for (long k = depth; k < prepared_stride && k < depth + 1; k++) to[k] = 0;
    }
}

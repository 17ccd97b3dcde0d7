// Matrix product on packed panels: c[i][j] = sum over k of a[i][k] * b[k][j].
//
// Slow form:
//     for i, j: s = onto ? c[i][j] : 0; for k ascending: s = fma(a[i][k], b[k][j], s); c[i][j] = s + bias
//
// Each element is one chain of fused multiply-adds in ascending k. Blocks over k store a partial sum and load it
// again, which is exact; so an element's bits depend on its row of a and its column of b alone, not on the block
// sizes, the tile it falls in or the number of rows.

#define TILE_COLUMNS (TILE_VECTORS * LANES)

// One tile held in registers. `rows` and `vectors` are constants after inlining.
INLINE void tile(
    int rows, int vectors, const float *a, long a_stride, const float *b, long depth, float *c, long c_stride, int onto,
    const float *column_bias, const float *row_bias)
{
    lanes sum[TILE_ROWS][TILE_VECTORS];
    const float *row[TILE_ROWS];
#pragma clang loop unroll(full)
    for (int i = 0; i < TILE_ROWS; i++) {
        if (i >= rows) break;
        row[i] = a + i * a_stride;
#pragma clang loop unroll(full)
        for (int j = 0; j < TILE_VECTORS; j++)
            if (j < vectors) sum[i][j] = onto ? load(c + i * c_stride + j * LANES) : all(0);
    }
    for (long k = 0; k < depth; k++, b += vectors * LANES) {
        lanes column[TILE_VECTORS];
#pragma clang loop unroll(full)
        for (int j = 0; j < TILE_VECTORS; j++)
            if (j < vectors) {
                column[j] = load(b + j * LANES);
                __builtin_prefetch(b + (j + PREFETCH_DEPTH * vectors) * LANES);
            }
#pragma clang loop unroll(full)
        for (int i = 0; i < TILE_ROWS; i++) {
            if (i >= rows) break;
            lanes factor = all(row[i][k]);
#pragma clang loop unroll(full)
            for (int j = 0; j < TILE_VECTORS; j++)
                if (j < vectors) sum[i][j] = fma_lanes(factor, column[j], sum[i][j]);
        }
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < TILE_ROWS; i++) {
        if (i >= rows) break;
#pragma clang loop unroll(full)
        for (int j = 0; j < TILE_VECTORS; j++)
            if (j < vectors) {
                lanes y = sum[i][j];
                if (column_bias) y += load(column_bias + j * LANES);
                if (row_bias) y += all(row_bias[i]);
                store(c + i * c_stride + j * LANES, y);
            }
    }
}

#define TILE_CASE(R, V)                                                                                         \
    case (V) * 16 + (R):                                                                                        \
        tile(R, V, a, a_stride, b, depth, c, c_stride, onto, column_bias, row_bias);                           \
        return;

// A tile of any size up to the full one.
static void any_tile(
    int rows, int vectors, const float *a, long a_stride, const float *b, long depth, float *c, long c_stride, int onto,
    const float *column_bias, const float *row_bias)
{
    switch (vectors * 16 + rows) {
        TILE_CASES
        default: __builtin_trap();
    }
}

// A block of tiles; see abz_product.
static void product(const abz_product *p) {
    for (long j = 0; j < p->columns; j += TILE_COLUMNS) {
        long wide = p->columns - j < TILE_COLUMNS ? p->columns - j : TILE_COLUMNS;
        int vectors = (int)((wide + LANES - 1) / LANES);
        int whole = wide == vectors * LANES;
        const float *panel = p->panels + j * p->panel_depth + p->first_k * vectors * LANES;
        for (long i = 0; i < p->rows; i += TILE_ROWS) {
            int rows = (int)(p->rows - i < TILE_ROWS ? p->rows - i : TILE_ROWS);
            const float *a = p->a + i * p->a_stride;
            float *c = p->c + i * p->c_stride + j;
            const float *row_bias = p->row_bias ? p->row_bias + i : NULL;
            const float *column_bias = p->column_bias ? p->column_bias + j : NULL;
            if (whole) {
                any_tile(rows, vectors, a, p->a_stride, panel, p->depth, c, p->c_stride, p->onto, column_bias, row_bias);
                continue;
            }
            // The last columns: the panel is padded with zeros, c and the bias are not.
            float padded[TILE_ROWS * TILE_COLUMNS] = {0}, padded_bias[TILE_COLUMNS] = {0};
            if (column_bias) memcpy(padded_bias, column_bias, (size_t)wide * sizeof(float));
            for (int r = 0; r < rows && p->onto; r++)
                memcpy(padded + r * TILE_COLUMNS, c + r * p->c_stride, (size_t)wide * sizeof(float));
            any_tile(
                rows, vectors, a, p->a_stride, panel, p->depth, padded, TILE_COLUMNS, p->onto,
                column_bias ? padded_bias : NULL, row_bias);
            for (int r = 0; r < rows; r++)
                memcpy(c + r * p->c_stride, padded + r * TILE_COLUMNS, (size_t)wide * sizeof(float));
        }
    }
}

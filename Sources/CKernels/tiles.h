// The walk of every matrix product: panels of columns, tiles of rows, and the edges of both.
//
// A product of one kind is a function TILE(rows, vectors, task) that computes one tile in registers, and ANY_TILE makes of
// it the function for any tile up to the class's full one. Both sizes are constants after inlining.

#define TILE_COLUMNS (TILE_VECTORS * LANES)

// One tile: the fields of abz_product, moved to its corner.
typedef struct tile_task {
    const void *a, *b;
    long a_stride, depth;
    float *c;
    long c_stride;
    int onto, streams;
    const float *column_bias, *row_bias;
    // From the tile's first stretch on.
    const float *row_scales, *row_zeros, *column_scales;
    long scale_stride;
    const int32_t *column_sums;
} tile_task;

// Loops over the tile's rows and vectors, unrolled whatever the full tile is.
#define UNROLLED _Pragma("clang loop unroll(full)")
#define EACH_ROW(I) UNROLLED for (int I = 0; I < TILE_ROWS; I++) if (I < rows)
#define EACH_VECTOR(J) UNROLLED for (int J = 0; J < TILE_VECTORS; J++) if (J < vectors)

#define TILE_CASE(TILE, R, V)                                                                                   \
    case (V) * 16 + (R):                                                                                        \
        TILE(R, V, t);                                                                                          \
        return;
#define ANY_TILE(TILE)                                                                                          \
    static void any_##TILE(int rows, int vectors, const tile_task *t) {                                         \
        switch (vectors * 16 + rows) {                                                                          \
            TILE_CASES(TILE)                                                                                    \
            default: __builtin_trap();                                                                          \
        }                                                                                                       \
    }

// Stores past the caches are in no order with those that tell another thread of them, before this.
INLINE void finish_streams(void) {
#if defined(__x86_64__)
    __builtin_ia32_sfence();
#else
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
}

// A block of tiles; `panel_bytes` and `row_bytes` are those of the multiplier. Where `widen` is not NULL, the tiles read a
// panel's part as it writes it to `floats` (f32/widened.h).
INLINE void each_tile_of(
    const abz_product *p, long panel_bytes, long row_bytes, void (*any_tile)(int, int, const tile_task *),
    void (*widen)(const void *, long, float *), float *floats)
{
    long stretches = (p->panel_depth + ABZ_INT8_STRETCH - 1) / ABZ_INT8_STRETCH;
    long panel_columns = p->panel_columns ? p->panel_columns : TILE_COLUMNS;
    int streams = p->streams && !p->onto && (uintptr_t)p->c % sizeof(lanes) == 0 && p->c_stride % LANES == 0;
    for (long j = 0; j < p->columns; j += panel_columns) {
        long wide = p->columns - j < panel_columns ? p->columns - j : panel_columns;
        int vectors = (int)((wide + LANES - 1) / LANES);
        long column = j * stretches + p->first_k / ABZ_INT8_STRETCH * vectors * LANES;
        tile_task t = {
            .b = (const char *)p->panels + (j * p->panel_depth + p->first_k * vectors * LANES) * panel_bytes,
            .a_stride = p->a_stride, .depth = p->depth, .c_stride = p->c_stride, .onto = p->onto, .streams = streams,
            .column_bias = p->column_bias ? p->column_bias + j : NULL,
            .scale_stride = p->scale_stride,
            .column_scales = p->column_scales ? p->column_scales + column : NULL,
            .column_sums = p->column_sums ? p->column_sums + column : NULL,
        };
        const char *part = t.b;
        if (widen) {
            widen(part, p->depth * vectors * LANES, floats);
            t.b = floats;
        }
        // Where many rows go by, the next panel's part comes to the second-level cache meanwhile, a piece with each tile.
        int comes_next = p->rows >= 16 * TILE_ROWS && j + panel_columns < p->columns;
        const char *next = part + panel_columns * p->panel_depth * panel_bytes;
        long piece = comes_next ? (p->depth * panel_columns * panel_bytes * TILE_ROWS / p->rows + 63) / 64 * 64 : 0;
        for (long i = 0; i < p->rows; i += TILE_ROWS) {
            for (long n = 0; n < piece; n += 64) __builtin_prefetch(next + n, 0, 2);
            if (comes_next) next += piece;
            // The first cache lines of the next tile's rows: what follows them, the processor fetches by itself (4 lines:
            // 1 % of an int8 product on Zen 4, 8 are no better).
            if (!p->rows_in_tiles && i + 2 * TILE_ROWS <= p->rows)
                for (long r = 0; r < TILE_ROWS; r++)
                    for (long n = 0; n < 4; n++)
                        __builtin_prefetch(
                            (const char *)p->a + (i + TILE_ROWS + r) * p->a_stride * row_bytes + n * 64, 0, 2);
            int rows = (int)(p->rows - i < TILE_ROWS ? p->rows - i : TILE_ROWS);
            float *c = p->c + i * p->c_stride + j;
            // And the lines that its sums go to (2 to 4 % of an int8 product whose result is larger than the caches).
            for (long r = 0; !streams && r < TILE_ROWS && i + TILE_ROWS + r < p->rows; r++)
                for (long n = 0; n < vectors; n++)
                    __builtin_prefetch(c + (TILE_ROWS + r) * p->c_stride + n * LANES, 1);
            t.a = (const char *)p->a + i * p->a_stride * row_bytes;
            t.row_bias = p->row_bias ? p->row_bias + i : NULL;
            t.row_scales = p->row_scales ? p->row_scales + i * p->scale_stride : NULL;
            t.row_zeros = p->row_zeros ? p->row_zeros + i * p->scale_stride : NULL;
            if (wide == vectors * LANES) {
                t.c = c;
                any_tile(rows, vectors, &t);
                continue;
            }
            // The last columns: panel, bias and scales are padded, c is not.
            float padded[TILE_ROWS * TILE_COLUMNS];
            for (int r = 0; r < rows && p->onto; r++)
                memcpy(padded + r * TILE_COLUMNS, c + r * p->c_stride, (size_t)wide * sizeof(float));
            tile_task edge = t;
            edge.c = padded;
            edge.c_stride = TILE_COLUMNS;
            edge.streams = 0;
            any_tile(rows, vectors, &edge);
            for (int r = 0; r < rows; r++)
                memcpy(c + r * p->c_stride, padded + r * TILE_COLUMNS, (size_t)wide * sizeof(float));
        }
    }
    if (streams) finish_streams();
}

INLINE void each_tile(
    const abz_product *p, long panel_bytes, long row_bytes, void (*any_tile)(int, int, const tile_task *))
{
    each_tile_of(p, panel_bytes, row_bytes, any_tile, NULL, NULL);
}

// Makes of a tile the product of full tiles alone, one row of them, that neither bias nor earlier sums go into: the scores of
// attention. They sum so few k that the walk above takes 3 % of attention with heads of 128, 4 % with heads of 64 (bf16, Zen 4).
#define SCORES(NAME, TILE, PANEL_BYTES, ANY_PRODUCT)                                                            \
    static void NAME(const abz_product *p) {                                                                    \
        if (p->rows != TILE_ROWS || p->columns % TILE_COLUMNS != 0) {                                           \
            ANY_PRODUCT(p);                                                                                     \
            return;                                                                                             \
        }                                                                                                       \
        for (long j = 0; j < p->columns; j += TILE_COLUMNS) {                                                   \
            tile_task t = {                                                                                     \
                .a = p->a, .a_stride = p->a_stride, .depth = p->depth, .c = p->c + j, .c_stride = p->c_stride,  \
                .b = (const char *)p->panels + j * p->panel_depth * (PANEL_BYTES),                              \
                .column_scales = p->column_scales ? p->column_scales + j : NULL,                                \
                .column_sums = p->column_sums ? p->column_sums + j : NULL,                                      \
            };                                                                                                  \
            TILE(TILE_ROWS, TILE_VECTORS, &t);                                                                  \
        }                                                                                                       \
    }

// What a tile's float sums become: c = sum + bias.
INLINE void store_tile(int rows, int vectors, const tile_task *t, lanes sum[TILE_ROWS][TILE_VECTORS]) {
    float *c = t->c;
    const float *column_bias = t->column_bias, *row_bias = t->row_bias;
    long stride = t->c_stride;
    int streams = t->streams;
    if (column_bias) {
        EACH_ROW(i) EACH_VECTOR(j) sum[i][j] += load(column_bias + j * LANES);
    }
    if (row_bias) {
        EACH_ROW(i) EACH_VECTOR(j) sum[i][j] += all(row_bias[i]);
    }
    if (streams) {
        EACH_ROW(i) EACH_VECTOR(j) __builtin_nontemporal_store(sum[i][j], (lanes *)(c + i * stride + j * LANES));
    } else {
        EACH_ROW(i) EACH_VECTOR(j) store(c + i * stride + j * LANES, sum[i][j]);
    }
}

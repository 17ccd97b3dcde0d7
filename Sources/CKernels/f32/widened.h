// Products of weights of 16 bits whose panels become floats before the tiles read them.
//
// Widened as they are read, a panel's numbers are widened anew for each tile of rows, by the units that the multiply-adds
// need. Where many rows go by it pays to widen the panel's part once, into the first-level cache: products of 320 rows and
// more became 1.2 times as fast (bf16 and f16, one thread, Zen 2), those of 36 rows hardly. The chains are those of
// f32/product.h, and so are the bits.

// Computes the product, or returns 0 if it is one of few rows or too deep. `widen(panel, count, to)` writes `count` numbers of
// a panel as floats, [k][w].
INLINE int product_widened(const abz_product *p, long panel_bytes, void (*widen)(const void *, long, float *)) {
    if (p->rows < WIDENED_ROWS || p->depth > WIDENED_DEPTH) return 0;
    _Alignas(64) float panel[WIDENED_DEPTH * TILE_COLUMNS];
    each_tile_of(p, panel_bytes, sizeof(float), p->rows_in_tiles ? any_tiles_f32 : any_tile_f32, widen, panel);
    return 1;
}

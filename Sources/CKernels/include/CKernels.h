#ifndef ABBOZZO_CKERNELS_H
#define ABBOZZO_CKERNELS_H

#include <stddef.h>
#include <stdint.h>

/// CRC32C (Castagnoli) of `count` bytes, continuing from `crc` (0 to start).
uint32_t abz_crc32c(uint32_t crc, const void *bytes, size_t count);

/// One block of a matrix product, c += a b.
///
/// b lies in panels: columns j ..< j + w (w = the class's `panel_columns`, less in the last) are stored one after
/// the other for each k, [k][w], and panel number n starts at n * panel_columns * panel_depth. The last panel's width is
/// rounded up to 16 with zeros.
typedef struct abz_product {
    /// (rows, depth), `a_stride` values from row to row.
    const float *a;
    long a_stride;
    /// The first panel, whole: `panel_depth` k are stored, and the block uses `depth` of them from `first_k` on.
    const float *panels;
    long panel_depth, first_k;
    /// (rows, columns), `c_stride` values from row to row.
    float *c;
    long c_stride;
    long rows, columns, depth;
    /// Not zero: sums go on from what c holds; else c is not read and they start at 0.
    int onto;
    /// Added after the last k, one for each column or row; or NULL.
    const float *column_bias;
    const float *row_bias;
} abz_product;

/// Packs `count` rows of `depth` values, `stride` apart, as one panel of `width` >= count columns (a multiple of 16), zeros
/// in the rest.
void abz_pack_panel(const float *rows, long stride, long count, long depth, long width, float *panel);

/// Packs (keys, width) as panels over the width, each [padded_keys][columns], for a product that sums over keys.
///
/// Rows are `stride` values apart; zeros fill up to `padded_keys` keys and to a multiple of 16 in the width.
void abz_pack_values(
    const float *rows, long stride, long keys, long padded_keys, long width, long panel_columns, float *panels);

/// Doubles one row of pixels, each value twice.
void abz_double_row(const float *row, long width, float *out);

/// Most pixels of a strip.
#define ABZ_STRIP_PIXELS 96

/// Part of the matrix (k, pixels) that turns a convolution into a product: k = (channel, ky, kx), pixels in raster order.
typedef struct abz_strip {
    /// (channels, height, width)
    const float *planes;
    long height, width;
    /// Taps across and down, odd.
    long kernel;
    /// The pixels first_pixel ..< first_pixel + count, at most ABZ_STRIP_PIXELS; zeros fill up to `padded`, a multiple of 16.
    long first_pixel, count, padded;
    /// The rows first_k ..< first_k + depth.
    long first_k, depth;
    /// Columns of a full panel.
    long panel_columns;
} abz_strip;

/// Writes the strip as panels of `depth` k for `product`, zeros outside the picture and in the padding.
void abz_pack_pixels(const abz_strip *, float *panels);

/// Keys of a step of the online softmax: part of the result's bits. A multiple of all panel widths.
#define ABZ_KEY_BLOCK 384
/// Most queries of one call: keys are read once for all of them.
#define ABZ_QUERY_BLOCK 48

/// Attention of one head for one block of queries.
typedef struct abz_attention {
    /// (queries, width), rows `q_stride` values apart; the first one is query number `first_query` of the call.
    const float *q;
    long q_stride, first_query, queries;
    /// All keys as panels (abz_pack_panel), padded to a multiple of 16 keys.
    const float *k_panels;
    /// All values as panels (abz_pack_values), one set for each block of ABZ_KEY_BLOCK keys.
    const float *v_panels;
    long keys, padded_keys, width;
    float scale;
    /// (queries, keys) for this block of queries, or NULL.
    const float *bias;
    /// Not zero: a query sees no key after its own number.
    int causal;
    float *out;
    long out_stride;
    /// ABZ_QUERY_BLOCK * (ABZ_KEY_BLOCK + width + width rounded up to 16) values.
    float *scratch;
} abz_attention;

/// Kernels for one instruction set. All sets give the same bits.
typedef struct abz_kernels {
    const char *name;
    /// Columns of a full panel; a multiple of 16.
    long panel_columns;
    /// Rows of a full tile: blocks of a multiple of it waste nothing.
    long tile_rows;
    void (*product)(const abz_product *);
    /// y[i] = f(x[i]); x and y may be the same. Formulas in f32/activations.h.
    void (*gelu_tanh)(const float *x, float *y, long count);
    void (*quick_gelu)(const float *x, float *y, long count);
    void (*gelu_erf)(const float *x, float *y, long count);
    void (*silu)(const float *x, float *y, long count);
    /// y[i] = a[i] + b[i], a[i] * b[i].
    void (*sum)(const float *a, const float *b, float *y, long count);
    void (*pairwise_product)(const float *a, const float *b, float *y, long count);
    /// y = x + gate * branch; (rows, width), the gate (width).
    void (*gated_sum)(const float *x, const float *branch, const float *gate, float *y, long rows, long width);
    /// Rotates neighbouring channel pairs of (tokens, heads, width) by (tokens, width / 2) cosines and sines.
    void (*rotate)(
        const float *x, const float *cosines, const float *sines, float *y, long tokens, long heads, long width);
    void (*attend)(const abz_attention *);
    /// Norms of each row; weight and bias (width) or NULL. Formulas in f32/norms.h.
    void (*layer_norm)(
        const float *x, float *y, const float *weight, const float *bias, long rows, long width, float epsilon);
    void (*rms_norm)(const float *x, float *y, const float *weight, long rows, long width, float epsilon);
    /// Sum of (x[i] - center)^power, power 1 or 2, in double precision.
    double (*moment)(const float *x, long count, double center, int power);
    /// y[i] = x[i] * scale + shift, fused.
    void (*scaled)(const float *x, float *y, long count, float scale, float shift);
} abz_kernels;

/// The kernels called `name` ("avx512", "avx2", "portable"), or NULL when unknown or not supported by this processor.
const abz_kernels *abz_kernels_named(const char *name);

/// The fastest kernels that this processor supports.
const abz_kernels *abz_kernels_best(void);

#endif

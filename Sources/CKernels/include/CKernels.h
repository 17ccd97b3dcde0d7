#ifndef ABBOZZO_CKERNELS_H
#define ABBOZZO_CKERNELS_H

#include <stddef.h>
#include <stdint.h>

/// CRC32C (Castagnoli) of `count` bytes, continuing from `crc` (0 to start).
uint32_t abz_crc32c(uint32_t crc, const void *bytes, size_t count);

/// One block of a matrix product, c += a b.
///
/// b lies in panels: columns j ..< j + w (w = the class's `panel_columns`, less in the last) are stored one after the other
/// for each group of k, [k / group][w][group], and panel number n starts at value n * panel_columns * panel_depth. The
/// last panel's width is rounded up to 16 with zeros. What a value is depends on the product: see `abz_multiplier`.
typedef struct abz_product {
    /// Rows as the product's `prepare` leaves them, from `first_k` on, `a_stride` values from row to row.
    const void *a;
    long a_stride;
    /// Not zero: rows lie in tiles, each read in one stream: [a_stride][tile_rows], one tile after the other.
    int rows_in_tiles;
    /// The first panel, whole: `panel_depth` k are stored, and the block uses `depth` of them from `first_k` on. All three
    /// are multiples of the group.
    const void *panels;
    long panel_depth, first_k;
    /// Columns of a full panel, or 0 for the class's.
    long panel_columns;
    /// (rows, columns), `c_stride` values from row to row.
    float *c;
    long c_stride;
    long rows, columns, depth;
    /// Not zero: sums go on from what c holds; else c is not read and they start at 0.
    int onto;
    /// Not zero: sums go past the caches, where a whole result is too large for them and no later block goes on from it.
    /// Without effect on a c that is not 64-byte aligned, a `c_stride` that is no multiple of 16, and with `onto`; no bit
    /// depends on it.
    int streams;
    /// Added after the last k, one for each column or row; or NULL. Columns are padded to a multiple of 16.
    const float *column_bias;
    const float *row_bias;
    /// Only of the int8 product, whose `first_k` is a multiple of ABZ_INT8_STRETCH. The first scale and zero of the rows'
    /// stretch `first_k`, `scale_stride` from row to row; and all scales and sums of the panels, as `pack` writes them.
    const float *row_scales, *row_zeros;
    long scale_stride;
    const float *column_scales;
    const int32_t *column_sums;
} abz_product;

/// How many k of the int8 product have a scale of their own. 512 is the most whose sums are exact; 256 took 2 to 3 % more time
/// (Zen 4).
#define ABZ_INT8_STRETCH 512

/// Products of one kind: how its two sides are stored, and the arithmetic.
typedef struct abz_multiplier {
    /// Values of k that lie together in a panel, and their number in a step over k that suits the caches.
    long group, depth_step;
    /// Bytes of one value of a panel, and of a prepared row.
    long panel_bytes, row_bytes;
    /// Packs `count` rows of a weight, `depth` values each and `stride` apart, as one panel of `width` >= count columns (a
    /// multiple of 16); zeros fill the rest, and the depth up to a whole group. `scales` and `sums` take [stretches][width]
    /// values; only int8 writes them.
    void (*pack)(
        const float *rows, long stride, long count, long depth, long width, void *panel, float *scales, int32_t *sums);
    /// The same for a product that sums over the rows: (depth, columns) rows become panels [depth padded][columns] over
    /// all columns. NULL for int8 and half precision.
    void (*pack_transposed)(
        const float *rows, long stride, long depth, long padded_depth, long columns, long panel_columns, void *panels);
    /// Turns `count` rows of `depth` values into what `product` reads, zeros from `depth` up to `padded`, rows
    /// `prepared_stride` values apart. `rows` and `prepared` may not overlap. NULL for int8, which has `quantise`.
    void (*prepare)(
        const float *rows, long stride, long count, long depth, long padded, void *prepared, long prepared_stride);
    void (*product)(const abz_product *);
} abz_multiplier;

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

/// Keys of a step of the online softmax, in f32 and in bf16: part of the result's bits. Multiples of all panel widths.
#define ABZ_KEY_BLOCK 384
#define ABZ_SHORT_KEY_BLOCK 768
/// Most queries of one call: keys are read once for all of them.
#define ABZ_QUERY_BLOCK 48

/// Attention of one head for one block of queries; panels are those of the multiplier it runs on.
typedef struct abz_attention {
    /// (queries, width), rows `q_stride` values apart; the first one is query number `first_query` of the call.
    const float *q;
    long q_stride, first_query, queries;
    /// All keys as panels (`pack`), padded to a multiple of 16 keys.
    const void *k_panels;
    /// Only of `attend_int8`: scales and sums of the keys, as `pack` writes them.
    const float *k_scales;
    const int32_t *k_sums;
    /// All values as panels (`pack_transposed`), one set for each block of keys, of `v_panel_columns`.
    const void *v_panels;
    long v_panel_columns;
    long keys, padded_keys, width;
    float scale;
    /// (queries, keys) for this block of queries, or NULL.
    const float *bias;
    /// Not zero: a query sees no key after its own number.
    int causal;
    float *out;
    long out_stride;
    /// ABZ_QUERY_BLOCK * (keys of a block + 2 * (width rounded up to 16)) values.
    float *scratch;
} abz_attention;

/// Kernels for one instruction set.
///
/// All sets give the same bits, with exceptions: the products `bf16` and `attend_bf16` of a set with `bf16_dot`, and `int8`,
/// whose rows are as fine as `int8_levels` says, with `attend_int8`, which only sets with bytes have.
typedef struct abz_kernels {
    const char *name;
    /// Columns of a full panel; a multiple of 16.
    long panel_columns;
    /// Rows of a full tile: blocks of a multiple of it waste nothing.
    long tile_rows;
    /// Rows and columns of a large block: a panel's part of a step over k stays in the second-level cache while the
    /// rows go by, and the rows' part in the third-level cache (or both one level higher). Rows are a multiple of `tile_rows`.
    long block_rows, block_columns;
    /// Not zero: `prepare` of the products of floats leaves rows in tiles, with zeros for those that the last one lacks.
    int rows_in_tiles;
    /// f32: both sides f32. bf16: both sides rounded to bf16, sums f32. bf16_weight: b rounded to bf16, all else f32.
    /// f16_weight: b in half precision, which must hold it exactly and finite, all else f32.
    /// int8: integers with scales for each stretch of k on both sides, of 8 bits in b; integer sums of a stretch.
    abz_multiplier f32, bf16, bf16_weight, f16_weight, int8;
    /// Not zero: bf16 sums pairs of k with the processor's own rounding (VDPBF16PS).
    int bf16_dot;
    /// Steps in the range of a stretch that `quantise` writes: 254, or 32766 where rows are 16 bits wide anyway.
    int int8_levels;
    /// One row of integers for the int8 product, with a scale and a zero for each stretch; see int8/quantise.h.
    /// q takes `count` values of the product's `row_bytes`, and zeros up to a whole group.
    void (*quantise)(const float *x, long count, void *q, float *scales, float *zeros);
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
    /// On the products f32 and bf16.
    void (*attend)(const abz_attention *);
    void (*attend_bf16)(const abz_attention *);
    /// Keys in panels of the product int8, values in those of bf16; the width is at most ABZ_INT8_STRETCH. NULL where bytes have
    /// no instruction of their own.
    void (*attend_int8)(const abz_attention *);
    /// Norms of each row; weight and bias (width) or NULL. Formulas in f32/norms.h.
    void (*layer_norm)(
        const float *x, float *y, const float *weight, const float *bias, long rows, long width, float epsilon);
    void (*rms_norm)(const float *x, float *y, const float *weight, long rows, long width, float epsilon);
    /// Sum of (x[i] - center)^power, power 1 or 2, in double precision.
    double (*moment)(const float *x, long count, double center, int power);
    /// y[i] = x[i] * scale + shift, fused.
    void (*scaled)(const float *x, float *y, long count, float scale, float shift);
} abz_kernels;

/// The kernels called `name` ("avx512bf16", "avx512vnni", "avx512", "avx2", "portable", "portable-bytes"), or NULL when
/// unknown or not supported by this processor.
const abz_kernels *abz_kernels_named(const char *name);

/// The fastest kernels that this processor supports; never "portable-bytes", which tests compare with VNNI's.
const abz_kernels *abz_kernels_best(void);

/// Nothing but multiply-adds in registers, in independent sums.
typedef struct abz_ceiling {
    /// Operations of a round, a multiply-add being two.
    double operations;
    /// Does `rounds` rounds; `sink` takes a value, so that none can be left out. The processor must have the instructions.
    void (*run)(long rounds, float *sink);
} abz_ceiling;

/// The multiply-adds by which the kernels called `instructions` multiply a number format ("f32", "bf16", "int8"); of the
/// portable ones, for which the compiler chooses, those of f32.
abz_ceiling abz_ceiling_of(const char *instructions, const char *format);

#endif

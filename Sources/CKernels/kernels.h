// All kernels and their table; included once for each class, which defines:
//   CLASS_TABLE    name of the table
//   CLASS_NAME     its name for people
//   TILE_ROWS, TILE_VECTORS   the register tile of the matrix products, in rows and in vectors of 16 columns
//   TILE_CASES     TILE_CASE(tile, rows, vectors) for every smaller tile
//   PREFETCH_DEPTH how many groups of k ahead panels are fetched
//   ROW_STEP       bytes of a row of a in a step over k
//   BLOCK_ROWS     rows and columns of a large block; see abz_kernels. AVX-512: measured on Zen 4 with 1 MiB of second and
//   BLOCK_COLUMNS  32 MiB of third-level cache, where threads share the rows; AVX2: on Zen 2 with 512 KiB
//   ROWS_IN_TILES  defined when f32 products read rows in tiles; tiles of six rows only
//   WIDENED_DEPTH  defined when panels of 16-bit weights are widened before their tiles read them (f32/widened.h): the k of
//   WIDENED_ROWS   a step, and from how many rows on it pays; panels of one vector only
//   INT8_GROUP     2, with INT8_AVX2 or INT8_AVX512 for their instructions; or 4, with INT8_VNNI for that of VNNI
//   HALF_AVX512 or HALF_F16C   defined for the instructions that widen halves
//   BF16_DOT       defined when there is VDPBF16PS

#include "lanes.h"
#include "tiles.h"
#include "transpose.h"
#include "f16/halves.h"
#include "f32/product.h"
#ifdef WIDENED_DEPTH
#include "f32/widened.h"
#endif
#include "bf16/product.h"
#ifdef BF16_DOT
#include "bf16/dot.h"
#endif
#include "bf16/pack.h"
#include "f16/product.h"
#include "int8/quantise.h"
#include "int8/product.h"
#if INT8_GROUP == 4
#include "int8/pack.h"
#include "int8/scores.h"
#endif
#include "f32/exponential.h"
#include "f32/activations.h"
#include "f32/elementwise.h"
#include "f32/norms.h"
#include "attention.h"

#ifdef ROWS_IN_TILES
#define PREPARE(ROWS) prepare_tiles_##ROWS
#else
#define PREPARE(ROWS) prepare_##ROWS
#endif

const abz_kernels CLASS_TABLE = {
    .name = CLASS_NAME,
    .panel_columns = TILE_COLUMNS,
    .tile_rows = TILE_ROWS,
    .block_rows = BLOCK_ROWS,
    .block_columns = BLOCK_COLUMNS,
#ifdef ROWS_IN_TILES
    .rows_in_tiles = 1,
#endif
    .f32 = {
        .group = 1, .depth_step = ROW_STEP / 4, .panel_bytes = 4, .row_bytes = 4, .pack = abz_pack_f32,
        .pack_transposed = abz_pack_transposed_f32, .prepare = PREPARE(f32), .product = product_f32,
    },
    .f16_weight = {
        .group = 1, .depth_step = ROW_STEP / 4, .panel_bytes = 2, .row_bytes = 4, .pack = pack_f16, .prepare = PREPARE(f32),
        .product = product_f16,
    },
    .bf16_weight = {
        .group = 2, .depth_step = ROW_STEP / 4, .panel_bytes = 2, .row_bytes = 4, .pack = pack_bf16,
        .pack_transposed = pack_transposed_bf16, .prepare = PREPARE(f32), .product = product_bf16,
    },
#ifdef BF16_DOT
    .bf16 = {
        .group = 2, .depth_step = ROW_STEP / 2, .panel_bytes = 2, .row_bytes = 2, .pack = pack_bf16,
        .pack_transposed = pack_transposed_bf16, .prepare = prepare_dot, .product = product_dot,
    },
    .bf16_dot = 1,
#else
    .bf16 = {
        .group = 2, .depth_step = ROW_STEP / 4, .panel_bytes = 2, .row_bytes = 4, .pack = pack_bf16,
        .pack_transposed = pack_transposed_bf16, .prepare = PREPARE(bf16), .product = product_bf16,
    },
#endif
    .int8 = {
        .group = INT8_GROUP, .depth_step = INT8_STEP, .panel_bytes = 1,
        .row_bytes = sizeof(int8_row), .product = product_int8,
#if INT8_GROUP == 4
        .pack = pack_int8,
#else
        .pack = abz_pack_int8_pairs,
#endif
    },
    .int8_levels = INT8_LEVELS,
    .quantise = quantise,
    .gelu_tanh = gelu_tanh,
    .quick_gelu = quick_gelu,
    .gelu_erf = gelu_erf,
    .silu = silu,
    .sum = sum,
    .pairwise_product = pairwise_product,
    .gated_sum = gated_sum,
    .rotate = rotate,
    .attend = attend,
    .attend_bf16 = attend_bf16,
#if INT8_GROUP == 4
    .attend_int8 = attend_int8,
#endif
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .moment = moment,
    .scaled = scaled,
};

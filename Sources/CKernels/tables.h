// The tables of all classes, the packing that they share, and the lists of tiles that a class may need.

#pragma once
#include "CKernels.h"

extern const abz_kernels abz_portable;
extern const abz_kernels abz_portable_bytes;
extern const abz_kernels abz_avx2;
extern const abz_kernels abz_avx512;
extern const abz_kernels abz_avx512vnni;
extern const abz_kernels abz_avx512bf16;

// Members of `abz_multiplier`, in pack.c; int8 in groups of 2. That of groups of 4 is in int8/pack.h, those of bf16 are in
// bf16/pack.h, that of half precision in f16/product.h.
void abz_pack_f32(
    const float *rows, long stride, long count, long depth, long width, void *panel, float *scales, int32_t *sums);
void abz_pack_int8_pairs(
    const float *rows, long stride, long count, long depth, long width, void *panel, float *scales, int32_t *sums);
void abz_pack_transposed_f32(
    const float *rows, long stride, long depth, long padded_depth, long columns, long panel_columns, void *panels);

#define TILE_CASES_6(TILE, V)                                                                                   \
    TILE_CASE(TILE, 1, V) TILE_CASE(TILE, 2, V) TILE_CASE(TILE, 3, V) TILE_CASE(TILE, 4, V)                     \
    TILE_CASE(TILE, 5, V) TILE_CASE(TILE, 6, V)
#define TILE_CASES_8(TILE, V) TILE_CASES_6(TILE, V) TILE_CASE(TILE, 7, V) TILE_CASE(TILE, 8, V)
#define TILE_CASES_6_1(TILE) TILE_CASES_6(TILE, 1)
#define TILE_CASES_8_3(TILE) TILE_CASES_8(TILE, 1) TILE_CASES_8(TILE, 2) TILE_CASES_8(TILE, 3)

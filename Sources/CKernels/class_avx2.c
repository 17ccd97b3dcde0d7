#include "CKernels.h"
#include "tables.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

// 6 x 16: twelve of the sixteen registers hold sums, two a row of the panel, one a value of a.
#define CLASS_TABLE abz_avx2
#define CLASS_NAME "avx2"
#define TILE_ROWS 6
#define TILE_VECTORS 1
#define TILE_CASES TILE_CASES_6_1
#define PREFETCH_DEPTH 8
#define ROW_STEP 2048
#define BLOCK_ROWS 192
#define BLOCK_COLUMNS 512
#define ROWS_IN_TILES
#define WIDENED_DEPTH (ROW_STEP / 4)
#define WIDENED_ROWS 36
#define HALF_F16C
#define INT8_GROUP 2
#define INT8_AVX2
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#include "kernels.h"
#pragma clang attribute pop
#endif

#include "CKernels.h"
#include "tables.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

// 8 x 48: 24 of the 32 registers hold sums, three a row of the panel; values of a are broadcast from memory.
#define CLASS_TABLE abz_avx512
#define CLASS_NAME "avx512"
#define TILE_ROWS 8
#define TILE_VECTORS 3
#define TILE_CASES TILE_CASES_8_3
#define PREFETCH_DEPTH 8
#define ROW_STEP 6144
#define BLOCK_ROWS 1536
#define BLOCK_COLUMNS 192
#define HALF_AVX512
#define INT8_GROUP 2
#define INT8_AVX512
#pragma clang attribute push(                                                                                   \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))), apply_to = function)
#include "kernels.h"
#pragma clang attribute pop
#endif

#include "CKernels.h"
#include "tables.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

// AVX-512 with VNNI and BF16, as on Cooper Lake, Sapphire Rapids, Zen 4 and Zen 5.
#define CLASS_TABLE abz_avx512bf16
#define CLASS_NAME "avx512bf16"
#define TILE_ROWS 8
#define TILE_VECTORS 3
#define TILE_CASES TILE_CASES_8_3
#define PREFETCH_DEPTH 8
#define ROW_STEP 6144
#define BLOCK_ROWS 1536
#define BLOCK_COLUMNS 192
#define HALF_AVX512
#define INT8_GROUP 4
#define INT8_VNNI
#define BF16_DOT
#pragma clang attribute push(                                                                                   \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16,avx2,fma"))), apply_to = function)
#include "kernels.h"
#pragma clang attribute pop
#endif

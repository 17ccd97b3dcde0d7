#include "CKernels.h"
#include "tables.h"

#include <math.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

// AVX-512 with VNNI, as on Cascade Lake and Ice Lake: the tile of class_avx512.c, int8 by fours.
#define CLASS_TABLE abz_avx512vnni
#define CLASS_NAME "avx512vnni"
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
#pragma clang attribute push(                                                                                   \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma"))), apply_to = function)
#include "kernels.h"
#pragma clang attribute pop
#endif

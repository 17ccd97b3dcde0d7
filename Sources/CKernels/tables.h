// The tables of all classes, and the lists of tiles that a class may need.

#pragma once
#include "CKernels.h"

extern const abz_kernels abz_portable;
extern const abz_kernels abz_avx2;
extern const abz_kernels abz_avx512;

#define TILE_CASES_6(V)                                                                                         \
    TILE_CASE(1, V) TILE_CASE(2, V) TILE_CASE(3, V) TILE_CASE(4, V) TILE_CASE(5, V) TILE_CASE(6, V)
#define TILE_CASES_8(V) TILE_CASES_6(V) TILE_CASE(7, V) TILE_CASE(8, V)
#define TILE_CASES_6_1 TILE_CASES_6(1)
#define TILE_CASES_8_3 TILE_CASES_8(1) TILE_CASES_8(2) TILE_CASES_8(3)

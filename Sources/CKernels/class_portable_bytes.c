#include "CKernels.h"
#include "tables.h"

#include <math.h>
#include <string.h>

// class_portable.c with the int8 product of VNNI in plain C: bytes by fours, rows with zeros. Slow, and chosen by name alone:
// tests walk through what processors with VNNI do by default, on those without. Sums of a stretch are exact integers, and the
// floats around them are the operations of class_avx512vnni.c, so that both have one name (`int8-fma`) and equal bits; those
// of class_avx512bf16.c are equal in int8 products too, but its name is `int8-dot`, because attention has values of bf16.
#define CLASS_TABLE abz_portable_bytes
#define CLASS_NAME "portable-bytes"
#define TILE_ROWS 8
#define TILE_VECTORS 3
#define TILE_CASES TILE_CASES_8_3
#define PREFETCH_DEPTH 8
#define ROW_STEP 1536
#define BLOCK_ROWS 144
#define BLOCK_COLUMNS 256
#define INT8_GROUP 4
#include "kernels.h"

#include "CKernels.h"
#include "tables.h"

#include <math.h>
#include <string.h>

// Any processor: fused multiply-add from the C library where there is no instruction, and the tile of AVX-512, so that
// tests on machines without AVX-512 walk through that geometry too. On ARM this compiles to NEON; a class of its own
// with a 6 x 16 tile (and SVE or AMX tiles) would be one more file like this one and a line in dispatch.c.
#define CLASS_TABLE abz_portable
#define CLASS_NAME "portable"
#define TILE_ROWS 8
#define TILE_VECTORS 3
#define TILE_CASES TILE_CASES_8_3
#define PREFETCH_DEPTH 8
#define ROW_STEP 1536
#define BLOCK_ROWS 144
#define BLOCK_COLUMNS 256
#define INT8_GROUP 2
#include "kernels.h"

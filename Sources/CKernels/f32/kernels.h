// All f32 kernels and their table; included once for each class, which defines:
//   CLASS_TABLE    name of the table
//   CLASS_NAME     its name for people
//   TILE_ROWS, TILE_VECTORS   the register tile of the matrix product, in rows and in vectors of 16 columns
//   TILE_CASES     TILE_CASE(rows, vectors) for every smaller tile
//   PREFETCH_DEPTH how many k ahead panels are fetched

#include "lanes.h"
#include "product.h"
#include "exponential.h"
#include "activations.h"
#include "elementwise.h"
#include "norms.h"
#include "attention.h"

const abz_kernels CLASS_TABLE = {
    .name = CLASS_NAME,
    .panel_columns = TILE_COLUMNS,
    .tile_rows = TILE_ROWS,
    .product = product,
    .gelu_tanh = gelu_tanh,
    .quick_gelu = quick_gelu,
    .gelu_erf = gelu_erf,
    .silu = silu,
    .sum = sum,
    .pairwise_product = pairwise_product,
    .gated_sum = gated_sum,
    .rotate = rotate,
    .attend = attend,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .moment = moment,
    .scaled = scaled,
};

// Matrix product of 8-bit integers with a scale a row and a scale a column.
//
// Slow form, a and b being integers from -127 to 127:
//     for i, j: s = sum over k of a[i][k] * b[k][j]; c[i][j] = fma((float)s * row_scale[i], column_scale[j], bias[j])
// The sum is exact: each product is at most 127^2, and below 2^17 of them stay below 2^31. Integer sums may take any order, so
// all classes give the same bits, whatever instructions they have:
//   pairs   16-bit products of two k added to 32 bits (VPMADDWD; 2 * 127^2 is far from 2^31, so nothing saturates)
//   fours   VPDPBUSD, unsigned by signed bytes, four k: rows are stored as a + 128, and 128 * sum over k of b[k][j] is taken off again
//           (`column_offsets`); sums may pass 2^31 on the way, since they are taken modulo 2^32 and the end fits
// Between blocks over k, c holds the integer sums: c is 32 bits wide either way.

#if INT8_GROUP == 4
typedef uint8_t int8_row;

INLINE ints dot_int8(ints sum, int32_t factor, const int8_t *column) {
    __m512i b = _mm512_loadu_si512(column);
    return (ints)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(factor), b);
}
#else
typedef int16_t int8_row;

// Sixteen columns of two k, widened to 16 bits.
INLINE ints dot_int8(ints sum, int32_t factor, const int8_t *column) {
    pair_bytes narrow;
    memcpy(&narrow, column, sizeof narrow);
    shorts b = __builtin_convertvector(narrow, shorts);
#if defined(INT8_AVX512)
    return sum + (ints)_mm512_madd_epi16(_mm512_set1_epi32(factor), (__m512i)b);
#elif defined(INT8_AVX2)
    typedef int32_t half __attribute__((vector_size(32)));
    __m256i a = _mm256_set1_epi32(factor);
    half low = (half)_mm256_madd_epi16(
        a, (__m256i)__builtin_shufflevector(b, b, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15));
    half high = (half)_mm256_madd_epi16(
        a, (__m256i)__builtin_shufflevector(b, b, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31));
    return sum + __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#else
    ints both = (ints)b;
    int32_t even = (int16_t)factor, odd = factor >> 16;
    return sum + (both << 16 >> 16) * even + (both >> 16) * odd;
#endif
}
#endif

INLINE void tile_int8(int rows, int vectors, const tile_task *t) {
    ints sum[TILE_ROWS][TILE_VECTORS];
    const int8_row *row[TILE_ROWS];
    const int8_t *b = t->b;
    EACH_ROW(i) {
        row[i] = (const int8_row *)t->a + i * t->a_stride;
        EACH_VECTOR(j) sum[i][j] = t->onto ? (ints)load(t->c + i * t->c_stride + j * LANES) : (ints){0};
    }
    for (long k = 0; k < t->depth; k += INT8_GROUP, b += vectors * INT8_GROUP * LANES) {
        EACH_VECTOR(j) __builtin_prefetch(b + (j + PREFETCH_DEPTH * vectors) * INT8_GROUP * LANES);
        EACH_ROW(i) {
            int32_t factor;
            memcpy(&factor, row[i] + k, sizeof factor);
            EACH_VECTOR(j) sum[i][j] = dot_int8(sum[i][j], factor, b + j * INT8_GROUP * LANES);
        }
    }
    EACH_ROW(i) {
        EACH_VECTOR(j) {
            float *c = t->c + i * t->c_stride + j * LANES;
            if (!t->row_scales) {
                store(c, (lanes)sum[i][j]);
                continue;
            }
            ints offsets = (ints)load_words((const uint32_t *)(t->column_offsets + j * LANES));
            lanes s = __builtin_convertvector(sum[i][j] - offsets, lanes) * t->row_scales[i];
            lanes scales = load(t->column_scales + j * LANES);
            store(c, t->column_bias ? fma_lanes(s, scales, load(t->column_bias + j * LANES)) : s * scales);
        }
    }
}

ANY_TILE(tile_int8)

static void product_int8(const abz_product *p) { each_tile(p, sizeof(int8_t), sizeof(int8_row), any_tile_int8); }

// Widened or shifted, the depth padded with zeros: their weights are 0, so what stands there does not matter.
static void prepare_int8(const void *rows, long stride, long count, long depth, void *prepared, long prepared_stride) {
    const int8_t *from = rows;
    int8_row *to = prepared;
    long padded = (depth + INT8_GROUP - 1) / INT8_GROUP * INT8_GROUP;
    for (long i = 0; i < count; i++, from += stride, to += prepared_stride) {
        for (long k = 0; k < depth; k++) to[k] = (int8_row)(from[k] + (INT8_GROUP == 4 ? 128 : 0));
        for (long k = depth; k < padded; k++) to[k] = 0;
    }
}

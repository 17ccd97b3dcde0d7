// Matrix product of integers with a scale for each stretch of ABZ_INT8_STRETCH k of a row, and of a column.
//
// Slow form, v being a row's integers as quantise.h has them and b a column's from -127 to 127:
//     for i, j: c[i][j] = 0
//         for stretches g ascending: s = sum over k in g of v[i][k] * b[k][j]
//             c[i][j] = fma((float)s * row_scale[i][g], column_scale[g][j], c[i][j])
//         c[i][j] += bias[j]
// Sums of a stretch are exact, so that their order is free:
//   pairs   16-bit products of two k added to 32 bits (VPMADDWD); 512 * 32766 * 127 is below 2^31
//   fours   VPDPBUSD, unsigned by signed bytes, four k; rows are stored as u = v + zero, and zero times the sum of b[k][j] over
//           k in g is taken off again in floats, all three being integers below 2^24. Without that instruction the same
//           integers in plain C (class_portable_bytes.c): no bit may differ
// Blocks over k store c and load it again, as in f32/product.h; they begin at a stretch (INT8_STEP).

#define INT8_STEP ((ROW_STEP / (long)sizeof(int8_row) + ABZ_INT8_STRETCH - 1) / ABZ_INT8_STRETCH * ABZ_INT8_STRETCH)
_Static_assert(ABZ_INT8_STRETCH * 255L * 127 < 1L << 24, "fours: sums of a stretch are exact in floats");
_Static_assert(ABZ_INT8_STRETCH * 32767L * 127 < 1L << 31, "pairs: sums of a stretch fit 32 bits");

#if defined(INT8_VNNI)
INLINE ints dot_int8(ints sum, int32_t factor, const int8_t *column) {
    __m512i b = _mm512_loadu_si512(column);
    return (ints)_mm512_dpbusd_epi32((__m512i)sum, _mm512_set1_epi32(factor), b);
}
#elif INT8_GROUP == 4
// Sixteen columns of four k, the first in the lowest byte; the factor's bytes have no sign.
INLINE ints dot_int8(ints sum, int32_t factor, const int8_t *column) {
    words b;
    memcpy(&b, column, sizeof b);
    for (int k = 0; k < 4; k++) {
        int32_t u = (uint8_t)(factor >> 8 * k);
        sum += ((ints)(b << (24 - 8 * k)) >> 24) * u;
    }
    return sum;
}
#else
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

// Adds the products of the k from `first` up to `end`; returns where the panel goes on.
INLINE const int8_t *add_products(
    int rows, int vectors, const int8_row *const row[TILE_ROWS], const int8_t *b, long first, long end,
    ints sum[TILE_ROWS][TILE_VECTORS])
{
    for (long k = first; k < end; k += INT8_GROUP, b += vectors * INT8_GROUP * LANES) {
        EACH_VECTOR(j) __builtin_prefetch(b + (j + PREFETCH_DEPTH * vectors) * INT8_GROUP * LANES);
        EACH_ROW(i) {
            int32_t factor;
            memcpy(&factor, row[i] + k, sizeof factor);
            EACH_VECTOR(j) sum[i][j] = dot_int8(sum[i][j], factor, b + j * INT8_GROUP * LANES);
        }
    }
    return b;
}

INLINE void tile_int8(int rows, int vectors, const tile_task *t) {
    // Volatile, so that they stay in memory while registers hold the integers; left to itself the compiler moves both about
    // at the end of each stretch, 2 to 4 % of a product (3072 k, two threads, Zen 4).
    volatile lanes total[TILE_ROWS][TILE_VECTORS];
    const int8_row *row[TILE_ROWS];
    const int8_t *b = t->b;
    EACH_ROW(i) {
        row[i] = (const int8_row *)t->a + i * t->a_stride;
        EACH_VECTOR(j) total[i][j] = t->onto ? load(t->c + i * t->c_stride + j * LANES) : all(0);
    }
    for (long first = 0; first < t->depth; first += ABZ_INT8_STRETCH) {
        long end = t->depth - first < ABZ_INT8_STRETCH ? t->depth : first + ABZ_INT8_STRETCH;
        ints sum[TILE_ROWS][TILE_VECTORS];
        EACH_ROW(i) EACH_VECTOR(j) sum[i][j] = (ints){0};
        b = add_products(rows, vectors, row, b, first, end, sum);
        long stretch = first / ABZ_INT8_STRETCH;
        EACH_VECTOR(j) {
            long column = (stretch * vectors + j) * LANES;
            lanes scales = load(t->column_scales + column);
#if INT8_GROUP == 4
            ints whole;
            memcpy(&whole, t->column_sums + column, sizeof whole);
            lanes sums = __builtin_convertvector(whole, lanes);
#endif
            EACH_ROW(i) {
                lanes s = __builtin_convertvector(sum[i][j], lanes);
#if INT8_GROUP == 4
                s = fma_lanes(all(-t->row_zeros[i * t->scale_stride + stretch]), sums, s);
#endif
                total[i][j] = fma_lanes(s * all(t->row_scales[i * t->scale_stride + stretch]), scales, total[i][j]);
            }
        }
    }
    lanes complete[TILE_ROWS][TILE_VECTORS];
    EACH_ROW(i) EACH_VECTOR(j) complete[i][j] = total[i][j];
    store_tile(rows, vectors, t, complete);
}

ANY_TILE(tile_int8)

static void product_int8(const abz_product *p) { each_tile(p, sizeof(int8_t), sizeof(int8_row), any_tile_int8); }

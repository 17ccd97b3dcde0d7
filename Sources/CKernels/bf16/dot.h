// Matrix product of bf16 numbers with VDPBF16PS: two k an instruction, twice the rate of f32.
//
// Slow form: for i, j: s = onto ? c[i][j] : 0; for pairs of k ascending: s = dot(s, a[i][k ..< k + 2], b[k ..< k + 2][j]);
// c[i][j] = s + bias. How `dot` rounds is the processor's: Intel's manual adds the odd product, then the even one, each
// rounded to nearest with subnormal numbers taken as 0, and so does Zen 4 bit for bit. So the class has a name of its own, but
// within it bits depend on a row and a column alone, as everywhere.

INLINE void tile_dot(int rows, int vectors, const tile_task *t) {
    __m512 sum[TILE_ROWS][TILE_VECTORS];
    const uint16_t *row[TILE_ROWS], *b = t->b;
    EACH_ROW(i) {
        row[i] = (const uint16_t *)t->a + i * t->a_stride;
        EACH_VECTOR(j)
            sum[i][j] = t->onto ? _mm512_loadu_ps(t->c + i * t->c_stride + j * LANES) : _mm512_setzero_ps();
    }
    for (long k = 0; k < t->depth; k += 2, b += vectors * 2 * LANES) {
        __m512bh column[TILE_VECTORS];
        EACH_VECTOR(j) {
            column[j] = (__m512bh)_mm512_loadu_si512(b + j * 2 * LANES);
            __builtin_prefetch(b + (j + PREFETCH_DEPTH * vectors) * 2 * LANES);
        }
        EACH_ROW(i) {
            int32_t pair;
            memcpy(&pair, row[i] + k, sizeof pair);
            __m512bh factor = (__m512bh)_mm512_set1_epi32(pair);
            EACH_VECTOR(j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], factor, column[j]);
        }
    }
    lanes sums[TILE_ROWS][TILE_VECTORS];
    EACH_ROW(i) EACH_VECTOR(j) sums[i][j] = (lanes)sum[i][j];
    store_tile(rows, vectors, t, sums);
}

ANY_TILE(tile_dot)

static void product_dot(const abz_product *p) { each_tile(p, sizeof(uint16_t), sizeof(uint16_t), any_tile_dot); }

SCORES(scores_dot, tile_dot, sizeof(uint16_t), product_dot)

INLINE void prepare_dot(
    const float *from, long stride, long count, long depth, long padded, void *prepared, long prepared_stride)
{
    uint16_t *to = prepared;
    for (long i = 0; i < count; i++, from += stride, to += prepared_stride) {
        long k = 0;
        for (; k + LANES <= depth; k += LANES) {
            __m256i half = (__m256i)_mm512_cvtneps_pbh(_mm512_loadu_ps(from + k));
            _mm256_storeu_si256((__m256i *)(to + k), half);
        }
        if (k < depth) {
            __mmask16 rest = (__mmask16)((1u << (depth - k)) - 1);
            __m256i half = (__m256i)_mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(rest, from + k));
            _mm256_mask_storeu_epi16(to + k, rest, half);
        }
        memset(to + depth, 0, (size_t)(padded - depth) * sizeof(uint16_t));
    }
}

// Number j of a row of bf16, j being a multiple of LANES.
INLINE void store_share(float *row, long j, lanes p) {
    __m256i half = (__m256i)_mm512_cvtneps_pbh((__m512)p);
    _mm256_storeu_si256((__m256i *)((uint16_t *)row + j), half);
}

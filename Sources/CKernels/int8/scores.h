// Scores of attention in bytes: integers with a scale for each query and each key.
//
// Slow form, c being a channel of a head:
//     top = max |x[c]|; scale = top / 127; v[c] = round(x[c] * (127 / top)), ties to even       of queries and keys
//     s[i][j] = (float)(sum over c of v_i[c] * v_j[c]) * key_scale[j]
// The scale of a query is left to the softmax (attention.h): a sum of few products has to pay for as little as possible. Keys
// are packed as weights are (int8/pack.h), one stretch wide at most. Queries are stored as v + 128, because VPDPBUSD multiplies
// unsigned by signed; 128 times the sum of a key is what its sums begin below 0. Sums are exact.

// Queries of `width` channels, zeros up to `depth`; all but zero they get the scale 1, with a NaN or infinity a NaN.
INLINE void prepare_queries(
    const float *from, long stride, long count, long width, long depth, void *prepared, float *scales)
{
    uint8_t *to = prepared;
    for (long i = 0; i < count; i++, from += stride, to += depth) {
        float top = top_of(from, width), factor = byte_factor(top);
        scales[i] = top < 0x1p-100f ? 1 : byte_scale(top);
        for (long k = 0; k < width && factor != 0; k += LANES) {
            long rest = width - k < LANES ? width - k : LANES;
            lanes x = rest == LANES ? load(from + k) : load_part(from + k, rest);
            row_lanes narrow = narrowed(x, all(factor), (words){0} + 128u);
            memcpy(to + k, &narrow, (size_t)rest);
        }
        if (factor == 0) memset(to, 128, (size_t)width);
        memset(to + width, 0, (size_t)(depth - width));
    }
}

INLINE void tile_scores(int rows, int vectors, const tile_task *t) {
    ints sum[TILE_ROWS][TILE_VECTORS];
    const int8_row *row[TILE_ROWS];
    EACH_VECTOR(j) {
        ints sums;
        memcpy(&sums, t->column_sums + j * LANES, sizeof sums);
        EACH_ROW(i) sum[i][j] = -(sums << 7);
    }
    EACH_ROW(i) row[i] = (const int8_row *)t->a + i * t->a_stride;
    add_products(rows, vectors, row, t->b, 0, t->depth, sum);
    EACH_VECTOR(j) {
        lanes scales = load(t->column_scales + j * LANES);
        EACH_ROW(i) store(t->c + i * t->c_stride + j * LANES, __builtin_convertvector(sum[i][j], lanes) * scales);
    }
}

ANY_TILE(tile_scores)

static void any_scores(const abz_product *p) { each_tile(p, sizeof(int8_t), sizeof(int8_row), any_tile_scores); }

SCORES(scores_int8, tile_scores, sizeof(int8_t), any_scores)

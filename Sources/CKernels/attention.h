// Attention of one head for a block of queries, flash style: keys in blocks, softmax on the fly.
//
// Slow form, for each query i:
//     s[j] = (sum over c ascending of q[i][c] k[j][c]) * scale (+ bias[i][j])      for the keys j it may see
//     y[i] = sum over j of exp(s[j] - max s) v[j] / sum over j of exp(s[j] - max s)
//
// Keys go in blocks of ABZ_KEY_BLOCK (bf16: ABZ_SHORT_KEY_BLOCK) from key 0. After each block the running maximum m, sum l and output o of a
// query are brought to the new maximum:
//     m' = max(m, max s);  f = exp(m - m');  p[j] = exp(s[j] - m')
//     l' = fma(l, f, sum p);  o' = o * f, then one fused multiply-add a key, ascending
// A block that a query may not see has p = 0 and f = 1, which changes nothing: that is why blocks above the diagonal can be
// left out without a trace in the bits. A query's bits depend on itself, the keys and values alone.
//
// On the bf16 product q, k, v and p are rounded to bf16 where they are multiplied; logits, maxima, the sums l and the output
// stay f32, and l sums the p before rounding. There p = 2^((s - m) log2(e)), of less accuracy than exp, since bf16 keeps 8 bits
// of it. On the bytes of int8/scores.h that holds for p and v, and the scale of a query's integers joins `scale`.
//
// Queries go by tiles through scores and softmax, so that logits stay in the first-level cache.

#define LOG2_E 1.44269504f

// What a query has seen so far.
typedef struct softmax_state {
    float maximum, sum;
} softmax_state;

// The maximum after `count` more logits, a multiple of LANES.
INLINE float next_maximum(const float *logits, long count, float before) {
    lanes top = load(logits);
    for (long j = LANES; j < count; j += LANES) top = larger(load(logits + j), top);
    float now = largest_of(top);
    return now > before ? now : before;
}

// exp(logits - m) in place over `count` padded keys; returns the factor f.
INLINE float softmax_step(float *logits, long count, softmax_state *state) {
    float before = state->maximum, now = next_maximum(logits, count, before);
    lanes total = all(0);
    for (long j = 0; j < count; j += LANES) {
        lanes x = load(logits + j) - now;
        // Masked keys are -infinity; their share is exactly 0, not exp's smallest value.
        lanes p = pick((words)(x < -87.3f), all(0), exp_lanes(x));
        store(logits + j, p);
        total += p;
    }
    // exp(0) is exactly 1; the first block meets before = the lowest float, and o and l are 0.
    float factor = 1;
    if (now > before) {
        lanes e = exp_lanes(all(before - now));
        factor = before - now < -87.3f ? 0 : e[0];
    }
    state->maximum = now;
    state->sum = fmaf(state->sum, factor, sum_of(total));
    return factor;
}

// The same in bf16 for logits times `unit`, which is above 0: shares take the place of the logits that are already read.
INLINE float short_softmax_step(float *logits, long count, float unit, softmax_state *state) {
    float before = state->maximum, now = next_maximum(logits, count, before), top = now * unit;
    lanes total = all(0);
    float factor = 1;
    if (fabsf(top) < 4096) {
        // One operation less; what rounding the product adds to all exponents, and to the factor's, is below 2^-12.
        for (long j = 0; j < count; j += LANES) {
            lanes p = short_exp2_lanes(fma_lanes(load(logits + j), all(unit), all(-top)));
            total += p;
            store_share(logits, j, p);
        }
        if (now > before) factor = short_exp2_lanes(fma_lanes(all(before), all(unit), all(-top)))[0];
    } else {
        // First the difference, which is exactly 0 at the largest, however large it is.
        for (long j = 0; j < count; j += LANES) {
            lanes p = short_exp2_lanes((load(logits + j) - now) * unit);
            total += p;
            store_share(logits, j, p);
        }
        if (now > before) factor = short_exp2_lanes(all((before - now) * unit))[0];
    }
    state->maximum = now;
    state->sum = fmaf(state->sum, factor, sum_of(total));
    return factor;
}

// How one attention multiplies: q by k, and p by v. Bytes are those of one value, a query's or share's, a key's or value's.
typedef struct attention_product {
    long key_block;
    long group, query_bytes, key_bytes;
    // One of both: queries as floats, or as integers with a scale each.
    void (*prepare)(const float *, long, long, long, long, void *, long);
    void (*quantise)(const float *, long, long, long, long, void *, float *);
    void (*scores)(const abz_product *);
    long share_bytes, value_bytes;
    void (*values)(const abz_product *);
    // Whether p is rounded to bf16.
    int is_short;
} attention_product;

// What scale, bias and mask make of a query's `stored` scores, for the keys from `first` on.
INLINE void finish_logits(const abz_attention *t, long query, long first, long stored, float scale, float *row) {
    long visible = t->causal ? t->first_query + query + 1 : t->keys;
    visible = visible > t->keys ? t->keys : visible;
    visible = visible < first ? 0 : visible - first < stored ? visible - first : stored;
    const float *bias = t->bias ? t->bias + query * t->keys + first : NULL;
    long j = 0;
    if (bias) {
        for (; j + LANES <= visible; j += LANES)
            store(row + j, fma_lanes(load(row + j), all(scale), load(bias + j)));
        for (; j < visible; j++) row[j] = fmaf(row[j], scale, bias[j]);
    } else if (scale != 1) {
        for (; j + LANES <= visible; j += LANES) store(row + j, load(row + j) * scale);
        for (; j < visible; j++) row[j] *= scale;
    }
    for (j = visible; j < stored; j++) row[j] = -__builtin_inff();
}

INLINE void attend_on(const abz_attention *t, attention_product on) {
    long padded_width = (t->width + LANES - 1) / LANES * LANES, depth = (t->width + on.group - 1) / on.group * on.group;
    float *logits = t->scratch, *out = logits + ABZ_QUERY_BLOCK * on.key_block;
    // Queries of many heads lie far apart and would compete for a few cache sets.
    float *q = out + ABZ_QUERY_BLOCK * padded_width;
    float scales[ABZ_QUERY_BLOCK];
    softmax_state states[ABZ_QUERY_BLOCK];
    for (long i = 0; i < t->queries; i++) {
        scales[i] = 1;
        states[i] = (softmax_state){.maximum = -3.402823466e38f, .sum = 0};
    }
    if (on.quantise) on.quantise(t->q, t->q_stride, t->queries, t->width, depth, q, scales);
    else on.prepare(t->q, t->q_stride, t->queries, t->width, depth, q, depth);
    memset(out, 0, (size_t)(t->queries * padded_width) * sizeof(float));
    // Without a bias the scale goes into the unit of the exponent.
    int scales_first = !on.is_short || t->bias != NULL;
    float unit = scales_first ? LOG2_E : t->scale * LOG2_E;

    long last = t->causal ? t->first_query + t->queries : t->keys;
    if (last > t->keys) last = t->keys;
    for (long first = 0; first < last; first += on.key_block) {
        long stored = t->padded_keys - first < on.key_block ? t->padded_keys - first : on.key_block;
        for (long tile = 0; tile < t->queries; tile += TILE_ROWS) {
            long end = t->queries - tile < TILE_ROWS ? t->queries : tile + TILE_ROWS;
            abz_product scores = {
                .a = (const char *)q + tile * depth * on.query_bytes, .a_stride = depth,
                .panels = (const char *)t->k_panels + first * depth * on.key_bytes, .panel_depth = depth,
                .c = logits + tile * on.key_block, .c_stride = on.key_block, .rows = end - tile, .columns = stored,
                .depth = depth, .column_scales = on.quantise ? t->k_scales + first : NULL,
                .column_sums = on.quantise ? t->k_sums + first : NULL,
            };
            on.scores(&scores);
            for (long i = tile; i < end; i++) {
                float *row = logits + i * on.key_block;
                finish_logits(t, i, first, stored, scales_first ? t->scale * scales[i] : 1, row);
                float factor = on.is_short ? short_softmax_step(row, stored, scales_first ? unit : unit * scales[i], &states[i])
                                           : softmax_step(row, stored, &states[i]);
                if (factor != 1)
                    for (long c = 0; c < padded_width; c += LANES)
                        store(out + i * padded_width + c, load(out + i * padded_width + c) * factor);
            }
        }
        abz_product values = {
            .a = logits, .a_stride = on.key_block * (long)sizeof(float) / on.share_bytes,
            .panels = (const char *)t->v_panels + first * padded_width * on.value_bytes, .panel_depth = stored,
            .panel_columns = t->v_panel_columns, .c = out, .c_stride = padded_width, .rows = t->queries, .columns = padded_width, .depth = stored, .onto = 1,
        };
        on.values(&values);
    }
    for (long i = 0; i < t->queries; i++)
        for (long c = 0; c < t->width; c += LANES) {
            long rest = t->width - c < LANES ? t->width - c : LANES;
            store_part(t->out + i * t->out_stride + c, load(out + i * padded_width + c) / states[i].sum, rest);
        }
}

static void attend(const abz_attention *t) {
    attend_on(t, (attention_product){
        .key_block = ABZ_KEY_BLOCK,
        .group = 1, .query_bytes = sizeof(float), .key_bytes = sizeof(float), .prepare = prepare_f32, .scores = product_f32,
        .share_bytes = sizeof(float), .value_bytes = sizeof(float), .values = product_f32,
    });
}

#ifdef BF16_DOT
#define PREPARE_SHORT prepare_dot
#define PRODUCT_SHORT product_dot
#define SCORES_SHORT scores_dot
#define SHORT_ROW_BYTES sizeof(uint16_t)
#else
#define PREPARE_SHORT prepare_bf16
#define PRODUCT_SHORT product_bf16
#define SCORES_SHORT product_bf16
#define SHORT_ROW_BYTES sizeof(float)
#endif

static void attend_bf16(const abz_attention *t) {
    attend_on(t, (attention_product){
        .key_block = ABZ_SHORT_KEY_BLOCK,
        .group = 2, .query_bytes = SHORT_ROW_BYTES, .key_bytes = sizeof(uint16_t), .prepare = PREPARE_SHORT,
        .scores = SCORES_SHORT,
        .share_bytes = SHORT_ROW_BYTES, .value_bytes = sizeof(uint16_t), .values = PRODUCT_SHORT, .is_short = 1,
    });
}

#if INT8_GROUP == 4
static void attend_int8(const abz_attention *t) {
    attend_on(t, (attention_product){
        .key_block = ABZ_SHORT_KEY_BLOCK,
        .group = INT8_GROUP, .query_bytes = sizeof(int8_row), .key_bytes = sizeof(int8_t), .quantise = prepare_queries,
        .scores = scores_int8,
        .share_bytes = SHORT_ROW_BYTES, .value_bytes = sizeof(uint16_t), .values = PRODUCT_SHORT, .is_short = 1,
    });
}
#endif

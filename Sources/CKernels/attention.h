// Attention of one head for a block of queries, flash style: keys in blocks, softmax on the fly.
//
// Slow form, for each query i:
//     s[j] = (sum over c ascending of q[i][c] k[j][c]) * scale (+ bias[i][j])      for the keys j it may see
//     y[i] = sum over j of exp(s[j] - max s) v[j] / sum over j of exp(s[j] - max s)
//
// Keys go in blocks of ABZ_KEY_BLOCK from key 0. After each block the running maximum m, sum l and output o of a
// query are brought to the new maximum:
//     m' = max(m, max s);  f = exp(m - m');  p[j] = exp(s[j] - m')
//     l' = fma(l, f, sum p);  o' = o * f, then one fused multiply-add a key, ascending
// A block that a query may not see has p = 0 and f = 1, which changes nothing: that is why blocks above the diagonal can be
// left out without a trace in the bits. A query's bits depend on itself, the keys and values alone.
//
// On the bf16 product q, k, v and p are rounded to bf16 where they are multiplied; logits, maxima, the sums l and the output stay
// f32, and l sums the p before rounding.

// exp(logits - m) in place over `count` padded keys; updates the running maximum and sum; returns the factor f.
INLINE float softmax_step(float *logits, long count, float *maximum, float *sum) {
    lanes top = load(logits);
    for (long j = LANES; j < count; j += LANES) top = larger(load(logits + j), top);
    float before = *maximum, now = largest_of(top);
    now = now > before ? now : before;
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
    *maximum = now;
    *sum = fmaf(*sum, factor, sum_of(total));
    return factor;
}

// How one attention multiplies.
typedef struct attention_product {
    long group, panel_bytes, row_bytes;
    void (*prepare)(const void *, long, long, long, void *, long);
    void (*product)(const abz_product *);
    // Whether p goes through `prepare`, too.
    int prepares_shares;
} attention_product;

INLINE void attend_on(const abz_attention *t, attention_product on) {
    long padded_width = (t->width + LANES - 1) / LANES * LANES, depth = (t->width + on.group - 1) / on.group * on.group;
    float *logits = t->scratch, *out = logits + ABZ_QUERY_BLOCK * ABZ_KEY_BLOCK;
    // Queries of many heads lie far apart and would compete for a few cache sets.
    float *q = out + ABZ_QUERY_BLOCK * padded_width;
    on.prepare(t->q, t->q_stride, t->queries, t->width, q, depth);
    float maximum[ABZ_QUERY_BLOCK], sums[ABZ_QUERY_BLOCK];
    for (long i = 0; i < t->queries; i++) {
        maximum[i] = -3.402823466e38f;
        sums[i] = 0;
    }
    memset(out, 0, (size_t)(t->queries * padded_width) * sizeof(float));

    long last = t->causal ? t->first_query + t->queries : t->keys;
    if (last > t->keys) last = t->keys;
    for (long first = 0; first < last; first += ABZ_KEY_BLOCK) {
        long stored = t->padded_keys - first < ABZ_KEY_BLOCK ? t->padded_keys - first : ABZ_KEY_BLOCK;
        abz_product scores = {
            .a = q, .a_stride = depth, .panels = (const char *)t->k_panels + first * depth * on.panel_bytes,
            .panel_depth = depth, .c = logits, .c_stride = ABZ_KEY_BLOCK, .rows = t->queries, .columns = stored,
            .depth = depth,
        };
        on.product(&scores);
        for (long i = 0; i < t->queries; i++) {
            float *row = logits + i * ABZ_KEY_BLOCK;
            long visible = t->causal ? t->first_query + i + 1 : t->keys;
            visible = visible > t->keys ? t->keys : visible;
            visible = visible < first ? 0 : visible - first < stored ? visible - first : stored;
            const float *bias = t->bias ? t->bias + i * t->keys + first : NULL;
            long j = 0;
            for (; j + LANES <= visible; j += LANES)
                store(
                    row + j,
                    bias ? fma_lanes(load(row + j), all(t->scale), load(bias + j)) : load(row + j) * t->scale);
            for (; j < visible; j++) row[j] = bias ? fmaf(row[j], t->scale, bias[j]) : row[j] * t->scale;
            for (; j < stored; j++) row[j] = -__builtin_inff();
            float factor = softmax_step(row, stored, &maximum[i], &sums[i]);
            if (on.prepares_shares) on.prepare(row, stored, 1, stored, row, stored);
            if (factor != 1)
                for (long c = 0; c < padded_width; c += LANES)
                    store(out + i * padded_width + c, load(out + i * padded_width + c) * factor);
        }
        abz_product values = {
            .a = logits, .a_stride = ABZ_KEY_BLOCK * (long)sizeof(float) / on.row_bytes,
            .panels = (const char *)t->v_panels + first * padded_width * on.panel_bytes, .panel_depth = stored,
            .c = out, .c_stride = padded_width, .rows = t->queries, .columns = padded_width, .depth = stored, .onto = 1,
        };
        on.product(&values);
    }
    for (long i = 0; i < t->queries; i++)
        for (long c = 0; c < t->width; c += LANES) {
            long rest = t->width - c < LANES ? t->width - c : LANES;
            store_part(t->out + i * t->out_stride + c, load(out + i * padded_width + c) / sums[i], rest);
        }
}

static void attend(const abz_attention *t) {
    attend_on(t, (attention_product){1, sizeof(float), sizeof(float), prepare_f32, product_f32, 0});
}

#ifdef BF16_DOT
static void attend_bf16(const abz_attention *t) {
    attend_on(t, (attention_product){2, sizeof(uint16_t), sizeof(uint16_t), prepare_dot, product_dot, 1});
}
#else
static void attend_bf16(const abz_attention *t) {
    attend_on(t, (attention_product){2, sizeof(uint16_t), sizeof(float), prepare_bf16, product_bf16, 1});
}
#endif
